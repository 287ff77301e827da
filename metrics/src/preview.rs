//! A contact sheet that moves: several students' clips side by side, playing in parallel.

mod font;

use afd_clips::video::{Clip, Video};

/// Pixels between neighbouring cells and around the sheet.
const GAP: usize = 4;
/// How long the last frame stays before the sheet starts over, in seconds.
const HOLD_SECONDS: f64 = 0.5;
/// The rate of a sheet without any clip.
const DEFAULT_RATE: f64 = 8.0;
/// The largest magnification of clips.
const MAX_SCALE: usize = 16;
/// The largest magnification of labels; smaller where a label would not fit over its column.
const MAX_LABEL_SCALE: usize = 3;
/// Longer labels are cut.
const MAX_LABEL_LETTERS: usize = 32;
/// The background, RGB.
const BACKGROUND: [u8; 3] = [24, 26, 31];
/// The labels, RGB.
const INK: [u8; 3] = [236, 238, 242];

/// One column per student, its label on top; one row per clip. All clips play at once, then the
/// last frame stays for about 0.5 s.
///
/// Put clips of one prompt in one row: row r holds every column's clip r, and places without a clip
/// stay empty. Each pixel becomes a square of `scale` x `scale` (1 to 16, clamped). The sheet runs
/// at the fastest clip's rate; slower clips keep their own time and shorter ones stay on their last
/// frame. Labels may hold any characters; those outside printable ASCII are drawn as boxes. Where
/// all are empty there is no line of labels.
///
/// Meant for [`afd_clips::video_io::write_gif_bytes`], which allows at most 50 frames per second
/// and 256 colours per frame. Without clips the sheet is one frame of labels.
pub fn side_by_side(columns: &[(&str, &[Clip])], scale: usize) -> Video {
    let layout = Layout::new(columns, scale.clamp(1, MAX_SCALE));
    let clips = || {
        columns
            .iter()
            .flat_map(|(_, clips)| clips.iter())
            .filter(|clip| is_drawable(clip))
    };
    let rate = clips()
        .map(|clip| clip.shape.frames_per_second)
        .reduce(f64::max)
        .unwrap_or(DEFAULT_RATE);
    let playing = clips()
        .map(|clip| {
            (clip.shape.frames as f64 * rate / clip.shape.frames_per_second).ceil() as usize
        })
        .max();
    let held = (HOLD_SECONDS * rate).round().max(1.0) as usize;

    let labels = layout.labels(columns);
    let mut frames: Vec<Vec<u8>> = (0..playing.unwrap_or(1))
        .map(|frame| layout.frame(&labels, columns, frame as f64 / rate))
        .collect();
    if let (Some(last), true) = (frames.last().cloned(), playing.is_some()) {
        frames.extend(std::iter::repeat_n(last, held));
    }
    Video {
        width: layout.width() as u32,
        height: layout.height() as u32,
        frames_per_second: rate,
        frames,
    }
}

/// Whether there is anything to draw, at a rate that time can be counted in.
fn is_drawable(clip: &Clip) -> bool {
    let shape = clip.shape;
    let values = shape.frames * shape.height * shape.width * 3;
    values > 0
        && clip.pixels.len() == values
        && shape.frames_per_second.is_finite()
        && shape.frames_per_second > 0.0
}

/// Where everything goes, in pixels of the sheet.
struct Layout {
    columns: usize,
    rows: usize,
    column_width: usize,
    row_height: usize,
    labelled: bool,
    label_scale: usize,
    scale: usize,
}

impl Layout {
    fn new(columns: &[(&str, &[Clip])], scale: usize) -> Self {
        let clips = || {
            columns
                .iter()
                .flat_map(|(_, clips)| clips.iter())
                .filter(|clip| is_drawable(clip))
        };
        let clip_width = clips().map(|clip| clip.shape.width).max().unwrap_or(0) * scale;
        let label_width = columns
            .iter()
            .map(|(label, _)| font::width(&cut(label)))
            .max()
            .unwrap_or(0);
        Self {
            columns: columns.len(),
            rows: columns
                .iter()
                .map(|(_, clips)| clips.len())
                .max()
                .unwrap_or(0),
            column_width: clip_width.max(label_width),
            row_height: clips().map(|clip| clip.shape.height).max().unwrap_or(0) * scale,
            labelled: columns.iter().any(|(label, _)| !label.is_empty()),
            label_scale: (2..=MAX_LABEL_SCALE)
                .rev()
                .find(|times| label_width * times <= clip_width)
                .unwrap_or(1),
            scale,
        }
    }

    fn width(&self) -> usize {
        self.left(self.columns)
    }

    fn height(&self) -> usize {
        self.top(self.rows)
    }

    /// The left edge of a column.
    fn left(&self, column: usize) -> usize {
        GAP + column * (self.column_width + GAP)
    }

    /// The upper edge of a row of clips.
    fn top(&self, row: usize) -> usize {
        let labels = if self.labelled {
            font::HEIGHT * self.label_scale + GAP
        } else {
            0
        };
        GAP + labels + row * (self.row_height + GAP)
    }

    /// What all frames share.
    fn labels(&self, columns: &[(&str, &[Clip])]) -> Canvas {
        let bytes = BACKGROUND.repeat(self.width() * self.height());
        let mut canvas = Canvas {
            width: self.width(),
            bytes,
        };
        for (column, (label, _)) in columns.iter().enumerate() {
            for (place, letter) in cut(label).chars().enumerate() {
                let left = self.left(column) + place * font::ADVANCE * self.label_scale;
                for (x, y) in font::pixels(letter) {
                    canvas.square(
                        left + x * self.label_scale,
                        GAP + y * self.label_scale,
                        self.label_scale,
                        INK,
                    );
                }
            }
        }
        canvas
    }

    /// The frame that is shown `seconds` after the start.
    fn frame(&self, labels: &Canvas, columns: &[(&str, &[Clip])], seconds: f64) -> Vec<u8> {
        let mut canvas = labels.clone();
        for (column, (_, clips)) in columns.iter().enumerate() {
            for (row, clip) in clips
                .iter()
                .enumerate()
                .filter(|(_, clip)| is_drawable(clip))
            {
                let shape = clip.shape;
                // The margin keeps a frame's own start, such as 3 / 10 s, from falling to the frame
                // before.
                let frame =
                    ((seconds * shape.frames_per_second + 1e-6) as usize).min(shape.frames - 1);
                let left = self.left(column) + (self.column_width - shape.width * self.scale) / 2;
                let top = self.top(row) + (self.row_height - shape.height * self.scale) / 2;
                for (y, x) in (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x)))
                {
                    let colour = clip.pixel(frame, y, x).map(afd_clips::video::to_byte);
                    canvas.square(
                        left + x * self.scale,
                        top + y * self.scale,
                        self.scale,
                        colour,
                    );
                }
            }
        }
        canvas.bytes
    }
}

fn cut(label: &str) -> String {
    if label.chars().count() <= MAX_LABEL_LETTERS {
        return label.to_string();
    }
    label
        .chars()
        .take(MAX_LABEL_LETTERS - 2)
        .chain("..".chars())
        .collect()
}

/// RGB bytes, rows from top to bottom.
#[derive(Clone)]
struct Canvas {
    width: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    fn square(&mut self, left: usize, top: usize, side: usize, colour: [u8; 3]) {
        for row in top..top + side {
            let start = (row * self.width + left) * 3;
            self.bytes[start..start + side * 3]
                .as_chunks_mut::<3>()
                .0
                .fill(colour);
        }
    }
}

#[cfg(test)]
mod tests;

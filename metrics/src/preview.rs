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
mod tests {
    use std::io::Cursor;

    use image::{AnimationDecoder, codecs::gif::GifDecoder};

    use super::super::synthetic::drifting;
    use super::*;
    use afd_clips::{video::ClipShape, video_io::write_gif_bytes};

    /// Frame f is uniform grey of level `level + 10 f`.
    fn greys(frames: usize, side: usize, frames_per_second: f64, level: u8) -> Clip {
        let values = side * side * 3;
        let pixels = (0..frames * values)
            .map(|index| afd_clips::video::from_byte(level + 10 * (index / values) as u8))
            .collect();
        Clip {
            shape: ClipShape {
                frames,
                height: side,
                width: side,
                frames_per_second,
            },
            pixels,
        }
    }

    fn pixel(video: &Video, frame: usize, x: usize, y: usize) -> [u8; 3] {
        let start = (y * video.width as usize + x) * 3;
        [0, 1, 2].map(|channel| video.frames[frame][start + channel])
    }

    #[test]
    fn the_gif_decodes_with_the_expected_size_frames_and_hold() {
        let clips = [
            drifting([3.0, 8.0], [0.5, 0.0]),
            drifting([8.0, 3.0], [0.0, 0.5]),
        ];
        let sheet = side_by_side(&[("teacher", &clips), ("base", &clips)], 3);
        // Two columns of 16 * 3 px, two rows of the same under one line of text, 12 frames and half
        // a second at 8 fps.
        let (width, height, frames) = (4 + 2 * (48 + 4), 4 + 7 + 4 + 2 * (48 + 4), 12 + 4);
        assert_eq!(
            (
                sheet.width,
                sheet.height,
                sheet.frames.len(),
                sheet.frames_per_second
            ),
            (width, height, frames, 8.0)
        );
        let gif = write_gif_bytes(&sheet).unwrap();
        let decoded = GifDecoder::new(Cursor::new(gif))
            .unwrap()
            .into_frames()
            .collect_frames()
            .unwrap();
        assert_eq!(decoded.len(), frames);
        assert!(
            decoded
                .iter()
                .all(|frame| frame.buffer().dimensions() == (width, height))
        );
        assert!(
            sheet.frames[11..].windows(2).all(|pair| pair[0] == pair[1])
                && sheet.frames[10] != sheet.frames[11]
        );
    }

    #[test]
    fn every_pixel_becomes_a_square_in_the_place_of_its_column_and_row() {
        let mut clips = [
            greys(1, 30, 8.0, 100),
            greys(1, 30, 8.0, 120),
            greys(1, 30, 8.0, 140),
        ];
        // Row 2, column 5.
        clips[0].pixels[(2 * 30 + 5) * 3..][..3].copy_from_slice(&[1.0, -1.0, -1.0]);
        let sheet = side_by_side(&[("a", &clips[..2]), ("b", &clips[2..])], 2);
        // "a" is 5 px wide, so it is drawn at the largest magnification; the first row starts below
        // 3 * 7 px of label.
        let (left, top) = (4, 4 + 21 + 4);
        let red = (0..60 * 60)
            .filter(|at| pixel(&sheet, 0, left + at % 60, top + at / 60) == [255, 0, 0])
            .collect::<Vec<_>>();
        assert_eq!(red, [4 * 60 + 10, 4 * 60 + 11, 5 * 60 + 10, 5 * 60 + 11]);
        assert_eq!(pixel(&sheet, 0, left, top), [100; 3]);
        assert_eq!(pixel(&sheet, 0, left + 59, top + 59), [100; 3]);
        assert_eq!(pixel(&sheet, 0, left + 60, top), BACKGROUND, "the gap");
        assert_eq!(pixel(&sheet, 0, left, top + 64), [120; 3], "the second row");
        assert_eq!(
            pixel(&sheet, 0, left + 64, top),
            [140; 3],
            "the second column"
        );
        assert_eq!(
            pixel(&sheet, 0, left + 64, top + 64),
            BACKGROUND,
            "no second clip in the second column"
        );
    }

    #[test]
    fn slower_clips_keep_their_time_and_shorter_ones_stay_on_their_last_frame() {
        let sheet = side_by_side(
            &[
                ("f", &[greys(8, 8, 10.0, 0)]),
                ("s", &[greys(3, 8, 5.0, 100)]),
                ("x", &[greys(2, 8, 10.0, 200)]),
            ],
            1,
        );
        let levels = |column: usize| {
            (0..13)
                .map(|frame| pixel(&sheet, frame, 4 + column * 12, 15)[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (sheet.frames_per_second, sheet.frames.len()),
            (10.0, 13),
            "0.8 s and 0.5 s at 10 fps"
        );
        assert_eq!(
            levels(0),
            [0, 10, 20, 30, 40, 50, 60, 70, 70, 70, 70, 70, 70]
        );
        assert_eq!(
            levels(1),
            [
                100, 100, 110, 110, 120, 120, 120, 120, 120, 120, 120, 120, 120
            ]
        );
        assert_eq!(
            levels(2),
            [
                200, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210
            ]
        );
    }

    #[test]
    fn labels_wider_than_their_clips_widen_the_column_and_endless_ones_are_cut() {
        let clip = [greys(1, 8, 8.0, 90)];
        let sheet = side_by_side(&[("distilled", &clip)], 1);
        assert_eq!(sheet.width, 4 + 53 + 4, "nine letters of 5 px with 8 gaps");
        assert_eq!(
            pixel(&sheet, 0, 4 + (53 - 8) / 2, 15),
            [90; 3],
            "the clip stands in the middle"
        );
        let lit = (0..53 * 7)
            .filter(|at| pixel(&sheet, 0, 4 + at % 53, 4 + at / 53) == INK)
            .count();
        assert_eq!(
            lit,
            "distilled"
                .chars()
                .map(|letter| font::pixels(letter).count())
                .sum::<usize>()
        );
        assert_eq!(
            side_by_side(&[(&"x".repeat(500), &clip)], 1).width,
            4 + 32 * 6 - 1 + 4
        );
    }

    #[test]
    fn without_labels_there_is_no_line_for_them() {
        let clip = [greys(1, 8, 8.0, 90)];
        let sheet = side_by_side(&[("", &clip), ("", &clip)], 1);
        assert_eq!((sheet.width, sheet.height), (4 + 2 * (8 + 4), 4 + 8 + 4));
        assert_eq!(pixel(&sheet, 0, 4, 4), [90; 3]);
    }

    #[test]
    fn sheets_without_clips_and_clips_without_pixels_still_make_a_gif() {
        let mut broken = greys(2, 4, 8.0, 0);
        broken.pixels.pop();
        let nothing = Clip {
            shape: ClipShape {
                frames: 0,
                height: 0,
                width: 0,
                frames_per_second: 0.0,
            },
            pixels: vec![],
        };
        for columns in [
            &[][..],
            &[("", &[][..])],
            &[("teacher", &[broken, nothing])],
        ] {
            let sheet = side_by_side(columns, 0);
            assert_eq!(sheet.frames.len(), 1);
            write_gif_bytes(&sheet).unwrap();
        }
    }
}

//! One clip, looked at frame by frame: what is kept of it, and what is suspicious about it alone.

use super::Flag;
use crate::video_io::{Clock, Frame, VideoHeader};

/// Rows and columns of the small grey picture that a frame is looked at as.
pub(super) const SIDE: usize = 64;

/// Rows and columns of its parts.
const PARTS: usize = 8;

/// Moments that are kept to find a clip again.
const MOMENTS: usize = 4;

/// Most frames looked at closely, evenly spaced.
const SAMPLES: usize = 16;

/// Levels (of 255) up to which a pixel or part is black.
const BLACK: u8 = 20;

/// Levels that a part may change by in a static clip.
const STILL: f32 = 2.0;

/// Least share of a side that is a bar.
const BAR: f64 = 0.03;

/// Share of a row that may be bright in a bar (noise), and that has to be bright next to one.
const BAR_NOISE: f64 = 0.005;
const BAR_BORDER: f64 = 0.5;

/// Levels across two pixels of the small picture that make an edge.
const EDGE: u8 = 24;

/// Levels by which a pixel of the small picture changes where there is motion, and the share of
/// pixels that have to.
const MOTION: u8 = 12;
const BUSY: f64 = 0.5;

/// Largest share of the small picture that unmoving edges may fill: beyond it, the camera stands
/// still.
pub(super) const MAX_EDGES: f64 = 0.2;

/// What is kept of a clip that can be decoded.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Look {
    /// Pixels per row.
    pub width: u32,
    /// Rows per frame.
    pub height: u32,
    /// A pixel's width over its height, as shown.
    pub pixel_aspect: f64,
    /// Frames per second, on average.
    pub frames_per_second: f64,
    /// Frames.
    pub frames: u64,
    /// Seconds from the first frame's start to the last one's end.
    pub seconds: f64,
    /// BLAKE3 of size and pixels.
    pub pixels: String,
    /// Mean grey of 8 x 8 parts at four moments, in hexadecimal digits.
    pub signature: String,
    /// What is suspicious about this clip alone, and how.
    pub flags: Vec<(Flag, String)>,
    /// Pixels of the 64 x 64 picture where an edge never moves; `None` where too little else moves,
    /// or too much stands still, to tell.
    pub edges: Option<Vec<u16>>,
}

/// A clip in the middle of being looked at.
#[derive(Default)]
pub(super) struct Looking {
    hasher: blake3::Hasher,
    clock: Clock,
    /// Every `stride`th frame so far, made small.
    samples: Vec<Vec<u8>>,
    stride: u64,
    /// Most bright pixels that each row and each column ever had.
    bright_rows: Vec<u32>,
    bright_columns: Vec<u32>,
}

impl Looking {
    /// The next frame.
    pub fn frame(&mut self, header: &VideoHeader, frame: Frame<'_>) {
        let frames = self.clock.frames();
        let (width, height) = (header.width as usize, header.height as usize);
        if frames == 0 {
            self.stride = 1;
            self.hasher
                .update(&header.width.to_le_bytes())
                .update(&header.height.to_le_bytes());
            (self.bright_rows, self.bright_columns) = (vec![0; height], vec![0; width]);
        }
        self.hasher.update(&frame);
        if frames.is_multiple_of(self.stride) {
            if self.samples.len() == SAMPLES {
                let mut index = 0;
                self.samples.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if frames.is_multiple_of(self.stride) {
                self.sample(&frame, width, height);
            }
        }
        self.clock.frame(&frame);
    }

    fn sample(&mut self, frame: &[u8], width: usize, height: usize) {
        let grey: Vec<u8> = frame.chunks_exact(3).map(luma).collect();
        let mut columns = vec![0u32; width];
        for (row, most) in grey.chunks_exact(width).zip(&mut self.bright_rows) {
            let mut bright = 0;
            for (value, column) in row.iter().zip(&mut columns) {
                bright += u32::from(*value > BLACK);
                *column += u32::from(*value > BLACK);
            }
            *most = bright.max(*most);
        }
        self.bright_columns
            .iter_mut()
            .zip(columns)
            .for_each(|(most, bright)| *most = bright.max(*most));
        self.samples.push(small(&grey, width, height));
    }

    /// What is kept of the clip.
    pub fn finish(self, header: &VideoHeader) -> Look {
        let parts: Vec<Vec<f32>> = self.samples.iter().map(|sample| parts(sample)).collect();
        let mut flags = Vec::new();
        if let Some(detail) = self.bars() {
            flags.push((Flag::Letterbox, detail));
        }
        let brightest = parts.iter().flatten().copied().fold(0.0, f32::max);
        if brightest <= f32::from(BLACK) {
            flags.push((
                Flag::Black,
                format!("the brightest part has {brightest:.0} of 255 levels"),
            ));
        } else {
            let change = |sample: &Vec<f32>| {
                sample
                    .iter()
                    .zip(&parts[0])
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max)
            };
            let largest = parts.iter().map(change).fold(0.0, f32::max);
            if largest <= STILL {
                flags.push((
                    Flag::Static,
                    format!("no part changes by more than {largest:.1} of 255 levels"),
                ));
            }
        }
        let moment = |index: usize| (parts.len().saturating_sub(1)) * index / (MOMENTS - 1);
        let signature = (0..MOMENTS)
            .filter_map(|index| parts.get(moment(index)))
            .flatten()
            .map(|value| format!("{:02x}", value.round() as u8))
            .collect();
        let (frames, seconds) = (self.clock.frames(), self.clock.end(header));
        Look {
            width: header.width,
            height: header.height,
            pixel_aspect: header.pixel_aspect,
            frames_per_second: if seconds > 0.0 {
                frames as f64 / seconds
            } else {
                header.frames_per_second
            },
            frames,
            seconds,
            pixels: self.hasher.finalize().to_hex().to_string(),
            signature,
            flags,
            edges: edges(&self.samples),
        }
    }

    /// Black bars above and below, or left and right.
    fn bars(&self) -> Option<String> {
        let (rows, columns) = (&self.bright_rows, &self.bright_columns);
        let of = |lines: &[u32], across: usize, names: [&str; 2]| {
            let is_black = |bright: &&u32| f64::from(**bright) <= BAR_NOISE * across as f64;
            let first = lines.iter().take_while(is_black).count();
            let last = lines.iter().rev().take_while(is_black).count();
            let least = (BAR * lines.len() as f64).ceil().max(1.0) as usize;
            if first < least || last < least || first == lines.len() {
                return None;
            }
            let is_border = |bright: u32| f64::from(bright) >= BAR_BORDER * across as f64;
            let [before, after] = names;
            (is_border(lines[first]) && is_border(lines[lines.len() - 1 - last]))
                .then(|| format!("black bars of {first} pixels {before} and {last} {after}"))
        };
        of(rows, columns.len(), ["above", "below"])
            .or_else(|| of(columns, rows.len(), ["on the left", "on the right"]))
    }
}

/// Rec. 601 luma of an RGB pixel.
fn luma(pixel: &[u8]) -> u8 {
    ((77 * u32::from(pixel[0]) + 150 * u32::from(pixel[1]) + 29 * u32::from(pixel[2])) >> 8) as u8
}

/// A grey picture as 64 x 64 means.
fn small(grey: &[u8], width: usize, height: usize) -> Vec<u8> {
    let range = |index: usize, side: usize| {
        let start = index * side / SIDE;
        start..((index + 1) * side / SIDE).max(start + 1)
    };
    let mean = |row: usize, column: usize| {
        let (rows, columns) = (range(row, height), range(column, width));
        let count = (rows.len() * columns.len()) as u64;
        let sum: u64 = rows
            .flat_map(|row| &grey[row * width + columns.start..row * width + columns.end])
            .map(|&value| u64::from(value))
            .sum();
        ((sum + count / 2) / count) as u8
    };
    (0..SIDE * SIDE)
        .map(|place| mean(place / SIDE, place % SIDE))
        .collect()
}

/// The means of its 8 x 8 parts.
fn parts(sample: &[u8]) -> Vec<f32> {
    let step = SIDE / PARTS;
    let mean = |part: usize| {
        let (top, left) = (part / PARTS * step, part % PARTS * step);
        let sum: u32 = (top..top + step)
            .flat_map(|row| &sample[row * SIDE + left..row * SIDE + left + step])
            .map(|&value| u32::from(value))
            .sum();
        sum as f32 / (step * step) as f32
    };
    (0..PARTS * PARTS).map(mean).collect()
}

/// Where an edge is in all samples.
fn edges(samples: &[Vec<u8>]) -> Option<Vec<u16>> {
    if samples.len() < 4 {
        return None;
    }
    let range = |place: usize| {
        let (low, high) = samples.iter().fold((u8::MAX, 0), |(low, high), sample| {
            (low.min(sample[place]), high.max(sample[place]))
        });
        high - low
    };
    let moving = (0..SIDE * SIDE)
        .filter(|&place| range(place) >= MOTION)
        .count();
    if (moving as f64) < BUSY * (SIDE * SIDE) as f64 {
        return None;
    }
    let slope = |sample: &[u8], place: usize| {
        let (row, column) = (place / SIDE, place % SIDE);
        let at =
            |row: usize, column: usize| sample[row.min(SIDE - 1) * SIDE + column.min(SIDE - 1)];
        let across = at(row, column + 1).abs_diff(at(row, column.saturating_sub(1)));
        across.max(at(row + 1, column).abs_diff(at(row.saturating_sub(1), column)))
    };
    let everywhere: Vec<u16> = (0..SIDE * SIDE)
        .filter(|&place| samples.iter().all(|sample| slope(sample, place) >= EDGE))
        .map(|place| place as u16)
        .collect();
    (everywhere.len() as f64 <= MAX_EDGES * (SIDE * SIDE) as f64).then_some(everywhere)
}

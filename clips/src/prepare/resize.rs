//! One frame of a video into one of a clip: cropped or padded, then resized.

use std::ops::Range;

use super::Fit;
use crate::{
    video::{ClipShape, from_byte},
    video_io::VideoHeader,
};

/// Which part of a source pixel's area goes into which pixel of the clip; the same for all frames.
pub(super) struct Resizer {
    source_width: usize,
    /// Rows and columns of the clip that the picture fills.
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
    height: usize,
    row_shares: Vec<(usize, Vec<f32>)>,
    column_shares: Vec<(usize, Vec<f32>)>,
}

impl Resizer {
    /// From videos of `header`'s size to clips of `shape`.
    pub fn new(header: &VideoHeader, shape: ClipShape, fit: Fit) -> Self {
        let (source_height, source_width) = (header.height as usize, header.width as usize);
        let (height, width) = (shape.height, shape.width);
        let ((from_rows, from_columns), (rows, columns)) = match fit {
            Fit::Crop => (
                centre_crop(
                    (source_height, source_width),
                    header.pixel_aspect,
                    height as f64 / width as f64,
                ),
                (0..height, 0..width),
            ),
            // The picture's place in the clip is what a clip of the picture's shape would be
            // cropped to.
            Fit::Pad => (
                (0..source_height, 0..source_width),
                centre_crop(
                    (height, width),
                    1.0,
                    source_height as f64 / (source_width as f64 * header.pixel_aspect),
                ),
            ),
        };
        let (row_shares, column_shares) = (
            shares(from_rows, rows.len()),
            shares(from_columns, columns.len()),
        );
        Self {
            source_width,
            rows,
            columns,
            width,
            height,
            row_shares,
            column_shares,
        }
    }

    /// Appends one frame of the clip: `height * width * 3` values in [-1, 1].
    pub fn resize(&self, frame: &[u8], pixels: &mut Vec<f32>) {
        if self.rows.len() == self.height && self.columns.len() == self.width {
            return resize(
                frame,
                self.source_width,
                &self.row_shares,
                &self.column_shares,
                pixels,
            );
        }
        let mut picture = Vec::with_capacity(self.rows.len() * self.columns.len() * 3);
        resize(
            frame,
            self.source_width,
            &self.row_shares,
            &self.column_shares,
            &mut picture,
        );
        let start = pixels.len();
        pixels.resize(start + self.height * self.width * 3, from_byte(0));
        for (row, values) in self
            .rows
            .clone()
            .zip(picture.chunks_exact(self.columns.len() * 3))
        {
            let place = start + (row * self.width + self.columns.start) * 3;
            pixels[place..place + values.len()].copy_from_slice(values);
        }
    }
}

/// The largest centred `(rows, columns)` of a picture of pixels of `pixel_aspect` (width over
/// height) that look `slope` (height over width).
///
/// Whole pixels: a crop that splits pixels would blur videos which need no resizing.
pub(super) fn centre_crop(
    (rows, columns): (usize, usize),
    pixel_aspect: f64,
    slope: f64,
) -> (Range<usize>, Range<usize>) {
    let kept = |source: usize, wanted: f64| {
        let kept = (wanted.round() as usize).clamp(1, source);
        let start = (source - kept) / 2;
        start..start + kept
    };
    (
        kept(rows, columns as f64 * pixel_aspect * slope),
        kept(columns, rows as f64 / (pixel_aspect * slope)),
    )
}

/// For each of `outputs` equal parts of `source`: the first source index it touches, and the share
/// of each one from there on. Every part's shares sum to 1.
fn shares(source: Range<usize>, outputs: usize) -> Vec<(usize, Vec<f32>)> {
    let inputs = source.len();
    // In units of 1 / outputs of a source pixel every border is a whole number, so the overlaps are
    // exact.
    (0..outputs)
        .map(|output| {
            let (start, end) = (output * inputs, (output + 1) * inputs);
            let touched = start / outputs..end.div_ceil(outputs);
            let overlap =
                |index: usize| end.min((index + 1) * outputs) - start.max(index * outputs);
            let shares = touched
                .clone()
                .map(|index| (overlap(index) as f64 / inputs as f64) as f32)
                .collect();
            (source.start + touched.start, shares)
        })
        .collect()
}

/// Appends one resized frame to `pixels`: rows first, one blended row at a time, then columns.
fn resize(
    frame: &[u8],
    width: usize,
    rows: &[(usize, Vec<f32>)],
    columns: &[(usize, Vec<f32>)],
    pixels: &mut Vec<f32>,
) {
    let mut blended = vec![0.0f32; width * 3];
    for (first_row, row_shares) in rows {
        blended.fill(0.0);
        for (row, &share) in frame
            .chunks_exact(width * 3)
            .skip(*first_row)
            .zip(row_shares)
        {
            for (sum, &byte) in blended.iter_mut().zip(row) {
                *sum += share * f32::from(byte);
            }
        }
        for (first_column, column_shares) in columns {
            let mut mean = [0.0f32; 3];
            for (pixel, &share) in blended
                .chunks_exact(3)
                .skip(*first_column)
                .zip(column_shares)
            {
                for (sum, &value) in mean.iter_mut().zip(pixel) {
                    *sum += share * value;
                }
            }
            pixels.extend(mean.map(|value| from_byte(value.round() as u8)));
        }
    }
}

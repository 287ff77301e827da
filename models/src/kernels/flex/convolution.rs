//! Convolutions: what the taps read, written out for a matrix product.

use burn::backend::Flex;
use burn::prelude::*;

use super::lanes::vectorised;
use super::{made, slice, values};
use crate::kernels::{Window, composite, convolve};

pub(super) fn unfold(x: Tensor<Flex, 5>) -> Tensor<Flex, 5> {
    let taps = Taps::new(x.dims());
    let x = values(x);
    let x = slice(&x);
    let mut output = vec![0.0; taps.output.iter().product()];
    taps.for_each(|from, to| {
        output[to..to + taps.channels()].copy_from_slice(&x[from..from + taps.channels()])
    });
    made(output, taps.output)
}

pub(super) fn unfold_backward(gradient: Tensor<Flex, 5>, dims: [usize; 5]) -> Tensor<Flex, 5> {
    let taps = Taps::new(dims);
    let gradient = values(gradient);
    let gradient = slice(&gradient);
    let mut output = vec![0.0; dims.iter().product()];
    vectorised(|| {
        taps.for_each(|to, from| {
            for (sum, gradient) in output[to..to + taps.channels()]
                .iter_mut()
                .zip(&gradient[from..from + taps.channels()])
            {
                *sum += gradient;
            }
        });
    });
    made(output, dims)
}

pub(super) fn convolve(
    x: Tensor<Flex, 5>,
    weight: Tensor<Flex, 5>,
    bias: Tensor<Flex, 1>,
    window: Window,
) -> Tensor<Flex, 5> {
    let reads = Reads::new(x.dims(), weight.dims(), window);
    let ([unfolded, outputs], [batch, frames, rows, columns]) = (reads.matrix, reads.output);
    let (x, bias) = (values(x), values(bias));
    // [C', kt, kh, kw, C] -> [kt * kh * kw * C, C']
    let weight = weight.reshape([outputs, unfolded]).transpose();
    let positions = rows * columns;
    let mut output = Vec::with_capacity(batch * frames * positions * outputs);
    for frame in 0..batch * frames {
        for range in composite::chunks(0..positions, convolve::UNFOLDED / unfolded) {
            let mut read = vec![0.0; range.len() * unfolded];
            for (position, to) in range.clone().zip(read.chunks_exact_mut(unfolded)) {
                reads.copy(
                    [
                        frame / frames,
                        frame % frames,
                        position / columns,
                        position % columns,
                    ],
                    slice(&x),
                    to,
                );
            }
            let product = values(made(read, [range.len(), unfolded]).matmul(weight.clone()));
            for row in slice(&product).chunks_exact(outputs) {
                output.extend(
                    row.iter()
                        .zip(slice(&bias))
                        .map(|(product, bias)| product + bias),
                );
            }
        }
    }
    made(output, [batch, frames, rows, columns, outputs])
}

/// Where the taps of a 3x3x3 convolution of stride 2 lie: `[B, F, H, W, C]` and `[B, F / 2, H / 2,
/// W / 2, 27 C]`.
struct Taps {
    input: [usize; 5],
    output: [usize; 5],
}

impl Taps {
    fn new(input: [usize; 5]) -> Self {
        let [batch, frames, rows, columns, channels] = input;
        Self {
            input,
            output: [
                batch,
                frames.div_ceil(2),
                rows.div_ceil(2),
                columns.div_ceil(2),
                27 * channels,
            ],
        }
    }

    fn channels(&self) -> usize {
        self.input[4]
    }

    /// Calls `work` with the offset of each input position that a tap reads, and the offset of that
    /// tap. Taps outside are left out.
    #[inline(always)]
    fn for_each(&self, mut work: impl FnMut(usize, usize)) {
        let [_, frames, rows, columns, channels] = self.input;
        let inside = |output: usize, tap: usize, length: usize| {
            (2 * output + tap)
                .checked_sub(1)
                .filter(|&position| position < length)
        };
        let mut to = 0;
        for clip in 0..self.output[0] {
            for frame in 0..self.output[1] {
                for row in 0..self.output[2] {
                    for column in 0..self.output[3] {
                        for column_tap in 0..3 {
                            for row_tap in 0..3 {
                                for frame_tap in 0..3 {
                                    let place = inside(frame, frame_tap, frames)
                                        .zip(inside(row, row_tap, rows))
                                        .zip(inside(column, column_tap, columns));
                                    if let Some(((frame, row), column)) = place {
                                        work(
                                            (((clip * frames + frame) * rows + row) * columns
                                                + column)
                                                * channels,
                                            to,
                                        );
                                    }
                                    to += channels;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the outputs of a convolution over `[B, T, H, W, C]` read.
struct Reads {
    input: [usize; 5],
    taps: [usize; 3],
    window: Window,
    /// B, T', H' and W'.
    output: [usize; 4],
    /// kt * kh * kw * C and C'.
    matrix: [usize; 2],
}

impl Reads {
    fn new(input: [usize; 5], weight: [usize; 5], window: Window) -> Self {
        let [outputs, time, rows, columns, channels] = weight;
        let taps = [time, rows, columns];
        let [frames, out_rows, out_columns] = window.output([input[1], input[2], input[3]], taps);
        let (output, matrix) = (
            [input[0], frames, out_rows, out_columns],
            [taps.iter().product::<usize>() * channels, outputs],
        );
        Self {
            input,
            taps,
            window,
            output,
            matrix,
        }
    }

    /// Copies all that one output (clip, frame, row, column) reads. `to` starts as zeros; what lies
    /// outside the frame stays so.
    fn copy(&self, [clip, frame, row, column]: [usize; 4], x: &[f32], to: &mut [f32]) {
        let [_, frames, rows, columns, channels] = self.input;
        let Window { stride, before, .. } = self.window;
        // A run of neighbouring columns lies in one piece, in the frame as in the matrix.
        let start = (column * stride[2]).max(before[1]) - before[1];
        let end = (column * stride[2] + self.taps[2]).min(before[1] + columns) - before[1];
        let skipped = before[1].saturating_sub(column * stride[2]) * channels;
        let length = (end - start) * channels;
        for frame_tap in 0..self.taps[0] {
            for row_tap in 0..self.taps[1] {
                let Some(row) = (row * stride[1] + row_tap)
                    .checked_sub(before[0])
                    .filter(|row| *row < rows)
                else {
                    continue;
                };
                let from = (((clip * frames + frame * stride[0] + frame_tap) * rows + row)
                    * columns
                    + start)
                    * channels;
                let place =
                    (frame_tap * self.taps[1] + row_tap) * self.taps[2] * channels + skipped;
                to[place..place + length].copy_from_slice(&x[from..from + length]);
            }
        }
    }
}

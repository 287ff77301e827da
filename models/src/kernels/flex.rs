//! The kernels on flex: plain loops over rows, compiled for the widest vector instructions of the
//! machine they run on.
//!
//! Sums run in 16 lanes that are added up at the end, whatever the machine's vectors: the same bits
//! everywhere.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder, s};

use super::{Affine, Attention, Kernels, Norm, Window, composite, convolve};
use crate::student::Visibility;
use crate::student::rope::Rotation;

impl Kernels for Flex {
    fn normalise(x: Tensor<Self, 2>, affine: Affine<Self>, norm: Norm) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::normalise(x, affine, norm);
        }
        let ([rows, width], [groups, piece]) = (x.dims(), affine.scale.dims());
        let (x, scale, shift) = (values(x), values(affine.scale), affine.shift.map(values));
        let per_group = rows * width / piece / groups;
        let mut output = vec![0.0; rows * width];
        let (x, scale, shift) = (slice(&x), slice(&scale), shift.as_ref().map(slice));
        vectorised(|| {
            for (row, (x, output)) in x
                .chunks_exact(width)
                .zip(output.chunks_exact_mut(width))
                .enumerate()
            {
                let (mean, inverse) = statistics(x, norm);
                for (number, (x, output)) in x
                    .chunks_exact(piece)
                    .zip(output.chunks_exact_mut(piece))
                    .enumerate()
                {
                    let group = (row * (width / piece) + number) / per_group * piece;
                    let scale = &scale[group..group + piece];
                    for ((output, x), scale) in output.iter_mut().zip(x).zip(scale) {
                        *output = (x - mean) * inverse * scale;
                    }
                    if let Some(shift) = shift {
                        for (output, shift) in output.iter_mut().zip(&shift[group..group + piece]) {
                            *output += shift;
                        }
                    }
                }
            }
        });
        made(output, [rows, width])
    }

    fn normalise_backward(
        x: Tensor<Self, 2>,
        scale: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
        norm: Norm,
    ) -> [Tensor<Self, 2>; 3] {
        if !single(&x) {
            return composite::normalise_backward(x, scale, gradient, norm);
        }
        let ([rows, width], [groups, piece]) = (x.dims(), scale.dims());
        let (x, scale, gradient) = (values(x), values(scale), values(gradient));
        let per_group = rows * width / piece / groups;
        let mut for_x = vec![0.0; rows * width];
        let (mut for_scale, mut for_shift) = (vec![0.0; groups * piece], vec![0.0; groups * piece]);
        let (x, scale, gradient) = (slice(&x), slice(&scale), slice(&gradient));
        vectorised(|| {
            let mut normed = vec![0.0; width];
            let rows = x
                .chunks_exact(width)
                .zip(gradient.chunks_exact(width))
                .zip(for_x.chunks_exact_mut(width));
            for (row, ((x, gradient), for_x)) in rows.enumerate() {
                let (mean, inverse) = statistics(x, norm);
                for (normed, x) in normed.iter_mut().zip(x) {
                    *normed = (x - mean) * inverse;
                }
                for number in 0..width / piece {
                    let group = (row * (width / piece) + number) / per_group * piece;
                    let range = number * piece..(number + 1) * piece;
                    let (normed, gradient) = (&normed[range.clone()], &gradient[range.clone()]);
                    for ((sum, gradient), normed) in for_scale[group..group + piece]
                        .iter_mut()
                        .zip(gradient)
                        .zip(normed)
                    {
                        *sum += gradient * normed;
                    }
                    for (sum, gradient) in for_shift[group..group + piece].iter_mut().zip(gradient)
                    {
                        *sum += gradient;
                    }
                    for ((for_x, gradient), scale) in for_x[range]
                        .iter_mut()
                        .zip(gradient)
                        .zip(&scale[group..group + piece])
                    {
                        *for_x = gradient * scale;
                    }
                }
                let along = dot(for_x, &normed) / width as f32;
                let centre = if norm.centred {
                    sum(for_x) / width as f32
                } else {
                    0.0
                };
                for (for_x, normed) in for_x.iter_mut().zip(&normed) {
                    *for_x = (*for_x - centre - normed * along) * inverse;
                }
            }
        });
        [
            made(for_x, [rows, width]),
            made(for_scale, [groups, piece]),
            made(for_shift, [groups, piece]),
        ]
    }

    fn add_gated(
        x: Tensor<Self, 2>,
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if !single(&x) || !single(&branch) {
            return composite::add_gated(x, branch, gate);
        }
        let ([rows, width], [groups, _]) = (x.dims(), gate.dims());
        let (x, branch, gate) = (values(x), values(branch), values(gate));
        let mut output = slice(&x).to_vec();
        let (branch, gate) = (slice(&branch), slice(&gate));
        vectorised(|| {
            for (row, (output, branch)) in output
                .chunks_exact_mut(width)
                .zip(branch.chunks_exact(width))
                .enumerate()
            {
                let group = row / (rows / groups) * width;
                for ((output, branch), gate) in output
                    .iter_mut()
                    .zip(branch)
                    .zip(&gate[group..group + width])
                {
                    *output += branch * gate;
                }
            }
        });
        made(output, [rows, width])
    }

    fn add_gated_backward(
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        if !single(&branch) {
            return composite::add_gated_backward(branch, gate, gradient);
        }
        let ([rows, width], [groups, _]) = (branch.dims(), gate.dims());
        let (branch, gate, gradient) = (values(branch), values(gate), values(gradient));
        let mut for_branch = slice(&gradient).to_vec();
        let mut for_gate = vec![0.0; groups * width];
        let (branch, gate) = (slice(&branch), slice(&gate));
        vectorised(|| {
            for (row, (gradient, branch)) in for_branch
                .chunks_exact_mut(width)
                .zip(branch.chunks_exact(width))
                .enumerate()
            {
                let group = row / (rows / groups) * width;
                for ((sum, gradient), branch) in for_gate[group..group + width]
                    .iter_mut()
                    .zip(&*gradient)
                    .zip(branch)
                {
                    *sum += gradient * branch;
                }
                for (gradient, gate) in gradient.iter_mut().zip(&gate[group..group + width]) {
                    *gradient *= gate;
                }
            }
        });
        [
            made(for_branch, [rows, width]),
            made(for_gate, [groups, width]),
        ]
    }

    fn gelu_tanh(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::gelu_tanh(x);
        }
        let dims = x.dims();
        let x = values(x);
        let mut output = slice(&x).to_vec();
        vectorised(|| {
            for x in &mut output {
                *x *= sigmoid(*x * (*x * *x * CUBIC + SLOPE));
            }
        });
        made(output, dims)
    }

    fn gelu_tanh_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::gelu_tanh_backward(x, gradient);
        }
        let dims = x.dims();
        let (x, gradient) = (values(x), values(gradient));
        let mut output = slice(&gradient).to_vec();
        let x = slice(&x);
        vectorised(|| {
            for (gradient, x) in output.iter_mut().zip(x) {
                let square = x * x;
                let share = sigmoid(x * (square * CUBIC + SLOPE));
                *gradient *= share * ((1.0 - share) * x * (square * (3.0 * CUBIC) + SLOPE) + 1.0);
            }
        });
        made(output, dims)
    }

    fn leaky_relu(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::leaky_relu(x);
        }
        let dims = x.dims();
        let mut output = slice(&values(x)).to_vec();
        vectorised(|| {
            for x in &mut output {
                *x *= slope(*x);
            }
        });
        made(output, dims)
    }

    fn leaky_relu_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::leaky_relu_backward(x, gradient);
        }
        let dims = x.dims();
        let x = values(x);
        let mut output = slice(&values(gradient)).to_vec();
        vectorised(|| {
            for (gradient, x) in output.iter_mut().zip(slice(&x)) {
                *gradient *= slope(*x);
            }
        });
        made(output, dims)
    }

    fn unfold(x: Tensor<Self, 5>) -> Tensor<Self, 5> {
        if !single(&x) {
            return composite::unfold(x);
        }
        let taps = Taps::new(x.dims());
        let x = values(x);
        let x = slice(&x);
        let mut output = vec![0.0; taps.output.iter().product()];
        taps.for_each(|from, to| {
            output[to..to + taps.channels()].copy_from_slice(&x[from..from + taps.channels()])
        });
        made(output, taps.output)
    }

    fn unfold_backward(gradient: Tensor<Self, 5>, dims: [usize; 5]) -> Tensor<Self, 5> {
        if !single(&gradient) {
            return composite::unfold_backward(gradient, dims);
        }
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

    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Tensor<Self, 1>,
        window: Window,
    ) -> Tensor<Self, 5> {
        if !single(&x) {
            return convolve::tiled(x, weight, bias, window);
        }
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

    fn rotate(x: Tensor<Self, 3>, rotation: &Rotation<Self>, back: bool) -> Tensor<Self, 3> {
        if !single(&x) {
            return composite::rotate(x, rotation, back);
        }
        let dims = x.dims();
        let (x, cosine, sine) = (
            values(x),
            values(rotation.cosine.clone()),
            values(rotation.sine.clone()),
        );
        let mut output = slice(&x).to_vec();
        let (cosine, sine) = (slice(&cosine), slice(&sine));
        let sign = if back { -1.0 } else { 1.0 };
        vectorised(|| {
            for clip in output.chunks_exact_mut(dims[1] * dims[2]) {
                for ((pair, cosine), sine) in clip
                    .chunks_exact_mut(2)
                    .zip(cosine.chunks_exact(2))
                    .zip(sine.chunks_exact(2))
                {
                    let (cosine, sine) = (cosine[0], sign * sine[0]);
                    (pair[0], pair[1]) = (
                        pair[0] * cosine - pair[1] * sine,
                        pair[1] * cosine + pair[0] * sine,
                    );
                }
            }
        });
        made(output, dims)
    }

    fn attend(inputs: Attention<Self>, visibility: &Visibility) -> Tensor<Self, 3> {
        if !single(&inputs.queries) {
            return composite::attend(inputs, visibility, false);
        }
        let dims = inputs.queries.dims();
        let read = Read::new(inputs);
        let mut output = vec![0.0; dims.iter().product()];
        let mut scores = Vec::new();
        for_each_view(&read, visibility, |clip, head, view| {
            let probabilities = probabilities(&read, (clip, head), view, &mut scores);
            let mut output = read
                .queries
                .part_mut(&mut output, clip, head, view.queries.clone());
            let mut from = 0;
            for (index, (source, rows)) in view.seen.iter().enumerate() {
                let values = read.values[*source].part(clip, head, rows.clone());
                let part = probabilities.slice(s![.., from..from + rows.len()]);
                general_mat_mul(
                    1.0,
                    &part,
                    &values,
                    if index == 0 { 0.0 } else { 1.0 },
                    &mut output,
                );
                from += rows.len();
            }
        });
        made(output, dims)
    }

    fn attend_backward(
        inputs: Attention<Self>,
        output: Tensor<Self, 3>,
        gradient: Tensor<Self, 3>,
        visibility: &Visibility,
        past: bool,
    ) -> Vec<Tensor<Self, 3>> {
        if !single(&output) {
            return composite::attend_backward(inputs, gradient, visibility, past);
        }
        let heads = inputs.heads;
        let read = Read::new(inputs);
        let (output, gradient) = (Heads::new(output, heads), Heads::new(gradient, heads));
        let mut for_queries = vec![0.0; read.queries.count()];
        let zeros = |sources: &[Heads]| -> Vec<Vec<f32>> {
            sources
                .iter()
                .map(|source| vec![0.0; source.count()])
                .collect()
        };
        let (mut for_keys, mut for_values) = (zeros(&read.keys), zeros(&read.values));
        let (mut scores, mut slopes) = (Vec::new(), Vec::new());
        let scale = read.scale();
        for_each_view(&read, visibility, |clip, head, view| {
            let rows = view.queries.clone();
            let probabilities = probabilities(&read, (clip, head), view, &mut scores);
            let (output, gradient) = (
                output.part(clip, head, rows.clone()),
                gradient.part(clip, head, rows.clone()),
            );
            let queries = read.queries.part(clip, head, rows.clone());
            // dP = dO v^T, source by source.
            slopes.resize(rows.len() * view.keys, 0.0);
            let mut from = 0;
            for (source, seen) in &view.seen {
                let values = read.values[*source].part(clip, head, seen.clone());
                let mut part = matrix_mut(&mut slopes, [rows.len(), view.keys]);
                general_mat_mul(
                    1.0,
                    &gradient,
                    &values.t(),
                    0.0,
                    &mut part.slice_mut(s![.., from..from + seen.len()]),
                );
                from += seen.len();
            }
            // dS = P (dP - sum(dP P)) / sqrt(d); the sum over the keys equals that of dO O over the
            // channels.
            for (row, slopes) in slopes.chunks_exact_mut(view.keys).enumerate() {
                let mean = gradient.row(row).dot(&output.row(row));
                if let Some(probabilities) = probabilities.row(row).to_slice() {
                    vectorised(|| {
                        for (slope, probability) in slopes.iter_mut().zip(probabilities) {
                            *slope = probability * (*slope - mean) * scale;
                        }
                    });
                }
            }
            let slopes = matrix(&slopes, [rows.len(), view.keys]);
            let mut for_queries = read.queries.part_mut(&mut for_queries, clip, head, rows);
            let mut from = 0;
            for (source, seen) in &view.seen {
                let columns = s![.., from..from + seen.len()];
                from += seen.len();
                let slopes = slopes.slice(columns);
                general_mat_mul(
                    1.0,
                    &slopes,
                    &read.keys[*source].part(clip, head, seen.clone()),
                    1.0,
                    &mut for_queries,
                );
                if *source == 0 || past {
                    let shape = &read.keys[*source];
                    let mut keys = shape.part_mut(&mut for_keys[*source], clip, head, seen.clone());
                    general_mat_mul(1.0, &slopes.t(), &queries, 1.0, &mut keys);
                    let mut values =
                        shape.part_mut(&mut for_values[*source], clip, head, seen.clone());
                    general_mat_mul(
                        1.0,
                        &probabilities.slice(columns).t(),
                        &gradient,
                        1.0,
                        &mut values,
                    );
                }
            }
        });
        let mut gradients = vec![made(for_queries, read.queries.dims)];
        let sources = if past { read.keys.len() } else { 1 };
        for ((keys, values), shape) in for_keys
            .into_iter()
            .zip(for_values)
            .zip(&read.keys)
            .take(sources)
        {
            gradients.extend([made(keys, shape.dims), made(values, shape.dims)]);
        }
        gradients
    }
}

const SLOPE: f32 = composite::SLOPE as f32;
const CUBIC: f32 = composite::CUBIC as f32;

/// The slope of leaky ReLU at `x`.
#[inline(always)]
fn slope(x: f32) -> f32 {
    if x < 0.0 {
        composite::LEAKY_SLOPE as f32
    } else {
        1.0
    }
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

/// Attention's inputs as memory. Keys and values: the sequence's own, then those of the past if
/// there is one.
struct Read {
    queries: Heads,
    keys: Vec<Heads>,
    values: Vec<Heads>,
    query_chunk: usize,
}

impl Read {
    fn new(inputs: Attention<Flex>) -> Self {
        let (past_keys, past_values) = inputs.past.unzip();
        let heads = |tensor| Heads::new(tensor, inputs.heads);
        Self {
            queries: heads(inputs.queries),
            keys: [inputs.keys]
                .into_iter()
                .chain(past_keys)
                .map(heads)
                .collect(),
            values: [inputs.values]
                .into_iter()
                .chain(past_values)
                .map(heads)
                .collect(),
            query_chunk: inputs.query_chunk,
        }
    }

    fn scale(&self) -> f32 {
        (self.queries.head_width() as f32).sqrt().recip()
    }
}

/// `[B, S, heads * d]` in memory, read one (clip, head) at a time without copying.
struct Heads {
    tensor: FlexTensor,
    dims: [usize; 3],
    heads: usize,
}

impl Heads {
    fn new(tensor: Tensor<Flex, 3>, heads: usize) -> Self {
        Self {
            dims: tensor.dims(),
            tensor: values(tensor),
            heads,
        }
    }

    fn count(&self) -> usize {
        self.dims.iter().product()
    }

    fn head_width(&self) -> usize {
        self.dims[2] / self.heads
    }

    /// Where `rows` of a (clip, head) lie, and their shape.
    fn place(
        &self,
        clip: usize,
        head: usize,
        rows: &std::ops::Range<usize>,
    ) -> (std::ops::Range<usize>, [usize; 2]) {
        let [_, tokens, width] = self.dims;
        let start = (clip * tokens + rows.start) * width + head * self.head_width();
        // Up to the last row's last channel of this head.
        let length = (rows.len() - 1) * width + self.head_width();
        (start..start + length, [rows.len(), self.head_width()])
    }

    /// `[rows, d]`.
    fn part(&self, clip: usize, head: usize, rows: std::ops::Range<usize>) -> ArrayView2<'_, f32> {
        let (place, shape) = self.place(clip, head, &rows);
        ArrayView2::from_shape(
            shape.strides([self.dims[2], 1]),
            &slice(&self.tensor)[place],
        )
        .expect("the part lies inside the tensor")
    }

    /// The same part of another tensor of this shape.
    fn part_mut<'a>(
        &self,
        other: &'a mut [f32],
        clip: usize,
        head: usize,
        rows: std::ops::Range<usize>,
    ) -> ArrayViewMut2<'a, f32> {
        let (place, shape) = self.place(clip, head, &rows);
        ArrayViewMut2::from_shape(shape.strides([self.dims[2], 1]), &mut other[place])
            .expect("the part lies inside the tensor")
    }
}

/// One block of queries and what it sees, in tokens.
struct Seen {
    queries: std::ops::Range<usize>,
    /// (source, rows): source 0 is the sequence itself, 1 the past.
    seen: Vec<(usize, std::ops::Range<usize>)>,
    /// Rows seen in all.
    keys: usize,
}

fn for_each_view(read: &Read, visibility: &Visibility, mut work: impl FnMut(usize, usize, &Seen)) {
    let tokens = read.queries.dims[1] / visibility.own_frames;
    let own = read.keys[0].dims[1] / visibility.own_frames;
    let scaled =
        |frames: &std::ops::Range<usize>, tokens: usize| frames.start * tokens..frames.end * tokens;
    let views: Vec<Seen> = visibility
        .views
        .iter()
        .flat_map(|view| {
            let past = view.past.iter().map(|frames| (1, scaled(frames, tokens)));
            let seen: Vec<_> = past
                .chain(view.own.iter().map(|frames| (0, scaled(frames, own))))
                .collect();
            let keys = seen.iter().map(|(_, rows)| rows.len()).sum();
            composite::chunks(scaled(&view.queries, tokens), read.query_chunk).map(move |queries| {
                Seen {
                    queries,
                    seen: seen.clone(),
                    keys,
                }
            })
        })
        .collect();
    for clip in 0..read.queries.dims[0] {
        for head in 0..read.queries.heads {
            for view in &views {
                work(clip, head, view);
            }
        }
    }
}

/// `softmax(q k^T / sqrt(d))` of one view: `[queries, keys]` in `buffer`.
fn probabilities<'a>(
    read: &Read,
    (clip, head): (usize, usize),
    view: &Seen,
    buffer: &'a mut Vec<f32>,
) -> ArrayView2<'a, f32> {
    let queries = read.queries.part(clip, head, view.queries.clone());
    let shape = [view.queries.len(), view.keys];
    buffer.resize(shape[0] * shape[1], 0.0);
    let mut from = 0;
    for (source, rows) in &view.seen {
        let keys = read.keys[*source].part(clip, head, rows.clone());
        let mut scores = matrix_mut(buffer, shape);
        general_mat_mul(
            read.scale(),
            &queries,
            &keys.t(),
            0.0,
            &mut scores.slice_mut(s![.., from..from + rows.len()]),
        );
        from += rows.len();
    }
    vectorised(|| {
        for row in buffer.chunks_exact_mut(shape[1]) {
            let largest = largest(row);
            for score in row.iter_mut() {
                *score = exponential(*score - largest);
            }
            let inverse = sum(row).recip();
            for score in row.iter_mut() {
                *score *= inverse;
            }
        }
    });
    matrix(buffer, shape)
}

fn matrix(values: &[f32], shape: [usize; 2]) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape(shape, values).expect("as many values as the shape has")
}

fn matrix_mut(values: &mut [f32], shape: [usize; 2]) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape(shape, values).expect("as many values as the shape has")
}

/// Whether the values are f32, which these loops are for.
fn single<const N: usize>(x: &Tensor<Flex, N>) -> bool {
    x.dtype() == DType::F32
}

/// The tensor with its values in order.
fn values<const N: usize>(x: Tensor<Flex, N>) -> FlexTensor {
    x.into_primitive().tensor().to_contiguous()
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .expect("f32 in order: see `single` and `values`")
}

fn made<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Tensor<Flex, N> {
    Tensor::from_primitive(TensorPrimitive::Float(FlexTensor::from_data(
        TensorData::new(values, shape),
    )))
}

/// Runs `work` compiled for the widest vector instructions of this machine.
#[inline(always)]
fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

const LANES: usize = 16;

/// `sum(term(i))` over two rows of the same length, in lanes.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    lanes(row, row, |value, _| value)
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |a, b| a * b)
}

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let chunks = row.chunks_exact(LANES);
    let rest = chunks
        .remainder()
        .iter()
        .copied()
        .fold(f32::NEG_INFINITY, larger);
    let mut found = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            found[lane] = larger(found[lane], chunk[lane]);
        }
    }
    found.into_iter().fold(rest, larger)
}

/// The larger one; one instruction, unlike `f32::max`. What happens to a NaN does not matter: it
/// stays in its row.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Mean (0 for an RMS norm) and one over the standard deviation of a row.
#[inline(always)]
fn statistics(row: &[f32], norm: Norm) -> (f32, f32) {
    let mean = if norm.centred {
        sum(row) / row.len() as f32
    } else {
        0.0
    };
    let square = lanes(row, row, |value, _| (value - mean) * (value - mean)) / row.len() as f32;
    (mean, (square + norm.epsilon as f32).sqrt().recip())
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exponential(-x))
}

/// `exp(x)` to about two units in the last place, without a branch, so that it runs in vectors.
///
/// Cephes' method: with n the whole number nearest to x / ln 2, `exp(x) = 2^n exp(x - n ln 2)`, and
/// a polynomial of degree 6 for the rest. NaN stays NaN; below -87.3 the result stays at the
/// smallest normal number, above 88.0 at 1.6e38.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, the first of few bits.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let polynomial = 1.987_569_2e-4f32;
    let polynomial = polynomial * rest + 1.398_2e-3;
    let polynomial = polynomial * rest + 8.333_452e-3;
    let polynomial = polynomial * rest + 4.166_579_6e-2;
    let polynomial = polynomial * rest + 0.166_666_65;
    let polynomial = polynomial * rest + 0.5;
    let power = f32::from_bits(
        (rounded
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127))
            << 23,
    );
    (polynomial * rest * rest + rest + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn the_exponential_is_exact_to_a_few_roundings() {
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            // Two units in the last place of f32.
            assert!(
                (f64::from(exponential(x)) / exact - 1.0).abs() < 2.4e-7,
                "exp({x})"
            );
        }
        assert!(exponential(f32::NAN).is_nan());
        assert!(exponential(f32::NEG_INFINITY) < 2e-38 && exponential(f32::INFINITY) > 1e38);
    }
}

//! Convolutions over channels-last clips, in ways that hold little beside their input and output.

use burn::prelude::*;
use burn::tensor::{FloatDType, Slice};

use super::composite::chunks;

/// How a convolution moves over `[B, T, H, W, C]` and how much zero space surrounds each frame.
/// Time is never padded: callers prepend frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Steps along time, rows and columns, each at least 1.
    pub stride: [usize; 3],
    /// Zero rows above and zero columns to the left.
    pub before: [usize; 2],
    /// Zero rows below and zero columns to the right.
    pub after: [usize; 2],
}

impl Window {
    /// One step at a time without padding.
    pub const PLAIN: Self = Self {
        stride: [1, 1, 1],
        before: [0, 0],
        after: [0, 0],
    };

    /// `[T', H', W']` of a convolution with a kernel of `taps` over `[T, H, W]`; the kernel must
    /// fit into the padded clip.
    pub(super) fn output(&self, input: [usize; 3], taps: [usize; 3]) -> [usize; 3] {
        let padding = [
            0,
            self.before[0] + self.after[0],
            self.before[1] + self.after[1],
        ];
        [0, 1, 2].map(|axis| (input[axis] + padding[axis] - taps[axis]) / self.stride[axis] + 1)
    }
}

/// Values of unfolded input that are held at once: 16 MiB in f32, many more rows than a matrix
/// product needs to run at full speed.
pub(super) const UNFOLDED: usize = 1 << 22;

/// Unfold and one matrix product, some rows of one output frame at a time. Products are summed in
/// f32, whatever the type.
pub(super) fn tiled<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    bias: Tensor<B, 1>,
    window: Window,
) -> Tensor<B, 5> {
    let [batch, frames, rows, columns, _] = x.dims();
    let [outputs, time_taps, row_taps, column_taps, channels] = weight.dims();
    let taps = [time_taps, row_taps, column_taps];
    let [frames, out_rows, out_columns] = window.output([frames, rows, columns], taps);
    let unfolded = time_taps * row_taps * column_taps * channels;
    // [C', kt, kh, kw, C] -> [kt * kh * kw * C, C']
    let weight = weight
        .reshape([outputs, unfolded])
        .transpose()
        .cast(FloatDType::F32);
    let bias = bias.reshape([1, outputs]).cast(FloatDType::F32);
    let dtype = FloatDType::from(x.dtype());
    let rows_at_once = UNFOLDED / (batch * out_columns * unfolded);
    let frame = |frame: usize| {
        let first = frame * window.stride[0];
        let seen = x.clone().slice_dim(1, first..first + time_taps);
        let parts = chunks(0..out_rows, rows_at_once).map(|range| {
            // The rows that this chunk reads, counted from the first padded one.
            let (from, to) = (
                range.start * window.stride[1],
                (range.end - 1) * window.stride[1] + row_taps,
            );
            let inside =
                from.max(window.before[0]) - window.before[0]..(to - window.before[0]).min(rows);
            let padding = [
                window.before[0].saturating_sub(from),
                (to - window.before[0]).saturating_sub(rows),
            ];
            let part = padded(seen.clone().slice_dim(2, inside), 2, padding);
            let part = padded(part, 3, [window.before[1], window.after[1]]);
            // [B, kt, h, w, C] -> [B, kt, h, W', kw C] -> [B, kt, H', W', kh kw C] -> [B, 1, H',
            // W', kt kh kw C]
            let part = unfold(part, 3, column_taps, window.stride[2]);
            let part = unfold(part, 2, row_taps, window.stride[1]);
            let part = unfold(part, 1, time_taps, 1);
            let part = part
                .reshape([batch * range.len() * out_columns, unfolded])
                .cast(FloatDType::F32);
            (part.matmul(weight.clone()) + bias.clone())
                .cast(dtype)
                .reshape([batch, 1, range.len(), out_columns, outputs])
        });
        joined(parts.collect(), 2)
    };
    joined((0..frames).map(frame).collect(), 1)
}

/// The backend's own convolution, for those that have a quick one. Channels-last tensors are what
/// GPU backends turn everything into anyway.
#[cfg(any(test, feature = "cuda", feature = "wgpu"))]
pub(super) fn native<B: Backend>(
    x: Tensor<B, 5>,
    weight: Tensor<B, 5>,
    bias: Tensor<B, 1>,
    window: Window,
) -> Tensor<B, 5> {
    use burn::tensor::module::conv3d;
    use burn::tensor::ops::ConvOptions;
    let (x, padding) = if window.before == window.after {
        (x, window.before)
    } else {
        let rows = padded(x, 2, [window.before[0], window.after[0]]);
        (padded(rows, 3, [window.before[1], window.after[1]]), [0, 0])
    };
    let options = ConvOptions::new(window.stride, [0, padding[0], padding[1]], [1, 1, 1], 1);
    // [B, T, H, W, C] -> [B, C, T, H, W] and back
    conv3d(
        x.permute([0, 4, 1, 2, 3]),
        weight.permute([0, 4, 1, 2, 3]),
        Some(bias),
        options,
    )
    .permute([0, 2, 3, 4, 1])
}

/// Every `stride`th position along `axis` with the `taps - 1` that follow it, stacked in the
/// channels: `[.., C] -> [.., taps * C]`.
fn unfold<B: Backend>(x: Tensor<B, 5>, axis: usize, taps: usize, stride: usize) -> Tensor<B, 5> {
    if taps == 1 && stride == 1 {
        return x;
    }
    let count = (x.dims()[axis] - taps) / stride + 1;
    let tap = |tap: usize| {
        let end = tap + (count - 1) * stride + 1;
        x.clone().slice_dim(
            axis,
            Slice::new(tap as isize, Some(end as isize), stride as isize),
        )
    };
    joined((0..taps).map(tap).collect(), 4)
}

/// Zeros before and after `x` along `axis`.
fn padded<B: Backend>(x: Tensor<B, 5>, axis: usize, [before, after]: [usize; 2]) -> Tensor<B, 5> {
    let zeros = |count: usize| {
        let mut dims = x.dims();
        dims[axis] = count;
        (count > 0).then(|| Tensor::zeros(dims, (&x.device(), x.dtype())))
    };
    joined(
        [zeros(before), Some(x.clone()), zeros(after)]
            .into_iter()
            .flatten()
            .collect(),
        axis,
    )
}

fn joined<B: Backend>(mut parts: Vec<Tensor<B, 5>>, axis: usize) -> Tensor<B, 5> {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        Tensor::cat(parts, axis)
    }
}

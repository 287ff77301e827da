//! The kernels from Burn's tensor operations, for every backend: the definition that the others are
//! tested against.

mod attention;

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::sigmoid;

pub(super) use attention::{attend, attend_backward};

use super::{Affine, Norm};
use crate::rope::Rotation;

// What is held in bf16 is cast to f32 for everything but matrix products, and the result back to
// bf16. In f32 these casts are nothing.

pub(super) fn normalise<B: Backend>(
    x: Tensor<B, 2>,
    affine: Affine<B>,
    norm: Norm,
) -> Tensor<B, 2> {
    let (dims, dtype) = (x.dims(), x.dtype());
    let (normed, _) = normed(to_f32(x), norm);
    let pieces = pieces(normed, &affine.scale);
    let of = pieces.dims()[0];
    let scaled = pieces * spread(affine.scale, of);
    let shifted = match affine.shift {
        Some(shift) => scaled + spread(shift, of),
        None => scaled,
    };
    shifted.reshape(dims).cast(dtype)
}

fn to_f32<B: Backend, const N: usize>(x: Tensor<B, N>) -> Tensor<B, N> {
    x.cast(DType::F32)
}

/// With `n` the normed row and `h` the gradient of `n`: `dx = (h - mean(h) - n mean(h n)) / std`,
/// without `mean(h)` for an RMS norm.
pub(super) fn normalise_backward<B: Backend>(
    x: Tensor<B, 2>,
    scale: Tensor<B, 2>,
    gradient: Tensor<B, 2>,
    norm: Norm,
) -> [Tensor<B, 2>; 3] {
    let (dims, dtype) = (x.dims(), x.dtype());
    let (normed, inverse) = normed(to_f32(x), norm);
    let gradient = pieces(to_f32(gradient), &scale);
    let of = gradient.dims()[0];
    let for_scale = gather(gradient.clone() * pieces(normed.clone(), &scale), &scale);
    let for_shift = gather(gradient.clone(), &scale);
    let for_normed = (gradient * spread(scale, of)).reshape(dims);
    let along = (for_normed.clone() * normed.clone()).mean_dim(1);
    let centred = if norm.centred {
        for_normed.clone() - for_normed.mean_dim(1)
    } else {
        for_normed
    };
    [
        ((centred - normed * along) * inverse).cast(dtype),
        for_scale,
        for_shift,
    ]
}

/// Rows of mean square one, and one over what they were divided by, `[rows, 1]`.
fn normed<B: Backend>(x: Tensor<B, 2>, norm: Norm) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centred = if norm.centred {
        x.clone() - x.mean_dim(1)
    } else {
        x
    };
    let inverse = (centred.clone().square().mean_dim(1) + norm.epsilon)
        .sqrt()
        .recip();
    (centred * inverse.clone(), inverse)
}

/// `[rows, D] -> [rows * D / W, W]`.
fn pieces<B: Backend>(x: Tensor<B, 2>, vectors: &Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, width] = x.dims();
    let piece = vectors.dims()[1];
    if piece == width {
        x
    } else {
        x.reshape([rows * width / piece, piece])
    }
}

/// `[groups, W] -> [pieces, W]`, or `[1, W]` to broadcast.
///
/// Written out instead of broadcast, because CPU backends broadcast a middle dimension element by
/// element.
fn spread<B: Backend>(vectors: Tensor<B, 2>, pieces: usize) -> Tensor<B, 2> {
    let [groups, width] = vectors.dims();
    if groups == 1 {
        vectors
    } else {
        vectors
            .reshape([groups, 1, width])
            .repeat_dim(1, pieces / groups)
            .reshape([pieces, width])
    }
}

/// The sum over each group's pieces: `[pieces, W] -> [groups, W]`, the shape of `vectors`.
fn gather<B: Backend>(x: Tensor<B, 2>, vectors: &Tensor<B, 2>) -> Tensor<B, 2> {
    let [groups, width] = vectors.dims();
    let pieces = x.dims()[0];
    x.reshape([groups, pieces / groups, width])
        .sum_dim(1)
        .reshape([groups, width])
}

pub(super) fn add_gated<B: Backend>(
    x: Tensor<B, 2>,
    branch: Tensor<B, 2>,
    gate: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (rows, dtype) = (x.dims()[0], x.dtype());
    (to_f32(x) + to_f32(branch) * spread(gate, rows)).cast(dtype)
}

pub(super) fn add_gated_backward<B: Backend>(
    branch: Tensor<B, 2>,
    gate: Tensor<B, 2>,
    gradient: Tensor<B, 2>,
) -> [Tensor<B, 2>; 2] {
    let (rows, dtype) = (branch.dims()[0], branch.dtype());
    let gradient = to_f32(gradient);
    let for_gate = gather(gradient.clone() * to_f32(branch), &gate);
    [(gradient * spread(gate, rows)).cast(dtype), for_gate]
}

/// `2 u = x (SLOPE + CUBIC x^2)`, so that GELU is `x sigmoid(2 u)`.
pub(super) const SLOPE: f64 = 2.0 * 0.797_884_560_802_865_4;
pub(super) const CUBIC: f64 = SLOPE * 0.044_715;

/// As `x sigmoid(2 u)`: Burn's `gelu_approximate` spends most of its time in `powf` and `tanh` on
/// CPU backends.
pub(super) fn gelu_tanh<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let x = to_f32(x);
    let twice = (x.clone() * x.clone() * CUBIC + SLOPE) * x.clone();
    (x * sigmoid(twice)).cast(dtype)
}

/// `s + x s (1 - s) (SLOPE + 3 CUBIC x^2)` with `s = sigmoid(2 u)`.
pub(super) fn gelu_tanh_backward<B: Backend>(
    x: Tensor<B, 2>,
    gradient: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let dtype = x.dtype();
    let (x, gradient) = (to_f32(x), to_f32(gradient));
    let square = x.clone() * x.clone();
    let share = sigmoid((square.clone() * CUBIC + SLOPE) * x.clone());
    let slope = (share.clone() * -1.0 + 1.0) * x * (square * (3.0 * CUBIC) + SLOPE) + 1.0;
    (gradient * share * slope).cast(dtype)
}

/// The slope of leaky ReLU below zero.
pub(super) const LEAKY_SLOPE: f64 = 0.2;

pub(super) fn leaky_relu<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    burn::tensor::activation::leaky_relu(x, LEAKY_SLOPE)
}

pub(super) fn leaky_relu_backward<B: Backend>(
    x: Tensor<B, 2>,
    gradient: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let below = x.lower_elem(0.0);
    gradient.clone().mask_where(below, gradient * LEAKY_SLOPE)
}

pub(super) fn unfold<B: Backend>(x: Tensor<B, 5>) -> Tensor<B, 5> {
    unfold_axis(unfold_axis(unfold_axis(x, 1), 2), 3)
}

pub(super) fn unfold_backward<B: Backend>(
    gradient: Tensor<B, 5>,
    dims: [usize; 5],
) -> Tensor<B, 5> {
    fold_axis(
        fold_axis(fold_axis(gradient, 3, dims[3]), 2, dims[2]),
        1,
        dims[1],
    )
}

/// Three taps (before, at, after) of every second position along `axis`, stacked in the channels:
/// `[.., C] -> [.., 3 C]`.
///
/// With positions paired as (even, odd), the taps of output i are odd[i - 1], even[i] and odd[i];
/// outside is zero.
fn unfold_axis<B: Backend>(x: Tensor<B, 5>, axis: usize) -> Tensor<B, 5> {
    let mut dims = x.dims();
    let half = dims[axis].div_ceil(2);
    let x = if dims[axis] % 2 == 1 {
        let edge = zeros(&x, axis);
        Tensor::cat(vec![x, edge], axis)
    } else {
        x
    };
    dims[axis] = half;
    // Split the axis into pairs: [outer, half, 2, inner].
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let pairs = x.reshape([outer, half, 2, inner]);
    let even = pairs.clone().slice_dim(2, 0..1).reshape(dims);
    let odd = pairs.slice_dim(2, 1..2).reshape(dims);
    Tensor::cat(vec![shifted(odd.clone(), axis, false), even, odd], 4)
}

/// Adds every tap's gradient to the position it was read from: `[.., 3 C] -> [.., C]` with `length`
/// positions along `axis`.
fn fold_axis<B: Backend>(gradient: Tensor<B, 5>, axis: usize, length: usize) -> Tensor<B, 5> {
    let channels = gradient.dims()[4] / 3;
    let tap = |index: usize| {
        gradient
            .clone()
            .slice_dim(4, index * channels..(index + 1) * channels)
    };
    let even = tap(1);
    let odd = tap(2) + shifted(tap(0), axis, true);
    let mut dims = even.dims();
    let half = dims[axis];
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let pair = |x: Tensor<B, 5>| x.reshape([outer, half, 1, inner]);
    dims[axis] = 2 * half;
    Tensor::cat(vec![pair(even), pair(odd)], 2)
        .reshape(dims)
        .slice_dim(axis, 0..length)
}

/// Moved by one position along `axis`, backwards or forwards, with zeros moving in.
fn shifted<B: Backend>(x: Tensor<B, 5>, axis: usize, back: bool) -> Tensor<B, 5> {
    let dims = x.dims();
    let (length, edge) = (dims[axis], zeros(&x, axis));
    match (length, back) {
        (1, _) => edge,
        (_, true) => Tensor::cat(vec![x.slice_dim(axis, 1..length), edge], axis),
        (_, false) => Tensor::cat(vec![edge, x.slice_dim(axis, 0..length - 1)], axis),
    }
}

/// One position of zeros along `axis`.
fn zeros<B: Backend>(like: &Tensor<B, 5>, axis: usize) -> Tensor<B, 5> {
    let mut dims = like.dims();
    dims[axis] = 1;
    Tensor::zeros(dims, &like.device())
}

pub(super) fn rotate<B: Backend>(
    x: Tensor<B, 3>,
    rotation: &Rotation<B>,
    back: bool,
) -> Tensor<B, 3> {
    let (dims, dtype) = (x.dims(), x.dtype());
    let x = to_f32(x);
    let [batch, tokens, width] = dims;
    let head_width = rotation.quarter_turn.dims()[0];
    // One large product: [B * S * heads, d] x [d, d].
    let turned = x
        .clone()
        .reshape([batch * tokens * width / head_width, head_width])
        .matmul(rotation.quarter_turn.clone());
    let flat = [batch, tokens * width];
    let turned = turned.reshape(flat) * rotation.sine.clone();
    let kept = x.reshape(flat) * rotation.cosine.clone();
    (if back { kept - turned } else { kept + turned })
        .reshape(dims)
        .cast(dtype)
}

/// A range in parts of at most `length`.
pub(super) fn chunks(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let (end, length) = (range.end, length.max(1));
    range
        .step_by(length)
        .map(move |start| start..(start + length).min(end))
}

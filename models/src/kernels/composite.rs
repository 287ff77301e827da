//! The kernels from Burn's tensor operations, for every backend: the definition that the others are
//! tested against.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use super::{Affine, Attention, Norm};
use crate::student::Visibility;
use crate::student::causal::View;
use crate::student::rope::Rotation;

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

/// `fused`: whether Burn's own attention is a flash kernel, which keeps its sums in f32 whatever
/// the inputs are.
pub(super) fn attend<B: Backend>(
    inputs: Attention<B>,
    visibility: &Visibility,
    fused: bool,
) -> Tensor<B, 3> {
    let split = Split::new(inputs, visibility);
    let scale = split.scale();
    let mut outputs = Vec::new();
    for view in &visibility.views {
        let (keys, values) = (
            split.seen(&split.keys, view),
            split.seen(&split.values, view),
        );
        for rows in split.chunks(view) {
            let queries = cut(&split.queries, rows);
            outputs.push(if fused || queries.dtype() == DType::F32 {
                attention(
                    queries,
                    keys.clone(),
                    values.clone(),
                    None,
                    None,
                    AttentionModuleOptions::default(),
                )
            } else {
                probabilities(queries, keys.clone(), scale)
                    .cast(values.dtype())
                    .matmul(values.clone())
            });
        }
    }
    merge_heads(join(outputs))
}

/// `softmax(q k^T scale)` in f32.
fn probabilities<B: Backend>(
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    scale: f64,
) -> Tensor<B, 4> {
    softmax(to_f32(queries.matmul(keys.swap_dims(2, 3))) * scale, 3)
}

/// Computes the probabilities again, some queries at a time: with `P` the probabilities and `dP =
/// dO v^T`, the scores' gradient is `dS = P (dP - sum(dP P))`.
///
/// What the chunks of queries give to keys and values is summed in f32: in bf16, 32 chunks lose
/// four times as much as the products do.
pub(super) fn attend_backward<B: Backend>(
    inputs: Attention<B>,
    gradient: Tensor<B, 3>,
    visibility: &Visibility,
    past: bool,
) -> Vec<Tensor<B, 3>> {
    let heads = inputs.heads;
    let split = Split::new(inputs, visibility);
    let gradient = split_heads(gradient, heads);
    let (scale, dtype) = (split.scale(), split.queries.dtype());
    let mut for_queries = Vec::new();
    let differentiated = if past { split.keys.len() } else { 1 };
    let zeros = |sources: &[Tensor<B, 4>]| -> Vec<Tensor<B, 4>> {
        sources[..differentiated]
            .iter()
            .map(|source| Tensor::zeros(source.dims(), (&source.device(), DType::F32)))
            .collect()
    };
    let (mut for_keys, mut for_values) = (zeros(&split.keys), zeros(&split.values));
    for view in &visibility.views {
        let (keys, values) = (
            split.seen(&split.keys, view),
            split.seen(&split.values, view),
        );
        for rows in split.chunks(view) {
            let (queries, gradient) = (cut(&split.queries, rows.clone()), cut(&gradient, rows));
            let probabilities = probabilities(queries.clone(), keys.clone(), scale);
            let for_probabilities = to_f32(gradient.clone().matmul(values.clone().swap_dims(2, 3)));
            let mean = (for_probabilities.clone() * probabilities.clone()).sum_dim(3);
            let for_scores =
                (probabilities.clone() * (for_probabilities - mean) * scale).cast(dtype);
            let probabilities = probabilities.cast(dtype);
            for_queries.push(for_scores.clone().matmul(keys.clone()));
            split.add_seen(
                &mut for_keys,
                for_scores.swap_dims(2, 3).matmul(queries),
                view,
            );
            split.add_seen(
                &mut for_values,
                probabilities.swap_dims(2, 3).matmul(gradient),
                view,
            );
        }
    }
    let mut gradients = vec![merge_heads(join(for_queries))];
    for (keys, values) in for_keys.into_iter().zip(for_values) {
        gradients.extend([
            merge_heads(keys.cast(dtype)),
            merge_heads(values.cast(dtype)),
        ]);
    }
    gradients
}

/// A range in parts of at most `length`.
pub(super) fn chunks(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let (end, length) = (range.end, length.max(1));
    range
        .step_by(length)
        .map(move |start| start..(start + length).min(end))
}

/// Inputs with their heads apart, `[B, heads, S, d]`. Keys and values: the sequence's own, then
/// those of the past if there is one.
struct Split<B: Backend> {
    queries: Tensor<B, 4>,
    keys: Vec<Tensor<B, 4>>,
    values: Vec<Tensor<B, 4>>,
    /// Tokens of a frame of queries and of a frame of each source of keys.
    tokens: [usize; 2],
    query_chunk: usize,
}

impl<B: Backend> Split<B> {
    fn new(inputs: Attention<B>, visibility: &Visibility) -> Self {
        let tokens = inputs.queries.dims()[1] / visibility.own_frames;
        let own = inputs.keys.dims()[1] / visibility.own_frames;
        let (past_keys, past_values) = inputs.past.unzip();
        let heads = |tensor: Tensor<B, 3>| split_heads(tensor, inputs.heads);
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
            tokens: [tokens, own],
            query_chunk: inputs.query_chunk,
        }
    }

    fn scale(&self) -> f64 {
        (self.queries.dims()[3] as f64).sqrt().recip()
    }

    /// The tokens of a view's queries, in chunks.
    fn chunks(&self, view: &View) -> impl Iterator<Item = Range<usize>> {
        chunks(
            view.queries.start * self.tokens[0]..view.queries.end * self.tokens[0],
            self.query_chunk,
        )
    }

    /// What a view sees of keys or values.
    fn seen(&self, sources: &[Tensor<B, 4>], view: &View) -> Tensor<B, 4> {
        join(
            self.ranges(view)
                .into_iter()
                .map(|(source, range)| cut(&sources[source], range))
                .collect(),
        )
    }

    /// Adds a gradient for what a view sees to the sums of those sources that have one.
    fn add_seen(&self, sums: &mut [Tensor<B, 4>], gradient: Tensor<B, 4>, view: &View) {
        let mut from = 0;
        for (source, range) in self.ranges(view) {
            let part = cut(&gradient, from..from + range.len());
            from += range.len();
            let Some(total) = sums.get_mut(source) else {
                continue;
            };
            let [batch, heads, _, width] = total.dims();
            let place = [0..batch, 0..heads, range, 0..width];
            let sum = total.clone().slice(place.clone()) + to_f32(part);
            *total = total.clone().slice_assign(place, sum);
        }
    }

    /// Source and tokens of all that a view sees: first the past, then the sequence itself.
    fn ranges(&self, view: &View) -> Vec<(usize, Range<usize>)> {
        let scaled = |source: usize, frames: &Range<usize>, tokens: usize| {
            (source, frames.start * tokens..frames.end * tokens)
        };
        let past = view
            .past
            .iter()
            .map(|frames| scaled(1, frames, self.tokens[0]));
        past.chain(
            view.own
                .iter()
                .map(|frames| scaled(0, frames, self.tokens[1])),
        )
        .collect()
    }
}

fn cut<B: Backend>(tensor: &Tensor<B, 4>, range: Range<usize>) -> Tensor<B, 4> {
    if range.len() == tensor.dims()[2] {
        tensor.clone()
    } else {
        tensor.clone().slice_dim(2, range)
    }
}

fn join<B: Backend>(mut parts: Vec<Tensor<B, 4>>) -> Tensor<B, 4> {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        Tensor::cat(parts, 2)
    }
}

/// `[B, S, heads * d] -> [B, heads, S, d]`.
fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads])
        .swap_dims(1, 2)
}

/// `[B, heads, S, d] -> [B, S, heads * d]`.
fn merge_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, tokens, head_width] = x.dims();
    x.swap_dims(1, 2)
        .reshape([batch, tokens, heads * head_width])
}

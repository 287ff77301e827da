//! Attention from Burn's tensor operations.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use super::{chunks, to_f32};
use crate::causal::View;
use crate::causal::Visibility;
use crate::kernels::Attention;

/// `fused`: whether Burn's own attention is a flash kernel, which keeps its sums in f32 whatever
/// the inputs are.
pub(in crate::kernels) fn attend<B: Backend>(
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
pub(in crate::kernels) fn attend_backward<B: Backend>(
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

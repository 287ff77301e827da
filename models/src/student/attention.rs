//! Self-attention with full-width q/k normalisation, rotation and memory; cross-attention to text (method.md B.2.5).

use burn::nn::{Linear, RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use super::causal::Visibility;
use super::config::StudentConfig;
use super::rope::Rotation;
use crate::layers::{linear, merge_heads, project, split_heads};

/// Projections and q/k norms shared by self- and cross-attention.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// Queries, D -> D.
    pub q: Linear<B>,
    /// Keys, D -> D.
    pub k: Linear<B>,
    /// Values, D -> D.
    pub v: Linear<B>,
    /// Output, D -> D.
    pub o: Linear<B>,
    /// RMS norm over the full width of the queries, all heads together.
    pub norm_q: RmsNorm<B>,
    /// RMS norm over the full width of the keys.
    pub norm_k: RmsNorm<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    /// Attention of `width` channels in `heads` heads.
    pub fn new(width: usize, heads: usize, device: &B::Device) -> Self {
        let norm = || RmsNormConfig::new(width).with_epsilon(StudentConfig::EPSILON).init(device);
        Self {
            q: linear(width, width, device),
            k: linear(width, width, device),
            v: linear(width, width, device),
            o: linear(width, width, device),
            norm_q: norm(),
            norm_k: norm(),
            heads,
        }
    }

    /// Normalised keys and values of `[B, S, D]`, each `[B, heads, S, d]`.
    pub fn keys_values(&self, x: Tensor<B, 3>) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let keys = self.norm_k.forward(project(&self.k, x.clone()));
        (split_heads(keys, self.heads), split_heads(project(&self.v, x), self.heads))
    }

    /// Cross-attention of `[B, S, D]` to keys and values computed once per prompt. No mask: padded text rows are attended to (B.2.3).
    pub fn cross(&self, x: Tensor<B, 3>, keys: Tensor<B, 4>, values: Tensor<B, 4>) -> Tensor<B, 3> {
        let queries = self.norm_q.forward(project(&self.q, x));
        project(&self.o, merge_heads(attend(split_heads(queries, self.heads), keys, values)))
    }

    /// Self-attention of `[B, S, D]`: returns the output and the sequence's own keys (rotated) and values.
    pub fn own(
        &self,
        x: Tensor<B, 3>,
        rotation: &Rotation<B>,
        past: Option<&(Tensor<B, 4>, Tensor<B, 4>)>,
        visibility: &Visibility,
    ) -> (Tensor<B, 3>, (Tensor<B, 4>, Tensor<B, 4>)) {
        // Rotated before the heads are split: elementwise work on a split (strided) tensor is slow on CPU backends.
        let queries = split_heads(rotation.apply(self.norm_q.forward(project(&self.q, x.clone()))), self.heads);
        let keys = split_heads(rotation.apply(self.norm_k.forward(project(&self.k, x.clone()))), self.heads);
        let values = split_heads(project(&self.v, x), self.heads);
        let attended = attend_visible(queries, (&keys, &values), past, visibility);
        (project(&self.o, merge_heads(attended)), (keys, values))
    }
}

/// `softmax(q k^T / sqrt(d)) v`, all `[B, heads, S, d]`.
pub fn attend<B: Backend>(queries: Tensor<B, 4>, keys: Tensor<B, 4>, values: Tensor<B, 4>) -> Tensor<B, 4> {
    attention(queries, keys, values, None, None, AttentionModuleOptions::default())
}

/// Attention under a [`Visibility`]: each block of queries meets only the keys it sees, so that hidden scores are never computed.
///
/// Queries, keys and values `[B, heads, own_frames * S, d]`, past keys and values `[B, heads, past_frames * S, d]`.
pub fn attend_visible<B: Backend>(
    queries: Tensor<B, 4>,
    own: (&Tensor<B, 4>, &Tensor<B, 4>),
    past: Option<&(Tensor<B, 4>, Tensor<B, 4>)>,
    visibility: &Visibility,
) -> Tensor<B, 4> {
    let tokens = queries.dims()[2] / visibility.own_frames;
    let slice = |tensor: &Tensor<B, 4>, frames: &std::ops::Range<usize>| {
        if frames.len() * tokens == tensor.dims()[2] {
            tensor.clone()
        } else {
            tensor.clone().slice_dim(2, frames.start * tokens..frames.end * tokens)
        }
    };
    let join = |mut parts: Vec<Tensor<B, 4>>| if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 2) };
    let outputs = visibility
        .views
        .iter()
        .map(|view| {
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            if let Some((past_keys, past_values)) = past {
                keys.extend(view.past.iter().map(|frames| slice(past_keys, frames)));
                values.extend(view.past.iter().map(|frames| slice(past_values, frames)));
            }
            keys.extend(view.own.iter().map(|frames| slice(own.0, frames)));
            values.extend(view.own.iter().map(|frames| slice(own.1, frames)));
            attend(slice(&queries, &view.queries), join(keys), join(values))
        })
        .collect();
    join(outputs)
}

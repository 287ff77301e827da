//! Self-attention with full-width q/k normalisation, rotation and a KV cache; cross-attention to
//! text (docs/method.md B.2.5).

use burn::nn::{RmsNorm, RmsNormConfig};
use burn::prelude::*;

use super::config::{Limits, StudentConfig};
use crate::causal::Visibility;
use crate::kernels::{self, Kernels};
use crate::layers::{Projection, linear, rms_norm};
use crate::rope::Rotation;

/// Keys and values, each `[B, S, D]` with the heads side by side in D.
pub type KeysValues<B> = (Tensor<B, 3>, Tensor<B, 3>);

/// Projections and q/k norms shared by self- and cross-attention.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// Queries, D -> D.
    pub q: Projection<B>,
    /// Keys, D -> D.
    pub k: Projection<B>,
    /// Values, D -> D.
    pub v: Projection<B>,
    /// Output, D -> D.
    pub o: Projection<B>,
    /// RMS norm over the full width of the queries, all heads together.
    pub norm_q: RmsNorm<B>,
    /// RMS norm over the full width of the keys.
    pub norm_k: RmsNorm<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    /// Attention of `width` channels in `heads` heads.
    pub fn new(width: usize, heads: usize, device: &B::Device) -> Self {
        let norm = || {
            RmsNormConfig::new(width)
                .with_epsilon(StudentConfig::EPSILON)
                .init(device)
        };
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
}

impl<B: Kernels> Attention<B> {
    /// Normalised keys and values of `[B, S, D]`, each of the same shape.
    pub fn keys_values(&self, x: Tensor<B, 3>) -> KeysValues<B> {
        (
            rms_norm(&self.norm_k, self.k.forward(x.clone())),
            self.v.forward(x),
        )
    }

    /// Cross-attention of `[B, S, D]` to keys and values `[B, L, D]` computed once per prompt. No
    /// mask: the padding of the text is attended to (B.2.3).
    pub fn cross(
        &self,
        x: Tensor<B, 3>,
        (keys, values): KeysValues<B>,
        limits: Limits,
    ) -> Tensor<B, 3> {
        let queries = rms_norm(&self.norm_q, self.q.forward(x));
        let inputs = kernels::Attention {
            queries,
            keys,
            values,
            past: None,
            heads: self.heads,
            query_chunk: limits.attention_queries,
        };
        // One "frame" of queries that sees one "frame" of text.
        self.o
            .forward(B::attend(inputs, &Visibility::bidirectional(1)))
    }

    /// Self-attention of `[B, S, D]`, to itself and to the cached keys and values `past`: returns
    /// the output `[B, S, D]` and the sequence's own keys (rotated) and values.
    pub fn own(
        &self,
        x: Tensor<B, 3>,
        rotation: &Rotation<B>,
        past: Option<&KeysValues<B>>,
        visibility: &Visibility,
        limits: Limits,
    ) -> (Tensor<B, 3>, KeysValues<B>) {
        let queries = B::rotate(
            rms_norm(&self.norm_q, self.q.forward(x.clone())),
            rotation,
            false,
        );
        let (keys, values) = self.keys_values(x);
        let keys = B::rotate(keys, rotation, false);
        let inputs = kernels::Attention {
            queries,
            keys: keys.clone(),
            values: values.clone(),
            past: past.cloned(),
            heads: self.heads,
            query_chunk: limits.attention_queries,
        };
        (
            self.o.forward(B::attend(inputs, visibility)),
            (keys, values),
        )
    }
}

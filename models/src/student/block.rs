//! One transformer block (docs/method.md B.2.4).

use burn::module::{Module, Param};
use burn::nn::LayerNorm;
use burn::prelude::*;
use burn::tensor::DType;

use super::attention::{Attention, KeysValues};
use super::config::{Limits, StudentConfig};
use crate::causal::Visibility;
use crate::kernels::{Affine, Kernels, Norm};
use crate::layers::{FeedForward, affine_layer_norm, normalise, rows};
use crate::precision::Precision;
use crate::rope::Rotation;

/// One transformer block.
#[derive(Module, Debug)]
pub struct StudentBlock<B: Backend> {
    /// Learned part of the six modulation vectors, `[1, 6, D]`.
    pub modulation: Param<Tensor<B, 3>>,
    /// Self-attention over video tokens.
    pub self_attn: Attention<B>,
    /// Affine norm before the cross-attention (Wan's `norm3`, diffusers' `norm2`).
    pub norm3: LayerNorm<B>,
    /// Cross-attention to text.
    pub cross_attn: Attention<B>,
    /// Feed-forward network.
    pub ffn: FeedForward<B>,
}

/// What a block reads besides its tokens.
pub(super) struct Surroundings<'a, B: Backend> {
    /// e0, `[B * F or 1, 6, D]`.
    pub modulation: &'a Tensor<B, 3>,
    pub rotation: &'a Rotation<B>,
    pub past: Option<&'a KeysValues<B>>,
    pub text: &'a KeysValues<B>,
    pub visibility: &'a Visibility,
    pub limits: Limits,
}

impl<B: Kernels> StudentBlock<B> {
    /// Keys and values of the embedded text `[B, L, D]`: computed in f32 and cast at the end.
    ///
    /// The text has so few tokens that this costs nothing, and the gradients that all blocks have
    /// for them are summed in f32.
    pub(super) fn text_cache(&self, text: Tensor<B, 3>, precision: Precision) -> KeysValues<B> {
        let (keys, values) = self.cross_attn.keys_values(text);
        (keys.cast(precision.dtype()), values.cast(precision.dtype()))
    }

    pub(super) fn forward(
        &self,
        tokens: Tensor<B, 3>,
        around: &Surroundings<B>,
    ) -> (Tensor<B, 3>, KeysValues<B>) {
        // a0..a5 of docs/method.md B.2.4: shift, scale and gate of the self-attention, then of the
        // feed-forward network.
        let modulation = self.modulation.val() + around.modulation.clone();
        let part = |index: usize| vector(&modulation, index);
        // Tokens between the branches are in f32; what a branch's products read may be in bf16.
        let to_precision = |x: Tensor<B, 3>| x.cast(around.limits.precision.dtype());
        let modulated_tokens = to_precision(modulated(tokens.clone(), part(0), part(1)));
        let (attended, own) = self.self_attn.own(
            modulated_tokens,
            around.rotation,
            around.past,
            around.visibility,
            around.limits,
        );
        let after_self = add_gated(tokens, attended, part(2));
        let asked = to_precision(affine_layer_norm(&self.norm3, after_self.clone()));
        let read = self
            .cross_attn
            .cross(asked, around.text.clone(), around.limits);
        let after_cross = after_self + read.cast(DType::F32);
        let proposed = self.ffn.forward(to_precision(modulated(
            after_cross.clone(),
            part(3),
            part(4),
        )));
        (add_gated(after_cross, proposed, part(5)), own)
    }
}

/// Vector `index` of a modulation `[groups, n, D]`: `[groups, D]`, one group per (clip, frame) or
/// one for all.
pub(super) fn vector<B: Backend>(modulation: &Tensor<B, 3>, index: usize) -> Tensor<B, 2> {
    let [groups, _, width] = modulation.dims();
    modulation
        .clone()
        .slice_dim(1, index..index + 1)
        .reshape([groups, width])
}

/// `layer_norm(x) (1 + scale) + shift` for tokens `[B, S, D]`.
pub(super) fn modulated<B: Kernels>(
    x: Tensor<B, 3>,
    shift: Tensor<B, 2>,
    scale: Tensor<B, 2>,
) -> Tensor<B, 3> {
    normalise(
        x,
        Affine {
            scale: scale + 1.0,
            shift: Some(shift),
        },
        Norm::layer(StudentConfig::EPSILON),
    )
}

/// `x + branch gate` for tokens `[B, S, D]`.
fn add_gated<B: Kernels>(
    x: Tensor<B, 3>,
    branch: Tensor<B, 3>,
    gate: Tensor<B, 2>,
) -> Tensor<B, 3> {
    let dims = x.dims();
    B::add_gated(rows(x), rows(branch), gate).reshape(dims)
}

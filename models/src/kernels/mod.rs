//! The operations that a transformer spends its time in, each as one step of the differentiated
//! graph with a backward pass of its own.
//!
//! Written with Burn's tensor operations alone, a layer norm is eight nodes of the graph, each with
//! its own memory, and attention keeps its S x S scores for the backward pass. Here each operation
//! is one node that keeps its inputs only and computes the rest again. A backend gets them by
//! implementing [`Kernels`]: with an empty `impl` from tensor operations (`composite`, which is
//! also the definition that the others are tested against), or by its own code (`flex`, plain loops
//! over rows that the compiler turns into vector instructions).
//!
//! Shapes: B clips, S tokens, D channels, rows = B * S.

mod autodiff;
mod composite;
mod convolve;
#[cfg(feature = "flex")]
mod flex;

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
pub use convolve::Window;

use crate::causal::Visibility;
use crate::rope::Rotation;

/// A backend with this crate's operations.
pub trait Kernels: Backend {
    /// Whether Burn's attention is a flash kernel here, with sums in f32 whatever the inputs are.
    /// Of up to 4,096 queries at once Burn also times kernels with a softmax in the inputs' type
    /// and takes what is faster (burn-cubecl 0.21, `attention_autotune`).
    const HAS_FLASH_ATTENTION: bool = false;

    /// Each row of `x [rows, D]` normalised, times a scale, plus a shift.
    ///
    /// Scale and shift are `[groups, W]` with D a multiple of W, broadcast per group: `x`, cut into
    /// pieces of W values, is divided evenly among the groups, in order. One group: the same for
    /// all rows. One group per (clip, frame): Wan's modulation.
    fn normalise(x: Tensor<Self, 2>, affine: Affine<Self>, norm: Norm) -> Tensor<Self, 2> {
        composite::normalise(x, affine, norm)
    }

    /// Gradients of [`Kernels::normalise`] for `x`, scale and shift, given `gradient [rows, D]` of
    /// its output.
    fn normalise_backward(
        x: Tensor<Self, 2>,
        scale: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
        norm: Norm,
    ) -> [Tensor<Self, 2>; 3] {
        composite::normalise_backward(x, scale, gradient, norm)
    }

    /// `x + branch * gate`, `x` and `branch` `[rows, D]`, gate `[groups, D]` broadcast per group
    /// as in [`Kernels::normalise`].
    fn add_gated(
        x: Tensor<Self, 2>,
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        composite::add_gated(x, branch, gate)
    }

    /// Gradients of [`Kernels::add_gated`] for branch and gate; that for `x` is the output's own.
    fn add_gated_backward(
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        composite::add_gated_backward(branch, gate, gradient)
    }

    /// The tanh approximation of GELU, `x / 2 (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715
    /// x^3)`.
    fn gelu_tanh(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::gelu_tanh(x)
    }

    /// Gradient of [`Kernels::gelu_tanh`] for `x`.
    fn gelu_tanh_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::gelu_tanh_backward(x, gradient)
    }

    /// Leaky ReLU with slope 0.2 below zero: `x` where it is positive, else `0.2 x`.
    fn leaky_relu(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::leaky_relu(x)
    }

    /// Gradient of [`Kernels::leaky_relu`] for `x`.
    fn leaky_relu_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composite::leaky_relu_backward(x, gradient)
    }

    /// What a 3x3x3 convolution of stride 2 and padding 1 reads: `[B, F, H, W, C] -> [B, F / 2, H /
    /// 2, W / 2, 27 C]`, odd lengths rounded up.
    ///
    /// Taps are stacked column by row by frame by channel, from slowest to fastest.
    fn unfold(x: Tensor<Self, 5>) -> Tensor<Self, 5> {
        composite::unfold(x)
    }

    /// Gradient of [`Kernels::unfold`] for `x` of shape `dims`.
    fn unfold_backward(gradient: Tensor<Self, 5>, dims: [usize; 5]) -> Tensor<Self, 5> {
        composite::unfold_backward(gradient, dims)
    }

    /// The convolution of `x [B, T, H, W, C]` with `weight [C', kt, kh, kw, C]` plus `bias [C']`:
    /// `[B, T', H', W', C']`.
    ///
    /// Never unfolds more of its input at once than a fixed number of values, so that it takes
    /// little memory beside input and output.
    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Tensor<Self, 1>,
        window: Window,
    ) -> Tensor<Self, 5> {
        convolve::tiled(x, weight, bias, window)
    }

    /// `x [B, S, D]` rotated by `rotation`, or back when `back`: the rotation's gradient.
    fn rotate(x: Tensor<Self, 3>, rotation: &Rotation<Self>, back: bool) -> Tensor<Self, 3> {
        composite::rotate(x, rotation, back)
    }

    /// `softmax(q k^T / sqrt(d)) v` per head, each block of queries over the keys that `visibility`
    /// shows it: `[B, S, D]`.
    fn attend(inputs: Attention<Self>, visibility: &Visibility) -> Tensor<Self, 3> {
        composite::attend(inputs, visibility, Self::HAS_FLASH_ATTENTION)
    }

    /// Gradients of [`Kernels::attend`] for queries, keys, values and, where the past is
    /// differentiated, its keys and values.
    fn attend_backward(
        inputs: Attention<Self>,
        output: Tensor<Self, 3>,
        gradient: Tensor<Self, 3>,
        visibility: &Visibility,
        past: bool,
    ) -> Vec<Tensor<Self, 3>> {
        let _ = output;
        composite::attend_backward(inputs, gradient, visibility, past)
    }
}

/// A backend to train on.
pub trait Trainable: AutodiffBackend<InnerBackend: Kernels> + Kernels {}

impl<B: AutodiffBackend<InnerBackend: Kernels> + Kernels> Trainable for B {}

#[cfg(feature = "ndarray")]
impl Kernels for burn::backend::NdArray {}
#[cfg(feature = "cuda")]
impl Kernels for burn::backend::Cuda {
    const HAS_FLASH_ATTENTION: bool = true;

    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Tensor<Self, 1>,
        window: Window,
    ) -> Tensor<Self, 5> {
        convolve::native(x, weight, bias, window)
    }
}
#[cfg(feature = "wgpu")]
impl Kernels for burn::backend::Wgpu {
    const HAS_FLASH_ATTENTION: bool = true;

    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Tensor<Self, 1>,
        window: Window,
    ) -> Tensor<Self, 5> {
        convolve::native(x, weight, bias, window)
    }
}

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Whether the mean is taken off first: layer norm, else RMS norm.
    pub centred: bool,
    /// Added to the variance or mean square.
    pub epsilon: f64,
}

impl Norm {
    /// Layer norm.
    pub fn layer(epsilon: f64) -> Self {
        Self {
            centred: true,
            epsilon,
        }
    }

    /// Root-mean-square norm.
    pub fn rms(epsilon: f64) -> Self {
        Self {
            centred: false,
            epsilon,
        }
    }
}

/// What follows a normalisation: see [`Kernels::normalise`].
#[derive(Debug, Clone)]
pub struct Affine<B: Backend> {
    /// `[groups, W]`.
    pub scale: Tensor<B, 2>,
    /// `[groups, W]`.
    pub shift: Option<Tensor<B, 2>>,
}

/// What attention reads; every tensor is `[B, its own S, D]` with the heads side by side in D.
#[derive(Debug, Clone)]
pub struct Attention<B: Backend> {
    /// One per token of the sequence.
    pub queries: Tensor<B, 3>,
    /// One per token of the sequence, or of the text.
    pub keys: Tensor<B, 3>,
    /// Like the keys.
    pub values: Tensor<B, 3>,
    /// Keys and values of the cached frames.
    pub past: Option<(Tensor<B, 3>, Tensor<B, 3>)>,
    /// Heads that D is split into.
    pub heads: usize,
    /// Queries of a clip and head whose attention scores are held at once, at least 1. Only memory
    /// and speed depend on it.
    pub query_chunk: usize,
}

#[cfg(test)]
mod tests;

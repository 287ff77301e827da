//! Small pieces that the student and the discriminators share.

use burn::module::Param;
use burn::nn::{Initializer, LayerNorm, RmsNorm};
use burn::prelude::*;

use crate::kernels::{Affine, Kernels, Norm};

/// Numerical floor of every normalisation of a transformer.
pub const EPSILON: f64 = 1e-6;

/// Layer normalisation over the last dimension, without affine weights (docs/method.md B.2.4).
pub fn layer_norm<B: Backend, const N: usize>(x: Tensor<B, N>, epsilon: f64) -> Tensor<B, N> {
    let centred = x.clone() - x.mean_dim(N - 1);
    let variance = centred.clone().square().mean_dim(N - 1);
    centred * (variance + epsilon).sqrt().recip()
}

/// Linear, tanh-GELU, Linear: the transformer's feed-forward network.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// D -> hidden.
    pub up: Projection<B>,
    /// hidden -> D.
    pub down: Projection<B>,
}

impl<B: Backend> FeedForward<B> {
    /// `width -> hidden -> output`.
    pub fn new(width: usize, hidden: usize, output: usize, device: &B::Device) -> Self {
        Self {
            up: linear(width, hidden, device),
            down: linear(hidden, output, device),
        }
    }
}

impl<B: Kernels> FeedForward<B> {
    /// `[.., width] -> [.., output]`.
    pub fn forward<const N: usize>(&self, x: Tensor<B, N>) -> Tensor<B, N> {
        let mut dims = x.dims();
        let output = self.down.forward(B::gelu_tanh(self.up.forward(rows(x))));
        dims[N - 1] = output.dims()[1];
        output.reshape(dims)
    }
}

/// A linear layer over the last dimension, `x W + b`, with low-rank factors beside its weight if it
/// has been given some.
///
/// It computes in the type of its input: trained weights, in f32, are cast to bf16 where they are
/// used, so that their gradients stay in f32, and frozen weights in bf16 are cast to f32.
#[derive(Module, Debug)]
pub struct Projection<B: Backend> {
    /// `[input, output]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Low-rank factors.
    pub lora: Option<Lora<B>>,
}

impl<B: Backend> Projection<B> {
    /// `[.., input] -> [.., output]`, as one matrix product: Burn's own layer multiplies batch
    /// element by batch element.
    pub fn forward<const N: usize>(&self, x: Tensor<B, N>) -> Tensor<B, N> {
        let mut dims = x.dims();
        let x = rows(x);
        let dtype = x.dtype();
        let bias = self.bias.as_ref().map(|bias| bias.val().cast(dtype));
        let full = burn::tensor::module::linear(x.clone(), self.weight.val().cast(dtype), bias);
        let output = match &self.lora {
            Some(lora) => full + lora.forward(x),
            None => full,
        };
        dims[N - 1] = output.dims()[1];
        output.reshape(dims)
    }
}

/// Low-rank factors of a linear layer.
#[derive(Module, Debug)]
pub struct Lora<B: Backend> {
    /// A, `[input, rank]`; PEFT's `lora_A`, transposed.
    pub down: Param<Tensor<B, 2>>,
    /// B, `[rank, output]`, zero at first: the layer starts as it was. PEFT's `lora_B`, transposed.
    pub up: Param<Tensor<B, 2>>,
    #[module(skip)]
    pub(crate) scale: f64,
}

impl<B: Backend> Lora<B> {
    /// `scale (x A) B` for `x [tokens, input]`, in the type of `x`.
    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let dtype = x.dtype();
        x.matmul(self.down.val().cast(dtype))
            .matmul(self.up.val().cast(dtype))
            * self.scale
    }
}

/// A linear layer with bias; its weights are set by [`crate::init::initialise`] or from a file.
pub fn linear<B: Backend>(input: usize, output: usize, device: &B::Device) -> Projection<B> {
    Projection {
        bias: Some(Initializer::Zeros.init([output], device)),
        ..linear_without_bias(input, output, device)
    }
}

/// A linear layer without bias.
pub fn linear_without_bias<B: Backend>(
    input: usize,
    output: usize,
    device: &B::Device,
) -> Projection<B> {
    Projection {
        weight: Initializer::Zeros.init([input, output], device),
        bias: None,
        lora: None,
    }
}

/// The affine layer norm `norm` over the last dimension: `[.., D] -> [.., D]`.
pub fn affine_layer_norm<B: Kernels, const N: usize>(
    norm: &LayerNorm<B>,
    x: Tensor<B, N>,
) -> Tensor<B, N> {
    let shift = norm.beta.as_ref().map(|beta| beta.val().unsqueeze());
    normalise(
        x,
        Affine {
            scale: norm.gamma.val().unsqueeze(),
            shift,
        },
        Norm::layer(EPSILON),
    )
}

/// The RMS norm `norm` over the last dimension: `[.., D] -> [.., D]`.
pub fn rms_norm<B: Kernels, const N: usize>(norm: &RmsNorm<B>, x: Tensor<B, N>) -> Tensor<B, N> {
    normalise(
        x,
        Affine {
            scale: norm.gamma.val().unsqueeze(),
            shift: None,
        },
        Norm::rms(EPSILON),
    )
}

/// [`Kernels::normalise`] over the last dimension of a tensor of any rank: `[.., D] -> [.., D]`.
pub fn normalise<B: Kernels, const N: usize>(
    x: Tensor<B, N>,
    affine: Affine<B>,
    norm: Norm,
) -> Tensor<B, N> {
    let dims = x.dims();
    B::normalise(rows(x), affine, norm).reshape(dims)
}

/// `[.., D] -> [rows, D]`.
pub fn rows<B: Backend, const N: usize>(x: Tensor<B, N>) -> Tensor<B, 2> {
    let dims = x.dims();
    x.reshape([dims[..N - 1].iter().product(), dims[N - 1]])
}

//! Small pieces that the student and the discriminators share.

use burn::nn::{LayerNorm, Linear, RmsNorm};
use burn::prelude::*;

use crate::kernels::{Affine, Kernels, Norm};
use crate::student::StudentConfig;

/// Layer normalisation over the last dimension, without affine weights (method.md B.2.4).
pub fn layer_norm<B: Backend, const N: usize>(x: Tensor<B, N>, epsilon: f64) -> Tensor<B, N> {
    let centred = x.clone() - x.mean_dim(N - 1);
    let variance = centred.clone().square().mean_dim(N - 1);
    centred * (variance + epsilon).sqrt().recip()
}

/// Linear, tanh-GELU, Linear: the transformer's feed-forward network.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    /// D -> hidden.
    pub up: Linear<B>,
    /// hidden -> D.
    pub down: Linear<B>,
}

impl<B: Backend> FeedForward<B> {
    /// `width -> hidden -> output`.
    pub fn new(width: usize, hidden: usize, output: usize, device: &B::Device) -> Self {
        Self { up: linear(width, hidden, device), down: linear(hidden, output, device) }
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

/// A linear layer over the last dimension as one matrix product: Burn's own forward multiplies batch element by batch element.
pub fn project<B: Backend, const N: usize>(layer: &Linear<B>, x: Tensor<B, N>) -> Tensor<B, N> {
    let mut dims = x.dims();
    let output = layer.forward(rows(x));
    dims[N - 1] = output.dims()[1];
    output.reshape(dims)
}

/// A linear layer with bias; its weights are set by [`crate::init::initialise`] or from a file.
pub fn linear<B: Backend>(input: usize, output: usize, device: &B::Device) -> Linear<B> {
    burn::nn::LinearConfig::new(input, output).with_initializer(burn::nn::Initializer::Zeros).init(device)
}

/// The affine layer norm `norm` over the last dimension.
pub fn affine_layer_norm<B: Kernels, const N: usize>(norm: &LayerNorm<B>, x: Tensor<B, N>) -> Tensor<B, N> {
    let shift = norm.beta.as_ref().map(|beta| beta.val().unsqueeze());
    normalise(x, Affine { scale: norm.gamma.val().unsqueeze(), shift }, Norm::layer(StudentConfig::EPSILON))
}

/// The RMS norm `norm` over the last dimension.
pub fn rms_norm<B: Kernels, const N: usize>(norm: &RmsNorm<B>, x: Tensor<B, N>) -> Tensor<B, N> {
    normalise(x, Affine { scale: norm.gamma.val().unsqueeze(), shift: None }, Norm::rms(StudentConfig::EPSILON))
}

/// [`Kernels::normalise`] over the last dimension of a tensor of any rank.
pub fn normalise<B: Kernels, const N: usize>(x: Tensor<B, N>, affine: Affine<B>, norm: Norm) -> Tensor<B, N> {
    let dims = x.dims();
    B::normalise(rows(x), affine, norm).reshape(dims)
}

/// `[.., D] -> [rows, D]`.
pub fn rows<B: Backend, const N: usize>(x: Tensor<B, N>) -> Tensor<B, 2> {
    let dims = x.dims();
    x.reshape([dims[..N - 1].iter().product(), dims[N - 1]])
}

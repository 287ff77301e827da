//! Small pieces that the student and the discriminators share.

use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::gelu_approximate;

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

    /// `[.., width] -> [.., output]`.
    pub fn forward<const N: usize>(&self, x: Tensor<B, N>) -> Tensor<B, N> {
        self.down.forward(gelu_approximate(self.up.forward(x)))
    }
}

/// A linear layer with bias; its weights are set by [`crate::init::initialise`] or from a file.
pub fn linear<B: Backend>(input: usize, output: usize, device: &B::Device) -> Linear<B> {
    burn::nn::LinearConfig::new(input, output).with_initializer(burn::nn::Initializer::Zeros).init(device)
}

/// `[B, S, heads * d] -> [B, heads, S, d]`.
pub fn split_heads<B: Backend>(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// `[B, heads, S, d] -> [B, S, heads * d]`.
pub fn merge_heads<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, heads, tokens, head_width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * head_width])
}

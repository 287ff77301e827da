//! Small pieces that the student and the discriminators share.

use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::sigmoid;

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
        project(&self.down, gelu_tanh(project(&self.up, x)))
    }
}

/// The tanh approximation of GELU, `x / 2 (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, as `x sigmoid(2 u)`.
///
/// Equal to Burn's `gelu_approximate`, which spends most of its time in `powf` and `tanh` on CPU backends.
pub fn gelu_tanh<B: Backend, const N: usize>(x: Tensor<B, N>) -> Tensor<B, N> {
    let twice = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let inner = (x.clone() * x.clone() * (twice * 0.044715) + twice) * x.clone();
    x * sigmoid(inner)
}

/// A linear layer over the last dimension as one matrix product: Burn's own forward multiplies batch element by batch element.
pub fn project<B: Backend, const N: usize>(layer: &Linear<B>, x: Tensor<B, N>) -> Tensor<B, N> {
    let mut dims = x.dims();
    let rows: usize = dims[..N - 1].iter().product();
    // [.., D] -> [rows, D]
    let output = layer.forward(x.reshape([rows, dims[N - 1]]));
    dims[N - 1] = output.dims()[1];
    output.reshape(dims)
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;
    use burn::tensor::activation::gelu_approximate;

    #[test]
    fn gelu_is_burns_tanh_gelu() {
        let x = Tensor::<NdArray, 1, Int>::arange(-60..60, &Default::default()).float() / 10.0;
        // f32 rounding at values up to 6.
        assert!((gelu_tanh(x.clone()) - gelu_approximate(x)).abs().max().into_scalar() < 2e-6);
    }
}

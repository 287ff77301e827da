//! The layers that encoder and decoder are made of (docs/method.md C.2). Activations are
//! channels-last: `[B, T, H, W, C]`.

use burn::module::Param;
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::FloatDType;
use burn::tensor::activation::silu;

use super::past::{Past, last_two, no_frames};
use crate::kernels::{Affine, Attention, Kernels, Norm, Window};
use crate::student::Visibility;

/// A 3-D convolution with bias.
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    /// `[C', kt, kh, kw, C]`: the channels that one tap reads lie side by side, as in the
    /// activations.
    pub weight: Param<Tensor<B, 5>>,
    /// `[C']`.
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Convolution<B> {
    /// `inputs -> outputs` channels, `taps` along time, rows and columns.
    pub fn new(inputs: usize, outputs: usize, taps: [usize; 3], device: &B::Device) -> Self {
        let [time, rows, columns] = taps;
        Self {
            weight: Initializer::Zeros.init([outputs, time, rows, columns, inputs], device),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }
}

impl<B: Kernels> Convolution<B> {
    /// Without earlier frames: the kernel stays inside the given ones.
    pub(super) fn forward(&self, x: Tensor<B, 5>, window: Window) -> Tensor<B, 5> {
        B::convolve(x, self.weight.val(), self.bias.val(), window)
    }

    /// Every position by itself (a 1x1x1 kernel).
    pub(super) fn pointwise(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        self.forward(x, Window::PLAIN)
    }

    /// 3x3x3, causal: each frame sees itself and the two before it, zeros before the first. Space
    /// is padded by one.
    pub(super) fn causal(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let slot = past.slot();
        let before = slot.take().unwrap_or_else(|| no_frames(&x));
        *slot = Some(last_two(&before, &x));
        self.forward(
            Tensor::cat(vec![before, x], 1),
            Window {
                stride: [1, 1, 1],
                before: [1, 1],
                after: [1, 1],
            },
        )
    }
}

/// Each position divided by the root mean square of its channels, times a scale per channel.
/// Computed in f32 whatever the activations' type.
#[derive(Module, Debug)]
pub struct ChannelNorm<B: Backend> {
    /// Scale `[C]`.
    pub gamma: Param<Tensor<B, 1>>,
}

impl<B: Backend> ChannelNorm<B> {
    /// Over `channels` channels.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([channels], device),
        }
    }
}

impl<B: Kernels> ChannelNorm<B> {
    fn normed(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let dims = x.dims();
        let channels = dims[4];
        let scale = self.gamma.val().cast(FloatDType::F32).unsqueeze();
        // The length of the channels' vector is bounded by 1e-12 from below (docs/method.md C.2):
        // its mean square by 1e-24 / C.
        let norm = Norm::rms(1e-24 / channels as f64);
        let rows = x
            .cast(FloatDType::F32)
            .reshape([dims[..4].iter().product::<usize>(), channels]);
        B::normalise(rows, Affine { scale, shift: None }, norm).reshape(dims)
    }

    /// The norm, then SiLU.
    pub(super) fn activated(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let dtype = x.dtype();
        silu(self.normed(x)).cast(FloatDType::from(dtype))
    }
}

/// Twice norm, SiLU and causal convolution, added to the input.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    /// Before the first convolution.
    pub norm1: ChannelNorm<B>,
    /// 3x3x3, C -> C'.
    pub conv1: Convolution<B>,
    /// Before the second convolution.
    pub norm2: ChannelNorm<B>,
    /// 3x3x3, C' -> C'.
    pub conv2: Convolution<B>,
    /// 1x1x1, C -> C', where they differ.
    pub shortcut: Option<Convolution<B>>,
}

impl<B: Backend> ResidualBlock<B> {
    /// `inputs -> outputs` channels.
    pub fn new(inputs: usize, outputs: usize, device: &B::Device) -> Self {
        Self {
            norm1: ChannelNorm::new(inputs, device),
            conv1: Convolution::new(inputs, outputs, [3, 3, 3], device),
            norm2: ChannelNorm::new(outputs, device),
            conv2: Convolution::new(outputs, outputs, [3, 3, 3], device),
            shortcut: (inputs != outputs)
                .then(|| Convolution::new(inputs, outputs, [1, 1, 1], device)),
        }
    }
}

impl<B: Kernels> ResidualBlock<B> {
    pub(super) fn forward(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let h = self.conv1.causal(self.norm1.activated(x.clone()), past);
        let h = self.conv2.causal(self.norm2.activated(h), past);
        match &self.shortcut {
            Some(shortcut) => shortcut.pointwise(x) + h,
            None => x + h,
        }
    }
}

/// Queries of a frame whose scores are held at once.
const QUERY_CHUNK: usize = 1024;

/// Self-attention of each frame's positions among themselves, one head, added to the input.
#[derive(Module, Debug)]
pub struct FrameAttention<B: Backend> {
    /// Before the projection.
    pub norm: ChannelNorm<B>,
    /// 1x1x1, C -> queries, keys and values, C each.
    pub qkv: Convolution<B>,
    /// 1x1x1, C -> C.
    pub output: Convolution<B>,
}

impl<B: Backend> FrameAttention<B> {
    /// Over `channels` channels.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            norm: ChannelNorm::new(channels, device),
            qkv: Convolution::new(channels, 3 * channels, [1, 1, 1], device),
            output: Convolution::new(channels, channels, [1, 1, 1], device),
        }
    }
}

impl<B: Kernels> FrameAttention<B> {
    pub(super) fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, frames, rows, columns, channels] = x.dims();
        let dtype = FloatDType::from(x.dtype());
        let projected = self
            .qkv
            .pointwise(self.norm.normed(x.clone()).cast(dtype))
            .cast(FloatDType::F32);
        // [B, T, H, W, 3 C] -> [B * T, H * W, 3 C]: a frame's positions are the tokens of a clip of
        // one frame.
        let projected = projected.reshape([batch * frames, rows * columns, 3 * channels]);
        let part = |number: usize| {
            projected
                .clone()
                .slice_dim(2, number * channels..(number + 1) * channels)
        };
        let inputs = Attention {
            queries: part(0),
            keys: part(1),
            values: part(2),
            past: None,
            heads: 1,
            query_chunk: QUERY_CHUNK,
        };
        let attended = B::attend(inputs, &Visibility::bidirectional(1))
            .reshape([batch, frames, rows, columns, channels]);
        x + self.output.pointwise(attended.cast(dtype))
    }
}

/// The coarsest part of encoder and decoder: block, attention, block.
#[derive(Module, Debug)]
pub struct Middle<B: Backend> {
    /// Before the attention.
    pub first: ResidualBlock<B>,
    /// Lets all positions of a frame see each other.
    pub attention: FrameAttention<B>,
    /// After the attention.
    pub last: ResidualBlock<B>,
}

impl<B: Backend> Middle<B> {
    /// Over `channels` channels.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        let block = || ResidualBlock::new(channels, channels, device);
        Self {
            first: block(),
            attention: FrameAttention::new(channels, device),
            last: block(),
        }
    }
}

impl<B: Kernels> Middle<B> {
    pub(super) fn forward(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let x = self.attention.forward(self.first.forward(x, past));
        self.last.forward(x, past)
    }
}

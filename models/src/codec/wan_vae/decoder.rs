//! Latents back to frames (docs/method.md C.2).

use burn::prelude::*;

use super::config::WanVaeConfig;
use super::layers::{ChannelNorm, Convolution, Middle, ResidualBlock};
use super::past::Past;
use super::resample::Upsample;
use crate::kernels::Kernels;

/// Latents to full-resolution frames.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// 3x3x3, C -> last width.
    pub input: Convolution<B>,
    /// At the coarsest scale.
    pub middle: Middle<B>,
    /// From the coarsest to the finest.
    pub stages: Vec<DecoderStage<B>>,
    /// Before the output.
    pub norm: ChannelNorm<B>,
    /// 3x3x3, first width -> colours.
    pub output: Convolution<B>,
}

/// Residual blocks at one scale, and the step to the next.
#[derive(Module, Debug)]
pub struct DecoderStage<B: Backend> {
    /// One more than in the encoder; the first one changes the width where it has to.
    pub blocks: Vec<ResidualBlock<B>>,
    /// Not after the last stage.
    pub step: Option<Upsample<B>>,
}

impl<B: Backend> Decoder<B> {
    /// Weights are zeros until they are loaded or initialised.
    pub fn new(config: &WanVaeConfig, device: &B::Device) -> Self {
        let stage = |number: usize| {
            let (inputs, width) = config.decoder_stage(number);
            DecoderStage {
                blocks: inputs
                    .into_iter()
                    .map(|input| ResidualBlock::new(input, width, device))
                    .collect(),
                step: config
                    .decoder_step(number)
                    .map(|double_time| Upsample::new(width, double_time, device)),
            }
        };
        let stages = config.multipliers.len();
        let ((_, first), (_, last)) = (config.decoder_stage(0), config.decoder_stage(stages - 1));
        Self {
            input: Convolution::new(config.latent_channels, first, [3, 3, 3], device),
            middle: Middle::new(first, device),
            stages: (0..stages).map(stage).collect(),
            norm: ChannelNorm::new(last, device),
            output: Convolution::new(last, 3, [3, 3, 3], device),
        }
    }
}

impl<B: Kernels> Decoder<B> {
    /// `[B, F, H', W', C] -> [B, T, H, W, 3]`.
    pub(super) fn forward(&self, latents: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let mut x = self.middle.forward(self.input.causal(latents, past), past);
        for stage in &self.stages {
            for block in &stage.blocks {
                x = block.forward(x, past);
            }
            if let Some(step) = &stage.step {
                x = step.forward(x, past);
            }
        }
        self.output.causal(self.norm.activated(x), past)
    }
}

//! Frames to what the posterior is read from (docs/method.md C.2).

use burn::prelude::*;

use super::config::WanVaeConfig;
use super::layers::{ChannelNorm, Convolution, Middle, ResidualBlock};
use super::past::Past;
use super::resample::Downsample;
use crate::kernels::Kernels;

/// Full-resolution frames to twice the latent channels.
#[derive(Module, Debug)]
pub struct Encoder<B: Backend> {
    /// 3x3x3, colours -> first width.
    pub input: Convolution<B>,
    /// From the finest to the coarsest.
    pub stages: Vec<EncoderStage<B>>,
    /// At the coarsest scale.
    pub middle: Middle<B>,
    /// Before the output.
    pub norm: ChannelNorm<B>,
    /// 3x3x3, last width -> 2 C.
    pub output: Convolution<B>,
}

/// Residual blocks at one scale, and the step to the next.
#[derive(Module, Debug)]
pub struct EncoderStage<B: Backend> {
    /// The first one changes the width.
    pub blocks: Vec<ResidualBlock<B>>,
    /// Not after the last stage.
    pub step: Option<Downsample<B>>,
}

impl<B: Backend> Encoder<B> {
    /// Weights are zeros until they are loaded or initialised.
    pub fn new(config: &WanVaeConfig, device: &B::Device) -> Self {
        let stage = |number: usize| {
            let (inputs, width) = config.encoder_stage(number);
            EncoderStage {
                blocks: inputs
                    .into_iter()
                    .map(|input| ResidualBlock::new(input, width, device))
                    .collect(),
                step: config
                    .halve_time
                    .get(number)
                    .map(|halve_time| Downsample::new(width, *halve_time, device)),
            }
        };
        let (_, last) = config.encoder_stage(config.multipliers.len() - 1);
        Self {
            input: Convolution::new(3, config.base_width, [3, 3, 3], device),
            stages: (0..config.multipliers.len()).map(stage).collect(),
            middle: Middle::new(last, device),
            norm: ChannelNorm::new(last, device),
            output: Convolution::new(last, 2 * config.latent_channels, [3, 3, 3], device),
        }
    }
}

impl<B: Kernels> Encoder<B> {
    /// `[B, T, H, W, 3] -> [B, F, H', W', 2 C]`.
    pub(super) fn forward(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let mut x = self.input.causal(x, past);
        for stage in &self.stages {
            for block in &stage.blocks {
                x = block.forward(x, past);
            }
            if let Some(step) = &stage.step {
                x = step.forward(x, past);
            }
        }
        let x = self.middle.forward(x, past);
        self.output.causal(self.norm.activated(x), past)
    }
}

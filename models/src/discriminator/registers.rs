//! Register tokens on transformer features: the discriminator of Self-Forcing's GAN critic
//! (docs/method.md E.2).

use burn::module::Param;
use burn::nn::{LayerNorm, LayerNormConfig, RmsNorm, RmsNormConfig};
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::Discriminator;
use super::batch::ScoreBatch;
use crate::kernels::Kernels;
use crate::layers::{FeedForward, affine_layer_norm, layer_norm, rms_norm};
use crate::precision::Precision;
use crate::student::attention::Attention;
use crate::student::passes::NUM_TRAIN_TIMESTEPS;
use crate::student::segments::{self, Pass, Past};
use crate::student::{Limits, Student, StudentConfig, Visibility};

/// Sizes of a [`RegisterDiscriminator`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterConfig {
    /// Transformer blocks (0-based, ascending) after which a register reads the clip's tokens.
    /// Wan-1.3B: 13, 21, 29.
    pub layers: Vec<usize>,
    /// Hidden width of each reader's feed-forward network. Wan-1.3B: 8192.
    pub feed_forward_width: usize,
    /// Noise level whose timestep the backbone is told, in [0, 1]; 0 for clean clips.
    pub sigma: f32,
}

/// A bidirectional copy of the student whose features are read by one learned register per chosen
/// depth.
#[derive(Module, Debug)]
pub struct RegisterDiscriminator<B: Backend> {
    /// The transformer that reads the clip, initialised from the base student.
    pub backbone: Student<B>,
    /// One learned query per chosen depth, `[n, D]`.
    pub registers: Param<Tensor<B, 2>>,
    /// RMS norm of the registers.
    pub register_norm: RmsNorm<B>,
    /// One reader per chosen depth.
    pub readers: Vec<Reader<B>>,
    /// Norm of the joined registers, `n * D`.
    pub head_norm: LayerNorm<B>,
    /// `n * D -> D -> 1`.
    pub head: FeedForward<B>,
    layers: Vec<usize>,
    #[module(skip)]
    sigma: f32,
}

/// Cross-attention of a register to all tokens of the clip, then a feed-forward network.
#[derive(Module, Debug)]
pub struct Reader<B: Backend> {
    /// Affine norm of the tokens.
    pub norm: LayerNorm<B>,
    /// Register as query, tokens as keys and values.
    pub attention: Attention<B>,
    /// Feed-forward network with a residual.
    pub ffn: FeedForward<B>,
}

impl<B: Backend> RegisterDiscriminator<B> {
    /// A discriminator on a backbone of these sizes with unset weights.
    pub fn new(config: &RegisterConfig, student: &StudentConfig, device: &B::Device) -> Self {
        Self::around(config, Student::new(student, device), device)
    }

    /// A discriminator on this backbone; all other weights are unset.
    pub fn around(config: &RegisterConfig, backbone: Student<B>, device: &B::Device) -> Self {
        let student = backbone.config().clone();
        let width = student.width;
        let count = config.layers.len();
        let reader = || Reader {
            norm: LayerNormConfig::new(width)
                .with_epsilon(StudentConfig::EPSILON)
                .init(device),
            attention: Attention::new(width, student.heads, device),
            ffn: FeedForward::new(width, config.feed_forward_width, width, device),
        };
        Self {
            backbone,
            registers: Param::from_tensor(Tensor::zeros([count, width], device)),
            register_norm: RmsNormConfig::new(width)
                .with_epsilon(StudentConfig::EPSILON)
                .init(device),
            readers: (0..count).map(|_| reader()).collect(),
            head_norm: LayerNormConfig::new(count * width)
                .with_epsilon(StudentConfig::EPSILON)
                .init(device),
            head: FeedForward::new(count * width, width, 1, device),
            layers: config.layers.clone(),
            sigma: config.sigma,
        }
    }
}

impl<B: Backend> RegisterDiscriminator<B> {
    /// Transformer blocks (0-based, ascending) after which a register reads the clip's tokens.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The run of the backbone over clips `[B, F, C, H, W]`: every frame sees every frame.
    pub(super) fn pass<C: Backend>(&self, clips: Tensor<C, 5>) -> Pass<C> {
        let [batch, frames, ..] = clips.dims();
        Pass {
            latents: clips,
            timesteps: vec![NUM_TRAIN_TIMESTEPS * self.sigma; batch * frames],
            frames: (0..frames).collect(),
            visibility: Visibility::bidirectional(frames),
            past: Past::Nothing,
        }
    }
}

impl<B: Kernels> RegisterDiscriminator<B> {
    /// Scores `[B, 1]`, one clip at a time.
    pub fn score_one_by_one(&self, batch: &ScoreBatch<B>) -> Tensor<B, 2> {
        let score = |index| {
            let ScoreBatch { clips, text } = batch.clip(index);
            self.score(clips, text)
        };
        Tensor::cat((0..batch.len()).map(score).collect(), 0)
    }

    /// Scores `[B, 1]` of clips whose tokens after the chosen blocks are `features`, each
    /// `[B, F * S, D]`.
    pub(super) fn score_features(&self, features: Vec<Tensor<B, 3>>) -> Tensor<B, 2> {
        let registers = rms_norm(&self.register_norm, self.registers.val());
        let width = registers.dims()[1];
        let [batch, ..] = features[0].dims();
        let read = features
            .into_iter()
            .zip(&self.readers)
            .enumerate()
            .map(|(index, (tokens, reader))| {
                let register = registers
                    .clone()
                    .slice_dim(0, index..index + 1)
                    .reshape([1, 1, width])
                    .expand([batch, 1, width]);
                reader
                    .forward(register, tokens, self.backbone.limits().precision)
                    .reshape([batch, width])
            })
            .collect();
        let joined = affine_layer_norm(&self.head_norm, Tensor::<B, 2>::cat(read, 1));
        self.head.forward(joined)
    }
}

impl<B: Kernels> Discriminator<B> for RegisterDiscriminator<B> {
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        self.score_features(segments::features(
            &self.backbone,
            &text,
            self.pass(clips),
            &self.layers,
        ))
    }

    /// One clip at a time where the backbone's blocks are run again, so that memory does not grow
    /// with the clips.
    fn score_within_limits(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        if self.backbone.limits().recompute_blocks {
            self.score_one_by_one(&ScoreBatch { clips, text })
        } else {
            self.score(clips, text)
        }
    }

    fn in_pieces(&self) -> Option<&RegisterDiscriminator<B>> {
        self.backbone.limits().recompute_blocks.then_some(self)
    }
}

impl<B: Kernels> Reader<B> {
    /// Register `[B, 1, D]` and tokens `[B, S, D]` to the register's new value `[B, 1, D]`.
    fn forward(
        &self,
        register: Tensor<B, 3>,
        tokens: Tensor<B, 3>,
        precision: Precision,
    ) -> Tensor<B, 3> {
        let dtype = precision.dtype();
        let seen = self
            .attention
            .keys_values(affine_layer_norm(&self.norm, tokens).cast(dtype));
        // There is one register, and it stays in f32.
        let read = register.clone()
            + self
                .attention
                .cross(register.cast(dtype), seen, Limits::default())
                .cast(DType::F32);
        read.clone() + self.ffn.forward(layer_norm(read, StudentConfig::EPSILON))
    }
}

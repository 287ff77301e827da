//! The causal video transformer (docs/method.md B.2).

use burn::module::{Module, Param};
use burn::nn::LayerNormConfig;
use burn::prelude::*;
use burn::tensor::activation::silu;

use super::attention::{Attention, KeysValues};
pub use super::block::StudentBlock;
use super::block::{Surroundings, modulated, vector};
use super::cache::KvCache;
use super::config::{Limits, StudentConfig};
use crate::causal::{BlockLayout, Visibility};
use crate::kernels::Kernels;
use crate::layers::{FeedForward, Projection, linear};
use crate::rope::Rotation;

/// The student network: latents, timesteps and text to velocity.
#[derive(Module, Debug)]
pub struct Student<B: Backend> {
    /// Patch embedding as a linear layer over (channel, row, column) with the channel slowest:
    /// Wan's Conv3d with kernel = stride.
    pub patch_embedding: Projection<B>,
    /// Text embeddings to token width, tanh-GELU in between.
    pub text_embedding: FeedForward<B>,
    /// Sinusoidal embedding to e, first layer.
    pub time_embedding_in: Projection<B>,
    /// Sinusoidal embedding to e, second layer.
    pub time_embedding_out: Projection<B>,
    /// SiLU(e) to e0 = 6 modulation vectors.
    pub time_projection: Projection<B>,
    /// Transformer blocks.
    pub blocks: Vec<StudentBlock<B>>,
    /// Output head.
    pub head: Head<B>,
    #[module(skip)]
    config: StudentConfig,
    #[module(skip)]
    limits: Limits,
}

/// The output head; modulated by e, not e0 (docs/method.md B.2.7).
#[derive(Module, Debug)]
pub struct Head<B: Backend> {
    /// Learned part of the two modulation vectors, `[1, 2, D]`.
    pub modulation: Param<Tensor<B, 3>>,
    /// D -> patch * patch * C, channel fastest.
    pub output: Projection<B>,
}

/// Keys and values of the text embeddings per layer, computed once per prompt; each `[B, L, D]`.
#[derive(Debug, Clone)]
pub struct TextCache<B: Backend> {
    layers: Vec<KeysValues<B>>,
}

impl<B: Backend> TextCache<B> {
    /// The same, cut off from the differentiated graph.
    pub fn detach(self) -> Self {
        Self {
            layers: self
                .layers
                .into_iter()
                .map(|(keys, values)| (keys.detach(), values.detach()))
                .collect(),
        }
    }
}

/// What a forward pass reads besides the latents.
pub struct Inputs<'a, B: Backend> {
    /// Timestep t = 1000 sigma of every (sample, frame), `B * F` values, frame fastest.
    pub timesteps: &'a [f32],
    /// Absolute numbers of the latent frames.
    pub frames: &'a [usize],
    /// The prompts.
    pub text: &'a TextCache<B>,
    /// The context: clean frames to attend to.
    pub past: Option<&'a KvCache<B>>,
    /// Who sees whom.
    pub visibility: &'a Visibility,
}

impl<B: Backend> Student<B> {
    /// A student of these sizes with unset weights: follow with [`crate::init::initialise`] or load
    /// a file.
    pub fn new(config: &StudentConfig, device: &B::Device) -> Self {
        let width = config.width;
        let patch_values = config.latent_channels * config.patch * config.patch;
        let modulation = |vectors| Param::from_tensor(Tensor::zeros([1, vectors, width], device));
        let block = || StudentBlock {
            modulation: modulation(6),
            self_attn: Attention::new(width, config.heads, device),
            norm3: LayerNormConfig::new(width)
                .with_epsilon(StudentConfig::EPSILON)
                .init(device),
            cross_attn: Attention::new(width, config.heads, device),
            ffn: FeedForward::new(width, config.feed_forward_width, width, device),
        };
        Self {
            patch_embedding: linear(patch_values, width, device),
            text_embedding: FeedForward::new(config.text_width, width, width, device),
            time_embedding_in: linear(config.frequency_width, width, device),
            time_embedding_out: linear(width, width, device),
            time_projection: linear(width, 6 * width, device),
            blocks: (0..config.layers).map(|_| block()).collect(),
            head: Head {
                modulation: modulation(2),
                output: linear(width, patch_values, device),
            },
            config: config.clone(),
            limits: Limits::default(),
        }
    }

    /// The same student within other limits.
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The sizes this student was built with.
    pub fn config(&self) -> &StudentConfig {
        &self.config
    }

    /// What bounds the working memory of its passes.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How a clip of `frames` latent frames falls into this student's blocks.
    pub fn layout(&self, frames: usize) -> BlockLayout {
        BlockLayout {
            frames,
            frames_per_block: self.config.frames_per_block,
            window_frames: self.config.window_frames,
            sink_frames: self.config.sink_frames,
        }
    }
}

impl<B: Kernels> Student<B> {
    /// Text embeddings `[B, L, text_width]` to cross-attention keys and values.
    pub fn text_cache(&self, text: Tensor<B, 3>) -> TextCache<B> {
        let text = self.embed_text(text);
        TextCache {
            layers: self
                .blocks
                .iter()
                .map(|block| block.text_cache(text.clone(), self.limits.precision))
                .collect(),
        }
    }

    /// Velocity `[B, F, C, H, W]` of latents `[B, F, C, H, W]`, and the keys and values that a
    /// later frame may attend to.
    pub fn forward(&self, latents: Tensor<B, 5>, inputs: &Inputs<B>) -> (Tensor<B, 5>, KvCache<B>) {
        let shape = latents.dims();
        let (tokens, embedding, cache) = self.run(latents, inputs);
        (self.velocity(tokens, embedding, shape), cache)
    }

    /// The head: tokens `[B, F * S, D]` and e `[B * F or 1, D]` to velocity of `shape`.
    pub(super) fn velocity(
        &self,
        tokens: Tensor<B, 3>,
        embedding: Tensor<B, 2>,
        shape: [usize; 5],
    ) -> Tensor<B, 5> {
        let [groups, width] = embedding.dims();
        // b0 shift, b1 scale of e (not e0).
        let modulation = self.head.modulation.val() + embedding.reshape([groups, 1, width]);
        let modulated_tokens = modulated(tokens, vector(&modulation, 0), vector(&modulation, 1));
        self.unpatchify(self.head.output.forward(modulated_tokens), shape)
    }

    /// Text embeddings `[B, L, text_width]` as [`StudentBlock::text_cache`] reads them,
    /// `[B, L, D]`.
    pub(super) fn embed_text(&self, text: Tensor<B, 3>) -> Tensor<B, 3> {
        self.text_embedding.forward(text)
    }

    /// All blocks: tokens `[B, F * S, D]`, the time embedding e `[B * F or 1, D]`, and the
    /// sequence's own keys and values.
    fn run(
        &self,
        latents: Tensor<B, 5>,
        inputs: &Inputs<B>,
    ) -> (Tensor<B, 3>, Tensor<B, 2>, KvCache<B>) {
        let shape = latents.dims();
        let rotation = self.rotation(inputs.frames, shape);
        let embedding = self.embed_frames(inputs.timesteps, &latents.device());
        let modulation = self.modulation(embedding.clone());
        let mut tokens = self.embed_latents(latents);
        let mut layers = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let past = inputs.past.map(|cache| &cache.layers[index]);
            let text = &inputs.text.layers[index];
            let surroundings = Surroundings {
                modulation: &modulation,
                rotation: &rotation,
                past,
                text,
                visibility: inputs.visibility,
                limits: self.limits,
            };
            let (next, own) = block.forward(tokens, &surroundings);
            tokens = next;
            layers.push(own);
        }
        let tokens_per_frame = tokens.dims()[1] / shape[1];
        (
            tokens,
            embedding,
            KvCache {
                layers,
                frames: inputs.frames.to_vec(),
                tokens_per_frame,
            },
        )
    }

    /// `[B, F, C, H, W]` to tokens `[B, F * S, D]`.
    pub(super) fn embed_latents(&self, latents: Tensor<B, 5>) -> Tensor<B, 3> {
        self.patch_embedding.forward(self.patchify(latents))
    }

    /// e of every (sample, frame), `[B * F, D]`; `[1, D]` where all timesteps are one, as in every
    /// step of a rollout.
    pub(super) fn embed_frames(&self, timesteps: &[f32], device: &B::Device) -> Tensor<B, 2> {
        let one = timesteps.iter().all(|timestep| *timestep == timesteps[0]);
        self.embed_time(if one { &timesteps[..1] } else { timesteps }, device)
    }

    /// e `[n, D]` to e0 `[n, 6, D]`.
    pub(super) fn modulation(&self, embedding: Tensor<B, 2>) -> Tensor<B, 3> {
        let [embedded, width] = embedding.dims();
        self.time_projection
            .forward(silu(embedding))
            .reshape([embedded, 6, width])
    }

    /// Rotations of the tokens of latents of `shape`.
    pub(super) fn rotation(&self, frames: &[usize], shape: [usize; 5]) -> Rotation<B> {
        let [_, _, _, height, width] = shape;
        let (rows, columns) = (height / self.config.patch, width / self.config.patch);
        let device = self.patch_embedding.weight.device();
        Rotation::new(
            frames,
            rows,
            columns,
            self.config.heads,
            self.config.head_width(),
            &device,
        )
    }

    /// e = W2 SiLU(W1 sin_emb(t) + b1) + b2, `[B * F, D]`; the sinusoids are computed on the host
    /// in f64 (docs/method.md B.2.2).
    fn embed_time(&self, timesteps: &[f32], device: &B::Device) -> Tensor<B, 2> {
        let half = self.config.frequency_width / 2;
        let mut values = Vec::with_capacity(timesteps.len() * 2 * half);
        for &timestep in timesteps {
            let angle = |index: usize| {
                f64::from(timestep) * libm::pow(10_000.0, -(index as f64) / half as f64)
            };
            values.extend((0..half).map(|index| libm::cos(angle(index)) as f32));
            values.extend((0..half).map(|index| libm::sin(angle(index)) as f32));
        }
        let sinusoids =
            Tensor::from_data(TensorData::new(values, [timesteps.len(), 2 * half]), device);
        self.time_embedding_out
            .forward(silu(self.time_embedding_in.forward(sinusoids)))
    }

    /// `[B, F, C, H, W] -> [B, F * S, C * p * p]`, channel slowest inside a patch.
    fn patchify(&self, latents: Tensor<B, 5>) -> Tensor<B, 3> {
        let [batch, frames, channels, height, width] = latents.dims();
        let patch = self.config.patch;
        let (rows, columns) = (height / patch, width / patch);
        latents
            .reshape([batch * frames, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, frames * rows * columns, channels * patch * patch])
    }

    /// `[B, F * S, p * p * C]` with the channel fastest `-> [B, F, C, H, W]` (docs/method.md
    /// B.2.8).
    fn unpatchify(&self, output: Tensor<B, 3>, shape: [usize; 5]) -> Tensor<B, 5> {
        let [batch, frames, channels, height, width] = shape;
        let patch = self.config.patch;
        output
            .reshape([
                batch * frames,
                height / patch,
                width / patch,
                patch,
                patch,
                channels,
            ])
            .permute([0, 5, 1, 3, 2, 4])
            .reshape([batch, frames, channels, height, width])
    }
}

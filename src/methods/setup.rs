//! What every part of a method needs to know of its run.

use burn::prelude::*;

use crate::flow::sampler::Sampler;
use crate::flow::schedule::TrainedLevels;
use crate::recipe::Recipe;
use crate::recipe::tables::{AfdTable, Context, DiscriminatorTable};

/// What every part of a method needs to know of its run.
#[derive(Debug, Clone)]
pub struct Setup<B: Backend> {
    /// `[afd]`.
    pub afd: AfdTable,
    /// `[discriminator]`.
    pub discriminator: DiscriminatorTable,
    /// Peak learning rate of the student.
    pub learning_rate: f64,
    /// The student's few-step sampler.
    pub sampler: Sampler,
    /// Noise levels of the forward process.
    pub sigmas: TrainedLevels,
    /// Shift of continuous noise levels.
    pub shift: f64,
    /// Latent shape `[F, C, H, W]` of a clip.
    pub shape: [usize; 4],
    /// Latent frames that the student generates together.
    pub frames_per_block: usize,
    /// Seed of every random number but the teacher's.
    pub seed: u64,
    /// Clips that are rolled out, scored and learned from at once; 0 = all of them.
    pub micro_batch: usize,
    /// Where tensors live.
    pub device: B::Device,
}

impl<B: Backend> Setup<B> {
    /// The recipe's.
    pub fn new(recipe: &Recipe, device: B::Device) -> Self {
        let settings = &recipe.settings;
        Self {
            afd: settings.afd.clone(),
            discriminator: settings.discriminator.clone(),
            learning_rate: settings.optimizer.learning_rate,
            sampler: settings.sampler.build(),
            sigmas: settings.sampler.training_sigmas(settings.afd.sigmas),
            shift: settings.sampler.timestep_shift,
            shape: recipe.latent_shape,
            frames_per_block: recipe.student.frames_per_block,
            seed: settings.seed,
            micro_batch: settings.run.micro_batch,
            device,
        }
    }

    /// Values of a clip's latents.
    pub fn values_per_clip(&self) -> usize {
        self.shape.iter().product()
    }

    /// Blocks of frames in a clip.
    pub fn blocks(&self) -> usize {
        self.shape[0].div_ceil(self.frames_per_block)
    }

    /// A noise level per frame of a clip, `first` in its first block and `other` in the others.
    pub fn per_frame(&self, first: f32, other: f32) -> Vec<f32> {
        let of = |frame| {
            if frame < self.frames_per_block {
                first
            } else {
                other
            }
        };
        (0..self.shape[0]).map(of).collect()
    }

    /// Whether blocks attend to clean frames during the update.
    pub fn has_clean_context(&self) -> bool {
        self.afd.context != Context::UniformNoise
    }
}

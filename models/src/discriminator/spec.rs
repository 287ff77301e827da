//! Which discriminator, and how large: all that is needed to make one and to plan what it takes.

use burn::prelude::*;

use super::{
    AnyDiscriminator, ConvConfig, ConvDiscriminator, GraphSizes, RegisterConfig,
    RegisterDiscriminator,
};
use crate::copies::{frozen_copy, trained_copy};
use crate::init::{initialise, initialise_where};
use crate::lora::{LoraConfig, adapted, is_factor, without_factors};
use crate::student::Student;

/// Which discriminator, and how large.
#[derive(Debug, Clone, PartialEq)]
pub enum DiscriminatorSpec {
    /// Multiscale 3-D convolutions.
    Conv(ConvConfig),
    /// Register tokens on a copy of the student.
    Registers {
        /// What is read, and by what.
        config: RegisterConfig,
        /// Low-rank factors beside the frozen weights of the copy; without them it is trained.
        lora: Option<LoraConfig>,
    },
}

impl DiscriminatorSpec {
    /// A fresh discriminator for clips of the latent shape `[F, C, H, W]`. A register discriminator
    /// reads the clip with a copy of `base`.
    pub fn build<B: Backend>(
        &self,
        latents: [usize; 4],
        base: &Student<B>,
        text_width: usize,
        seed: u64,
        device: &B::Device,
    ) -> AnyDiscriminator<B> {
        match self {
            Self::Conv(config) => {
                let fresh = ConvDiscriminator::new(config, latents, text_width, device);
                AnyDiscriminator::Conv(initialise(fresh, seed, "discriminator"))
            }
            Self::Registers { config, lora } => {
                // The base student's weights; where they are frozen, in the same memory.
                let base = without_factors(base.clone());
                let backbone = match lora {
                    Some(lora) => adapted(frozen_copy(base), lora),
                    None => trained_copy(base),
                };
                let fresh = RegisterDiscriminator::around(config, backbone, device);
                let unset = |path: &str| !path.contains(".backbone.") || is_factor(path);
                let fresh = initialise_where(fresh, seed, "discriminator", unset);
                AnyDiscriminator::Registers(fresh)
            }
        }
    }

    /// What it takes for clips of the latent shape `[F, C, H, W]`; `None` with a backbone, whose
    /// transformer is planned like the student's.
    pub fn graph_sizes(&self, latents: [usize; 4], text_width: usize) -> Option<GraphSizes> {
        match self {
            Self::Conv(config) => Some(config.graph_sizes(latents, text_width)),
            Self::Registers { .. } => None,
        }
    }
}

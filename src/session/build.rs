//! The composite model of a recipe, before any training.

use std::path::Path;

use afd_models::discriminator::{AnyDiscriminator, ConvConfig, ConvDiscriminator, RegisterConfig, RegisterDiscriminator};
use afd_models::init::initialise;
use afd_models::kernels::Trainable;
use afd_models::student::{Limits, Student, StudentConfig};
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile, apply};
use burn::prelude::*;

use super::SessionError;
use crate::afd::model::AfdModel;
use crate::afd::policies::frozen_copy;
use crate::recipe::Recipe;
use crate::recipe::settings::{DiscriminatorKind, Kind};

/// A student with the weights of a file in any layout.
pub fn load_student<B: Backend>(config: &StudentConfig, path: &Path, device: &B::Device) -> Result<Student<B>, SessionError> {
    Ok(TransformerFile::find(&WeightFile::open(path, Pickles::Refused)?, None)?.load(config, device)?)
}

/// The student a recipe starts from.
pub fn base_student<B: Backend>(recipe: &Recipe, device: &B::Device) -> Result<Student<B>, SessionError> {
    let student = match &recipe.settings.student.checkpoint {
        Some(path) => load_student(&recipe.student, path, device)?,
        None => initialise(Student::new(&recipe.student, device), recipe.settings.seed, "student"),
    };
    Ok(student.within(limits(recipe)))
}

fn limits(recipe: &Recipe) -> Limits {
    let run = &recipe.settings.run;
    Limits { attention_queries: run.attention_queries, recompute_blocks: run.recompute_blocks }
}

/// A fresh discriminator; a register discriminator reads the clip with a copy of the base student.
pub fn discriminator<B: Backend>(recipe: &Recipe, base: &Student<B>, seed: u64, device: &B::Device) -> AnyDiscriminator<B> {
    let settings = &recipe.settings.discriminator;
    match settings.kind {
        DiscriminatorKind::Conv => {
            let config = ConvConfig { channels: settings.channels.clone(), width: settings.width };
            let fresh = ConvDiscriminator::new(&config, recipe.latent_shape(), recipe.student.text_width, device);
            AnyDiscriminator::Conv(initialise(fresh, seed, "discriminator"))
        }
        DiscriminatorKind::Registers => {
            let config = RegisterConfig { layers: settings.layers.clone(), feed_forward_width: settings.width, sigma: 0.0 };
            let mut fresh = initialise(RegisterDiscriminator::new(&config, &recipe.student, device), seed, "discriminator");
            fresh.backbone = apply(fresh.backbone, afd_models::weights::collect(base), "the base student")
                .unwrap_or_else(|_| unreachable!("the backbone has the student's sizes"))
                .within(limits(recipe));
            AnyDiscriminator::Registers(fresh)
        }
    }
}

/// Student, lagging copies and discriminator as the recipe's method needs them.
pub fn model<B: Trainable>(recipe: &Recipe, device: &B::Device) -> Result<AfdModel<B>, SessionError> {
    let student = base_student::<B>(recipe, device)?;
    let copy = || frozen_copy::<B, _>(Student::new(&recipe.student, device).within(limits(recipe)), &student);
    let distils = recipe.settings.kind == Kind::Distill;
    let evaluation = copy();
    let old = distils.then(copy);
    let reference = (distils && recipe.settings.afd.reference_weight > 0.0).then(copy);
    let discriminator = distils.then(|| discriminator(recipe, &student, recipe.settings.seed, device));
    Ok(AfdModel { student, old, reference, evaluation, discriminator })
}

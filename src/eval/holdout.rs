//! Pair accuracy of a freshly trained discriminator: can it still tell the student from the
//! teacher? 0.5 = no.

use afd_models::discriminator::{ConvConfig, ConvDiscriminator, Discriminator};
use afd_models::init::initialise;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::noise::{Noise, Purpose};
use burn::module::AutodiffModule;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::prelude::*;

use crate::data::batch::{BatchError, Batches};
use crate::data::video::Clip;
use crate::methods::feedback::bradley_terry;
use crate::recipe::Recipe;

pub use afd_metrics::table::PromptGroup;

/// Prompts scored in one update.
const PROMPTS: usize = 4;
/// Clips per prompt and side in one update.
const CLIPS: usize = 8;

/// Trains a discriminator that nothing was optimised against on the first half of every prompt's
/// clips and gives its pair accuracy on the second half, prompt by prompt. It shares nothing with
/// the run's own discriminator: other weights, other seed, other clips.
///
/// `None` for a prompt with a single clip on either side: none is tested that was trained on.
pub fn pair_accuracies<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    groups: &[PromptGroup],
    device: &B::Device,
) -> Result<Vec<Option<f64>>, BatchError> {
    match discriminator::<B>(recipe, batches, groups, device)? {
        Some(discriminator) => accuracies(&discriminator, batches, groups),
        None => Ok(vec![None; groups.len()]),
    }
}

/// Whether each side has a clip to train on and another one to test.
fn has_halves((_, real, made): &PromptGroup) -> bool {
    real.len().min(made.len()) >= 2
}

/// The discriminator of [`pair_accuracies`], trained; `None` where no prompt has clips enough.
pub fn discriminator<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    groups: &[PromptGroup],
    device: &B::Device,
) -> Result<Option<ConvDiscriminator<B::InnerBackend>>, BatchError> {
    let groups: Vec<&PromptGroup> = groups.iter().filter(|group| has_halves(group)).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let config = ConvConfig {
        channels: vec![24, 48, 48],
        width: 48,
    };
    let fresh = ConvDiscriminator::<B>::new(
        &config,
        recipe.latent_shape,
        recipe.student.text_width,
        device,
    );
    let mut discriminator = initialise(fresh, recipe.settings.seed ^ 0x4a75_6467, "holdout");
    let mut optimizer = AdamWConfig::new()
        .with_beta_1(0.5)
        .with_beta_2(0.99)
        .with_epsilon(1e-8)
        .with_weight_decay(0.0)
        .init::<B, _>();
    for step in 0..recipe.settings.evaluation.holdout_steps {
        let mut draw = Noise::new(recipe.settings.seed, Purpose::Evaluation, step, 0);
        let (mut teacher, mut student, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PROMPTS {
            let (prompt, real, made) = groups[draw.below(groups.len())];
            prompts.push(prompt.clone());
            for _ in 0..CLIPS {
                teacher.push(real[draw.below(real.len() / 2)].clone());
                student.push(made[draw.below(made.len() / 2)].clone());
            }
        }
        let text = Tensor::<B, 3>::from_inner(batches.text(&prompts, CLIPS)?);
        let score = |clips: &[Clip], side: u64| {
            let latents = Tensor::<B, 5>::from_inner(batches.encode(clips));
            let values = Noise::new(recipe.settings.seed, Purpose::InstanceNoise, step, side)
                .normals(latents.dims().iter().product());
            let noise = Tensor::<B, 5>::from_data(TensorData::new(values, latents.dims()), device);
            discriminator
                .score(latents + noise * 0.05, text.clone())
                .reshape([PROMPTS, CLIPS])
        };
        let loss = bradley_terry::loss(score(&teacher, 0), score(&student, 1));
        let gradients = GradientsParams::from_grads(loss.backward(), &discriminator);
        discriminator = optimizer.step(1e-3, discriminator, gradients);
    }
    Ok(Some(discriminator.valid()))
}

/// A discriminator's pair accuracy on the second half of every prompt's clips; `None` where a side
/// has no second half.
pub fn accuracies<B: Kernels>(
    discriminator: &ConvDiscriminator<B>,
    batches: &Batches<B>,
    groups: &[PromptGroup],
) -> Result<Vec<Option<f64>>, BatchError> {
    let of_group = |group: &PromptGroup| {
        if !has_halves(group) {
            return Ok(None);
        }
        let (prompt, real, made) = group;
        let (real, made) = (&real[real.len() / 2..], &made[made.len() / 2..]);
        let score = |clips: &[Clip]| -> Result<_, BatchError> {
            let text = batches.text(std::slice::from_ref(prompt), clips.len())?;
            Ok(discriminator
                .score(batches.encode(clips), text)
                .reshape([1, clips.len()]))
        };
        Ok(Some(
            bradley_terry::pair_accuracy(score(real)?, score(made)?).0,
        ))
    };
    groups.iter().map(of_group).collect()
}

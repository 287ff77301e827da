//! Reverse-chain reinforcement learning, the baseline: clipped policy-gradient updates (GRPO) on
//! the sampler's own Gaussian steps (docs/method.md H.5).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::passes::{CleanContext, prefill, velocities};
use afd_models::student::segments::Pass;
use afd_models::student::{BlockLayout, KvCache, Student};
use burn::prelude::*;

use super::feedback::ScoredPart;
use super::forward_process::loss::block_mean;
use super::samples::{OldContext, Samples, state_pass};
use super::setup::Setup;
use super::update::{MicroBatch, Policies, RolloutUpdate};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::rounds::RoundError;
use crate::engine::update::{RunLoss, StudentUpdate, scalar};
use crate::flow::path::{clean_estimate, levels};
use crate::flow::sampler::{Sampler, noise_shares};
use crate::recipe::tables::ReverseChainTable;

/// Name of the loss in the log.
pub const LOSS: &str = "reverse_chain_loss";

/// The student's update in reverse-chain learning. Rollouts are drawn by steps that have a density.
pub struct ReverseChain<B: Trainable> {
    setup: Arc<Setup<B::InnerBackend>>,
    table: ReverseChainTable,
}

impl<B: Trainable> ReverseChain<B> {
    /// The update of the run that `setup` describes.
    pub fn new(setup: Arc<Setup<B::InnerBackend>>, table: ReverseChainTable) -> Self {
        Self { setup, table }
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> RolloutUpdate<B, D> for ReverseChain<B> {
    fn sampler(&self, _round: u64) -> Sampler {
        let mut sampler = self.setup.sampler.clone();
        if sampler.fresh_noise == 0.0 {
            sampler.fresh_noise = self.table.fresh_noise;
        }
        sampler
    }

    fn reads_states(&self) -> bool {
        true
    }

    fn micro_batches(
        &self,
        part: &ScoredPart<B::InnerBackend>,
        r: &[Vec<Vec<f64>>],
        _progress: f64,
        policies: &Policies<'_, B>,
    ) -> Result<Vec<Box<dyn MicroBatch<B, D>>>, RoundError> {
        let micro_batches = Samples::rollouts(part, r).micro_batches(&self.setup);
        let holds = micro_batches.len() == 1;
        let batch = |samples: Samples<_>| {
            let old = holds.then(|| OldContext::of(&self.setup, policies.old, &samples));
            let batch = ChainBatch {
                setup: self.setup.clone(),
                table: self.table.clone(),
                samples,
                old,
            };
            Box::new(batch) as Box<dyn MicroBatch<B, D>>
        };
        Ok(micro_batches
            .into_iter()
            .map(|(_, samples)| batch(samples))
            .collect())
    }
}

struct ChainBatch<B: Backend> {
    setup: Arc<Setup<B>>,
    table: ReverseChainTable,
    samples: Samples<B>,
    old: Option<OldContext<B>>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> MicroBatch<B, D> for ChainBatch<B::InnerBackend> {
    fn clips(&self) -> usize {
        self.samples.clips.len()
    }

    /// One random step of every clip's chain.
    fn update(
        &self,
        [round, step]: [u64; 2],
        policies: &Policies<'_, B>,
    ) -> Box<dyn StudentUpdate<B, D>> {
        let (setup, samples) = (&self.setup, &self.samples);
        let (old, sampler) = (policies.old, policies.sampler);
        let [batch, frames, ..] = samples.latents.dims();
        // The step of a clip's first block, and of the others: the same unless it has levels of its
        // own.
        let draw = |clip: &u64| {
            let mut draw = Noise::new(setup.seed, Purpose::Sigma, round, step << 32 | clip);
            let other = draw.below(sampler.sigmas.len() - 1);
            let own = sampler.first_block.as_ref();
            [
                own.map_or(other, |levels| draw.below(levels.len() - 1)),
                other,
            ]
        };
        let drawn: Vec<[usize; 2]> = samples.clips.iter().map(draw).collect();
        let of = |after: usize| {
            let states = drawn.iter().enumerate().map(|(row, steps)| {
                let [first, other] = steps.map(|step| {
                    let state = samples.states[step + after].clone();
                    state.slice_dim(0, row..row + 1)
                });
                with_first_frames(first, other, setup.frames_per_block)
            });
            let sigmas: Vec<f32> = drawn
                .iter()
                .flat_map(|[first, other]| {
                    let first = sampler.levels(true)[first + after];
                    setup.per_frame(first, sampler.levels(false)[other + after])
                })
                .collect();
            let level = levels(&sigmas, batch, frames, &setup.device);
            (Tensor::cat(states.collect(), 0), level, sigmas)
        };
        let ((from, sigma, sigmas), (to, next, _)) = (of(0), of(1));
        let read = || OldContext::of(setup, old, samples);
        let OldContext { text, cache } = self.old.clone().unwrap_or_else(read);
        let context = CleanContext::on(old, frames, cache);
        let old_velocity = velocities(old, from.clone(), &sigmas, &text, &context);
        let reference = policies.reference.map(|reference| {
            let text = reference.text_cache(samples.text.clone());
            let cache = Some(prefill(reference, samples.latents.clone(), 0.0, &text));
            let context = CleanContext::on(reference, frames, cache);
            let velocity = velocities(reference, from.clone(), &sigmas, &text, &context);
            (velocity, self.table.divergence_weight)
        });
        let clip = setup.afd.advantage_clip as f32;
        Box::new(ReverseChainUpdate {
            clean: samples.latents.clone(),
            steps: ChainSteps {
                from,
                to,
                sigma,
                next,
                fresh_noise: sampler.fresh_noise,
            },
            sigmas,
            text: samples.text.clone(),
            old_velocity,
            reference,
            advantage: samples.per_clip(setup, |r| (r - 0.5) * 2.0 * clip),
            clip_range: self.table.clip_range,
        })
    }
}

/// The first `count` frames of `first` and the other frames of `other`, both `[B, F, C, H, W]`.
fn with_first_frames<B: Backend>(
    first: Tensor<B, 5>,
    other: Tensor<B, 5>,
    count: usize,
) -> Tensor<B, 5> {
    let frames = other.dims()[1];
    if count >= frames {
        return first;
    }
    let parts = [
        first.slice_dim(1, 0..count),
        other.slice_dim(1, count..frames),
    ];
    Tensor::cat(parts.into(), 1)
}

/// One step of the sampler's chain per clip: from a state at one noise level to the state that was
/// drawn at the next.
#[derive(Debug, Clone)]
pub struct ReverseChainUpdate<B: Backend> {
    /// Finished clips that blocks attend to, `[B, F, C, H, W]`.
    pub clean: Tensor<B, 5>,
    /// The steps.
    pub steps: ChainSteps<B>,
    /// Noise level of every (sample, frame) of the states that the steps start from, frame fastest.
    pub sigmas: Vec<f32>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// Velocity of the policy that drew the steps, `[B, F, C, H, W]`.
    pub old_velocity: Tensor<B, 5>,
    /// The reference's velocity `[B, F, C, H, W]`, and the weight of the divergence from it.
    pub reference: Option<(Tensor<B, 5>, f64)>,
    /// Advantage of each clip, `[B, 1, 1, 1, 1]`, or of each block, `[B, F, 1, 1, 1]`.
    pub advantage: Tensor<B, 5>,
    /// Ratios beyond 1 +- this earn nothing more, > 0.
    pub clip_range: f64,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> StudentUpdate<B, D>
    for ReverseChainUpdate<B::InnerBackend>
{
    fn text(&self) -> &Tensor<B::InnerBackend, 3> {
        &self.text
    }

    fn frozen_context(&self) -> Option<&Tensor<B::InnerBackend, 5>> {
        Some(&self.clean)
    }

    fn passes(
        &self,
        student: &Student<B>,
        cache: Option<&KvCache<B::InnerBackend>>,
        _run: usize,
    ) -> Vec<Pass<B::InnerBackend>> {
        vec![state_pass(student, &self.steps.from, &self.sigmas, cache)]
    }

    /// The clipped surrogate, and the divergence from the reference.
    fn loss(&self, velocity: Tensor<B, 5>, model: &AfdModel<B, D>, _run: usize) -> RunLoss<B> {
        let lifted =
            |tensor: &Tensor<B::InnerBackend, 5>| Tensor::<B, 5>::from_inner(tensor.clone());
        let steps = ChainSteps {
            from: lifted(&self.steps.from),
            to: lifted(&self.steps.to),
            sigma: lifted(&self.steps.sigma),
            next: lifted(&self.steps.next),
            fresh_noise: self.steps.fresh_noise,
        };
        let layout = model.student.layout(self.clean.dims()[1]);
        let log_ratio = steps.log_ratio(velocity.clone(), lifted(&self.old_velocity), &layout);
        let (mut value, outside, shift) =
            surrogate(log_ratio, lifted(&self.advantage), self.clip_range);
        let mut scalars = vec![
            (LOSS, scalar(&value)),
            ("clipped_ratios", outside),
            ("ratio_shift", shift),
        ];
        if let Some((reference, weight)) = &self.reference {
            let divergence = steps.divergence(velocity, lifted(reference));
            scalars.push(("divergence", scalar(&divergence)));
            value = value + divergence * *weight;
        }
        RunLoss {
            value,
            share: 1.0,
            scalars,
        }
    }
}

/// Steps of a chain, `[B, F, C, H, W]` with noise levels `[B, F, 1, 1, 1]`.
#[derive(Debug, Clone)]
pub struct ChainSteps<B: Backend> {
    /// The states that the velocity is asked for.
    pub from: Tensor<B, 5>,
    /// The states that were drawn.
    pub to: Tensor<B, 5>,
    /// Noise levels of `from`.
    pub sigma: Tensor<B, 5>,
    /// Noise levels of `to`, > 0.
    pub next: Tensor<B, 5>,
    /// Share of fresh noise, in (0, 1]; see [`crate::flow::sampler::Sampler`].
    pub fresh_noise: f64,
}

impl<B: Backend> ChainSteps<B> {
    /// Mean of the Gaussian that a velocity draws the next state from.
    fn mean(&self, velocity: Tensor<B, 5>) -> Tensor<B, 5> {
        let (kept, _) = noise_shares(self.fresh_noise);
        let clean = clean_estimate(self.from.clone(), velocity.clone(), &self.sigma);
        let noise = self.from.clone() + velocity * (-self.sigma.clone() + 1.0);
        clean * (-self.next.clone() + 1.0) + noise * self.next.clone() * kept
    }

    /// Its variance, `[B, F, 1, 1, 1]`.
    fn variance(&self) -> Tensor<B, 5> {
        let (_, drawn) = noise_shares(self.fresh_noise);
        (self.next.clone() * drawn).square()
    }

    /// `log p_velocity(to) - log p_old(to)`, the mean over a block's values, repeated for each of
    /// its frames: `[B, F, 1, 1, 1]`.
    ///
    /// The difference of the two squares is taken before they are: they differ in their last digits
    /// only.
    pub fn log_ratio(
        &self,
        velocity: Tensor<B, 5>,
        old: Tensor<B, 5>,
        layout: &BlockLayout,
    ) -> Tensor<B, 5> {
        let (mean, old) = (self.mean(velocity), self.mean(old));
        let middle = (mean.clone() + old.clone()) * 0.5;
        block_mean(
            (mean - old) * (self.to.clone() - middle) / self.variance(),
            layout,
        )
    }

    /// Kullback-Leibler divergence of the steps of `velocity` from those of `reference`, the mean
    /// over all values.
    pub fn divergence(&self, velocity: Tensor<B, 5>, reference: Tensor<B, 5>) -> Tensor<B, 1> {
        ((self.mean(velocity) - self.mean(reference)).square() / (self.variance() * 2.0)).mean()
    }
}

/// The clipped surrogate `-mean min(ratio A, clip(ratio, 1 - e, 1 + e) A)`, the share of ratios
/// outside the clip, and the mean of |ratio - 1|.
///
/// `log_ratio` is `[B, F, 1, 1, 1]`, `advantage` is `[B, 1, 1, 1, 1]`.
pub fn surrogate<B: Backend>(
    log_ratio: Tensor<B, 5>,
    advantage: Tensor<B, 5>,
    clip_range: f64,
) -> (Tensor<B, 1>, f64, f64) {
    let ratio = log_ratio.exp();
    let gain = ratio.clone() * advantage.clone();
    let clipped = ratio.clone().clamp(1.0 - clip_range, 1.0 + clip_range) * advantage;
    let away = (ratio - 1.0).abs();
    let outside = away
        .clone()
        .greater_elem(clip_range)
        .float()
        .mean()
        .into_scalar()
        .elem::<f64>();
    let shift = away.mean().into_scalar().elem::<f64>();
    (-gain.min_pair(clipped).mean(), outside, shift)
}

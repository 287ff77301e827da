//! Where the baselines depart from the alternation (method.md H).

use std::ops::Range;

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::Student;
use burn::module::AutodiffModule;
use burn::prelude::*;

use super::Alternation;
use super::flow::{Held, Samples};
use super::pairs::{Sides, Texts};
use crate::afd::direct::DirectWork;
use crate::afd::model::{CleanContext, prefill, velocities};
use crate::afd::reverse_chain::{ChainSteps, ReverseChainWork};
use crate::afd::strategy::{LearnerHandle, RoundError, RoundState};
use crate::flow::path::levels;
use crate::flow::sampler::Sampler;
use crate::recipe::settings::Method;

/// Streams of a round that belong to no clip.
const WHOLE_ROUND: u64 = u64::MAX;
/// Growth of the penalties per alternation in which the discriminator is too sure.
const PENALTY_GROWTH: f64 = 1.02;
/// Their largest scale.
const LARGEST_PENALTY: f64 = 1e3;

impl<B: Trainable> Alternation<B> {
    /// The round whose prompts, teacher clips and noise a round draws: its own, or, offline, one of
    /// the first after the warm-up.
    pub(super) fn drawn_round(&self, state: &RoundState) -> u64 {
        match (self.method, state.warm_up_rounds) {
            (Method::Offline, Some(warm_up)) => {
                warm_up + (state.round - warm_up) % self.afd.offline_rounds
            }
            _ => state.round,
        }
    }

    /// Whether the discriminator rests after the warm-up.
    pub(super) fn learns_once(&self) -> bool {
        matches!(self.method, Method::FrozenDiscriminator | Method::Offline)
    }

    /// Whether updates read the states on the way to the rollouts.
    pub(super) fn learns_from_states(&self) -> bool {
        matches!(
            self.method,
            Method::DirectAdversarial | Method::ReverseChain
        )
    }

    /// The prompts whose teacher clips are shown for `asked`.
    pub(super) fn paired(&self, asked: &[String]) -> Vec<String> {
        let mut shown = asked.to_vec();
        if self.afd.shuffled_pairs {
            shown.rotate_left(1);
        }
        shown
    }

    /// The sampler of a round's rollouts: with density for reverse-chain learning, up to a random
    /// exit for direct adversarial training.
    pub(super) fn round_sampler(&self, round: u64) -> Sampler {
        let mut sampler = self.sampler.clone();
        match self.method {
            Method::ReverseChain if sampler.fresh_noise == 0.0 => {
                sampler.fresh_noise = self.reverse_chain.fresh_noise
            }
            Method::DirectAdversarial => {
                let exit = Noise::new(self.seed, Purpose::Sigma, round, WHOLE_ROUND)
                    .below(sampler.sigmas.len());
                sampler.sigmas.truncate(exit + 1);
            }
            _ => {}
        }
        sampler
    }

    /// The scale of the penalties after a round's pair accuracy.
    pub(super) fn penalty_scale(&self, scale: Option<f64>, accuracy: f64) -> Option<f64> {
        let target = self.discriminator.penalty_target;
        if target >= 1.0 {
            return scale;
        }
        let scale = scale.unwrap_or(1.0);
        let moved = if accuracy > target {
            scale * PENALTY_GROWTH
        } else {
            scale / PENALTY_GROWTH
        };
        Some(moved.clamp(1.0, LARGEST_PENALTY))
    }

    /// Teacher clips per prompt that the flow update learns from when `share` of the alternations
    /// are done.
    pub(super) fn positives(&self, share: f64) -> usize {
        let [from, to] = self.afd.teacher_positives_span;
        let on = (from..to).contains(&share) && !self.learns_from_states();
        if on { self.afd.teacher_positives } else { 0 }
    }

    /// Clips that a round's discriminator updates take forwards and backwards.
    pub(super) fn discriminator_steps_cost(&self) -> u64 {
        let settings = &self.discriminator;
        let teachers = self.afd.teacher_clips_per_prompt;
        let both = teachers + self.afd.rollouts_per_prompt;
        let times = if settings.r1_weight > 0.0 || settings.r2_weight > 0.0 {
            2
        } else {
            1
        };
        let mismatched = if settings.mismatch_weight > 0.0 {
            teachers
        } else {
            0
        };
        self.afd.discriminator_steps
            * ((times * both + mismatched) * self.afd.prompts_per_alternation) as u64
    }

    /// Scores of the teacher clips by the updated discriminator, per part and prompt; for direct
    /// adversarial training only.
    pub(super) fn judged_again(
        &self,
        learner: &dyn LearnerHandle<B>,
        parts: &[Range<usize>],
        sides: &[Sides<B::InnerBackend>],
        texts: &[Texts<B::InnerBackend>],
    ) -> Result<Vec<Vec<Vec<f64>>>, RoundError> {
        if self.method != Method::DirectAdversarial {
            return Ok(Vec::new());
        }
        let discriminator = learner
            .model()
            .discriminator
            .ok_or(RoundError::NoDiscriminator)?
            .valid();
        let teachers = self.afd.teacher_clips_per_prompt;
        let score = |index: usize, _| {
            self.scores(
                &discriminator,
                &sides[index].teacher,
                &texts[index].teacher,
                teachers,
            )
        };
        Ok(learner.shards().map(parts.to_vec(), score))
    }

    /// The gradient of the game through the last step of every block.
    pub(super) fn direct_work(
        &self,
        round: u64,
        step: u64,
        samples: &Samples<B::InnerBackend>,
        sampler: &Sampler,
    ) -> DirectWork<B::InnerBackend> {
        let dims = samples.latents.dims();
        let [batch, frames, ..] = dims;
        let last = sampler.sigmas.len() - 1;
        let sigmas = vec![sampler.sigmas[last]; batch * frames];
        let (shown, scores) = samples
            .judged
            .clone()
            .unwrap_or_else(|| unreachable!("the samples of this method are judged"));
        let scores_per_clip = scores.first().map_or(0, Vec::len);
        let scores: Vec<f32> = scores.concat().iter().map(|score| *score as f32).collect();
        let noise = (self.discriminator.instance_noise > 0.0).then(|| {
            let draw = |clip: &u64| {
                // A side of its own: 0 to 2 are the discriminator's.
                let index = (3 + step) << 40 | clip;
                Noise::new(self.seed, Purpose::InstanceNoise, round, index)
                    .normals(dims[1..].iter().product())
            };
            let values: Vec<f32> = samples.clips.iter().flat_map(draw).collect();
            Tensor::<B::InnerBackend, 5>::from_data(TensorData::new(values, dims), &self.device)
                * self.discriminator.instance_noise
        });
        DirectWork {
            clean: samples.latents.clone(),
            states: samples.states[last].clone(),
            levels: levels(&sigmas, batch, frames, &self.device),
            sigmas,
            text: samples.rows.clone(),
            teacher_scores: Tensor::from_data(
                TensorData::new(scores, [batch, scores_per_clip]),
                &self.device,
            ),
            equalised: Some(shown),
            noise,
            loss: self.discriminator.loss,
        }
    }

    /// One random step of every clip's chain.
    pub(super) fn chain_work(
        &self,
        round: u64,
        step: u64,
        samples: &Samples<B::InnerBackend>,
        sampler: &Sampler,
        old: &Student<B::InnerBackend>,
        reference: Option<&Student<B::InnerBackend>>,
    ) -> ReverseChainWork<B::InnerBackend> {
        let [batch, frames, ..] = samples.latents.dims();
        let draw = |clip: &u64| {
            Noise::new(self.seed, Purpose::Sigma, round, step << 32 | clip)
                .below(sampler.sigmas.len() - 1)
        };
        let drawn: Vec<usize> = samples.clips.iter().map(draw).collect();
        let of = |after: usize| {
            let states = drawn.iter().enumerate().map(|(row, level)| {
                samples.states[level + after]
                    .clone()
                    .slice_dim(0, row..row + 1)
            });
            let sigmas: Vec<f32> = drawn
                .iter()
                .flat_map(|level| vec![sampler.sigmas[level + after]; frames])
                .collect();
            (
                Tensor::cat(states.collect(), 0),
                levels(&sigmas, batch, frames, &self.device),
                sigmas,
            )
        };
        let ((from, sigma, sigmas), (to, next, _)) = (of(0), of(1));
        let Held { text, cache } = samples
            .held
            .clone()
            .unwrap_or_else(|| self.held(old, samples));
        let old_velocity = velocities(
            old,
            from.clone(),
            &sigmas,
            &text,
            &CleanContext::on(old, frames, cache),
        );
        let reference = reference.map(|reference| {
            let text = reference.text_cache(samples.rows.clone());
            let cache = Some(prefill(reference, samples.latents.clone(), 0.0, &text));
            let velocity = velocities(
                reference,
                from.clone(),
                &sigmas,
                &text,
                &CleanContext::on(reference, frames, cache),
            );
            (velocity, self.reverse_chain.divergence_weight)
        });
        let advantages: Vec<f32> = samples
            .r
            .iter()
            .map(|r| (r - 0.5) * 2.0 * self.afd.advantage_clip as f32)
            .collect();
        ReverseChainWork {
            clean: samples.latents.clone(),
            steps: ChainSteps {
                from,
                to,
                sigma,
                next,
                fresh_noise: sampler.fresh_noise,
            },
            sigmas,
            text: samples.rows.clone(),
            old_velocity,
            reference,
            advantage: Tensor::from_data(
                TensorData::new(advantages, [batch, 1, 1, 1, 1]),
                &self.device,
            ),
            clip_range: self.reverse_chain.clip_range,
        }
    }
}

//! The student's side of an alternation: what its forward-process updates learn from.

use std::ops::Range;

use afd_models::kernels::{Kernels, Trainable};
use afd_models::noise::{Noise, Purpose};
use afd_models::student::{KvCache, Student, TextCache};
use burn::prelude::*;

use super::Alternation;
use super::pairs::{Sides, Texts};
use crate::afd::forward_process::{ForwardProcessSettings, Noised};
use crate::afd::model::{CleanContext, Context, FlowWork, prefill, velocities};
use crate::afd::shards::micro_batches;
use crate::flow::path::levels;
use crate::flow::schedule::draw_sigma;
use crate::recipe::settings::{Method, OldPolicy};
use crate::rollout::Rollout;

/// What a part's flow updates learn from.
pub(super) struct Samples<B: Backend> {
    /// Clean clips `[B, F, C, H, W]`: rollouts, then teacher clips.
    pub latents: Tensor<B, 5>,
    /// What the old policy remembers of the rollouts, if that is kept.
    pub cache: Option<KvCache<B>>,
    /// What the old policy reads and remembers of all clips, if it is held from one update to the
    /// next.
    pub held: Option<Held<B>>,
    /// Text rows `[B, L, text_width]`.
    pub rows: Tensor<B, 3>,
    /// Numbers of the clips within the round: each has a stream of noise of its own.
    pub clips: Vec<u64>,
    /// Optimality of each clip.
    pub r: Vec<f32>,
    /// What the student was shown on the way to the rollouts, per noise level; empty where the
    /// method does not learn from it.
    pub states: Vec<Tensor<B, 5>>,
    /// The rollouts as the discriminator sees them, and the scores of the same prompt's teacher
    /// clips for each, `[B][M]`; for direct adversarial training only.
    pub judged: Option<(Tensor<B, 5>, Vec<Vec<f64>>)>,
}

/// Text, and clean frames where blocks look back at them, as the old policy sees them.
#[derive(Clone)]
pub(super) struct Held<B: Backend> {
    pub text: TextCache<B>,
    pub cache: Option<KvCache<B>>,
}

/// Added to the numbers of teacher clips, which count from zero like the rollouts.
const TEACHER_CLIPS: u64 = 1 << 31;

impl<B: Trainable> Alternation<B> {
    /// The rollouts with their r and `positives` teacher clips per prompt with r = 1; `part`
    /// numbers the prompts.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn samples(
        &self,
        own: &Rollout<B::InnerBackend>,
        r: &[Vec<f64>],
        texts: &Texts<B::InnerBackend>,
        sides: &Sides<B::InnerBackend>,
        teacher_scores: &[Vec<f64>],
        positives: usize,
        part: Range<usize>,
    ) -> Samples<B::InnerBackend> {
        let per_prompt = self.afd.rollouts_per_prompt;
        let per_rollout = || {
            teacher_scores
                .iter()
                .flat_map(|scores| std::iter::repeat_n(scores.clone(), per_prompt))
                .collect()
        };
        let mut samples = Samples {
            latents: own.latents.clone(),
            cache: own.cache.clone(),
            held: None,
            rows: texts.student.clone(),
            clips: own.clips.clone().collect(),
            r: r.concat().iter().map(|value| *value as f32).collect(),
            states: own.states.clone(),
            judged: (self.method == Method::DirectAdversarial)
                .then(|| (sides.student.clone(), per_rollout())),
        };
        if positives == 0 {
            return samples;
        }
        let of = self.afd.teacher_clips_per_prompt;
        let chosen: Vec<Range<usize>> = (0..part.len())
            .map(|prompt| prompt * of..prompt * of + positives)
            .collect();
        samples.latents = with_chosen(samples.latents, &sides.teacher, &chosen);
        samples.rows = with_chosen(samples.rows, &texts.teacher, &chosen);
        samples.clips.extend(
            (part.start * positives..part.end * positives).map(|clip| TEACHER_CLIPS | clip as u64),
        );
        samples.r.resize(samples.clips.len(), 1.0);
        samples
    }

    /// The samples in parts of at most `run.micro_batch`. What the old policy sees of them is
    /// held only if they stay together.
    pub(super) fn split(
        &self,
        samples: Samples<B::InnerBackend>,
        old: &Student<B::InnerBackend>,
    ) -> Vec<Samples<B::InnerBackend>> {
        let micro_batches = micro_batches(samples.clips.len(), self.micro_batch);
        if micro_batches.len() == 1 {
            let compares = match self.method {
                Method::DirectAdversarial => false,
                Method::ReverseChain => true,
                _ => self.afd.old_policy == OldPolicy::Lagging,
            };
            let held = compares.then(|| self.held(old, &samples));
            return vec![Samples { held, ..samples }];
        }
        let part = |range: Range<usize>| Samples {
            latents: samples.latents.clone().slice_dim(0, range.clone()),
            cache: None,
            held: None,
            rows: samples.rows.clone().slice_dim(0, range.clone()),
            clips: samples.clips[range.clone()].to_vec(),
            states: samples
                .states
                .iter()
                .map(|state| state.clone().slice_dim(0, range.clone()))
                .collect(),
            judged: samples.judged.as_ref().map(|(clips, scores)| {
                (
                    clips.clone().slice_dim(0, range.clone()),
                    scores[range.clone()].to_vec(),
                )
            }),
            r: samples.r[range].to_vec(),
        };
        micro_batches.into_iter().map(part).collect()
    }

    pub(super) fn held(
        &self,
        old: &Student<B::InnerBackend>,
        samples: &Samples<B::InnerBackend>,
    ) -> Held<B::InnerBackend> {
        let text = old.text_cache(samples.rows.clone());
        let has_context = self.afd.context != Context::UniformNoise;
        let cache = has_context
            .then(|| prefilled(old, samples, &text))
            .flatten();
        Held { text, cache }
    }

    /// Noised samples with the velocities that the loss compares the student's with.
    pub(super) fn flow_work(
        &self,
        round: u64,
        step: u64,
        samples: &Samples<B::InnerBackend>,
        old: &Student<B::InnerBackend>,
        reference: Option<&Student<B::InnerBackend>>,
    ) -> FlowWork<B::InnerBackend> {
        let (clips, sigmas) = self.noised(round, step, samples);
        let noisy_past = self.afd.context == Context::UniformNoise;
        let frames = self.shape[0];
        let context = |student: &Student<_>, cache| {
            if noisy_past {
                CleanContext::none(student, frames)
            } else {
                CleanContext::on(student, frames, cache)
            }
        };
        let old_velocity = (self.afd.old_policy == OldPolicy::Lagging).then(|| {
            let Held { text, cache } = samples
                .held
                .clone()
                .unwrap_or_else(|| self.held(old, samples));
            velocities(old, clips.state(), &sigmas, &text, &context(old, cache))
        });
        let reference = reference.map(|reference| {
            let text = reference.text_cache(samples.rows.clone());
            let cache =
                (!noisy_past).then(|| prefill(reference, samples.latents.clone(), 0.0, &text));
            (
                velocities(
                    reference,
                    clips.state(),
                    &sigmas,
                    &text,
                    &context(reference, cache),
                ),
                self.afd.reference_weight,
            )
        });
        let r = TensorData::new(samples.r.clone(), [samples.r.len(), 1, 1, 1, 1]);
        FlowWork {
            clips,
            sigmas,
            r: Tensor::from_data(r, &self.device),
            text: samples.rows.clone(),
            old_velocity,
            reference,
            context: self.afd.context,
            detach_context: self.afd.detach_context,
            settings: ForwardProcessSettings {
                form: self.afd.loss,
                beta: self.afd.beta,
                advantage_clip: self.afd.advantage_clip,
            },
        }
    }

    /// The forward process: every block of every clip gets a noise level and noise of its own, from
    /// a stream per clip.
    fn noised(
        &self,
        round: u64,
        step: u64,
        samples: &Samples<B::InnerBackend>,
    ) -> (Noised<B::InnerBackend>, Vec<f32>) {
        let dims = samples.latents.dims();
        let [batch, frames, ..] = dims;
        let per_block = if self.afd.context == Context::UniformNoise {
            frames
        } else {
            self.frames_per_block
        };
        let mut sigmas = Vec::with_capacity(batch * frames);
        let mut noise = Vec::with_capacity(dims.iter().product());
        for clip in &samples.clips {
            let index = step << 32 | clip;
            let mut draw = Noise::new(self.seed, Purpose::Sigma, round, index);
            let mut current = 0.0;
            for frame in 0..frames {
                if frame % per_block == 0 {
                    current = draw_sigma(&self.sigmas, self.shift, &mut draw);
                }
                sigmas.push(current);
            }
            noise.extend(
                Noise::new(self.seed, Purpose::ForwardProcess, round, index)
                    .normals(dims[1..].iter().product()),
            );
        }
        let noise = Tensor::from_data(TensorData::new(noise, dims), &self.device);
        let clips = Noised {
            clean: samples.latents.clone(),
            noise,
            sigmas: levels(&sigmas, batch, frames, &self.device),
        };
        (clips, sigmas)
    }
}

/// `values`, and then the `chosen` rows of `more`.
fn with_chosen<B: Backend, const N: usize>(
    values: Tensor<B, N>,
    more: &Tensor<B, N>,
    chosen: &[Range<usize>],
) -> Tensor<B, N> {
    let chosen = chosen
        .iter()
        .map(|range| more.clone().slice_dim(0, range.clone()));
    Tensor::cat(std::iter::once(values).chain(chosen).collect(), 0)
}

/// What the old policy remembers of its clips: kept from the rollouts where there is room for it,
/// else by a clean pass. Teacher clips, which come last, were never rolled out. `None` for clips of
/// one block.
fn prefilled<B: Kernels>(
    old: &Student<B>,
    samples: &Samples<B>,
    text: &TextCache<B>,
) -> Option<KvCache<B>> {
    let clips = samples.clips.len();
    let Some(kept) = &samples.cache else {
        return Some(prefill(old, samples.latents.clone(), 0.0, text));
    };
    let rolled_out = kept.clips();
    if rolled_out == clips {
        return Some(kept.clone());
    }
    let rest = rolled_out..clips;
    let rows = old.text_cache(samples.rows.clone().slice_dim(0, rest.clone()));
    let others = prefill(old, samples.latents.clone().slice_dim(0, rest), 0.0, &rows);
    let frames = 0..kept.frames.len();
    Some(kept.clone().stack(others.keep(&[frames])?))
}

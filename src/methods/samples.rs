//! The clips that a part's student updates learn from, and what the old policy sees of them.

use std::ops::Range;

use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::passes::{noisy_pass, prefill};
use afd_models::student::segments::{Pass, Past};
use afd_models::student::{KvCache, Student, TextCache};
use burn::prelude::*;

use super::feedback::ScoredPart;
use super::setup::Setup;
use crate::engine::shards;

/// Added to the numbers of teacher clips, which count from zero like the rollouts.
const TEACHER_CLIPS: u64 = 1 << 31;

/// What a part's student updates learn from.
#[derive(Clone)]
pub struct Samples<B: Backend> {
    /// Clean clips `[B, F, C, H, W]`: rollouts, then teacher clips.
    pub latents: Tensor<B, 5>,
    /// The old policy's KV cache of the rollouts, if that is kept.
    pub cache: Option<KvCache<B>>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// Numbers of the clips within the round: each has a stream of noise of its own.
    pub clips: Vec<u64>,
    /// Optimality of each clip, `[B][S]`.
    pub r: Vec<Vec<f32>>,
    /// What the student was shown on the way to the rollouts, per noise level; empty where the
    /// method does not learn from it.
    pub states: Vec<Tensor<B, 5>>,
}

impl<B: Kernels> Samples<B> {
    /// A part's rollouts with their r, `[P][K][S]`.
    pub fn rollouts(part: &ScoredPart<B>, r: &[Vec<Vec<f64>>]) -> Self {
        let per_clip = r.iter().flatten();
        let r = per_clip.map(|r| r.iter().map(|value| *value as f32).collect());
        Self {
            latents: part.rollout.latents.clone(),
            cache: part.rollout.cache.clone(),
            text: part.text.student.clone(),
            clips: part.rollout.clips.clone().collect(),
            r: r.collect(),
            states: part.rollout.states.clone(),
        }
    }

    /// The same and `count` teacher clips per prompt with r = 1.
    #[must_use]
    pub fn with_teacher_clips(mut self, part: &ScoredPart<B>, count: usize) -> Self {
        if count == 0 {
            return self;
        }
        let of = part.teacher.dims()[0] / part.prompts.len();
        let chosen: Vec<Range<usize>> = (0..part.prompts.len())
            .map(|prompt| prompt * of..prompt * of + count)
            .collect();
        self.latents = with_chosen(self.latents, &part.teacher, &chosen);
        self.text = with_chosen(self.text, &part.text.teacher, &chosen);
        let numbers = part.prompts.start * count..part.prompts.end * count;
        self.clips
            .extend(numbers.map(|clip| TEACHER_CLIPS | clip as u64));
        let certain = vec![1.0; self.r.first().map_or(1, Vec::len)];
        self.r.resize(self.clips.len(), certain);
        self
    }

    /// The samples in micro-batches of the run's size. The KV cache of the rollouts is kept only if
    /// they stay together.
    pub fn micro_batches(self, setup: &Setup<B>) -> Vec<(Range<usize>, Self)> {
        let ranges = shards::micro_batches(self.clips.len(), setup.micro_batch);
        if ranges.len() == 1 {
            return vec![(0..self.clips.len(), self)];
        }
        let cut = |range: Range<usize>| {
            let states = self.states.iter();
            let samples = Self {
                latents: self.latents.clone().slice_dim(0, range.clone()),
                cache: None,
                text: self.text.clone().slice_dim(0, range.clone()),
                clips: self.clips[range.clone()].to_vec(),
                r: self.r[range.clone()].to_vec(),
                states: states
                    .map(|state| state.clone().slice_dim(0, range.clone()))
                    .collect(),
            };
            (range, samples)
        };
        ranges.into_iter().map(cut).collect()
    }

    /// `value(r)` of every clip as a tensor that multiplies latents: `[B, 1, 1, 1, 1]`, or `[B, F,
    /// 1, 1, 1]` where every block of frames has an r of its own.
    pub fn per_clip(&self, setup: &Setup<B>, value: impl Fn(f32) -> f32) -> Tensor<B, 5> {
        let frames = setup.shape[0];
        let mut values = Vec::with_capacity(self.r.len());
        for r in &self.r {
            match r.as_slice() {
                [r] => values.push(value(*r)),
                // One r per block of frames, repeated for each of its frames.
                blocks => values
                    .extend((0..frames).map(|frame| value(blocks[frame / setup.frames_per_block]))),
            }
        }
        let per_clip = values.len() / self.r.len();
        let shape = [self.r.len(), per_clip, 1, 1, 1];
        Tensor::from_data(TensorData::new(values, shape), &setup.device)
    }
}

/// What the student reads of states `[B, F, C, H, W]` on the way of its own sampler, while its
/// blocks attend to its finished clips in `cache`. `sigmas` has the level of every (clip, frame).
pub fn state_pass<B: Trainable>(
    student: &Student<B>,
    states: &Tensor<B::InnerBackend, 5>,
    sigmas: &[f32],
    cache: Option<&KvCache<B::InnerBackend>>,
) -> Pass<B::InnerBackend> {
    let layout = student.layout(states.dims()[1]);
    let past = cache.cloned().map_or(Past::Nothing, Past::Constant);
    noisy_pass(&layout, states.clone(), sigmas, past)
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

/// The text of the samples, and their clean frames where blocks attend to them, as the old policy
/// reads them.
#[derive(Clone)]
pub struct OldContext<B: Backend> {
    /// Keys and values of the text.
    pub text: TextCache<B>,
    /// Keys and values of the clean frames; `None` where blocks attend to none.
    pub cache: Option<KvCache<B>>,
}

impl<B: Kernels> OldContext<B> {
    /// What the policy `old` reads of the samples.
    pub fn of(setup: &Setup<B>, old: &Student<B>, samples: &Samples<B>) -> Self {
        let text = old.text_cache(samples.text.clone());
        let cache = if setup.has_clean_context() {
            prefilled(old, samples, &text)
        } else {
            None
        };
        Self { text, cache }
    }
}

/// The old policy's KV cache of its clips: kept from the rollouts where there is room for it, else
/// filled by a clean pass. Teacher clips, which come last, were never rolled out. `None` for clips
/// of one block.
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
    let text = old.text_cache(samples.text.clone().slice_dim(0, rest.clone()));
    let others = prefill(old, samples.latents.clone().slice_dim(0, rest), 0.0, &text);
    let frames = 0..kept.frames.len();
    Some(kept.clone().stack(others.keep(&[frames])?))
}

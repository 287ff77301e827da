//! The discriminator's side of an alternation: the prompts' text, scores, pairs and updates.

pub mod bradley_terry;
mod draws;
mod pair_update;

use std::ops::Range;
use std::sync::Arc;

use afd_models::discriminator::Discriminator;
use afd_models::kernels::{Kernels, Trainable};
use burn::prelude::*;

use super::setup::Setup;
use crate::advantage::{PerScore, groups};
use crate::data::batch::Batches;
use crate::engine::rounds::RoundError;
use crate::engine::shards::{Shards, micro_batches};
use crate::engine::update::DiscriminatorUpdate;
use crate::rollout::Rollout;

pub use pair_update::{PairUpdate, Penalty};

/// Growth of the penalties per alternation in which the discriminator is too sure.
const PENALTY_GROWTH: f64 = 1.02;
/// Their largest scale.
const LARGEST_PENALTY: f64 = 1e3;

/// Text embeddings of a part's prompts, `[clips, L, text_width]`.
pub struct PromptText<B: Backend> {
    /// Repeated for every teacher clip.
    pub teacher: Tensor<B, 3>,
    /// Repeated for every rollout.
    pub student: Tensor<B, 3>,
    /// Of a mismatched prompt for every teacher clip.
    pub mismatched: Option<Tensor<B, 3>>,
}

/// A part of a round's batch: some of its prompts and the rollouts for them.
pub struct Part<B: Backend> {
    /// Numbers of the prompts within the round.
    pub prompts: Range<usize>,
    /// Their text.
    pub text: PromptText<B>,
    /// The student's rollouts, prompt-major, `[P * K, F, C, H, W]`.
    pub rollout: Rollout<B>,
}

/// A part after the discriminator has scored both sides.
pub struct ScoredPart<B: Backend> {
    /// Numbers of the prompts within the round.
    pub prompts: Range<usize>,
    /// Their text.
    pub text: PromptText<B>,
    /// The student's rollouts as they were made.
    pub rollout: Rollout<B>,
    /// Teacher clips, `[P * M, F, C, H, W]`.
    pub teacher: Tensor<B, 5>,
    /// The rollouts as the discriminator sees them: after the same 8-bit and codec round trip as
    /// the teacher's clips, `[P * K, F, C, H, W]`.
    pub student: Tensor<B, 5>,
    /// `[P][M][S]`.
    pub teacher_scores: PerScore,
    /// `[P][K][S]`.
    pub student_scores: PerScore,
}

/// Scores pairs and trains the discriminator on them.
pub struct Feedback<B: Kernels> {
    setup: Arc<Setup<B>>,
    batches: Arc<Batches<B>>,
}

impl<B: Kernels> Feedback<B> {
    /// The discriminator's side of the run that `setup` describes.
    pub fn new(setup: Arc<Setup<B>>, batches: Arc<Batches<B>>) -> Self {
        Self { setup, batches }
    }

    /// The text of `prompts`; `first` is the place of the first one in its round.
    ///
    /// # Errors
    /// A prompt that cannot be encoded.
    pub fn text(
        &self,
        prompts: &[String],
        first: usize,
        round: u64,
    ) -> Result<PromptText<B>, RoundError> {
        let text = |prompts: &[String], repeats| self.batches.text(prompts, repeats);
        let afd = &self.setup.afd;
        let teachers = afd.teacher_clips_per_prompt;
        let mismatched = if self.setup.discriminator.mismatch_weight > 0.0 {
            self.batches
                .mismatched_prompts(prompts, first, round, teachers)
        } else {
            None
        };
        Ok(PromptText {
            teacher: text(prompts, teachers)?,
            student: text(prompts, afd.rollouts_per_prompt)?,
            mismatched: mismatched.map(|prompts| text(&prompts, 1)).transpose()?,
        })
    }

    /// Scores both sides of every part; `teacher` are the round's teacher clips, prompt-major.
    ///
    /// # Errors
    /// Scores that are neither one per clip nor one per block.
    pub fn score<D: Discriminator<B> + Sync>(
        &self,
        shards: &Shards,
        discriminator: &D,
        teacher: &Tensor<B, 5>,
        parts: Vec<Part<B>>,
    ) -> Result<Vec<ScoredPart<B>>, RoundError> {
        let afd = &self.setup.afd;
        let (teachers, students) = (afd.teacher_clips_per_prompt, afd.rollouts_per_prompt);
        let scored = shards.map(parts, |_, part| {
            let clips = part.prompts.start * teachers..part.prompts.end * teachers;
            let teacher = teacher.clone().slice_dim(0, clips);
            let student = self.batches.round_trip(part.rollout.latents.clone());
            let scores = |clips, text, per_prompt| {
                scores(&self.setup, discriminator, clips, text, per_prompt)
            };
            Ok(ScoredPart {
                student_scores: scores(&student, &part.text.student, students)?,
                teacher_scores: scores(&teacher, &part.text.teacher, teachers)?,
                prompts: part.prompts,
                text: part.text,
                rollout: part.rollout,
                teacher,
                student,
            })
        });
        scored.into_iter().collect()
    }

    /// Update number `step` of a round: one per part, with its share of the whole.
    pub fn updates<A: Trainable<InnerBackend = B>>(
        &self,
        shards: &Shards,
        parts: &[ScoredPart<B>],
        [round, step]: [u64; 2],
        penalty_scale: f64,
    ) -> Vec<(Box<dyn DiscriminatorUpdate<A>>, f64)> {
        let prompts = self.setup.afd.prompts_per_alternation;
        shards.map(parts.iter().collect(), |_, part: &ScoredPart<B>| {
            let update = PairUpdate::new(&self.setup, part, [round, step], penalty_scale);
            let share = part.prompts.len() as f64 / prompts as f64;
            (Box::new(update) as Box<dyn DiscriminatorUpdate<A>>, share)
        })
    }

    /// Clips that a round's discriminator updates take forwards and backwards.
    pub fn passes_per_round(&self) -> u64 {
        let (afd, discriminator) = (&self.setup.afd, &self.setup.discriminator);
        let teachers = afd.teacher_clips_per_prompt;
        let both = teachers + afd.rollouts_per_prompt;
        let times = if discriminator.is_penalised() { 2 } else { 1 };
        let mismatched = if discriminator.mismatch_weight > 0.0 {
            teachers
        } else {
            0
        };
        let per_step = (times * both + mismatched) * afd.prompts_per_alternation;
        afd.discriminator_steps * per_step as u64
    }

    /// The scale of the penalties after a round's pair accuracy.
    pub fn penalty_scale(&self, scale: Option<f64>, accuracy: f64) -> Option<f64> {
        let target = self.setup.discriminator.penalty_target;
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
}

/// Scores of prompt-major clips: `[P][per_prompt][S]`.
///
/// # Errors
/// Scores that are neither one per clip nor one per block.
pub fn scores<B: Kernels>(
    setup: &Setup<B>,
    discriminator: &dyn Discriminator<B>,
    clips: &Tensor<B, 5>,
    text: &Tensor<B, 3>,
    per_prompt: usize,
) -> Result<PerScore, RoundError> {
    let mut scores: Vec<Vec<f64>> = Vec::new();
    for micro_batch in micro_batches(clips.dims()[0], setup.micro_batch) {
        let text = text.clone().slice_dim(0, micro_batch.clone());
        let clips = clips.clone().slice_dim(0, micro_batch);
        let found = discriminator.score_within_limits(clips, text);
        let per_clip = found.dims()[1];
        if per_clip != 1 && per_clip != setup.blocks() {
            return Err(RoundError::Scores {
                found: per_clip,
                blocks: setup.blocks(),
            });
        }
        let values: Vec<f64> = found.into_data().iter::<f64>().collect();
        scores.extend(values.chunks(per_clip).map(<[f64]>::to_vec));
    }
    Ok(scores.chunks(per_prompt).map(<[_]>::to_vec).collect())
}

/// Scores of all parts together: the teacher's `[P][M][S]`, the student's `[P][K][S]`.
pub fn all_scores<B: Backend>(parts: &[ScoredPart<B>]) -> (PerScore, PerScore) {
    let teacher = parts.iter().flat_map(|part| part.teacher_scores.clone());
    let student = parts.iter().flat_map(|part| part.student_scores.clone());
    (teacher.collect(), student.collect())
}

/// Pair accuracy on clips that the discriminator has not been trained on yet: the share of
/// same-prompt pairs (of the same block, where blocks are scored) in which the teacher's clip
/// scores higher.
pub fn fresh_pair_accuracy(teacher: &PerScore, student: &PerScore) -> f64 {
    let mut gaps = Vec::new();
    for (teacher, student) in groups(teacher).iter().zip(groups(student)) {
        for (teacher, student) in teacher.iter().zip(student) {
            for t in teacher {
                gaps.extend(student.iter().map(|s| t - s));
            }
        }
    }
    bradley_terry::wins(&gaps)
}

//! The discriminator's update: Bradley-Terry on same-prompt pairs, with penalties and mismatched
//! prompts (docs/method.md E.5).

use afd_models::discriminator::pieces::ScoreBatch;
use afd_models::kernels::Trainable;
use afd_models::noise::Purpose;
use burn::prelude::*;

use super::draws::{Augmentation, normals};
use super::{ScoredPart, bradley_terry};
use crate::engine::outcome::Scalars;
use crate::engine::update::{DiscriminatorUpdate, scalar};
use crate::methods::setup::Setup;
use crate::recipe::tables::DiscriminatorLoss;

/// Clips of P prompts, M from the teacher and K from the student each, prompt-major.
#[derive(Debug, Clone)]
pub struct PairUpdate<B: Backend> {
    /// `[P * M, F, C, H, W]`.
    pub teacher: Tensor<B, 5>,
    /// `[P * K, F, C, H, W]`.
    pub student: Tensor<B, 5>,
    /// Text embeddings of the teacher's clips, `[P * M, L, text_width]`.
    pub teacher_text: Tensor<B, 3>,
    /// Text embeddings of the student's clips, `[P * K, L, text_width]`.
    pub student_text: Tensor<B, 3>,
    /// Text embeddings of mismatched prompts for the teacher's clips, `[P * M, L, text_width]`, and
    /// the weight of telling them from the right ones.
    pub mismatched: Option<(Tensor<B, 3>, f64)>,
    /// P.
    pub prompts: usize,
    /// The adversarial loss.
    pub loss: DiscriminatorLoss,
    /// Directions of the penalties, of the teacher's and the student's clips in one batch; `None`
    /// without penalties.
    pub penalty: Option<Penalty<B>>,
}

/// The finite-difference penalties R1 (teacher clips) and R2 (student clips).
#[derive(Debug, Clone)]
pub struct Penalty<B: Backend> {
    /// Standard normal, `[P * (M + K), F, C, H, W]`.
    pub direction: Tensor<B, 5>,
    /// Step size along the direction.
    pub size: f64,
    /// Weight of R1.
    pub r1: f64,
    /// Weight of R2.
    pub r2: f64,
}

impl<B: Backend> PairUpdate<B> {
    /// Update number `step` of a round on a part's pairs: both sides with the same augmentation,
    /// and instance noise of the same size.
    pub fn new(
        setup: &Setup<B>,
        part: &ScoredPart<B>,
        [round, step]: [u64; 2],
        penalty_scale: f64,
    ) -> Self {
        let table = &setup.discriminator;
        let augmentation = Augmentation::draw(setup, round, step);
        let teachers = setup.afd.teacher_clips_per_prompt;
        let students = setup.afd.rollouts_per_prompt;
        // One stream per step, side and prompt.
        let index = |side: u64| step * 3 + side;
        let augment = |clips: &Tensor<B, 5>, side: u64, per_prompt: usize| {
            let clips = augmentation.apply(setup, clips.clone());
            if table.instance_noise == 0.0 {
                return clips;
            }
            let (purpose, prompts) = (Purpose::InstanceNoise, part.prompts.clone());
            let [noise] = normals(setup, purpose, round, index(side), prompts, [per_prompt]);
            clips + noise * table.instance_noise
        };
        let penalty = table.is_penalised().then(|| {
            let (purpose, prompts) = (Purpose::Penalty, part.prompts.clone());
            let both = normals(
                setup,
                purpose,
                round,
                index(2),
                prompts,
                [teachers, students],
            );
            Penalty {
                direction: Tensor::cat(both.into(), 0),
                size: table.penalty_size,
                r1: table.r1_weight * penalty_scale,
                r2: table.r2_weight * penalty_scale,
            }
        });
        let mismatched = part.text.mismatched.clone();
        Self {
            teacher: augment(&part.teacher, 0, teachers),
            student: augment(&part.student, 1, students),
            teacher_text: part.text.teacher.clone(),
            student_text: part.text.student.clone(),
            mismatched: mismatched.map(|text| (text, table.mismatch_weight)),
            prompts: part.prompts.len(),
            loss: table.loss,
            penalty,
        }
    }

    fn counts(&self) -> [usize; 2] {
        [self.teacher.dims()[0], self.student.dims()[0]]
    }
}

impl<B: Trainable> DiscriminatorUpdate<B> for PairUpdate<B::InnerBackend> {
    /// Teacher clips and rollouts in one batch, the same moved by the penalty's step, teacher clips
    /// under mismatched prompts.
    fn batches(&self) -> Vec<ScoreBatch<B::InnerBackend>> {
        // One batch for both sides: nothing but the clips may differ between them.
        let clips = Tensor::cat(vec![self.teacher.clone(), self.student.clone()], 0);
        let text = Tensor::cat(
            vec![self.teacher_text.clone(), self.student_text.clone()],
            0,
        );
        let moved = self.penalty.as_ref().map(|penalty| {
            // Both penalties in one forward: the mean over each side is taken afterwards.
            ScoreBatch {
                clips: clips.clone() + penalty.direction.clone() * penalty.size,
                text: text.clone(),
            }
        });
        let mismatched = self.mismatched.as_ref().map(|(text, _)| ScoreBatch {
            clips: self.teacher.clone(),
            text: text.clone(),
        });
        [ScoreBatch { clips, text }]
            .into_iter()
            .chain(moved)
            .chain(mismatched)
            .collect()
    }

    fn clips(&self) -> usize {
        let [teachers, students] = self.counts();
        let times = if self.penalty.is_some() { 2 } else { 1 };
        let mismatched = self.mismatched.as_ref().map_or(0, |_| teachers);
        times * (teachers + students) + mismatched
    }

    fn loss(&self, scores: &[Tensor<B, 2>]) -> (Tensor<B, 1>, Scalars) {
        let [teachers, students] = self.counts();
        let mut scores = scores.iter().cloned();
        let mut next = || {
            let scores = scores.next();
            scores.unwrap_or_else(|| unreachable!("there are scores for every batch"))
        };
        let both = next();
        let per_clip = both.dims()[1];
        let of_side =
            |range| bradley_terry::by_prompt(both.clone().slice_dim(0, range), self.prompts);
        let (teacher, student) = (of_side(0..teachers), of_side(teachers..teachers + students));
        let mut loss =
            bradley_terry::discriminator_loss(teacher.clone(), student.clone(), self.loss);
        let mut scalars = vec![("discriminator_loss", scalar(&loss))];
        if let Some(penalty) = &self.penalty {
            // [P (M + K), S] -> [P (M + K) S]
            let flat = |scores: Tensor<B, 2>| {
                let count = scores.dims().iter().product::<usize>();
                scores.reshape([count])
            };
            let squares = bradley_terry::squared_slopes(flat(both), flat(next()), penalty.size);
            let (end, all) = (teachers * per_clip, (teachers + students) * per_clip);
            let r1 = squares.clone().slice_dim(0, 0..end).mean();
            let r2 = squares.slice_dim(0, end..all).mean();
            scalars.extend([("r1", scalar(&r1)), ("r2", scalar(&r2))]);
            loss = loss + (r1 * penalty.r1 + r2 * penalty.r2) * 0.5;
        }
        if let Some((_, weight)) = &self.mismatched {
            // Pairs of one clip under two prompts: what does not depend on the prompt cancels.
            let one_by_one = |scores: Tensor<B, 2>| {
                let count = scores.dims().iter().product::<usize>();
                scores.reshape([count, 1])
            };
            let wrong = one_by_one(bradley_terry::by_prompt(next(), self.prompts));
            let right = one_by_one(teacher.clone());
            let mismatch = bradley_terry::loss(right.clone(), wrong.clone());
            let (accuracy, _) = bradley_terry::pair_accuracy(right.inner(), wrong.inner());
            scalars.extend([
                ("mismatch_loss", scalar(&mismatch)),
                ("prompt_accuracy", accuracy),
            ]);
            loss = loss + mismatch * *weight;
        }
        let (accuracy, gap) = bradley_terry::pair_accuracy(teacher.inner(), student.inner());
        scalars.extend([("pair_accuracy", accuracy), ("score_gap", gap)]);
        (loss, scalars)
    }
}

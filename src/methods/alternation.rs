//! The alternation of Adversarial Flow Distillation: reads like the paper's algorithm box
//! (docs/method.md G.2).
//!
//! The baselines share it: they differ in the student's update ([`RolloutUpdate`]), in who draws
//! the rollouts, and in when the discriminator is frozen ([`Variant`]).

use std::sync::Arc;

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use afd_models::student::Student;
use burn::prelude::*;

use super::feedback::{Feedback, Part, ScoredPart, all_scores, fresh_pair_accuracy};
use super::rollouts::rollouts;
use super::setup::Setup;
use super::update::{MicroBatch, Policies, RolloutUpdate};
use crate::advantage::{PerScore, groups, mean, optimality_per_score, population_std};
use crate::data::batch::Batches;
use crate::engine::averages::{blend, ema_decay};
use crate::engine::learner::LearnerHandle;
use crate::engine::learning_rate::half_cosine;
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::report::RoundReport;
use crate::engine::rounds::{RoundError, RoundState, TrainingMethod};
use crate::engine::update::{DiscriminatorUpdate, Update};
use crate::flow::sampler::Sampler;
use crate::recipe::Recipe;
use crate::run::signals;

/// Where a method departs from the alternation besides the student's update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variant {
    /// The discriminator is frozen after the warm-up.
    pub frozen_after_warm_up: bool,
    /// All rollouts are the base student's, and the rounds after the warm-up go through the first
    /// `afd.offline_rounds` of them again and again.
    pub offline: bool,
}

/// Rounds of warm-up, then alternations.
pub struct Alternation<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    setup: Arc<Setup<B::InnerBackend>>,
    variant: Variant,
    update: Box<dyn RolloutUpdate<B, D>>,
    feedback: Feedback<B::InnerBackend>,
    batches: Arc<Batches<B::InnerBackend>>,
}

/// The clips of one part to learn from.
type MicroBatches<B, D> = Vec<Box<dyn MicroBatch<B, D>>>;

impl<B: Trainable, D: TrainedDiscriminator<B>> Alternation<B, D> {
    /// The alternation of a recipe whose student learns by `update`.
    pub fn new(
        recipe: &Recipe,
        batches: Arc<Batches<B::InnerBackend>>,
        device: B::Device,
        variant: Variant,
        update: impl FnOnce(&Arc<Setup<B::InnerBackend>>) -> Box<dyn RolloutUpdate<B, D>>,
    ) -> Self {
        let setup = Arc::new(Setup::new(recipe, device));
        Self {
            update: update(&setup),
            feedback: Feedback::new(setup.clone(), batches.clone()),
            variant,
            setup,
            batches,
        }
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> TrainingMethod<B, D> for Alternation<B, D> {
    fn finished(&self, state: &RoundState) -> bool {
        state
            .warm_up_rounds
            .is_some_and(|warm_up| state.round >= warm_up + self.setup.afd.alternations)
    }

    fn planned_rounds(&self, state: &RoundState) -> u64 {
        let afd = &self.setup.afd;
        let warm_up = state.warm_up_rounds;
        warm_up.unwrap_or(afd.longest_warm_up()) + afd.alternations
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B, D>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError> {
        let afd = &self.setup.afd;
        let round = state.round;
        // Alternations done; the warm-up, which trains the discriminator alone, has none.
        let done = state.warm_up_rounds.map(|warm_up| round - warm_up);
        let mut report = RoundReport::new(done.map_or("warm-up", |_| "alternation"));
        let model = learner.model();
        let (old, reference) = (model.old_policy(), model.reference_policy());

        // 1 ROLLOUT: the same prompts to the teacher and, by the old policy, to the student.
        let drawn = self.drawn_round(round, done);
        let (prompts, teacher) = self.query_teacher(drawn, &mut report)?;
        let sampler = self.update.sampler(round);
        let parts = self.roll_out(
            learner,
            &old,
            &sampler,
            &prompts,
            [round, drawn],
            &mut report,
        )?;

        // 2 SCORE: finished clips only, both sides after the same 8-bit and codec round trip; phi
        // is the discriminator before its update.
        let phi = model.discriminator.as_ref();
        let phi = phi.ok_or(RoundError::NoDiscriminator)?.valid();
        let parts = self
            .feedback
            .score(learner.shards(), &phi, &teacher, parts)?;
        if signals::stop_requested() {
            // The last moment at which nothing has changed.
            return Err(RoundError::Stopped);
        }
        let (teacher_scores, student_scores) = all_scores(&parts);

        // 3 ADVANTAGE, as the optimality r in [0, 1].
        let r = optimality_per_score(&student_scores, &teacher_scores, &afd.advantage_settings());
        let accuracy = fresh_pair_accuracy(&teacher_scores, &student_scores);
        let smoothed = state
            .pair_accuracy
            .map_or(accuracy, |average| (average + accuracy) * 0.5);
        state.pair_accuracy = Some(smoothed);

        // 4 D STEP on the same pairs.
        let frozen = done.is_some() && self.is_frozen(smoothed);
        state.penalty_scale = self.feedback.penalty_scale(state.penalty_scale, smoothed);
        if !frozen {
            for step in 0..afd.discriminator_steps {
                let scale = state.penalty_scale.unwrap_or(1.0);
                let shards = learner.shards();
                let updates = self.feedback.updates(shards, &parts, [round, step], scale);
                report.merge(learner.train(of_discriminator(updates))?);
            }
            report.cost.discriminator_passes = self.feedback.passes_per_round();
        }
        report.finished("discriminator");

        // 5 G STEP: the forward process on the student's own clips (or a baseline's update).
        if let Some(done) = done {
            let progress = done as f64 / afd.alternations as f64;
            let first_rate = self.setup.learning_rate * afd.first_rate;
            learner.set_student_rate(first_rate * half_cosine(progress, afd.final_rate));
            let phi = learner.model().discriminator;
            let policies = Policies {
                old: &old,
                reference: reference.as_ref(),
                discriminator: &phi.ok_or(RoundError::NoDiscriminator)?.valid(),
                sampler: &sampler,
            };
            let batches = self.micro_batches(learner, &parts, &r, progress, &policies)?;
            for step in 0..afd.flow_steps {
                let updates = updates(learner, &batches, [round, step], &policies);
                report.merge(learner.train(updates)?);
            }
            self.count_passes(&batches, &mut report);

            // 6 OLD / EMA
            learner.replace(self.follow(learner.model(), done + 1));
            report.finished("flow");
        } else if smoothed >= afd.warmup_pair_accuracy[0] || round + 1 >= afd.longest_warm_up() {
            state.warm_up_rounds = Some(round + 1);
        }

        // 7 MONITOR
        report.measure("fresh_pair_accuracy", accuracy);
        report.measure("discriminator_frozen", if frozen { 1.0 } else { 0.0 });
        monitor(&student_scores, &r, &mut report);
        Ok(report)
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> Alternation<B, D> {
    /// The round whose prompts, teacher clips and noise a round draws: its own, or, offline, one of
    /// the first after the warm-up.
    fn drawn_round(&self, round: u64, done: Option<u64>) -> u64 {
        match done {
            Some(done) if self.variant.offline => {
                round - done + done % self.setup.afd.offline_rounds
            }
            _ => round,
        }
    }

    /// The round's prompts, and teacher clips `[P * M, F, C, H, W]` for them.
    fn query_teacher(
        &self,
        round: u64,
        report: &mut RoundReport,
    ) -> Result<(Vec<String>, Tensor<B::InnerBackend, 5>), RoundError> {
        let afd = &self.setup.afd;
        let queries = self.batches.queries();
        let asked = self
            .batches
            .prompts_of(round, afd.prompts_per_alternation)?;
        let mut shown = asked.clone();
        if afd.shuffled_pairs {
            shown.rotate_left(1);
        }
        let clips = self
            .batches
            .teacher_latents(&shown, round, afd.teacher_clips_per_prompt)?;
        report.cost.teacher_queries = self.batches.queries() - queries;
        report.finished("teacher");
        Ok((asked, clips))
    }

    /// The old policy's rollouts for the prompts, in parts that each stay on one thread.
    fn roll_out(
        &self,
        learner: &dyn LearnerHandle<B, D>,
        old: &Student<B::InnerBackend>,
        sampler: &Sampler,
        prompts: &[String],
        [round, drawn]: [u64; 2],
        report: &mut RoundReport,
    ) -> Result<Vec<Part<B::InnerBackend>>, RoundError> {
        let per_prompt = self.setup.afd.rollouts_per_prompt;
        let shards = learner.shards();
        let parts = shards.ranges(prompts.len()).into_iter();
        let texts = parts
            .map(|part| {
                let text = self
                    .feedback
                    .text(&prompts[part.clone()], part.start, round)?;
                Ok((part, text))
            })
            .collect::<Result<Vec<_>, RoundError>>()?;
        let states = self.update.reads_states();
        let parts = shards.map(texts, |_, (prompts, text)| {
            let clips = prompts.start * per_prompt..prompts.end * per_prompt;
            let clips = clips.start as u64..clips.end as u64;
            let rollout = rollouts(
                &self.setup,
                old,
                &text.student,
                sampler,
                drawn,
                clips,
                states,
            )?;
            Some(Part {
                rollout,
                prompts,
                text,
            })
        });
        let parts: Option<Vec<_>> = parts.into_iter().collect();
        let parts = parts.ok_or(RoundError::Stopped)?;
        B::sync(&self.setup.device).map_err(RoundError::device)?;
        report.cost.rollouts = (prompts.len() * per_prompt) as u64;
        report.finished("rollout");
        Ok(parts)
    }

    /// Whether the discriminator is left alone after the warm-up; `accuracy` is its running pair
    /// accuracy.
    fn is_frozen(&self, accuracy: f64) -> bool {
        let afd = &self.setup.afd;
        let above = afd.pause_above_band && accuracy > afd.warmup_pair_accuracy[1];
        self.variant.frozen_after_warm_up || above
    }

    /// What the student learns from, part by part.
    fn micro_batches(
        &self,
        learner: &dyn LearnerHandle<B, D>,
        parts: &[ScoredPart<B::InnerBackend>],
        r: &PerScore,
        progress: f64,
        policies: &Policies<'_, B>,
    ) -> Result<Vec<MicroBatches<B, D>>, RoundError> {
        let made = learner
            .shards()
            .map(parts.iter().collect(), |_, part: &ScoredPart<_>| {
                let r = &r[part.prompts.clone()];
                self.update.micro_batches(part, r, progress, policies)
            });
        made.into_iter().collect()
    }

    fn count_passes(&self, batches: &[MicroBatches<B, D>], report: &mut RoundReport) {
        let passes = self.setup.afd.flow_steps * clips(batches) as u64;
        report.cost.student_passes = passes;
        report.cost.discriminator_passes += passes * self.update.discriminator_passes();
    }

    /// The lagging copies after alternation `step`, counted from 1.
    fn follow(&self, mut model: AfdModel<B, D>, step: u64) -> AfdModel<B, D> {
        let afd = &self.setup.afd;
        let decay = if self.variant.offline {
            // The rollouts stay the base student's.
            1.0
        } else {
            afd.old_policy_schedule.decay(step, afd.old_policy_decay)
        };
        model.old = model
            .old
            .map(|old| blend::<B, _>(old, &model.student, decay));
        let decay = ema_decay(step, afd.ema_decay);
        model.ema = blend::<B, _>(model.ema, &model.student, decay);
        model
    }
}

fn of_discriminator<B: Trainable, D: TrainedDiscriminator<B>>(
    updates: Vec<(Box<dyn DiscriminatorUpdate<B>>, f64)>,
) -> Vec<(Update<B, D>, f64)> {
    let lift = |(update, share)| (Update::Discriminator(update), share);
    updates.into_iter().map(lift).collect()
}

/// Update number `step` of a round: one per micro-batch, with its share of all clips.
fn updates<B: Trainable, D: TrainedDiscriminator<B>>(
    learner: &dyn LearnerHandle<B, D>,
    batches: &[MicroBatches<B, D>],
    at: [u64; 2],
    policies: &Policies<'_, B>,
) -> Vec<(Update<B, D>, f64)> {
    let all = clips(batches) as f64;
    let updates = learner
        .shards()
        .map(batches.iter().collect(), |_, part: &MicroBatches<B, D>| {
            let updates = part.iter().map(|batch| {
                let share = batch.clips() as f64 / all;
                (Update::Student(batch.update(at, policies)), share)
            });
            updates.collect::<Vec<_>>()
        });
    updates.into_iter().flatten().collect()
}

fn clips<B: Trainable, D: TrainedDiscriminator<B>>(batches: &[MicroBatches<B, D>]) -> usize {
    batches.iter().flatten().map(|batch| batch.clips()).sum()
}

/// Spread of the scores and of the optimality.
fn monitor(student_scores: &PerScore, r: &PerScore, report: &mut RoundReport) {
    let spreads: Vec<f64> = groups(student_scores)
        .iter()
        .flatten()
        .map(|group| population_std(group))
        .collect();
    let r = r.concat().concat();
    report.measure("score_std", mean(&spreads));
    report.measure("mean_r", mean(&r));
    report.measure("r_std", population_std(&r));
}

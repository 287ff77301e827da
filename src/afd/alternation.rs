//! The alternation of Adversarial Flow Distillation: reads like the paper's algorithm box
//! (method.md G.2).

mod baselines;
mod flow;
mod pairs;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use afd_models::kernels::Trainable;
use afd_models::student::Student;
use burn::module::AutodiffModule;
use burn::prelude::*;

use super::advantage::{AdvantageSettings, mean, optimality, std};
use super::learning_rate::half_cosine;
use super::model::Work;
use super::policies;
use super::shards::micro_batches;
use super::strategy::{LearnerHandle, Method, RoundError, RoundReport, RoundState};
use crate::data::batch::Batches;
use crate::flow::sampler::Sampler;
use crate::flow::schedule::few_step_sigmas;
use crate::recipe::Recipe;
use crate::recipe::settings::{
    Afd, Discriminator as DiscriminatorSettings, Method as MethodKind, ReverseChain,
};
use crate::rollout::{Generator, Rollout, RolloutNoise};
use flow::Samples;
use pairs::{Sides, fresh_accuracy};

/// Adversarial Flow Distillation, round by round: first the warm-up, then alternations.
///
/// The methods that one would use instead share everything but the student's update, and who draws
/// the rollouts (`recipe.settings.method`).
pub struct Alternation<B: Trainable> {
    method: MethodKind,
    reverse_chain: ReverseChain,
    afd: Afd,
    learning_rate: f64,
    discriminator: DiscriminatorSettings,
    sampler: Sampler,
    /// Noise levels of the forward process; empty for continuous ones.
    sigmas: Vec<f32>,
    shift: f64,
    shape: [usize; 4],
    frames_per_block: usize,
    seed: u64,
    micro_batch: usize,
    batches: Arc<Batches<B::InnerBackend>>,
    device: B::Device,
}

impl<B: Trainable> Alternation<B> {
    /// The recipe's method on its prompts and teacher.
    pub fn new(recipe: &Recipe, batches: Arc<Batches<B::InnerBackend>>, device: B::Device) -> Self {
        let settings = &recipe.settings;
        let sampler = sampler(recipe);
        let sigmas = recipe.training_sigmas(settings.afd.sigmas);
        Self {
            method: settings.method,
            reverse_chain: settings.reverse_chain.clone(),
            afd: settings.afd.clone(),
            learning_rate: settings.optimizer.learning_rate,
            discriminator: settings.discriminator.clone(),
            sampler,
            sigmas,
            shift: settings.sampler.timestep_shift,
            shape: recipe.latent_shape,
            frames_per_block: recipe.student.frames_per_block,
            seed: settings.seed,
            micro_batch: settings.run.micro_batch,
            batches,
            device,
        }
    }
}

/// The recipe's few-step sampler.
pub fn sampler(recipe: &Recipe) -> Sampler {
    let settings = &recipe.settings.sampler;
    let sigmas = few_step_sigmas(
        &settings.denoising_step_list,
        settings.timestep_shift,
        settings.warp_denoising_step,
    );
    Sampler {
        fresh_noise: settings.kind.fresh_noise(),
        sigmas,
    }
}

impl<B: Trainable> Method<B> for Alternation<B> {
    fn finished(&self, state: &RoundState) -> bool {
        state
            .warm_up_rounds
            .is_some_and(|warm_up| state.round >= warm_up + self.afd.alternations)
    }

    fn planned_rounds(&self, state: &RoundState) -> u64 {
        state.warm_up_rounds.unwrap_or(self.longest_warm_up()) + self.afd.alternations
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError> {
        let round = state.round;
        let (prompts, rollouts, teachers) = (
            self.afd.prompts_per_alternation,
            self.afd.rollouts_per_prompt,
            self.afd.teacher_clips_per_prompt,
        );
        let model = learner.model();
        let mut report = RoundReport::new(if state.warm_up_rounds.is_none() {
            "warm-up"
        } else {
            "alternation"
        });

        // 1 ROLLOUT: the same prompts to the teacher and, by the old policy, to the student.
        let started = Instant::now();
        let queries = self.batches.queries();
        let drawn = self.drawn_round(state);
        let asked = self.batches.prompts_of(drawn, prompts)?;
        let real = self
            .batches
            .teacher_latents(&self.paired(&asked), drawn, teachers)?;
        report.cost.teacher_queries = self.batches.queries() - queries;
        report.took("teacher", started);
        let started = Instant::now();
        let old = model.old.as_ref().unwrap_or(&model.student).valid();
        // Parts of the batch by prompts; each stays on its thread for the whole round.
        let parts = learner.shards().ranges(prompts);
        let texts = parts
            .iter()
            .map(|part| self.texts(&asked[part.clone()], part.start, round))
            .collect::<Result<Vec<_>, _>>()?;
        let sampler = self.round_sampler(round);
        let own = learner.shards().map(parts.clone(), |index, part| {
            let clips = (part.start * rollouts) as u64..(part.end * rollouts) as u64;
            self.rollouts(&old, &texts[index].student, &sampler, drawn, clips)
        });
        report.cost.rollouts = (prompts * rollouts) as u64;
        B::sync(&self.device).map_err(RoundError::device)?;
        report.took("rollout", started);

        // 2 SCORE: finished clips only, both sides after the same journey; phi is the one before
        // its update.
        let started = Instant::now();
        let discriminator = model
            .discriminator
            .as_ref()
            .ok_or(RoundError::NoDiscriminator)?
            .valid();
        let sides = learner.shards().map(parts.clone(), |index, part| {
            let teacher = real
                .clone()
                .slice_dim(0, part.start * teachers..part.end * teachers);
            let student = self.batches.equalise(own[index].latents.clone());
            let student_scores =
                self.scores(&discriminator, &student, &texts[index].student, rollouts);
            let teacher_scores =
                self.scores(&discriminator, &teacher, &texts[index].teacher, teachers);
            Sides {
                teacher,
                student,
                teacher_scores,
                student_scores,
            }
        });
        let student_scores: Vec<Vec<f64>> = sides
            .iter()
            .flat_map(|side| side.student_scores.iter().cloned())
            .collect();
        let teacher_scores: Vec<Vec<f64>> = sides
            .iter()
            .flat_map(|side| side.teacher_scores.iter().cloned())
            .collect();

        // 3 ADVANTAGE
        let settings = AdvantageSettings {
            form: self.afd.advantage,
            scale: self.afd.advantage_scale,
            clip: self.afd.advantage_clip,
            minimum_std: self.afd.minimum_std,
        };
        let r = optimality(&student_scores, &teacher_scores, &settings);
        let accuracy = fresh_accuracy(&teacher_scores, &student_scores);
        let smoothed = state
            .pair_accuracy
            .map_or(accuracy, |average| 0.5 * average + 0.5 * accuracy);
        state.pair_accuracy = Some(smoothed);

        // 4 D STEP on the same pairs. The warm-up has only this one.
        let [low, high] = self.afd.warmup_pair_accuracy;
        let warm = state.warm_up_rounds.is_some();
        let resting =
            warm && (self.learns_once() || (self.afd.pause_above_band && smoothed > high));
        state.penalty_scale = self.penalty_scale(state.penalty_scale, smoothed);
        if !resting {
            for step in 0..self.afd.discriminator_steps {
                let works = learner.shards().map(parts.clone(), |index, part| {
                    let work = self.discriminator_work(
                        round,
                        step,
                        &sides[index],
                        &texts[index],
                        part.clone(),
                        state.penalty_scale.unwrap_or(1.0),
                    );
                    (
                        Work::Discriminator(work),
                        part.len() as f64 / prompts as f64,
                    )
                });
                report.merge(learner.train(works)?);
            }
            report.cost.discriminator_passes = self.discriminator_steps_cost();
        }
        report.took("discriminator", started);

        // 5 G STEP: the forward process on the student's own clips, fresh levels and noise each
        // time (or a baseline's update).
        if let Some(warm_up) = state.warm_up_rounds {
            let started = Instant::now();
            let alternation = round - warm_up + 1;
            let reference = model.reference.as_ref().map(AutodiffModule::valid);
            let share = (round - warm_up) as f64 / self.afd.alternations as f64;
            learner.set_student_rate(
                self.learning_rate * self.afd.first_rate * half_cosine(share, self.afd.final_rate),
            );
            let positives = self.positives(share);
            let judged = self.judged_again(&*learner, &parts, &sides, &texts)?;
            let samples = learner.shards().map(parts.clone(), |index, part| {
                let judged = judged.get(index).map(Vec::as_slice).unwrap_or_default();
                let samples = self.samples(
                    &own[index],
                    &r[part.clone()],
                    &texts[index],
                    &sides[index],
                    judged,
                    positives,
                    part,
                );
                self.split(samples, &old)
            });
            let clips = samples
                .iter()
                .flatten()
                .map(|samples| samples.clips.len())
                .sum::<usize>();
            for step in 0..self.afd.flow_steps {
                let works = learner.shards().map(
                    samples.iter().collect(),
                    |_, samples: &Vec<Samples<_>>| {
                        let work = |samples: &Samples<_>| {
                            let work = match self.method {
                                MethodKind::DirectAdversarial => Work::Direct(Box::new(
                                    self.direct_work(round, step, samples, &sampler),
                                )),
                                MethodKind::ReverseChain => {
                                    Work::ReverseChain(Box::new(self.chain_work(
                                        round,
                                        step,
                                        samples,
                                        &sampler,
                                        &old,
                                        reference.as_ref(),
                                    )))
                                }
                                _ => Work::Flow(Box::new(self.flow_work(
                                    round,
                                    step,
                                    samples,
                                    &old,
                                    reference.as_ref(),
                                ))),
                            };
                            (work, samples.clips.len() as f64 / clips as f64)
                        };
                        samples.iter().map(work).collect::<Vec<_>>()
                    },
                );
                report.merge(learner.train(works.into_iter().flatten().collect())?);
            }

            report.cost.student_passes = self.afd.flow_steps * clips as u64;

            // 6 OLD / EMA
            let mut model = learner.model();
            // Offline data stay the base student's.
            let decay = if self.method == MethodKind::Offline {
                1.0
            } else {
                self.afd
                    .old_policy_schedule
                    .decay(alternation, self.afd.old_policy_decay)
            };
            model.old = model
                .old
                .map(|old| policies::blend::<B, _>(old, &model.student, decay));
            let decay = policies::ema_decay(alternation, self.afd.ema_decay);
            model.evaluation = policies::blend::<B, _>(model.evaluation, &model.student, decay);
            learner.replace(model);
            report.took("flow", started);
        } else if smoothed >= low || round + 1 >= self.longest_warm_up() {
            state.warm_up_rounds = Some(round + 1);
        }

        // 7 MONITOR
        let all_r = r.concat();
        report.measure("fresh_pair_accuracy", accuracy);
        report.measure(
            "score_std",
            mean(
                &student_scores
                    .iter()
                    .map(|group| std(group))
                    .collect::<Vec<_>>(),
            ),
        );
        report.measure("mean_r", mean(&all_r));
        report.measure("r_std", std(&all_r));
        report.measure("discriminator_frozen", if resting { 1.0 } else { 0.0 });
        Ok(report)
    }
}

impl<B: Trainable> Alternation<B> {
    /// Rounds that the warm-up has ended after, those of a supervised start included.
    fn longest_warm_up(&self) -> u64 {
        self.afd.supervised_rounds + self.afd.warmup_steps
    }

    /// Rollouts of the clips numbered `clips` for their text rows. What the policy remembers of
    /// them is kept if all are made at once, the states on the way if the method learns from them.
    fn rollouts(
        &self,
        policy: &Student<B::InnerBackend>,
        rows: &Tensor<B::InnerBackend, 3>,
        sampler: &Sampler,
        round: u64,
        clips: Range<u64>,
    ) -> Rollout<B::InnerBackend> {
        let micro_batches = micro_batches(rows.dims()[0], self.micro_batch);
        let made = micro_batches.iter().map(|portion| {
            let text = policy.text_cache(rows.clone().slice_dim(0, portion.clone()));
            let noise = RolloutNoise::new(
                self.seed,
                round,
                clips.start + portion.start as u64..clips.start + portion.end as u64,
            );
            let generator = Generator {
                student: policy,
                text: &text,
                sampler,
                shape: self.shape,
                device: &self.device,
            };
            let mut made = if self.learns_from_states() {
                generator.rollout_with_states(noise)
            } else {
                generator.rollout(noise)
            };
            made.cache = made.cache.filter(|_| micro_batches.len() == 1);
            made
        });
        let mut made: Vec<_> = made.collect();
        match made.len() {
            1 => made.remove(0),
            _ => {
                let states = (0..made[0].states.len()).map(|level| {
                    Tensor::cat(
                        made.iter().map(|made| made.states[level].clone()).collect(),
                        0,
                    )
                });
                let states = states.collect();
                Rollout {
                    latents: Tensor::cat(made.into_iter().map(|made| made.latents).collect(), 0),
                    cache: None,
                    states,
                    clips,
                }
            }
        }
    }
}

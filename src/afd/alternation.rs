//! The alternation of Adversarial Flow Distillation: reads like the paper's algorithm box (method.md G.2).

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::noise::{Noise, Purpose};
use afd_models::student::{Memory, Student, TextMemory};
use burn::module::AutodiffModule;
use burn::prelude::*;

use super::advantage::{AdvantageSettings, deviation, mean, optimality};
use super::forward_process::{ForwardProcessSettings, Noised};
use super::learning_rate::half_cosine;
use super::model::{Context, DiscriminatorWork, FlowWork, Lookback, Penalty, Work, remember, velocities};
use super::policies;
use super::shards::portions;
use super::strategy::{LearnerHandle, Method, RoundError, RoundReport, RoundState};
use crate::data::batch::Batches;
use crate::flow::path::levels;
use crate::flow::sampler::Sampler;
use crate::flow::schedule::{draw_sigma, few_step_sigmas};
use crate::recipe::Recipe;
use crate::recipe::settings::{Afd, Discriminator as DiscriminatorSettings, OldPolicy};
use crate::rollout::{Rollout, RolloutNoise, rollout};

/// Adversarial Flow Distillation, round by round: first the warm-up, then alternations.
pub struct Alternation<B: Trainable> {
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
    clips_at_once: usize,
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
            afd: settings.afd.clone(),
            learning_rate: settings.optimizer.learning_rate,
            discriminator: settings.discriminator.clone(),
            sampler,
            sigmas,
            shift: settings.sampler.timestep_shift,
            shape: recipe.latent_shape,
            frames_per_block: recipe.student.frames_per_block,
            seed: settings.seed,
            clips_at_once: settings.run.clips_at_once,
            batches,
            device,
        }
    }
}

/// The recipe's few-step sampler.
pub fn sampler(recipe: &Recipe) -> Sampler {
    let settings = &recipe.settings.sampler;
    let sigmas = few_step_sigmas(&settings.denoising_step_list, settings.timestep_shift, settings.warp_denoising_step);
    Sampler { kind: settings.kind, sigmas }
}

impl<B: Trainable> Method<B> for Alternation<B> {
    fn finished(&self, state: &RoundState) -> bool {
        state.warm_up_rounds.is_some_and(|warm_up| state.round >= warm_up + self.afd.alternations)
    }

    fn planned_rounds(&self, state: &RoundState) -> u64 {
        state.warm_up_rounds.unwrap_or(self.afd.warmup_steps) + self.afd.alternations
    }

    fn round(&self, learner: &mut dyn LearnerHandle<B>, state: &mut RoundState) -> Result<RoundReport, RoundError> {
        let round = state.round;
        let (prompts, rollouts, teachers) =
            (self.afd.prompts_per_alternation, self.afd.rollouts_per_prompt, self.afd.teacher_clips_per_prompt);
        let model = learner.model();
        let mut report = RoundReport::new(if state.warm_up_rounds.is_none() { "warm-up" } else { "alternation" });

        // 1 ROLLOUT: the same prompts to the teacher and, by the old policy, to the student.
        let started = Instant::now();
        let queries = self.batches.queries();
        let asked = self.batches.prompts_of(round, prompts)?;
        let real = self.batches.teacher_latents(&asked, round, teachers)?;
        report.teacher_queries = self.batches.queries() - queries;
        report.took("teacher", started);
        let started = Instant::now();
        let old = model.old.as_ref().unwrap_or(&model.student).valid();
        // Parts of the batch by prompts; each stays on its thread for the whole round.
        let parts = learner.shards().ranges(prompts);
        let texts = parts.iter().map(|part| self.texts(&asked[part.clone()], part.start, round)).collect::<Result<Vec<_>, _>>()?;
        let own = learner.shards().map(parts.clone(), |index, part| {
            let clips = (part.start * rollouts) as u64..(part.end * rollouts) as u64;
            self.rollouts(&old, &texts[index].student, round, clips)
        });
        B::sync(&self.device).map_err(RoundError::device)?;
        report.took("rollout", started);

        // 2 SCORE: finished clips only, both sides after the same journey; phi is the one before its update.
        let started = Instant::now();
        let discriminator = model.discriminator.as_ref().ok_or(RoundError::NoDiscriminator)?.valid();
        let sides = learner.shards().map(parts.clone(), |index, part| {
            let teacher = real.clone().slice_dim(0, part.start * teachers..part.end * teachers);
            let student = self.batches.equalise(own[index].latents.clone());
            let student_scores = self.scores(&discriminator, &student, &texts[index].student, rollouts);
            let teacher_scores = self.scores(&discriminator, &teacher, &texts[index].teacher, teachers);
            Sides { teacher, student, teacher_scores, student_scores }
        });
        let student_scores: Vec<Vec<f64>> = sides.iter().flat_map(|side| side.student_scores.iter().cloned()).collect();
        let teacher_scores: Vec<Vec<f64>> = sides.iter().flat_map(|side| side.teacher_scores.iter().cloned()).collect();

        // 3 ADVANTAGE
        let settings = AdvantageSettings {
            form: self.afd.advantage,
            scale: self.afd.advantage_scale,
            clip: self.afd.advantage_clip,
            minimum_deviation: self.afd.minimum_deviation,
        };
        let r = optimality(&student_scores, &teacher_scores, &settings);
        let accuracy = fresh_accuracy(&teacher_scores, &student_scores);
        let smoothed = state.pair_accuracy.map_or(accuracy, |average| 0.5 * average + 0.5 * accuracy);
        state.pair_accuracy = Some(smoothed);

        // 4 D STEP on the same pairs. The warm-up has only this one.
        let [low, high] = self.afd.warmup_pair_accuracy;
        let resting = self.afd.pause_above_band && state.warm_up_rounds.is_some() && smoothed > high;
        if !resting {
            for step in 0..self.afd.discriminator_steps {
                let works = learner.shards().map(parts.clone(), |index, part| {
                    let work = self.discriminator_work(round, step, &sides[index], &texts[index], part.clone());
                    (Work::Discriminator(work), part.len() as f64 / prompts as f64)
                });
                report.merge(learner.train(works)?);
            }
        }
        report.took("discriminator", started);

        // 5 G STEP: the forward process on the student's own clips, fresh levels and noise each time.
        if let Some(warm_up) = state.warm_up_rounds {
            let started = Instant::now();
            let alternation = round - warm_up + 1;
            let reference = model.reference.as_ref().map(AutodiffModule::valid);
            let share = (round - warm_up) as f64 / self.afd.alternations as f64;
            learner.set_student_rate(self.learning_rate * half_cosine(share, self.afd.final_rate));
            let samples = learner.shards().map(parts.clone(), |index, part| {
                let samples = self.samples(&own[index], &r[part.clone()], &texts[index], &sides[index].teacher, part);
                self.split(samples, &old)
            });
            let clips = samples.iter().flatten().map(|samples| samples.clips.len()).sum::<usize>();
            for step in 0..self.afd.flow_steps {
                let works = learner.shards().map(samples.iter().collect(), |_, samples: &Vec<Samples<_>>| {
                    let work = |samples: &Samples<_>| {
                        let work = self.flow_work(round, step, samples, &old, reference.as_ref());
                        (Work::Flow(Box::new(work)), samples.clips.len() as f64 / clips as f64)
                    };
                    samples.iter().map(work).collect::<Vec<_>>()
                });
                report.merge(learner.train(works.into_iter().flatten().collect())?);
            }

            // 6 OLD / EMA
            let mut model = learner.model();
            let decay = self.afd.old_policy_schedule.decay(alternation, self.afd.old_policy_decay);
            model.old = model.old.map(|old| policies::blend::<B, _>(old, &model.student, decay));
            let decay = policies::evaluation_decay(alternation, self.afd.evaluation_decay);
            model.evaluation = policies::blend::<B, _>(model.evaluation, &model.student, decay);
            learner.replace(model);
            report.took("flow", started);
        } else if smoothed >= low || round + 1 >= self.afd.warmup_steps {
            state.warm_up_rounds = Some(round + 1);
        }

        // 7 MONITOR
        let all_r = r.concat();
        report.measure("fresh_pair_accuracy", accuracy);
        report.measure("score_deviation", mean(&student_scores.iter().map(|group| deviation(group)).collect::<Vec<_>>()));
        report.measure("mean_r", mean(&all_r));
        report.measure("r_deviation", deviation(&all_r));
        report.measure("discriminator_rests", if resting { 1.0 } else { 0.0 });
        Ok(report)
    }
}

/// Text rows of a part's prompts.
struct Texts<B: Backend> {
    /// Repeated for every teacher clip.
    teacher: Tensor<B, 3>,
    /// Repeated for every rollout.
    student: Tensor<B, 3>,
    /// Of another prompt for every teacher clip.
    mistaken: Option<Tensor<B, 3>>,
}

/// What a part's flow updates learn from.
struct Samples<B: Backend> {
    /// Clean clips `[B, F, C, H, W]`: rollouts, then teacher clips.
    latents: Tensor<B, 5>,
    /// What the old policy remembers of the rollouts, if that is kept.
    memory: Option<Memory<B>>,
    /// What the old policy reads and remembers of all clips, if it is held from one update to the next.
    held: Option<Held<B>>,
    /// Text rows `[B, L, text_width]`.
    rows: Tensor<B, 3>,
    /// Numbers of the clips within the round: each has a stream of noise of its own.
    clips: Vec<u64>,
    /// Optimality of each clip.
    r: Vec<f32>,
}

/// Text, and clean frames where blocks look back at them, as the old policy sees them.
#[derive(Clone)]
struct Held<B: Backend> {
    text: TextMemory<B>,
    memory: Option<Memory<B>>,
}

/// Added to the numbers of teacher clips, which count from zero like the rollouts.
const TEACHER_CLIPS: u64 = 1 << 31;

/// Clips of a part's prompts and their scores, `[P][M]` and `[P][K]`.
struct Sides<B: Backend> {
    teacher: Tensor<B, 5>,
    student: Tensor<B, 5>,
    teacher_scores: Vec<Vec<f64>>,
    student_scores: Vec<Vec<f64>>,
}

impl<B: Trainable> Alternation<B> {
    /// Rollouts of the clips numbered `clips` for their text rows. What the policy remembers of them is kept if all are made at once.
    fn rollouts(
        &self,
        policy: &Student<B::InnerBackend>,
        rows: &Tensor<B::InnerBackend, 3>,
        round: u64,
        clips: Range<u64>,
    ) -> Rollout<B::InnerBackend> {
        let portions = portions(rows.dims()[0], self.clips_at_once);
        let made = portions.iter().map(|portion| {
            let text = policy.read_text(rows.clone().slice_dim(0, portion.clone()));
            let noise = RolloutNoise::new(self.seed, round, clips.start + portion.start as u64..clips.start + portion.end as u64);
            let mut made = rollout(policy, &text, &self.sampler, noise, self.shape, &self.device);
            made.memory = made.memory.filter(|_| portions.len() == 1);
            made
        });
        let mut made: Vec<_> = made.collect();
        match made.len() {
            1 => made.remove(0),
            _ => Rollout { latents: Tensor::cat(made.into_iter().map(|made| made.latents).collect(), 0), memory: None, clips },
        }
    }

    /// Scores per prompt: `[P][per_prompt]`.
    fn scores(
        &self,
        discriminator: &AnyDiscriminator<B::InnerBackend>,
        clips: &Tensor<B::InnerBackend, 5>,
        text: &Tensor<B::InnerBackend, 3>,
        per_prompt: usize,
    ) -> Vec<Vec<f64>> {
        let portions = portions(clips.dims()[0], self.clips_at_once).into_iter();
        let scores: Vec<f64> = portions
            .flat_map(|portion| {
                let text = text.clone().slice_dim(0, portion.clone());
                discriminator.score_within_limits(clips.clone().slice_dim(0, portion), text).into_data().iter::<f64>().collect::<Vec<_>>()
            })
            .collect();
        scores.chunks(per_prompt).map(<[f64]>::to_vec).collect()
    }

    /// `first` is the place of the first prompt in its round.
    fn texts(&self, prompts: &[String], first: usize, round: u64) -> Result<Texts<B::InnerBackend>, RoundError> {
        let text = |prompts: &[String], repeats| self.batches.text(prompts, repeats);
        let teachers = self.afd.teacher_clips_per_prompt;
        let mistaken =
            (self.discriminator.mismatch_weight > 0.0).then(|| self.batches.mistaken_prompts(prompts, first, round, teachers)).flatten();
        Ok(Texts {
            teacher: text(prompts, teachers)?,
            student: text(prompts, self.afd.rollouts_per_prompt)?,
            mistaken: mistaken.map(|prompts| text(&prompts, 1)).transpose()?,
        })
    }

    /// Both sides with the same augmentation and instance noise of the same size; `part` numbers the prompts.
    fn discriminator_work(
        &self,
        round: u64,
        step: u64,
        sides: &Sides<B::InnerBackend>,
        texts: &Texts<B::InnerBackend>,
        part: Range<usize>,
    ) -> DiscriminatorWork<B::InnerBackend> {
        let settings = &self.discriminator;
        let mut draw = Noise::new(self.seed, Purpose::Augmentation, round, step);
        let reach = settings.augment_shift as i64;
        let shift = [0; 2].map(|_| draw.below(2 * settings.augment_shift + 1) as i64 - reach);
        let brightness = 1.0 + settings.augment_brightness * draw.between(-1.0, 1.0);
        let (teachers, students) = (self.afd.teacher_clips_per_prompt, self.afd.rollouts_per_prompt);
        // One stream per step, side and prompt.
        let index = |side: u64| step * 3 + side;
        let augment = |clips: &Tensor<B::InnerBackend, 5>, side: u64, per_prompt: usize| {
            let mut clips = shifted_clips(clips.clone(), shift);
            if settings.augment_brightness > 0.0 {
                clips = clips * brightness;
            }
            if settings.instance_noise > 0.0 {
                let [noise] = self.normals(Purpose::InstanceNoise, round, index(side), part.clone(), [per_prompt]);
                clips = clips + noise * settings.instance_noise;
            }
            clips
        };
        let (teacher, student) = (augment(&sides.teacher, 0, teachers), augment(&sides.student, 1, students));
        let penalised = settings.r1_weight > 0.0 || settings.r2_weight > 0.0;
        let penalty = penalised.then(|| Penalty {
            direction: Tensor::cat(self.normals(Purpose::Penalty, round, index(2), part.clone(), [teachers, students]).into(), 0),
            size: settings.penalty_size,
            r1: settings.r1_weight,
            r2: settings.r2_weight,
        });
        DiscriminatorWork {
            teacher,
            student,
            teacher_text: texts.teacher.clone(),
            student_text: texts.student.clone(),
            mistaken: texts.mistaken.clone().map(|text| (text, settings.mismatch_weight)),
            prompts: part.len(),
            penalty,
        }
    }

    /// The rollouts with their r and, if the recipe wants them, teacher clips with r = 1; `part` numbers the prompts.
    fn samples(
        &self,
        own: &Rollout<B::InnerBackend>,
        r: &[Vec<f64>],
        texts: &Texts<B::InnerBackend>,
        teacher: &Tensor<B::InnerBackend, 5>,
        part: Range<usize>,
    ) -> Samples<B::InnerBackend> {
        let mut samples = Samples {
            latents: own.latents.clone(),
            memory: own.memory.clone(),
            held: None,
            rows: texts.student.clone(),
            clips: own.clips.clone().collect(),
            r: r.concat().iter().map(|value| *value as f32).collect(),
        };
        let (positives, of) = (self.afd.teacher_positives, self.afd.teacher_clips_per_prompt);
        if positives == 0 {
            return samples;
        }
        let chosen: Vec<Range<usize>> = (0..part.len()).map(|prompt| prompt * of..prompt * of + positives).collect();
        samples.latents = with_chosen(samples.latents, teacher, &chosen);
        samples.rows = with_chosen(samples.rows, &texts.teacher, &chosen);
        samples.clips.extend((part.start * positives..part.end * positives).map(|clip| TEACHER_CLIPS | clip as u64));
        samples.r.resize(samples.clips.len(), 1.0);
        samples
    }

    /// The samples in parts of at most `run.clips_at_once`. What the old policy sees of them is held only if they stay together.
    fn split(&self, samples: Samples<B::InnerBackend>, old: &Student<B::InnerBackend>) -> Vec<Samples<B::InnerBackend>> {
        let portions = portions(samples.clips.len(), self.clips_at_once);
        if portions.len() == 1 {
            let held = (self.afd.old_policy == OldPolicy::Lagging).then(|| self.held(old, &samples));
            return vec![Samples { held, ..samples }];
        }
        let part = |range: Range<usize>| Samples {
            latents: samples.latents.clone().slice_dim(0, range.clone()),
            memory: None,
            held: None,
            rows: samples.rows.clone().slice_dim(0, range.clone()),
            clips: samples.clips[range.clone()].to_vec(),
            r: samples.r[range].to_vec(),
        };
        portions.into_iter().map(part).collect()
    }

    fn held(&self, old: &Student<B::InnerBackend>, samples: &Samples<B::InnerBackend>) -> Held<B::InnerBackend> {
        let text = old.read_text(samples.rows.clone());
        let looks_back = self.afd.context != Context::UniformNoise;
        let memory = looks_back.then(|| remembered(old, samples, &text)).flatten();
        Held { text, memory }
    }

    /// Noised samples with the velocities that the loss compares the student's with.
    fn flow_work(
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
        let lookback = |student: &Student<_>, memory| {
            if noisy_past { Lookback::none(student, frames) } else { Lookback::on(student, frames, memory) }
        };
        let old_velocity = (self.afd.old_policy == OldPolicy::Lagging).then(|| {
            let Held { text, memory } = samples.held.clone().unwrap_or_else(|| self.held(old, samples));
            velocities(old, clips.state(), &sigmas, &text, &lookback(old, memory))
        });
        let reference = reference.map(|reference| {
            let text = reference.read_text(samples.rows.clone());
            let memory = (!noisy_past).then(|| remember(reference, samples.latents.clone(), 0.0, &text));
            (velocities(reference, clips.state(), &sigmas, &text, &lookback(reference, memory)), self.afd.reference_weight)
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
            settings: ForwardProcessSettings { form: self.afd.loss, beta: self.afd.beta, advantage_clip: self.afd.advantage_clip },
        }
    }

    /// The forward process: every block of every clip gets a noise level and noise of its own, from a stream per clip.
    fn noised(&self, round: u64, step: u64, samples: &Samples<B::InnerBackend>) -> (Noised<B::InnerBackend>, Vec<f32>) {
        let dims = samples.latents.dims();
        let [batch, frames, ..] = dims;
        let per_block = if self.afd.context == Context::UniformNoise { frames } else { self.frames_per_block };
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
            noise.extend(Noise::new(self.seed, Purpose::ForwardProcess, round, index).normals(dims[1..].iter().product()));
        }
        let noise = Tensor::from_data(TensorData::new(noise, dims), &self.device);
        let clips = Noised { clean: samples.latents.clone(), noise, sigmas: levels(&sigmas, batch, frames, &self.device) };
        (clips, sigmas)
    }

    /// Standard normal clips for the prompts numbered `part`, `counts` of each kind per prompt: one `[P * count, F, C, H, W]` per kind.
    ///
    /// A stream per prompt, so that nothing depends on how a batch is split.
    fn normals<const KINDS: usize>(
        &self,
        purpose: Purpose,
        round: u64,
        index: u64,
        part: Range<usize>,
        counts: [usize; KINDS],
    ) -> [Tensor<B::InnerBackend, 5>; KINDS] {
        let [frames, channels, height, width] = self.shape;
        let size = frames * channels * height * width;
        let mut values = [const { Vec::new() }; KINDS];
        for prompt in part.clone() {
            let mut draw = Noise::new(self.seed, purpose, round, index << 32 | prompt as u64);
            values.iter_mut().zip(counts).for_each(|(values, count)| values.extend(draw.normals(count * size)));
        }
        values.map(|values: Vec<f32>| {
            let clips = values.len() / size;
            Tensor::from_data(TensorData::new(values, [clips, frames, channels, height, width]), &self.device)
        })
    }
}

/// `values`, and then the `chosen` rows of `more`.
fn with_chosen<B: Backend, const N: usize>(values: Tensor<B, N>, more: &Tensor<B, N>, chosen: &[Range<usize>]) -> Tensor<B, N> {
    let chosen = chosen.iter().map(|range| more.clone().slice_dim(0, range.clone()));
    Tensor::cat(std::iter::once(values).chain(chosen).collect(), 0)
}

/// What the old policy remembers of its clips: kept from the rollouts where there is room for it, else by a clean pass. Teacher clips, which come last,
/// were never rolled out. `None` for clips of one block.
fn remembered<B: Kernels>(old: &Student<B>, samples: &Samples<B>, text: &TextMemory<B>) -> Option<Memory<B>> {
    let clips = samples.clips.len();
    let Some(kept) = &samples.memory else { return Some(remember(old, samples.latents.clone(), 0.0, text)) };
    let rolled_out = kept.clips();
    if rolled_out == clips {
        return Some(kept.clone());
    }
    let rest = rolled_out..clips;
    let rows = old.read_text(samples.rows.clone().slice_dim(0, rest.clone()));
    let others = remember(old, samples.latents.clone().slice_dim(0, rest), 0.0, &rows);
    let frames = 0..kept.frames.len();
    Some(kept.clone().stack(others.keep(&[frames])?))
}

/// Pair accuracy on clips that the discriminator has not been trained on yet.
fn fresh_accuracy(teacher: &[Vec<f64>], student: &[Vec<f64>]) -> f64 {
    let wins = teacher.iter().zip(student).flat_map(|(teacher, student)| {
        teacher.iter().flat_map(move |t| {
            student.iter().map(move |s| {
                if t > s {
                    1.0
                } else if t == s {
                    0.5
                } else {
                    0.0
                }
            })
        })
    });
    mean(&wins.collect::<Vec<_>>())
}

/// Moves clips by whole latent pixels (rows, columns); what moves in from outside is zero, the mean colour.
fn shifted_clips<B: Backend>(clips: Tensor<B, 5>, [rows, columns]: [i64; 2]) -> Tensor<B, 5> {
    let move_axis = |clips: Tensor<B, 5>, axis: usize, by: i64| {
        let mut dims = clips.dims();
        let length = dims[axis];
        let gap = (by.unsigned_abs() as usize).min(length);
        if gap == 0 {
            return clips;
        }
        dims[axis] = gap;
        let empty = Tensor::zeros(dims, &clips.device());
        if by > 0 {
            Tensor::cat(vec![empty, clips.slice_dim(axis, 0..length - gap)], axis)
        } else {
            Tensor::cat(vec![clips.slice_dim(axis, gap..length), empty], axis)
        }
    };
    move_axis(move_axis(clips, 3, rows), 4, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn shifting_moves_pixels_and_fills_with_the_mean_colour() {
        let clips = Tensor::<NdArray, 1, Int>::arange(1..7, &Default::default()).float().reshape([1, 1, 1, 2, 3]);
        let shifted = shifted_clips(clips, [1, -1]).into_data().to_vec::<f32>().unwrap();
        assert_eq!(shifted, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
    }
}

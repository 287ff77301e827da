//! Supervised flow matching (docs/method.md H.1): makes the base student of teacher clips, and a
//! few-step student of its own many-step ones.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::passes::{clean_pass, noisy_pass};
use afd_models::student::segments::{Pass, Past};
use afd_models::student::{KvCache, Student};
use burn::module::AutodiffModule;
use burn::prelude::*;

use super::trajectories;
use crate::data::batch::Batches;
use crate::engine::averages;
use crate::engine::learner::LearnerHandle;
use crate::engine::learning_rate::half_cosine;
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::report::RoundReport;
use crate::engine::rounds::{RoundError, RoundState, TrainingMethod};
use crate::engine::shards::micro_batches;
use crate::engine::update::{RunLoss, StudentUpdate, Update, scalar};
use crate::flow::path::{Noised, levels, noised};
use crate::flow::schedule::{TrainedLevels, draw_block_sigmas};
use crate::flow::trajectory::TrajectorySchedule;
use crate::recipe::Recipe;
use crate::recipe::tables::SupervisedTable;

/// Name of the loss in the log.
pub const LOSS: &str = "supervised_loss";

/// Teacher- or diffusion-forced flow matching, one update per round, on teacher clips or on the
/// student's own trajectories.
pub struct Supervised<B: Trainable> {
    table: SupervisedTable,
    /// Where the clips come from if not from the teacher.
    trajectories: Option<TrajectorySchedule>,
    shape: [usize; 4],
    learning_rate: f64,
    sigmas: TrainedLevels,
    shift: f64,
    frames_per_block: usize,
    seed: u64,
    micro_batch: usize,
    batches: Arc<Batches<B::InnerBackend>>,
    device: B::Device,
}

impl<B: Trainable> Supervised<B> {
    /// Flow matching as `table` says on the recipe's prompts and teacher.
    pub fn new(
        recipe: &Recipe,
        table: SupervisedTable,
        batches: Arc<Batches<B::InnerBackend>>,
        device: B::Device,
    ) -> Self {
        let settings = &recipe.settings;
        Self {
            learning_rate: settings.optimizer.learning_rate,
            sigmas: settings.sampler.training_sigmas(table.sigmas),
            trajectories: recipe.trajectories.clone(),
            shape: recipe.latent_shape,
            table,
            shift: settings.sampler.timestep_shift,
            frames_per_block: recipe.student.frames_per_block,
            seed: settings.seed,
            micro_batch: settings.run.micro_batch,
            batches,
            device,
        }
    }

    /// Linear warm-up, then half a cosine down to `final_rate` of the peak.
    fn rate(&self, round: u64) -> f64 {
        let warm_up = ((round + 1) as f64 / self.table.warmup_steps.max(1) as f64).min(1.0);
        let progress = round as f64 / self.table.steps.max(1) as f64;
        self.learning_rate * warm_up * half_cosine(progress, self.table.final_rate)
    }
}

/// Clips to learn from.
struct Examples<B: Backend> {
    clips: Noised<B>,
    /// Noise level of every (clip, frame), frame fastest.
    sigmas: Vec<f32>,
    /// Text embeddings `[B, L, text_width]`.
    text: Tensor<B, 3>,
}

impl<B: Trainable> Supervised<B> {
    /// Teacher clips with noise and levels of their own.
    fn teacher_clips(
        &self,
        round: u64,
        report: &mut RoundReport,
    ) -> Result<Examples<B::InnerBackend>, RoundError> {
        let queries = self.batches.queries();
        let prompts = self.batches.prompts_of(round, self.table.batch)?;
        let clean = self.batches.teacher_latents(&prompts, round, 1)?;
        let text = self.batches.text(&prompts, 1)?;
        report.cost.teacher_queries = self.batches.queries() - queries;
        report.finished("teacher");
        let [batch, frames, ..] = clean.dims();
        let mut draw = Noise::new(self.seed, Purpose::Sigma, round, 0);
        let (levels_of, shift, per_block) = (&self.sigmas, self.shift, self.frames_per_block);
        let sigmas: Vec<f32> = (0..batch)
            .flat_map(|_| draw_block_sigmas(levels_of, shift, frames, per_block, &mut draw))
            .collect();
        let clips = Noised {
            noise: self.normals(round, 0, clean.dims()),
            clean,
            sigmas: levels(&sigmas, batch, frames, &self.device),
        };
        Ok(Examples {
            clips,
            sigmas,
            text,
        })
    }

    /// Clips that the student of the start makes in many steps, each at all levels of the few-step
    /// sampler.
    fn own_clips<D: TrainedDiscriminator<B>>(
        &self,
        schedule: &TrajectorySchedule,
        round: u64,
        learner: &dyn LearnerHandle<B, D>,
        report: &mut RoundReport,
    ) -> Result<Examples<B::InnerBackend>, RoundError> {
        let model = learner.model();
        let student = model.reference.as_ref().unwrap_or(&model.student).valid();
        let repeats = schedule.levels();
        let prompts = self.batches.prompts_of(round, self.table.batch / repeats)?;
        let parts = learner.shards().ranges(prompts.len());
        let made = learner.shards().map(parts, |_, part| {
            let made = within(&part, self.micro_batch).map(|clips| {
                let text = self.batches.text(&prompts[clips.clone()], 1)?;
                let numbers = clips.start as u64..clips.end as u64;
                let streams = [self.seed, round];
                Ok(trajectories::examples(
                    schedule, &student, text, self.shape, streams, numbers,
                ))
            });
            made.collect::<Result<Vec<_>, RoundError>>()
        });
        let made: Vec<_> = made.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let all = |of: fn(&Noised<B::InnerBackend>) -> &Tensor<B::InnerBackend, 5>| {
            Tensor::cat(made.iter().map(|(clips, _)| of(clips).clone()).collect(), 0)
        };
        let clips = Noised {
            clean: all(|clips| &clips.clean),
            noise: all(|clips| &clips.noise),
            sigmas: all(|clips| &clips.sigmas),
        };
        let text = self.batches.text(&prompts, repeats)?;
        report.cost.rollouts = prompts.len() as u64;
        report.finished("rollout");
        Ok(Examples {
            clips,
            sigmas: made.into_iter().flat_map(|(_, sigmas)| sigmas).collect(),
            text,
        })
    }

    fn normals(&self, round: u64, index: u64, dims: [usize; 5]) -> Tensor<B::InnerBackend, 5> {
        let mut draw = Noise::new(self.seed, Purpose::ForwardProcess, round, index);
        let values = draw.normals(dims.iter().product());
        Tensor::from_data(TensorData::new(values, dims), &self.device)
    }

    /// What the clean half shows: the clips, slightly noised so that a student forgives its own
    /// errors; `None` for diffusion forcing.
    fn context(
        &self,
        round: u64,
        clean: &Tensor<B::InnerBackend, 5>,
    ) -> Option<Tensor<B::InnerBackend, 5>> {
        let [batch, frames, ..] = clean.dims();
        self.table.teacher_forcing.then(|| {
            let sigmas = vec![self.table.context_noise; batch * frames];
            let level = levels(&sigmas, batch, frames, &self.device);
            noised(clean.clone(), self.normals(round, 1, clean.dims()), &level)
        })
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> TrainingMethod<B, D> for Supervised<B> {
    fn finished(&self, state: &RoundState) -> bool {
        state.round >= self.table.steps
    }

    fn planned_rounds(&self, _state: &RoundState) -> u64 {
        self.table.steps
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B, D>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError> {
        let round = state.round;
        let mut report = RoundReport::new("supervised");
        let examples = match &self.trajectories {
            None => self.teacher_clips(round, &mut report)?,
            Some(schedule) => self.own_clips(schedule, round, learner, &mut report)?,
        };
        report.cost.student_passes = self.table.batch as u64;

        let [batch, frames, ..] = examples.clips.clean.dims();
        let context = self.context(round, &examples.clips.clean);
        learner.set_student_rate(self.rate(round));
        let update = |range: Range<usize>| {
            let cut =
                |tensor: &Tensor<B::InnerBackend, 5>| tensor.clone().slice_dim(0, range.clone());
            let sigmas = examples.sigmas[range.start * frames..range.end * frames].to_vec();
            let update = SupervisedUpdate {
                clips: Noised {
                    clean: cut(&examples.clips.clean),
                    noise: cut(&examples.clips.noise),
                    sigmas: levels(&sigmas, range.len(), frames, &self.device),
                },
                sigmas,
                context: context.as_ref().map(cut),
                text: examples.text.clone().slice_dim(0, range.clone()),
            };
            let share = range.len() as f64 / batch as f64;
            (Update::Student(Box::new(update)), share)
        };
        let parts = learner.shards().ranges(batch);
        let parts = parts.iter().flat_map(|part| within(part, self.micro_batch));
        report.merge(learner.train(parts.map(update).collect())?);

        let mut model = learner.model();
        let decay = averages::ema_decay(round + 1, self.table.ema_decay);
        model.ema = averages::blend::<B, _>(model.ema, &model.student, decay);
        learner.replace(model);
        report.finished("supervised");
        Ok(report)
    }
}

/// A part's clips in micro-batches.
fn within(part: &Range<usize>, micro_batch: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let start = part.start;
    micro_batches(part.len(), micro_batch)
        .into_iter()
        .map(move |clips| start + clips.start..start + clips.end)
}

/// Clips for supervised flow matching.
#[derive(Debug, Clone)]
pub struct SupervisedUpdate<B: Backend> {
    /// Noised clips.
    pub clips: Noised<B>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// What the clean half shows, `[B, F, C, H, W]`; `None` for diffusion forcing. It is always
    /// told t = 0, because that is what it is told when the student attends to its own clips.
    pub context: Option<Tensor<B, 5>>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> StudentUpdate<B, D>
    for SupervisedUpdate<B::InnerBackend>
{
    fn text(&self) -> &Tensor<B::InnerBackend, 3> {
        &self.text
    }

    fn passes(
        &self,
        student: &Student<B>,
        _cache: Option<&KvCache<B::InnerBackend>>,
        _run: usize,
    ) -> Vec<Pass<B::InnerBackend>> {
        let layout = student.layout(self.clips.clean.dims()[1]);
        let noisy = |past| noisy_pass(&layout, self.clips.state(), &self.sigmas, past);
        match &self.context {
            Some(context) => vec![
                clean_pass(&layout, context.clone(), 0.0),
                noisy(Past::Of(0)),
            ],
            None => vec![noisy(Past::Nothing)],
        }
    }

    /// Flow matching on the clips themselves.
    fn loss(&self, velocity: Tensor<B, 5>, _model: &AfdModel<B, D>, _run: usize) -> RunLoss<B> {
        let target = Tensor::<B, 5>::from_inner(self.clips.velocity());
        let value = (velocity - target).square().mean();
        RunLoss {
            scalars: vec![(LOSS, scalar(&value))],
            value,
            share: 1.0,
        }
    }
}

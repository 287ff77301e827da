//! Supervised flow matching (method.md H.1): makes the base student of teacher clips, and a
//! few-step student of its own many-step ones.

use std::sync::Arc;
use std::time::Instant;

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use burn::module::AutodiffModule;
use burn::prelude::*;

use super::forward_process::Noised;
use super::learning_rate::half_cosine;
use super::model::{SupervisedWork, Work};
use super::policies;
use super::shards::micro_batches;
use super::strategy::{LearnerHandle, Method, RoundError, RoundReport, RoundState};
use super::trajectories::Trajectories;
use crate::data::batch::Batches;
use crate::flow::path::{levels, noised};
use crate::flow::schedule::draw_sigma;
use crate::recipe::Recipe;
use crate::recipe::settings::Supervised as Settings;

/// Teacher- or diffusion-forced flow matching, one update per round, on teacher clips or on the
/// student's own trajectories.
pub struct Supervised<B: Trainable> {
    settings: Settings,
    /// Where the clips come from if not from the teacher.
    trajectories: Option<Trajectories>,
    shape: [usize; 4],
    learning_rate: f64,
    sigmas: Vec<f32>,
    shift: f64,
    frames_per_block: usize,
    seed: u64,
    micro_batch: usize,
    batches: Arc<Batches<B::InnerBackend>>,
    device: B::Device,
}

impl<B: Trainable> Supervised<B> {
    /// Flow matching with `settings` on the recipe's prompts and teacher.
    pub fn new(
        recipe: &Recipe,
        settings: Settings,
        batches: Arc<Batches<B::InnerBackend>>,
        device: B::Device,
    ) -> Self {
        Self {
            learning_rate: recipe.settings.optimizer.learning_rate,
            sigmas: recipe.training_sigmas(settings.sigmas),
            trajectories: recipe.trajectories.clone(),
            shape: recipe.latent_shape,
            settings,
            shift: recipe.settings.sampler.timestep_shift,
            frames_per_block: recipe.student.frames_per_block,
            seed: recipe.settings.seed,
            micro_batch: recipe.settings.run.micro_batch,
            batches,
            device,
        }
    }

    /// Linear warm-up, then half a cosine down to `final_rate` of the peak.
    fn rate(&self, round: u64) -> f64 {
        let warm_up = ((round + 1) as f64 / self.settings.warmup_steps.max(1) as f64).min(1.0);
        let share = round as f64 / self.settings.steps.max(1) as f64;
        self.learning_rate * warm_up * half_cosine(share, self.settings.final_rate)
    }
}

/// Clips to learn from.
struct Examples<B: Backend> {
    clips: Noised<B>,
    /// Noise level of every (clip, frame), frame fastest.
    sigmas: Vec<f32>,
    /// Text rows `[B, L, text_width]`.
    text: Tensor<B, 3>,
}

impl<B: Trainable> Supervised<B> {
    /// Teacher clips with noise and levels of their own.
    fn teacher_clips(
        &self,
        round: u64,
        report: &mut RoundReport,
    ) -> Result<Examples<B::InnerBackend>, RoundError> {
        let started = Instant::now();
        let queries = self.batches.queries();
        let prompts = self.batches.prompts_of(round, self.settings.batch)?;
        let clean = self.batches.teacher_latents(&prompts, round, 1)?;
        let text = self.batches.text(&prompts, 1)?;
        report.cost.teacher_queries = self.batches.queries() - queries;
        report.took("teacher", started);
        let [batch, frames, ..] = clean.dims();
        let mut draw = Noise::new(self.seed, Purpose::Sigma, round, 0);
        let mut sigmas = Vec::with_capacity(batch * frames);
        for _ in 0..batch {
            let mut current = 0.0;
            for frame in 0..frames {
                if frame % self.frames_per_block == 0 {
                    current = draw_sigma(&self.sigmas, self.shift, &mut draw);
                }
                sigmas.push(current);
            }
        }
        let noise = self.normals(round, 0, clean.dims());
        let level = levels(&sigmas, batch, frames, &self.device);
        Ok(Examples {
            clips: Noised {
                clean,
                noise,
                sigmas: level,
            },
            sigmas,
            text,
        })
    }

    /// Clips that the student of the start makes in many steps, each at all levels of the few-step
    /// sampler.
    fn own_clips(
        &self,
        trajectories: &Trajectories,
        round: u64,
        learner: &dyn LearnerHandle<B>,
        report: &mut RoundReport,
    ) -> Result<Examples<B::InnerBackend>, RoundError> {
        let started = Instant::now();
        let model = learner.model();
        let student = model.reference.as_ref().unwrap_or(&model.student).valid();
        let repeats = trajectories.levels();
        let prompts = self
            .batches
            .prompts_of(round, self.settings.batch / repeats)?;
        let made = learner
            .shards()
            .map(learner.shards().ranges(prompts.len()), |_, part| {
                let made = micro_batches(part.len(), self.micro_batch)
                    .into_iter()
                    .map(|portion| {
                        let clips = part.start + portion.start..part.start + portion.end;
                        let rows = self.batches.text(&prompts[clips.clone()], 1)?;
                        Ok(trajectories.examples(
                            &student,
                            rows,
                            self.shape,
                            [self.seed, round],
                            clips.start as u64..clips.end as u64,
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
        report.took("rollout", started);
        Ok(Examples {
            clips,
            sigmas: made.into_iter().flat_map(|(_, sigmas)| sigmas).collect(),
            text,
        })
    }

    fn normals(&self, round: u64, index: u64, dims: [usize; 5]) -> Tensor<B::InnerBackend, 5> {
        let values = Noise::new(self.seed, Purpose::ForwardProcess, round, index)
            .normals(dims.iter().product());
        Tensor::from_data(TensorData::new(values, dims), &self.device)
    }
}

impl<B: Trainable> Method<B> for Supervised<B> {
    fn finished(&self, state: &RoundState) -> bool {
        state.round >= self.settings.steps
    }

    fn planned_rounds(&self, _state: &RoundState) -> u64 {
        self.settings.steps
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError> {
        let round = state.round;
        let mut report = RoundReport::new("supervised");
        let Examples {
            clips: Noised { clean, noise, .. },
            sigmas,
            text,
        } = match &self.trajectories {
            None => self.teacher_clips(round, &mut report)?,
            Some(trajectories) => self.own_clips(trajectories, round, learner, &mut report)?,
        };
        report.cost.student_passes = self.settings.batch as u64;

        let started = Instant::now();
        let [batch, frames, ..] = clean.dims();
        let context = self.settings.teacher_forcing.then(|| {
            let level = levels(
                &vec![self.settings.context_noise; batch * frames],
                batch,
                frames,
                &self.device,
            );
            noised(clean.clone(), self.normals(round, 1, clean.dims()), &level)
        });
        learner.set_student_rate(self.rate(round));
        let part = |range: std::ops::Range<usize>| {
            let cut =
                |tensor: &Tensor<B::InnerBackend, 5>| tensor.clone().slice_dim(0, range.clone());
            let sigmas = sigmas[range.start * frames..range.end * frames].to_vec();
            let level = levels(&sigmas, range.len(), frames, &self.device);
            let work = SupervisedWork {
                clips: Noised {
                    clean: cut(&clean),
                    noise: cut(&noise),
                    sigmas: level,
                },
                sigmas,
                context: context.as_ref().map(cut),
                // The clean half is always told t = 0, because that is what it is told when the
                // student looks back at its own clips.
                context_sigma: 0.0,
                text: text.clone().slice_dim(0, range.clone()),
            };
            (Work::Supervised(work), range.len() as f64 / batch as f64)
        };
        let parts = learner.shards().ranges(batch).into_iter();
        let within = |part: std::ops::Range<usize>| {
            micro_batches(part.len(), self.micro_batch)
                .into_iter()
                .map(move |portion| part.start + portion.start..part.start + portion.end)
        };
        let parts = parts.flat_map(within).map(part).collect();
        report.merge(learner.train(parts)?);
        let mut model = learner.model();
        let decay = policies::ema_decay(round + 1, self.settings.ema_decay);
        model.evaluation = policies::blend::<B, _>(model.evaluation, &model.student, decay);
        learner.replace(model);
        report.took("supervised", started);
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::afd::model::AfdModel;
    use crate::flow::path::clean_estimate;
    use afd_models::copies::frozen_copy;
    use afd_models::init::initialise;
    use afd_models::student::transformer::Inputs;
    use afd_models::student::{Student, StudentConfig, Visibility};
    use burn::backend::{Autodiff, Flex};
    use burn::optim::{AdamConfig, GradientsParams, Optimizer};
    use burn::train::TrainStep;

    type B = Autodiff<Flex>;
    const SHAPE: [usize; 4] = [2, 1, 2, 2];
    const VALUES: usize = 8;
    const UPDATES: u64 = 1500;

    fn random(index: u64, clips: usize) -> Vec<f32> {
        Noise::new(6, Purpose::Evaluation, 0, index).normals(clips * VALUES)
    }

    fn clips<C: Backend>(values: Vec<f32>) -> Tensor<C, 5> {
        let [frames, channels, height, width] = SHAPE;
        let batch = values.len() / VALUES;
        Tensor::from_data(
            TensorData::new(values, [batch, frames, channels, height, width]),
            &Default::default(),
        )
    }

    /// Two clips per prompt, equally likely. From pure noise nothing can be told about which it is:
    /// the best clean estimate is the prompt's mean.
    #[test]
    fn supervised_flow_matching_recovers_the_conditional_mean() {
        let config = StudentConfig {
            width: 32,
            layers: 1,
            heads: 2,
            feed_forward_width: 32,
            latent_channels: 1,
            patch: 2,
            text_width: 4,
            frequency_width: 16,
            frames_per_block: 2,
            window_frames: 0,
            sink_frames: 0,
        };
        let student = initialise(
            Student::<B>::new(&config, &Default::default()),
            5,
            "student",
        );
        let evaluation = frozen_copy(student.clone());
        let mut model = AfdModel {
            student,
            old: None,
            reference: None,
            evaluation,
            discriminator: None,
        };
        let mut optimizer = AdamConfig::new().init::<B, AfdModel<B>>();
        let data = random(0, 4);
        let text = |batch: usize| {
            let rows = (0..batch)
                .flat_map(|clip| {
                    if clip % 4 < 2 {
                        [1.0, 0.0, 1.0, -1.0]
                    } else {
                        [-1.0, 1.0, 0.0, 1.0]
                    }
                })
                .collect();
            Tensor::<Flex, 3>::from_data(TensorData::new(rows, [batch, 1, 4]), &Default::default())
        };
        for update in 0..UPDATES {
            // Each clip eight times, with other noise.
            let clean = clips::<Flex>(data.repeat(8));
            let noise = clips::<Flex>(random(1 + update, 32));
            let sigmas = vec![1.0; 32 * 2];
            let level = levels(&sigmas, 32, 2, &Default::default());
            let work = SupervisedWork {
                clips: Noised {
                    clean: clean.clone(),
                    noise,
                    sigmas: level,
                },
                sigmas,
                context: None,
                context_sigma: 0.0,
                text: text(32),
            };
            let output = TrainStep::step(&model, Work::Supervised(work));
            let rate = 1e-2 * half_cosine(update as f64 / UPDATES as f64, 0.01);
            let gradients: GradientsParams = output.grads;
            model = optimizer.step(rate, model, gradients);
        }
        let student = burn::module::AutodiffModule::valid(&model.student);
        let noise = clips::<Flex>(random(10_000, 64));
        let rows = student.text_cache(text(64));
        let (frames, timesteps) = (vec![0, 1], vec![1000.0; 64 * 2]);
        let visibility = Visibility::block_causal(&student.layout(2));
        let inputs = Inputs {
            timesteps: &timesteps,
            frames: &frames,
            text: &rows,
            past: None,
            visibility: &visibility,
        };
        let velocity = student.forward(noise.clone(), &inputs).0;
        let level = levels(&vec![1.0; 64 * 2], 64, 2, &Default::default());
        let estimate: Vec<f32> = clean_estimate(noise, velocity, &level)
            .into_data()
            .iter::<f32>()
            .collect();
        for (prompt, value) in [(0, 0), (0, 3), (0, 7), (1, 0), (1, 4), (1, 6)] {
            let expected =
                0.5 * (data[2 * prompt * VALUES + value] + data[(2 * prompt + 1) * VALUES + value]);
            let of_prompt: Vec<f32> = (0..64)
                .filter(|clip| (clip % 4) / 2 == prompt)
                .map(|clip| estimate[clip * VALUES + value])
                .collect();
            let found = of_prompt.iter().sum::<f32>() / of_prompt.len() as f32;
            let spread = (of_prompt
                .iter()
                .map(|value| (value - expected).powi(2))
                .sum::<f32>()
                / of_prompt.len() as f32)
                .sqrt();
            // The clips are of order one and differ by as much; a small student cannot copy the
            // noise exactly.
            assert!(
                (found - expected).abs() < 0.1 && spread < 0.35,
                "{prompt} {value}: {found} {expected} {spread}"
            );
        }
    }
}

//! The clips that a measurement compares: of the subject, of the world, and of both going on from
//! the same frames.

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::student::Student;
use burn::prelude::*;

use super::{MeasureError, PREFIX};
use crate::data::batch::{BatchError, Batches};
use crate::data::prepare::prepare_fitted;
use crate::data::video::{Clip, ClipShape};
use crate::eval::continuation::Case;
use crate::recipe::Recipe;
use crate::rollout::{Generator, RolloutNoise};
use crate::session::SessionError;
use crate::session::generate::{Request, generate};
use crate::teacher::{Teacher, world::World};

/// Scenes per prompt that the student goes on from.
const SCENES: u64 = 4;
/// Continuations per scene.
const CONTINUATIONS: u64 = 2;

/// Who is measured.
pub enum Subject<'a, B: Backend> {
    /// Other samples of the teacher: what a perfect student would score.
    Teacher,
    /// A student, and what it was on the way: x of the learning curve and weights.
    Student(&'a Student<B>, Vec<(f64, Student<B>)>),
}

/// Makes the clips that are compared.
pub(super) struct ClipMaker<'a, B: Trainable> {
    pub recipe: &'a Recipe,
    pub batches: &'a Batches<B::InnerBackend>,
    pub device: &'a B::Device,
    pub world: World,
}

impl<B: Trainable> ClipMaker<'_, B> {
    pub fn clips(
        &self,
        student: &Student<B::InnerBackend>,
        prompt: &str,
        samples: u64,
        frames: usize,
    ) -> Result<Vec<Clip>, SessionError> {
        let recipe = self.recipe;
        let [_, channels, height, width] = recipe.latent_shape;
        let evaluation = &recipe.settings.evaluation;
        let request = Request {
            prompt,
            samples,
            seed: recipe.settings.seed,
            batch: evaluation.batch,
            frames,
            latent_shape: [frames, channels, height, width],
        };
        generate(
            student,
            self.batches,
            &recipe.settings.sampler.build(),
            &request,
            self.device,
        )
    }

    pub fn subject_clips(
        &self,
        subject: &Subject<B::InnerBackend>,
        prompt: &str,
        samples: u64,
        frames: usize,
    ) -> Result<Vec<Clip>, SessionError> {
        match subject {
            Subject::Student(student, _) => self.clips(student, prompt, samples, frames),
            // Samples that come after those of every other use.
            Subject::Teacher => self.world_clips(
                prompt,
                1 << 20,
                samples,
                frames / self.recipe.settings.clip.frames,
                0,
            ),
        }
    }

    /// Evaluation samples from `offset` on, `times` as long as a clip; the scene as it was filmed
    /// the `again`-th time.
    pub fn world_clips(
        &self,
        prompt: &str,
        offset: u64,
        count: u64,
        times: usize,
        again: u64,
    ) -> Result<Vec<Clip>, SessionError> {
        let clip = self.recipe.settings.clip;
        let shape = ClipShape {
            frames: times * clip.frames,
            ..clip
        };
        let first = self.recipe.settings.evaluation.first_sample + offset;
        let world = self
            .world
            .lasting(afd_world::frames_for(shape))
            .filmed_again(again);
        let videos = world
            .videos(prompt, first..first + count)
            .map_err(BatchError::from)?;
        let prepared = videos
            .iter()
            .map(|video| prepare_fitted(video, shape, self.recipe.settings.teacher.fit));
        Ok(prepared
            .collect::<Result<_, _>>()
            .map_err(MeasureError::from)?)
    }

    pub fn continuations(
        &self,
        subject: &Subject<B::InnerBackend>,
        prompt: &str,
    ) -> Result<Vec<Case>, SessionError> {
        let truths = self.world_clips(prompt, 0, SCENES, 1, 0)?;
        let second_takes = self.world_clips(prompt, 0, SCENES, 1, 1)?;
        let cases = truths.into_iter().zip(second_takes).enumerate().map(
            |(scene, (truth, second_take))| {
                let generated = match subject {
                    Subject::Teacher => self.world_clips(prompt, scene as u64, 1, 1, 2)?,
                    Subject::Student(student, _) => {
                        self.continued(student, prompt, scene as u64, &truth)?
                    }
                };
                Ok(Case {
                    prefix: PREFIX,
                    truth,
                    second_take,
                    generated,
                })
            },
        );
        cases.collect()
    }

    fn continued(
        &self,
        student: &Student<B::InnerBackend>,
        prompt: &str,
        scene: u64,
        truth: &Clip,
    ) -> Result<Vec<Clip>, SessionError> {
        let count = CONTINUATIONS as usize;
        let embeddings = self.batches.text(&[prompt.to_string()], count)?;
        let prefix = self
            .batches
            .encode(std::slice::from_ref(truth))
            .slice_dim(1, 0..PREFIX)
            .repeat_dim(0, count);
        // Streams of their own, after those of the clips.
        let stream = |sample| {
            Noise::new(
                self.recipe.settings.seed,
                Purpose::Evaluation,
                1 << 32 | (scene * CONTINUATIONS + sample),
                key_of(prompt),
            )
        };
        let noise = RolloutNoise::of((0..CONTINUATIONS).map(stream).collect());
        let (text, sampler) = (
            student.text_cache(embeddings),
            self.recipe.settings.sampler.build(),
        );
        let generator = Generator {
            student,
            text: &text,
            sampler: &sampler,
            shape: self.recipe.latent_shape,
            device: self.device,
        };
        let made = generator.continuation(noise, prefix);
        let name = |number| format!("continuation {number} of scene {scene} of {prompt:?}");
        Ok(self.batches.decode(made, truth.shape.frames, &name)?)
    }
}

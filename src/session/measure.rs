//! Everything that the evidence asks of a student whose teacher is the physics world: [`Measured`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::student::Student;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::SessionError;
use super::generate::{Request, generate};
use crate::data::batch::{BatchError, Batches};
use crate::data::prepare::{PrepareError, prepare_fitted};
use crate::data::video::{Clip, ClipShape};
use crate::data::video_io::write_gif_bytes;
use crate::eval::continuation::Case;
use crate::eval::holdout::{self, PromptGroup};
use crate::eval::physics::{self, PHYSICS_METRICS, PromptEvidence};
use crate::eval::preview::side_by_side;
use crate::eval::table::{METRICS, score};
use crate::exit::ExitStatus;
use crate::recipe::tables::{CodecKind, TeacherKind};
use crate::recipe::{Recipe, RecipeError};
use crate::rollout::{Generator, RolloutNoise};
use crate::run::files::{FileError, write_atomically};
use crate::teacher::{Teacher, world::World};

/// Long clips are this many times the trained length.
const LONG: usize = 4;
/// Long clips per prompt and side.
const LONG_CLIPS: u64 = 8;
/// Scenes per prompt that the student goes on from.
const SCENES: u64 = 4;
/// Continuations per scene.
const CONTINUATIONS: u64 = 2;
/// Frames that the student is given of each scene.
const PREFIX: usize = 3;
/// Clips per prompt and side of a point on the learning curve.
const CURVE_CLIPS: usize = 8;
/// Prompts whose clips are shown.
const PREVIEWS: usize = 3;

/// Why a student cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The truth is known of the built-in world alone.
    #[error(
        "only students of the built-in world can be measured against the truth: it takes \
            teacher.kind = \"world\" and codec.kind = \"pixel\""
    )]
    NotTheWorld,
    /// The recipe leaves evaluation out.
    #[error("evaluation.clips_per_prompt is 0, measuring takes at least 4")]
    NoClips,
    /// Continuations must start between two blocks.
    #[error(
        "student.frames_per_block must divide the {PREFIX} frames that continuations start from"
    )]
    Blocks,
    /// A clip of the world does not fit the student.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// An earlier measurement cannot be read.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

impl ExitStatus for MeasureError {
    fn is_request(&self) -> bool {
        matches!(self, Self::NotTheWorld | Self::NoClips | Self::Blocks)
    }
}

/// What was measured of one student.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Hash of the recipe that it was measured with, every field of it.
    pub recipe: String,
    /// Metrics by name; `None` where these clips have no value.
    pub values: BTreeMap<String, Option<f64>>,
    /// Points by the curve's name.
    pub curves: BTreeMap<String, Vec<[f64; 2]>>,
    /// Prompts and the GIF files that show a clip of each, relative to this file.
    pub previews: Vec<(String, String)>,
}

/// Who is measured.
pub enum Subject<'a, B: Backend> {
    /// Other samples of the teacher: what a perfect student would score.
    Teacher,
    /// A student, and what it was on the way: x of the learning curve and weights.
    Student(&'a Student<B>, Vec<(f64, Student<B>)>),
}

/// Hash of every field of a recipe, so that numbers are not taken for those of another.
///
/// # Errors
/// A recipe that cannot be written as TOML.
pub fn fingerprint(recipe: &Recipe) -> Result<String, RecipeError> {
    Ok(blake3::hash(recipe.resolved()?.as_bytes())
        .to_hex()
        .to_string())
}

/// Whether the recipe can be measured: its teacher must be the world, and latent frames must be
/// frames.
///
/// # Errors
/// What is in the way.
pub fn check(recipe: &Recipe) -> Result<(), MeasureError> {
    let settings = &recipe.settings;
    if settings.teacher.kind != TeacherKind::World || settings.codec.kind != CodecKind::Pixel {
        return Err(MeasureError::NotTheWorld);
    }
    if settings.evaluation.clips_per_prompt == 0 {
        return Err(MeasureError::NoClips);
    }
    if !PREFIX.is_multiple_of(recipe.student.frames_per_block) || PREFIX >= recipe.latent_shape[0] {
        return Err(MeasureError::Blocks);
    }
    Ok(())
}

/// Measures a subject on the held-out prompts; `base` is the student that every run of the recipe
/// starts from. GIFs are written to `directory`.
pub fn measure<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    base: &Student<B::InnerBackend>,
    subject: &Subject<B::InnerBackend>,
    directory: &Path,
    device: &B::Device,
) -> Result<Measured, SessionError> {
    check(recipe)?;
    let bench = Bench::<B> {
        recipe,
        batches,
        device,
        world: World::new(recipe.settings.teacher.seed),
    };
    let samples = recipe.settings.evaluation.clips_per_prompt;
    let mut measured = Measured {
        recipe: fingerprint(recipe)?,
        ..Measured::default()
    };
    let (mut groups, mut of_base, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for prompt in &recipe.held_out_prompts {
        let first = recipe.settings.evaluation.first_sample;
        let teacher = batches.teacher_clips(prompt, first..first + samples)?;
        of_base.push((
            prompt.clone(),
            teacher.clone(),
            bench.clips(base, prompt, samples, recipe.settings.clip.frames)?,
        ));
        groups.push((
            prompt.clone(),
            teacher,
            bench.subject_clips(subject, prompt, samples, recipe.settings.clip.frames)?,
        ));
        evidence.push((
            bench.world_clips(prompt, 0, LONG_CLIPS, LONG, 0)?,
            bench.subject_clips(
                subject,
                prompt,
                LONG_CLIPS,
                LONG * recipe.settings.clip.frames,
            )?,
            bench.continuations(subject, prompt)?,
        ));
    }
    let mut scores = score(&groups)?;
    scores.holdout_pair_accuracy = Some(holdout::pair_accuracy::<B>(
        recipe, batches, &groups, device,
    )?);
    measured.values.extend(
        METRICS
            .iter()
            .map(|metric| (metric.name.to_string(), (metric.value)(&scores))),
    );
    // Reward hacking: a student that fools the judge of the beginning may not fool a new one.
    let trained_discriminator = holdout::discriminator::<B>(recipe, batches, &of_base, device)?;
    let fooled = holdout::accuracy(&trained_discriminator, batches, &groups)?;
    measured
        .values
        .insert(TRAINED_DISCRIMINATOR.to_string(), Some(fooled));

    let prompts: Vec<PromptEvidence> = groups
        .iter()
        .zip(&evidence)
        .map(
            |((prompt, teacher, student), (long_teacher, long_student, continuations))| {
                PromptEvidence {
                    prompt,
                    teacher,
                    student,
                    long_teacher,
                    long_student,
                    continuations,
                }
            },
        )
        .collect();
    let physics = physics::measure(&prompts)?;
    measured.values.extend(
        PHYSICS_METRICS
            .iter()
            .map(|metric| (metric.name.to_string(), (metric.value)(&physics.scores))),
    );
    let drift = |value: &dyn Fn(&crate::eval::drift::DriftWindow) -> f64| {
        let length = recipe.settings.clip.frames;
        physics
            .drift
            .iter()
            .map(|window| [(window.first_frame + length) as f64, value(window)])
            .collect::<Vec<_>>()
    };
    measured.curves.insert(
        DRIFT.to_string(),
        drift(&|window| window.trajectory_energy_distance),
    );
    measured.curves.insert(
        PERMANENCE_DRIFT.to_string(),
        drift(&|window| window.object_permanence),
    );
    if let Subject::Student(_, history) = subject {
        measured
            .curves
            .insert(LEARNING.to_string(), bench.learning(history, &groups)?);
    }
    for (prompt, _, student) in groups
        .iter()
        .step_by((groups.len() / PREVIEWS).max(1))
        .take(PREVIEWS)
    {
        let name = format!("{}.gif", prompt.replace(' ', "-"));
        // At their own size: the page enlarges them.
        let columns: Vec<(&str, &[Clip])> =
            student.chunks(1).take(2).map(|clip| ("", clip)).collect();
        write_atomically(
            &directory.join(&name),
            &write_gif_bytes(&side_by_side(&columns, 1))?,
        )?;
        measured.previews.push((prompt.clone(), name));
    }
    Ok(measured)
}

/// Pair accuracy of a judge that was trained on the base student's clips.
pub const TRAINED_DISCRIMINATOR: &str = "trained_discriminator_pair_accuracy";
/// Trajectory energy distance of every window of long clips.
pub const DRIFT: &str = "drift";
/// Object permanence of every window of long clips.
pub const PERMANENCE_DRIFT: &str = "permanence_drift";
/// Trajectory energy distance in the course of training.
pub const LEARNING: &str = "learning";

struct Bench<'a, B: Trainable> {
    recipe: &'a Recipe,
    batches: &'a Batches<B::InnerBackend>,
    device: &'a B::Device,
    world: World,
}

impl<B: Trainable> Bench<'_, B> {
    fn clips(
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

    fn subject_clips(
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

    /// Evaluation samples from `offset` on, `times` as long as a clip; the scene as it was filmed the
    /// `again`-th time.
    fn world_clips(
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

    fn continuations(
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
        let rows = self.batches.text(&[prompt.to_string()], count)?;
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
            student.text_cache(rows),
            self.recipe.settings.sampler.build(),
        );
        let generator = Generator {
            student,
            text: &text,
            sampler: &sampler,
            shape: self.recipe.latent_shape,
            device: self.device,
        };
        Ok(self.batches.decode(generator.continuation(noise, prefix)))
    }

    /// The trajectory energy distance of a student at every point of its training, on a few clips
    /// per prompt.
    fn learning(
        &self,
        history: &[(f64, Student<B::InnerBackend>)],
        groups: &[PromptGroup],
    ) -> Result<Vec<[f64; 2]>, SessionError> {
        let point = |(x, student): &(f64, Student<B::InnerBackend>)| {
            let few = groups.iter().map(|(prompt, teacher, _)| {
                let own = self.clips(
                    student,
                    prompt,
                    CURVE_CLIPS as u64,
                    self.recipe.settings.clip.frames,
                )?;
                Ok((prompt.clone(), teacher.clone(), own))
            });
            let few = few.collect::<Result<Vec<PromptGroup>, SessionError>>()?;
            Ok([*x, score(&few)?.trajectory_energy_distance])
        };
        history.iter().map(point).collect()
    }
}

/// Reads what [`write()`] wrote; `None` if there is nothing.
pub fn read(directory: &Path) -> Result<Option<Measured>, SessionError> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| MeasureError::Damaged { path, source }.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", &path, error).into()),
    }
}

/// Writes `measured.json` into `directory`, last of all its files.
pub fn write(directory: &Path, measured: &Measured) -> Result<(), SessionError> {
    let text = serde_json::to_string_pretty(measured)?;
    Ok(write_atomically(
        &directory.join(FILE),
        format!("{text}\n").as_bytes(),
    )?)
}

/// The name of the numbers' file.
pub const FILE: &str = "measured.json";

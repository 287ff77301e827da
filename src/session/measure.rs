//! Everything that the evidence asks of a student whose teacher is the physics world: [`Measured`].

mod clips;
mod rests_on;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afd_models::kernels::Trainable;
use afd_models::student::Student;
use serde::{Deserialize, Serialize};

use super::SessionError;
use crate::data::batch::Batches;
use crate::data::prepare::PrepareError;
use crate::data::video::Clip;
use crate::data::video_io::write_gif_bytes;
use crate::eval::continuation::Case;
use crate::eval::drift::DriftWindow;
use crate::eval::estimate::{Column, Estimate};
use crate::eval::holdout::{self, PromptGroup};
use crate::eval::metric::Metric;
use crate::eval::physics::{PHYSICS_METRICS, Part, PromptEvidence};
use crate::eval::preview::side_by_side;
use crate::eval::table::{FilmedBy, METRICS, Scores, mean_scores, score};
use crate::exit::ExitStatus;
use crate::recipe::tables::{CodecKind, TeacherKind, previewable};
use crate::recipe::{Problem, Recipe, RecipeError};
use crate::run::files::{FileError, write_atomically};
use crate::teacher::world::World;

pub use clips::Subject;

use clips::ClipMaker;

/// Long clips are this many times the trained length.
const LONG: usize = 4;
/// Long clips per prompt and side.
const LONG_CLIPS: u64 = 8;
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
    /// Clips are shown as GIFs.
    #[error(transparent)]
    Preview(Problem),
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
        matches!(
            self,
            Self::NotTheWorld | Self::NoClips | Self::Preview(_) | Self::Blocks
        )
    }
}

/// What was measured of one student.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Hash of the recipe that it was measured with, every field of it.
    pub recipe: String,
    /// BLAKE3 of the files of the student's weights, if a run's was measured; empty in files of
    /// before.
    #[serde(default)]
    pub student: Vec<String>,
    /// Metrics by name; `None` where these clips have no value.
    pub values: BTreeMap<String, Option<f64>>,
    /// What they rest on, and their intervals; empty in files of before.
    #[serde(default)]
    pub estimates: BTreeMap<String, Estimate>,
    /// Points by the curve's name.
    pub curves: BTreeMap<String, Vec<[f64; 2]>>,
    /// Prompts and the GIF files that show a clip of each, relative to this file.
    pub previews: Vec<(String, String)>,
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
pub fn check(recipe: &Recipe, frames_per_block: usize) -> Result<(), MeasureError> {
    let settings = &recipe.settings;
    if settings.teacher.kind != TeacherKind::World || settings.codec.kind != CodecKind::Pixel {
        return Err(MeasureError::NotTheWorld);
    }
    if settings.evaluation.clips_per_prompt == 0 {
        return Err(MeasureError::NoClips);
    }
    previewable(&settings.clip).map_err(MeasureError::Preview)?;
    if !PREFIX.is_multiple_of(frames_per_block) || PREFIX >= recipe.latent_shape[0] {
        return Err(MeasureError::Blocks);
    }
    Ok(())
}

/// Measures a subject on the held-out prompts; `base` is the student that every run of the recipe
/// starts from. GIFs are written to `directory`.
///
/// # Errors
/// [`MeasureError`] for a recipe that cannot be measured; what the data or the disk says.
pub fn measure<B: Trainable>(
    recipe: &Recipe,
    batches: &Batches<B::InnerBackend>,
    base: &Student<B::InnerBackend>,
    subject: &Subject<B::InnerBackend>,
    directory: &Path,
    device: &B::Device,
) -> Result<Measured, SessionError> {
    let maker = ClipMaker::<B> {
        recipe,
        batches,
        device,
        world: World::new(recipe.settings.teacher.seed),
    };
    let material = Material::of(&maker, base, subject)?;
    let (mut values, mut estimates) = material.values(&maker)?;
    let evidence = material.evidence();
    let parts = evidence
        .iter()
        .map(Part::of)
        .collect::<Result<Vec<_>, _>>()?;
    let physics = Part::together(&parts)?;
    values.extend(
        PHYSICS_METRICS
            .iter()
            .map(|metric| (metric.name.to_string(), (metric.value)(&physics.scores))),
    );
    estimates.extend(rests_on::estimates(&evidence, &parts, &physics.scores)?);
    let mut curves = drift(&physics.drift, recipe.settings.clip.frames);
    if let Subject::Student(_, history) = subject {
        let points = learning(&maker, history, &material.groups)?;
        curves.insert(LEARNING.to_string(), points);
    }
    Ok(Measured {
        recipe: fingerprint(recipe)?,
        student: Vec::new(),
        values,
        estimates,
        curves,
        previews: write_previews(&material.groups, directory)?,
    })
}

/// Everything that is compared.
struct Material {
    /// Per held-out prompt: the teacher's and the subject's clips.
    groups: Vec<PromptGroup>,
    /// The same with the base student's clips.
    of_base: Vec<PromptGroup>,
    /// Per held-out prompt: long clips of the world and of the subject, and continuations.
    long: Vec<(Vec<Clip>, Vec<Clip>, Vec<Case>)>,
}

impl Material {
    fn of<B: Trainable>(
        maker: &ClipMaker<B>,
        base: &Student<B::InnerBackend>,
        subject: &Subject<B::InnerBackend>,
    ) -> Result<Self, SessionError> {
        let settings = &maker.recipe.settings;
        let (samples, frames) = (settings.evaluation.clips_per_prompt, settings.clip.frames);
        let (mut groups, mut of_base, mut long) = (Vec::new(), Vec::new(), Vec::new());
        for prompt in &maker.recipe.held_out_prompts {
            let first = settings.evaluation.first_sample;
            let teacher = maker
                .batches
                .teacher_clips(prompt, first..first + samples)?;
            of_base.push((
                prompt.clone(),
                teacher.clone(),
                maker.clips(base, prompt, samples, frames)?,
            ));
            groups.push((
                prompt.clone(),
                teacher,
                maker.subject_clips(subject, prompt, samples, frames)?,
            ));
            long.push((
                maker.world_clips(prompt, 0, LONG_CLIPS, LONG, 0)?,
                maker.subject_clips(subject, prompt, LONG_CLIPS, LONG * frames)?,
                maker.continuations(subject, prompt)?,
            ));
        }
        Ok(Self {
            groups,
            of_base,
            long,
        })
    }

    fn evidence(&self) -> Vec<PromptEvidence<'_>> {
        let pairs = self.groups.iter().zip(&self.long);
        pairs
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
            .collect()
    }

    /// Distances to the teacher, and pair accuracies of a fresh and of a trained discriminator; and
    /// what they rest on.
    fn values<B: Trainable>(&self, maker: &ClipMaker<B>) -> Result<Values, SessionError> {
        let (recipe, batches, device) = (maker.recipe, maker.batches, maker.device);
        let mut prompts = score(&self.groups, FilmedBy::World)?;
        let fresh = holdout::pair_accuracies::<B>(recipe, batches, &self.groups, device)?;
        for (prompt, accuracy) in prompts.iter_mut().zip(fresh) {
            prompt.scores.holdout_pair_accuracy = accuracy;
        }
        let mut column = Column {
            name: "measured".to_string(),
            prompts,
        };
        let (mut values, mut estimates) = (BTreeMap::new(), BTreeMap::new());
        for metric in &METRICS {
            let estimate = column.estimate(metric);
            let value = estimate.as_ref().map(|estimate| estimate.value);
            values.insert(metric.name.to_string(), value);
            estimates.extend(estimate.map(|estimate| (metric.name.to_string(), estimate)));
        }
        // Reward hacking: a student that fools the discriminator of the beginning may not fool a
        // new one.
        let trained = holdout::discriminator::<B>(recipe, batches, &self.of_base, device)?;
        let fooled = trained
            .map(|trained| holdout::accuracies(&trained, batches, &self.groups))
            .transpose()?;
        let fooled = fooled.unwrap_or_else(|| vec![None; column.prompts.len()]);
        for (prompt, accuracy) in column.prompts.iter_mut().zip(fooled) {
            prompt.scores.holdout_pair_accuracy = accuracy;
        }
        let accuracy = |metric: &&Metric<Scores>| metric.name == "holdout_pair_accuracy";
        let metric = METRICS.iter().find(accuracy);
        let estimate = metric.and_then(|metric| column.estimate(metric));
        let value = estimate.as_ref().map(|estimate| estimate.value);
        values.insert(TRAINED_DISCRIMINATOR.to_string(), value);
        estimates.extend(estimate.map(|estimate| (TRAINED_DISCRIMINATOR.to_string(), estimate)));
        Ok((values, estimates))
    }
}

/// Metrics by name, and what they rest on.
type Values = (BTreeMap<String, Option<f64>>, BTreeMap<String, Estimate>);

/// Curves over windows of long clips; x is the window's last frame.
fn drift(windows: &[DriftWindow], length: usize) -> BTreeMap<String, Vec<[f64; 2]>> {
    let curve = |value: fn(&DriftWindow) -> f64| -> Vec<[f64; 2]> {
        let point = |window: &DriftWindow| [(window.first_frame + length) as f64, value(window)];
        windows.iter().map(point).collect()
    };
    BTreeMap::from([
        (
            DRIFT.to_string(),
            curve(|window| window.trajectory_energy_distance),
        ),
        (
            PERMANENCE_DRIFT.to_string(),
            curve(|window| window.object_permanence),
        ),
    ])
}

/// Writes the first clips of a few prompts; gives back prompts and the files' names.
fn write_previews(
    groups: &[PromptGroup],
    directory: &Path,
) -> Result<Vec<(String, String)>, SessionError> {
    let mut previews = Vec::new();
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
        previews.push((prompt.clone(), name));
    }
    Ok(previews)
}

/// The trajectory energy distance of a student at every point of its training, on a few clips per
/// prompt.
fn learning<B: Trainable>(
    maker: &ClipMaker<B>,
    history: &[(f64, Student<B::InnerBackend>)],
    groups: &[PromptGroup],
) -> Result<Vec<[f64; 2]>, SessionError> {
    let frames = maker.recipe.settings.clip.frames;
    let point = |(x, student): &(f64, Student<B::InnerBackend>)| {
        let few = groups.iter().map(|(prompt, teacher, _)| {
            let own = maker.clips(student, prompt, CURVE_CLIPS as u64, frames)?;
            Ok((prompt.clone(), teacher.clone(), own))
        });
        let few = few.collect::<Result<Vec<PromptGroup>, SessionError>>()?;
        let scores = mean_scores(&score(&few, FilmedBy::World)?);
        let distance = scores.trajectory_energy_distance;
        Ok(distance.map(|distance| [*x, distance]))
    };
    history
        .iter()
        .filter_map(|entry| point(entry).transpose())
        .collect()
}

/// Pair accuracy of a discriminator that was trained on the base student's clips.
pub const TRAINED_DISCRIMINATOR: &str = "trained_discriminator_pair_accuracy";
/// Trajectory energy distance of every window of long clips.
pub const DRIFT: &str = "drift";
/// Object permanence of every window of long clips.
pub const PERMANENCE_DRIFT: &str = "permanence_drift";
/// Trajectory energy distance in the course of training.
pub const LEARNING: &str = "learning";

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

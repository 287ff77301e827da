//! Recipes: TOML in, a checked [`Recipe`] out. A recipe that exists is valid; nothing downstream
//! re-checks or defaults.

pub(crate) mod check;
pub mod document;
mod passes;
pub mod settings;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use afd_api::adapter::BUILT_IN;
use afd_api::secret::KeySource;
use afd_api::service::Service;
use afd_api::teacher::ApiTeacher;
use afd_models::student::StudentConfig;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile};

use crate::afd::trajectories::Trajectories;
use crate::data::codec::CodecPlan;
use crate::flow::schedule::few_step_sigmas;
use crate::run::signals;
use crate::teacher::world::{FRAMES, World, frames_for};
use crate::teacher::{Teacher, TeacherError, folder::FolderTeacher};
use settings::Student as StudentSettings;
use settings::{Data, Kind, PromptList, Settings, SigmaSet, TeacherKind};

/// Why a recipe cannot be used. Every message names the field, what was found and what is needed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The TOML itself.
    #[error(transparent)]
    Document(#[from] document::RecipeError),
    /// The recipe cannot be read.
    #[error("cannot read the recipe {}: {source}; `afd recipes` lists the ones that \
        ship", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value that cannot work.
    #[error("{}: {problem}", path.display())]
    Value {
        /// The recipe.
        path: PathBuf,
        /// Field, value found, what is needed.
        problem: String,
    },
}

/// A checked recipe.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Every field, defaults filled in, prompt lists inline and paths absolute.
    pub settings: Settings,
    /// Sizes of the student.
    pub student: StudentConfig,
    /// Prompts trained on.
    pub train_prompts: Vec<String>,
    /// Prompts kept for evaluation.
    pub held_out_prompts: Vec<String>,
    /// The codec.
    pub codec: CodecPlan,
    /// Latent shape `[F, C, H, W]` of a clip.
    pub latent_shape: [usize; 4],
    /// The student's own many-step clips, if it learns from them.
    pub trajectories: Option<Trajectories>,
    /// Where the recipe was read from.
    pub path: PathBuf,
    /// The folder's clips that are left out, by name; empty until [`crate::session::quarantine`]
    /// has looked.
    pub quarantined: BTreeSet<String>,
}

impl Recipe {
    /// Reads, overrides (`a.b=value`) and checks a recipe. Touches no device.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let mut settings: Settings = document::parse(&text, path, overrides)?;
        let fail = |problem: String| RecipeError::Value {
            path: path.to_path_buf(),
            problem,
        };
        // A bare file name has an empty parent.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let directory = std::path::absolute(directory)
            .map_err(|error| fail(format!("its directory has no absolute path: {error}")))?;
        settings.teacher.path = settings.teacher.path.map(|folder| directory.join(folder));
        if let Some(api) = &mut settings.teacher.api {
            if !BUILT_IN.iter().any(|(name, _)| *name == api.adapter)
                && api.adapter.contains(['.', '/'])
            {
                api.adapter = directory.join(&api.adapter).display().to_string();
            }
            if let Some(KeySource::File(file)) = &mut api.key {
                *file = directory.join(&*file);
            }
        }
        for file in [
            &mut settings.student.checkpoint,
            &mut settings.codec.checkpoint,
            &mut settings.text.checkpoint,
            &mut settings.text.tokenizer,
        ] {
            *file = file.take().map(|file| directory.join(file));
        }
        settings.data = settings.data.map(|data| Data {
            path: directory.join(&data.path),
            ..data
        });
        let train_prompts = read_prompts(&mut settings.prompts.train, "prompts.train", &directory)
            .map_err(&fail)?;
        let held_out_prompts = read_prompts(
            &mut settings.prompts.held_out,
            "prompts.held_out",
            &directory,
        )
        .map_err(&fail)?;
        let codec = CodecPlan::of(&settings.codec, settings.pickles()).map_err(&fail)?;
        let student = student_config(&settings, codec.channels()).map_err(&fail)?;
        check::settings(&settings, &student, &train_prompts, &held_out_prompts).map_err(&fail)?;
        let latent_shape = codec.latent_shape(&settings.clip).map_err(&fail)?;
        check::patches(&settings.clip, codec.stride() * student.patch).map_err(&fail)?;
        let trajectories = trajectories(&settings).map_err(&fail)?;
        let (path, quarantined) = (path.to_path_buf(), BTreeSet::new());
        let recipe = Self {
            settings,
            student,
            train_prompts,
            held_out_prompts,
            codec,
            latent_shape,
            trajectories,
            path,
            quarantined,
        };
        if recipe.settings.teacher.kind == TeacherKind::Api {
            recipe.service()?;
        }
        Ok(recipe)
    }

    /// The recipe with every field written out, for the run directory.
    pub fn resolved(&self) -> Result<String, RecipeError> {
        Ok(document::to_toml(&self.settings)?)
    }

    /// The directory that `afd data prepare` fills, if the recipe has one.
    pub fn data(&self) -> Option<&Path> {
        self.settings.data.as_ref().map(|data| data.path.as_path())
    }

    /// Noise levels that an update trains; empty for continuous ones.
    pub fn training_sigmas(&self, set: SigmaSet) -> Vec<f32> {
        let sampler = &self.settings.sampler;
        match set {
            SigmaSet::Sampler => few_step_sigmas(
                &sampler.denoising_step_list,
                sampler.timestep_shift,
                sampler.warp_denoising_step,
            ),
            SigmaSet::Unwarped => few_step_sigmas(&sampler.denoising_step_list, 1.0, false),
            SigmaSet::Shifted => Vec::new(),
        }
    }

    /// Opens the folder of a folder teacher, without what is quarantined; `None` for other
    /// teachers.
    ///
    /// # Errors
    /// A folder that lists no clips, one that cannot be used, or none for a prompt whose clips
    /// training or evaluation asks for.
    pub fn folder(&self) -> Result<Option<FolderTeacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        let (TeacherKind::Folder, Some(path)) = (teacher.kind, &teacher.path) else {
            return Ok(None);
        };
        let fail = |error: TeacherError| RecipeError::Value {
            path: self.path.clone(),
            problem: error.to_string(),
        };
        let folder =
            FolderTeacher::open_without(path, teacher.layout, &self.quarantined).map_err(fail)?;
        // Asking for no samples checks the prompt and reads nothing.
        for prompt in &self.train_prompts {
            folder.videos(prompt, 0..0).map_err(fail)?;
        }
        for prompt in self.compared_prompts() {
            folder
                .videos(prompt, 0..0)
                .map_err(|error| RecipeError::Value {
                    path: self.path.clone(),
                    problem: format!(
                        "{error}; prompts.held_out needs clips of the teacher to compare with, \
                            evaluation.clips_per_prompt = 0 goes without"
                    ),
                })?;
        }
        Ok(Some(folder))
    }

    /// The held-out prompts that the teacher is asked for clips of: none where the evaluation is
    /// left out.
    pub fn compared_prompts(&self) -> &[String] {
        if self.settings.evaluation.clips_per_prompt == 0 {
            &[]
        } else {
            &self.held_out_prompts
        }
    }

    /// The API behind the teacher, with its store. Asks nobody, and reads no key.
    ///
    /// # Errors
    /// Another kind of teacher, and settings that cannot work.
    pub fn service(&self) -> Result<Service, RecipeError> {
        let teacher = &self.settings.teacher;
        let fail = |problem: String| RecipeError::Value {
            path: self.path.clone(),
            problem,
        };
        let (TeacherKind::Api, Some(api)) = (teacher.kind, &teacher.api) else {
            let problem = "teacher.kind = \"api\" and [teacher.api] are missing: name the adapter, \
                its key, a price and a budget there";
            return Err(fail(problem.to_string()));
        };
        let store = teacher.path.as_ref().ok_or_else(|| {
            fail("teacher.path is missing: name the directory for the API's clips".to_string())
        })?;
        if teacher.samples_per_prompt == 0 {
            let problem = "teacher.samples_per_prompt is 0, but each sample of an API costs money: \
                say how many clips a prompt may have";
            return Err(fail(problem.to_string()));
        }
        Service::new(api, store, Path::new(".")).map_err(|error| fail(error.to_string()))
    }

    /// The samples that training and evaluation may ask for, prompt by prompt.
    pub fn announced_samples(&self) -> Vec<(String, Range<u64>)> {
        let (samples, evaluation) = (
            self.settings.teacher.samples_per_prompt,
            &self.settings.evaluation,
        );
        let last = evaluation
            .first_sample
            .saturating_add(evaluation.clips_per_prompt);
        let training = self
            .train_prompts
            .iter()
            .map(|prompt| (prompt.clone(), 0..samples));
        training
            .chain(
                self.compared_prompts()
                    .iter()
                    .map(|prompt| (prompt.clone(), evaluation.first_sample..last)),
            )
            .collect()
    }

    /// Opens the teacher. A live API's begins to work. A folder's manifest and files are checked
    /// here.
    pub fn teacher(&self) -> Result<Box<dyn Teacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        let fail = |problem: String| RecipeError::Value {
            path: self.path.clone(),
            problem,
        };
        match (teacher.kind, &teacher.path) {
            (TeacherKind::World, _) => {
                let world = if teacher.uncurated {
                    World::uncurated(teacher.seed)
                } else {
                    World::new(teacher.seed)
                };
                // A simulator films for as long as the clip needs; longer videos begin as the
                // shorter ones do.
                Ok(Box::new(
                    world.lasting(FRAMES.max(frames_for(self.settings.clip))),
                ))
            }
            (TeacherKind::Folder, Some(_)) => {
                Ok(Box::new(self.folder()?.ok_or_else(|| {
                    fail("teacher.path is missing".to_string())
                })?))
            }
            (TeacherKind::Folder, None) => Err(fail(
                "teacher.path is missing: name the folder that holds the clips".to_string(),
            )),
            (TeacherKind::Api, _) => {
                let teacher = ApiTeacher::open(
                    &self.service()?,
                    &self.announced_samples(),
                    signals::stop_requested,
                );
                Ok(Box::new(teacher.map_err(|error| fail(error.to_string()))?))
            }
        }
    }
}

/// Reads a list of prompts (see [`afd_clips::prompts`]) and puts its prompts in its place.
fn read_prompts(
    list: &mut PromptList,
    field: &str,
    directory: &Path,
) -> Result<Vec<String>, String> {
    let prompts: Vec<String> = match list {
        PromptList::File(file) => afd_clips::prompts::read_prompts(&directory.join(file))
            .map_err(|error| format!("{field}: {error}"))?,
        PromptList::Inline(prompts) => prompts.clone(),
    };
    *list = PromptList::Inline(prompts.clone());
    Ok(prompts)
}

/// Sizes from the recipe, or from the metadata of the checkpoint it names.
fn student_config(settings: &Settings, channels: usize) -> Result<StudentConfig, String> {
    let student = &settings.student;
    let mut config = match (&student.checkpoint, &student.sizes) {
        (Some(path), None) => checkpoint_sizes(path, settings.pickles(), student)
            .map_err(|problem| format!("student.checkpoint {}: {problem}", path.display()))?,
        (None, Some(sizes)) => StudentConfig {
            width: sizes.width,
            layers: sizes.layers,
            heads: sizes.heads,
            feed_forward_width: sizes.feed_forward_width,
            latent_channels: channels,
            patch: sizes.patch,
            text_width: settings.text.width,
            frequency_width: sizes.frequency_width,
            frames_per_block: 1,
            window_frames: 0,
            sink_frames: 0,
        },
        (Some(_), Some(_)) => {
            return Err(
                "student.checkpoint and student.sizes are both given; the checkpoint brings its \
                    own sizes, remove one"
                    .to_string(),
            );
        }
        (None, None) => {
            return Err(
                "student.checkpoint or student.sizes is missing; give one of them".to_string(),
            );
        }
    };
    config.frames_per_block = student.frames_per_block;
    config.window_frames = student.window_frames;
    config.sink_frames = student.sink_frames;
    check::channels(channels, &config)?;
    check::rows(&settings.text, &config)?;
    match config.problem() {
        Some(problem) => Err(format!("student: {problem}")),
        None => Ok(config),
    }
}

/// Sizes from a weight file of ours, or read off the shapes of anybody's.
fn checkpoint_sizes(
    path: &Path,
    pickles: Pickles,
    student: &StudentSettings,
) -> Result<StudentConfig, String> {
    let file = WeightFile::open(path, pickles).map_err(|error| error.to_string())?;
    let metadata = file.own_metadata().map_err(|error| error.to_string())?;
    let sizes = match metadata.get("config") {
        Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
        None => {
            let transformer = TransformerFile::find(&file, student.part.as_deref())
                .map_err(|error| error.to_string())?;
            let sizes = transformer.sizes().filter(|_| transformer.is_recognised());
            sizes.ok_or("it holds no Wan transformer; `afd inspect` lists what is in it")?
        }
    };
    Ok(StudentConfig {
        heads: student.heads.unwrap_or(sizes.heads),
        ..sizes
    })
}

/// The many-step clips of a student that learns from its own.
fn trajectories(settings: &Settings) -> Result<Option<Trajectories>, String> {
    let (steps, batch) = (
        settings.supervised.trajectory_steps,
        settings.supervised.batch,
    );
    if steps == 0 {
        return Ok(None);
    }
    if settings.kind != Kind::Pretrain
        || settings.student.checkpoint.is_none()
        || settings.student.lora.is_some()
    {
        return Err(
            "supervised.trajectory_steps is for kind = \"pretrain\" with a student.checkpoint that \
                takes many steps, and without student.lora; set it to 0, or name the checkpoint"
                .to_string(),
        );
    }
    let trajectories = Trajectories::new(&settings.sampler, steps)?;
    if !batch.is_multiple_of(trajectories.levels()) {
        return Err(format!(
            "supervised.batch is {batch}, must be a multiple of the {} entries of \
                sampler.denoising_step_list: every trajectory is shown at each",
            trajectories.levels()
        ));
    }
    Ok(Some(trajectories))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_films_for_as_long_as_the_clip_needs_and_longer_videos_begin_as_the_shorter_ones() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        let video = |frames: usize| {
            let recipe = Recipe::load(&path, &[format!("clip.frames={frames}")]).unwrap();
            recipe
                .teacher()
                .unwrap()
                .videos("a small red ball is dropped on the moon", 0..1)
                .unwrap()
                .remove(0)
        };
        let (short, long) = (video(12), video(24));
        assert_eq!((short.frames.len(), long.frames.len()), (36, 47));
        assert_eq!(short.frames, long.frames[..36]);
    }
}

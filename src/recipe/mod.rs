//! Recipes: TOML, or plain [`Settings`], in; a checked [`Recipe`] out. A recipe that exists is
//! valid; nothing downstream re-checks or defaults.

mod black_box;
pub(crate) mod bounds;
pub mod codec;
mod difference;
pub mod document;
mod problem;
mod reference;
pub mod schedule;
mod schema;
mod sizes;
pub mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use afd_api::adapter::BUILT_IN;
use afd_api::secret::KeySource;
use afd_models::student::StudentConfig;

use crate::flow::trajectory::TrajectorySchedule;
pub(crate) use bounds::check_table as check_bounds_of;
use codec::CodecPlan;
pub use problem::Problem;
pub use reference::{as_markdown, as_text};
pub use schema::{Field, Table, schema, tables as field_tables};
use tables::{Kind, PromptList, Settings, TeacherKind};

/// Why a recipe cannot be used. Every message names the field, what was found and what is needed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The TOML itself.
    #[error(transparent)]
    Document(#[from] document::DocumentError),
    /// A benchmark plan instead; holds the file.
    #[error(
        "{} is a benchmark plan; `afd bench` takes it. `afd recipes` lists recipes",
        .0.display()
    )]
    Benchmark(PathBuf),
    /// The recipe cannot be read.
    #[error(
        "cannot read the recipe {}: {source}; `afd recipes` lists the ones that ship",
        path.display()
    )]
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
        problem: Problem,
    },
}

/// Any problem of a recipe: nothing was begun.
impl crate::exit::ExitStatus for RecipeError {
    fn is_request(&self) -> bool {
        true
    }
}

/// What a recipe is read for. What only training needs is not asked of one that is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To train with; everything must hold.
    Training,
    /// To compare a student with the teacher: its prompts, its clips, its table.
    Evaluation,
    /// To keep the teacher's clips: its prompts and the teacher itself.
    Recording,
    /// To make clips with the student that it starts from: student, sampler, codec and text.
    Sampling,
}

/// Whether the text is that of a benchmark plan, which has methods and no kind.
fn is_benchmark(text: &str) -> bool {
    text.parse::<toml::Table>()
        .is_ok_and(|table| table.contains_key("methods") && !table.contains_key("kind"))
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
    pub trajectories: Option<TrajectorySchedule>,
    /// Where the recipe was read from.
    pub path: PathBuf,
    /// The folder's clips that are left out, by name; empty until [`crate::session::quarantine`]
    /// has looked.
    pub quarantined: BTreeSet<String>,
}

/// What a table's check may need beside the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// What the recipe is read for.
    pub purpose: Purpose,
    /// Sizes of the student.
    pub student: &'a StudentConfig,
    /// Prompts trained on.
    pub train_prompts: &'a [String],
    /// Prompts kept for evaluation.
    pub held_out_prompts: &'a [String],
}

impl Recipe {
    /// Reads, overrides (`a.b=value`) and checks a recipe. Touches no device.
    ///
    /// # Errors
    /// [`RecipeError`], for the first problem found.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        Self::load_for(Purpose::Training, path, overrides)
    }

    /// The same for one purpose.
    ///
    /// # Errors
    /// [`RecipeError`], for the first problem found.
    pub fn load_for(
        purpose: Purpose,
        path: &Path,
        overrides: &[String],
    ) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let settings =
            document::parse(&text, path, overrides).map_err(|error| match is_benchmark(&text) {
                true => RecipeError::Benchmark(path.to_path_buf()),
                false => error.into(),
            })?;
        Self::of_settings(purpose, settings, path)
    }

    /// Checks settings that another program made. `path` names the recipe in messages; relative
    /// files are looked for in its directory. Touches no device, and need not exist.
    ///
    /// # Errors
    /// [`RecipeError::Value`], for the first problem found.
    pub fn from_settings(settings: Settings, path: &Path) -> Result<Self, RecipeError> {
        Self::of_settings(Purpose::Training, settings, path)
    }

    fn of_settings(purpose: Purpose, settings: Settings, path: &Path) -> Result<Self, RecipeError> {
        let checked = Self::checked(purpose, settings, path);
        let recipe = checked.map_err(|problem| RecipeError::Value {
            path: path.to_path_buf(),
            problem,
        })?;
        if purpose != Purpose::Sampling && recipe.settings.teacher.kind == TeacherKind::Api {
            recipe.service()?;
        }
        Ok(recipe)
    }

    fn checked(purpose: Purpose, mut settings: Settings, path: &Path) -> Result<Self, Problem> {
        bounds::check(&settings)?;
        // A bare file name has an empty parent.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let directory = std::path::absolute(directory).map_err(|error| {
            Problem::new(format!("its directory has no absolute path: {error}"))
        })?;
        make_absolute(&mut settings, &directory);
        let prompts = &mut settings.prompts;
        let (train_prompts, held_out_prompts) = match purpose {
            Purpose::Sampling => (Vec::new(), Vec::new()),
            Purpose::Training | Purpose::Evaluation | Purpose::Recording => (
                read_prompts(&mut prompts.train, "prompts.train", &directory)?,
                read_prompts(&mut prompts.held_out, "prompts.held_out", &directory)?,
            ),
        };
        let codec = CodecPlan::of(&settings.codec, settings.pickles())?;
        let student = sizes::of_student(&settings, codec.channels())?;
        settings.check(&Inputs {
            purpose,
            student: &student,
            train_prompts: &train_prompts,
            held_out_prompts: &held_out_prompts,
        })?;
        let latent_shape = codec.latent_shape(&settings.clip)?;
        tables::whole_tokens(&settings.clip, codec.stride() * student.patch)?;
        tables::whole_blocks(latent_shape[0], student.frames_per_block)?;
        Ok(Self {
            trajectories: match purpose {
                Purpose::Training => trajectories(&settings)?,
                Purpose::Evaluation | Purpose::Recording | Purpose::Sampling => None,
            },
            settings,
            student,
            train_prompts,
            held_out_prompts,
            codec,
            latent_shape,
            path: path.to_path_buf(),
            quarantined: BTreeSet::new(),
        })
    }

    /// The recipe with every field written out, for the run directory.
    ///
    /// # Errors
    /// What TOML cannot hold.
    pub fn resolved(&self) -> Result<String, RecipeError> {
        Ok(document::to_toml(&self.settings)?)
    }

    /// The directory that `afd data prepare` fills, if the recipe has one.
    pub fn data(&self) -> Option<&Path> {
        self.settings.data.as_ref().map(|data| data.path.as_path())
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
}

/// Makes every file that the settings name absolute.
fn make_absolute(settings: &mut Settings, directory: &Path) {
    let absolute = |file: &mut Option<PathBuf>| {
        *file = file.take().map(|file| directory.join(file));
    };
    absolute(&mut settings.teacher.path);
    absolute(&mut settings.student.checkpoint);
    absolute(&mut settings.codec.checkpoint);
    absolute(&mut settings.text.checkpoint);
    absolute(&mut settings.text.tokenizer);
    if let Some(data) = &mut settings.data {
        data.path = directory.join(&data.path);
    }
    if let Some(api) = &mut settings.teacher.api {
        let built_in = BUILT_IN.iter().any(|(name, _)| *name == api.adapter);
        if !built_in && api.adapter.contains(['.', '/']) {
            api.adapter = directory.join(&api.adapter).display().to_string();
        }
        if let Some(KeySource::File(file)) = &mut api.key {
            *file = directory.join(&*file);
        }
    }
}

/// Reads a list of prompts (see [`afd_clips::prompts`]) and puts its prompts in its place.
fn read_prompts(
    list: &mut PromptList,
    field: &str,
    directory: &Path,
) -> Result<Vec<String>, Problem> {
    let prompts: Vec<String> = match list {
        PromptList::File(file) => afd_clips::prompts::read_prompts(&directory.join(file))
            .map_err(|error| Problem::from_error(error).about(field))?,
        PromptList::Inline(prompts) => prompts.clone(),
    };
    *list = PromptList::Inline(prompts.clone());
    Ok(prompts)
}

/// The many-step clips of a student that learns from its own.
fn trajectories(settings: &Settings) -> Result<Option<TrajectorySchedule>, Problem> {
    let supervised = &settings.supervised;
    let (steps, batch) = (supervised.trajectory_steps, supervised.batch);
    if steps == 0 {
        return Ok(None);
    }
    let student = &settings.student;
    let has_teacher = student.checkpoint.is_some() && student.lora.is_none();
    if settings.kind != Kind::Pretrain || !has_teacher {
        return Err(Problem::new(
            "supervised.trajectory_steps is for kind = \"pretrain\" with a student.checkpoint that \
             takes many steps, and without student.lora; set it to 0, or name the checkpoint",
        ));
    }
    let sampler = &settings.sampler;
    let trajectories = TrajectorySchedule::new(
        &sampler.denoising_step_list,
        sampler.denoising_step_list_first_chunk.as_deref(),
        sampler.timestep_shift,
        sampler.warp_denoising_step,
        steps,
    )
    .map_err(Problem::from_error)?;
    let levels = trajectories.levels();
    if !batch.is_multiple_of(levels) {
        return Err(Problem::new(format!(
            "supervised.batch is {batch}, must be a multiple of the {levels} entries of \
             sampler.denoising_step_list: every trajectory is shown at each"
        )));
    }
    Ok(Some(trajectories))
}

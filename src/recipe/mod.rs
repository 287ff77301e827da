//! Recipes: TOML in, a checked [`Recipe`] out. A recipe that exists is valid; nothing downstream re-checks or defaults.

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
use afd_models::lora::LoraConfig;
use afd_models::student::StudentConfig;
use afd_models::text::TextEncoder;
use afd_models::text::umt5::ROWS as UMT5_ROWS;
use afd_models::text::words::WordVectors;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile};

use crate::afd::trajectories::Trajectories;
use crate::data::codec::CodecPlan;
use crate::flow::schedule::few_step_sigmas;
use crate::run::signals;
use crate::teacher::world::{FRAMES, World, frames_for};
use crate::teacher::{Teacher, TeacherError, folder::FolderTeacher};
use settings::Student as StudentSettings;
use settings::{Data, DiscriminatorKind, Kind, Method, OldPolicy, PromptList, Settings, SigmaSet, TeacherKind, TextKind};

/// Why a recipe cannot be used. Every message names the field, what was found and what is needed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The TOML itself.
    #[error(transparent)]
    Document(#[from] document::RecipeError),
    /// The recipe cannot be read.
    #[error("cannot read the recipe {}: {source}; `afd recipes` lists the ones that ship", path.display())]
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
    /// The folder's clips that are left out, by name; empty until [`crate::session::quarantine`] has looked.
    pub quarantined: BTreeSet<String>,
}

impl Recipe {
    /// Reads, overrides (`a.b=value`) and checks a recipe. Touches no device.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.to_path_buf(), source })?;
        let mut settings: Settings = document::parse(&text, path, overrides)?;
        let fail = |problem: String| RecipeError::Value { path: path.to_path_buf(), problem };
        // A bare file name has an empty parent.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = std::path::absolute(directory).map_err(|error| fail(format!("its directory has no absolute path: {error}")))?;
        settings.teacher.path = settings.teacher.path.map(|folder| directory.join(folder));
        if let Some(api) = &mut settings.teacher.api {
            if !BUILT_IN.iter().any(|(name, _)| *name == api.adapter) && api.adapter.contains(['.', '/']) {
                api.adapter = directory.join(&api.adapter).display().to_string();
            }
            if let Some(KeySource::File(file)) = &mut api.key {
                *file = directory.join(&*file);
            }
        }
        for file in
            [&mut settings.student.checkpoint, &mut settings.codec.checkpoint, &mut settings.text.checkpoint, &mut settings.text.tokenizer]
        {
            *file = file.take().map(|file| directory.join(file));
        }
        settings.data = settings.data.map(|data| Data { path: directory.join(&data.path), ..data });
        let train_prompts = read_prompts(&mut settings.prompts.train, "prompts.train", &directory).map_err(&fail)?;
        let held_out_prompts = read_prompts(&mut settings.prompts.held_out, "prompts.held_out", &directory).map_err(&fail)?;
        let codec = CodecPlan::of(&settings.codec, settings.pickles()).map_err(&fail)?;
        let student = student_config(&settings, codec.channels()).map_err(&fail)?;
        check(&settings, &student, &train_prompts, &held_out_prompts).map_err(&fail)?;
        let latent_shape = codec.latent_shape(&settings.clip).map_err(&fail)?;
        check_patches(&settings, codec.stride() * student.patch).map_err(&fail)?;
        let trajectories = trajectories(&settings).map_err(&fail)?;
        let (path, quarantined) = (path.to_path_buf(), BTreeSet::new());
        let recipe = Self { settings, student, train_prompts, held_out_prompts, codec, latent_shape, trajectories, path, quarantined };
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
            SigmaSet::Sampler => few_step_sigmas(&sampler.denoising_step_list, sampler.timestep_shift, sampler.warp_denoising_step),
            SigmaSet::Unwarped => few_step_sigmas(&sampler.denoising_step_list, 1.0, false),
            SigmaSet::Shifted => Vec::new(),
        }
    }

    /// Opens the folder of a folder teacher, without what is quarantined; `None` for other teachers.
    ///
    /// # Errors
    /// A folder that lists no clips, one that cannot be used, or none for a prompt whose clips training or evaluation asks for.
    pub fn folder(&self) -> Result<Option<FolderTeacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        let (TeacherKind::Folder, Some(path)) = (teacher.kind, &teacher.path) else { return Ok(None) };
        let fail = |error: TeacherError| RecipeError::Value { path: self.path.clone(), problem: error.to_string() };
        let folder = FolderTeacher::open_without(path, teacher.layout, &self.quarantined).map_err(fail)?;
        // Asking for no takes checks the prompt and reads nothing.
        for prompt in &self.train_prompts {
            folder.videos(prompt, 0..0).map_err(fail)?;
        }
        for prompt in self.compared_prompts() {
            folder.videos(prompt, 0..0).map_err(|error| RecipeError::Value {
                path: self.path.clone(),
                problem: format!(
                    "{error}; prompts.held_out needs clips of the teacher to compare with, evaluation.clips_per_prompt = 0 goes without"
                ),
            })?;
        }
        Ok(Some(folder))
    }

    /// The held-out prompts that the teacher is asked for clips of: none where the evaluation is left out.
    pub fn compared_prompts(&self) -> &[String] {
        if self.settings.evaluation.clips_per_prompt == 0 { &[] } else { &self.held_out_prompts }
    }

    /// The API behind the teacher, with its store. Asks nobody, and reads no key.
    ///
    /// # Errors
    /// Another kind of teacher, and settings that cannot work.
    pub fn service(&self) -> Result<Service, RecipeError> {
        let teacher = &self.settings.teacher;
        let fail = |problem: String| RecipeError::Value { path: self.path.clone(), problem };
        let (TeacherKind::Api, Some(api)) = (teacher.kind, &teacher.api) else {
            let problem = "teacher.kind = \"api\" and [teacher.api] are missing: name the adapter, its key, a price and a budget there";
            return Err(fail(problem.to_string()));
        };
        let store =
            teacher.path.as_ref().ok_or_else(|| fail("teacher.path is missing: name the directory for the API's clips".to_string()))?;
        if teacher.takes_per_prompt == 0 {
            let problem = "teacher.takes_per_prompt is 0, but each take of an API costs money: say how many clips a prompt may have";
            return Err(fail(problem.to_string()));
        }
        Service::new(api, store, Path::new(".")).map_err(|error| fail(error.to_string()))
    }

    /// The takes that training and evaluation may ask for, prompt by prompt.
    pub fn announced_takes(&self) -> Vec<(String, Range<u64>)> {
        let (takes, evaluation) = (self.settings.teacher.takes_per_prompt, &self.settings.evaluation);
        let last = evaluation.first_take.saturating_add(evaluation.clips_per_prompt);
        let training = self.train_prompts.iter().map(|prompt| (prompt.clone(), 0..takes));
        training.chain(self.compared_prompts().iter().map(|prompt| (prompt.clone(), evaluation.first_take..last))).collect()
    }

    /// Opens the teacher. A live API's begins to work. A folder's manifest and files are checked here.
    pub fn teacher(&self) -> Result<Box<dyn Teacher>, RecipeError> {
        let teacher = &self.settings.teacher;
        let fail = |problem: String| RecipeError::Value { path: self.path.clone(), problem };
        match (teacher.kind, &teacher.path) {
            (TeacherKind::World, _) => {
                let world = if teacher.uncurated { World::uncurated(teacher.seed) } else { World::new(teacher.seed) };
                // A simulator films for as long as the clip needs; longer videos begin as the shorter ones do.
                Ok(Box::new(world.lasting(FRAMES.max(frames_for(self.settings.clip)))))
            }
            (TeacherKind::Folder, Some(_)) => Ok(Box::new(self.folder()?.ok_or_else(|| fail("teacher.path is missing".to_string()))?)),
            (TeacherKind::Folder, None) => Err(fail("teacher.path is missing: name the folder that holds the clips".to_string())),
            (TeacherKind::Api, _) => {
                let teacher = ApiTeacher::open(&self.service()?, &self.announced_takes(), signals::stop_requested);
                Ok(Box::new(teacher.map_err(|error| fail(error.to_string()))?))
            }
        }
    }
}

/// Reads a list of prompts (see [`afd_clips::prompts`]) and puts its prompts in its place.
fn read_prompts(list: &mut PromptList, field: &str, directory: &Path) -> Result<Vec<String>, String> {
    let prompts: Vec<String> = match list {
        PromptList::File(file) => afd_clips::prompts::read_prompts(&directory.join(file)).map_err(|error| format!("{field}: {error}"))?,
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
            return Err("student.checkpoint and student.sizes are both given; the checkpoint brings its own sizes, remove one".to_string());
        }
        (None, None) => return Err("student.checkpoint or student.sizes is missing; give one of them".to_string()),
    };
    config.frames_per_block = student.frames_per_block;
    config.window_frames = student.window_frames;
    config.sink_frames = student.sink_frames;
    if config.latent_channels != channels {
        return Err(format!("[codec] gives {channels} latent channels, the student has {}", config.latent_channels));
    }
    if config.text_width != settings.text.width {
        return Err(format!("text.width is {}, the student reads rows of {}", settings.text.width, config.text_width));
    }
    match config.problem() {
        Some(problem) => Err(format!("student: {problem}")),
        None => Ok(config),
    }
}

/// Sizes from a weight file of ours, or read off the shapes of anybody's.
fn checkpoint_sizes(path: &Path, pickles: Pickles, student: &StudentSettings) -> Result<StudentConfig, String> {
    let file = WeightFile::open(path, pickles).map_err(|error| error.to_string())?;
    let metadata = file.own_metadata().map_err(|error| error.to_string())?;
    let sizes = match metadata.get("config") {
        Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
        None => {
            let transformer = TransformerFile::find(&file, student.part.as_deref()).map_err(|error| error.to_string())?;
            let sizes = transformer.sizes().filter(|_| transformer.is_recognised());
            sizes.ok_or("it holds no Wan transformer; `afd inspect` lists what is in it")?
        }
    };
    Ok(StudentConfig { heads: student.heads.unwrap_or(sizes.heads), ..sizes })
}

/// The many-step clips of a student that learns from its own.
fn trajectories(settings: &Settings) -> Result<Option<Trajectories>, String> {
    let (steps, batch) = (settings.supervised.trajectory_steps, settings.supervised.batch);
    if steps == 0 {
        return Ok(None);
    }
    if settings.kind != Kind::Pretrain || settings.student.checkpoint.is_none() || settings.student.lora.is_some() {
        return Err("supervised.trajectory_steps is for kind = \"pretrain\" with a student.checkpoint that takes many steps, and without student.lora; \
                    set it to 0, or name the checkpoint"
            .to_string());
    }
    let trajectories = Trajectories::new(&settings.sampler, steps)?;
    if !batch.is_multiple_of(trajectories.levels()) {
        return Err(format!(
            "supervised.batch is {batch}, must be a multiple of the {} entries of sampler.denoising_step_list: every trajectory is shown at each",
            trajectories.levels()
        ));
    }
    Ok(Some(trajectories))
}

/// `step`: pixels per token and side.
fn check_patches(settings: &Settings, step: usize) -> Result<(), String> {
    let (height, width) = (settings.clip.height, settings.clip.width);
    if height.is_multiple_of(step) && width.is_multiple_of(step) {
        return Ok(());
    }
    Err(format!("the codec's stride times the student's patch ({step}) must divide clip.height ({height}) and clip.width ({width})"))
}

/// What the method asks for.
fn check_method(settings: &Settings) -> Result<(), String> {
    let (method, afd) = (settings.method, &settings.afd);
    if method == Method::ScoreDistillation {
        return Err("method = \"score-distillation\" needs the teacher's score at noised student clips, in the student's latent space; a black box hands \
                    out finished videos only and has no score. Fitting a score model to its clips first would be another method; use \"afd\""
            .to_string());
    }
    if settings.kind == Kind::Pretrain && method != Method::Afd {
        return Err("kind = \"pretrain\" is supervised flow matching from random weights and has no method; remove it".to_string());
    }
    let share = settings.reverse_chain.fresh_noise;
    if !(share > 0.0 && share <= 1.0) {
        return Err(format!(
            "reverse_chain.fresh_noise is {share}, must be above 0 and at most 1: without fresh noise there is no density"
        ));
    }
    if method == Method::ReverseChain && settings.sampler.denoising_step_list.len() < 2 {
        return Err(
            "method = \"reverse-chain\" needs at least 2 steps in sampler.denoising_step_list: the last one has no density".to_string()
        );
    }
    if method == Method::Offline && afd.old_policy == OldPolicy::StopGradient {
        return Err("method = \"offline\" compares with the base student, so afd.old_policy must be \"lagging\"".to_string());
    }
    if afd.offline_rounds == 0 {
        return Err("afd.offline_rounds is 0, must be at least 1".to_string());
    }
    let [from, to] = afd.teacher_positives_span;
    if !(0.0..=1.0).contains(&from) || !(from..=1.0).contains(&to) {
        return Err(format!("afd.teacher_positives_span is [{from}, {to}], must be ascending within [0, 1]"));
    }
    if afd.shuffled_pairs && afd.prompts_per_alternation < 2 {
        return Err("afd.shuffled_pairs needs at least 2 prompts in afd.prompts_per_alternation".to_string());
    }
    let target = settings.discriminator.penalty_target;
    if !(0.5..=1.0).contains(&target) {
        return Err(format!("discriminator.penalty_target is {target}, must be a pair accuracy within [0.5, 1]"));
    }
    Ok(())
}

/// Everything else that has to hold between fields.
fn check(settings: &Settings, student: &StudentConfig, train: &[String], held_out: &[String]) -> Result<(), String> {
    if train.is_empty() {
        return Err("prompts.train has no prompts, expected at least one".to_string());
    }
    if held_out.is_empty() && settings.evaluation.clips_per_prompt > 0 {
        return Err("prompts.held_out has no prompts, expected at least one; evaluation.clips_per_prompt = 0 goes without".to_string());
    }
    let at_least_one = [
        ("clip.frames", settings.clip.frames),
        ("clip.height", settings.clip.height),
        ("clip.width", settings.clip.width),
        ("text.length", settings.text.length),
        ("text.width", settings.text.width),
        ("run.checkpoint_every", settings.run.checkpoint_every),
        ("run.shards", settings.run.shards),
        ("run.attention_queries", settings.run.attention_queries),
        ("evaluation.batch", settings.evaluation.batch),
        ("afd.prompts_per_alternation", settings.afd.prompts_per_alternation),
        ("afd.rollouts_per_prompt", settings.afd.rollouts_per_prompt),
        ("afd.teacher_clips_per_prompt", settings.afd.teacher_clips_per_prompt),
        ("supervised.batch", settings.supervised.batch),
        ("discriminator.width", settings.discriminator.width),
    ];
    if let Some((field, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{field} is 0, must be at least 1"));
    }
    let positive = [
        ("reverse_chain.clip_range", settings.reverse_chain.clip_range),
        ("clip.frames_per_second", settings.clip.frames_per_second),
        ("afd.beta", settings.afd.beta),
        ("afd.advantage_clip", settings.afd.advantage_clip),
        ("afd.first_rate", settings.afd.first_rate),
        ("afd.final_rate", settings.afd.final_rate),
        ("supervised.final_rate", settings.supervised.final_rate),
        ("sampler.timestep_shift", settings.sampler.timestep_shift),
        ("optimizer.learning_rate", settings.optimizer.learning_rate),
        ("optimizer.clip_norm", settings.optimizer.clip_norm),
        ("optimizer.epsilon", f64::from(settings.optimizer.epsilon)),
        ("discriminator.optimizer.clip_norm", settings.discriminator.optimizer.clip_norm),
        ("discriminator.optimizer.epsilon", f64::from(settings.discriminator.optimizer.epsilon)),
        ("discriminator.penalty_size", settings.discriminator.penalty_size),
    ];
    if let Some((field, value)) = positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        return Err(format!("{field} is {value}, must be a finite number above 0"));
    }
    let not_negative = [
        ("reverse_chain.divergence_weight", settings.reverse_chain.divergence_weight),
        ("afd.reference_weight", settings.afd.reference_weight),
        ("afd.minimum_deviation", settings.afd.minimum_deviation),
        ("discriminator.optimizer.learning_rate", settings.discriminator.optimizer.learning_rate),
        ("discriminator.r1_weight", settings.discriminator.r1_weight),
        ("discriminator.r2_weight", settings.discriminator.r2_weight),
        ("discriminator.mismatch_weight", settings.discriminator.mismatch_weight),
        ("discriminator.instance_noise", f64::from(settings.discriminator.instance_noise)),
    ];
    if let Some((field, value)) = not_negative.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
        return Err(format!("{field} is {value}, must be a finite number of at least 0"));
    }
    let shares = [
        ("afd.old_policy_decay", settings.afd.old_policy_decay),
        ("afd.evaluation_decay", settings.afd.evaluation_decay),
        ("supervised.evaluation_decay", settings.supervised.evaluation_decay),
        ("optimizer.beta_1", f64::from(settings.optimizer.beta_1)),
        ("optimizer.beta_2", f64::from(settings.optimizer.beta_2)),
        ("discriminator.optimizer.beta_1", f64::from(settings.discriminator.optimizer.beta_1)),
        ("discriminator.optimizer.beta_2", f64::from(settings.discriminator.optimizer.beta_2)),
    ];
    if let Some((field, value)) = shares.iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
        return Err(format!("{field} is {value}, must be at least 0 and below 1"));
    }
    if !(0.0..=1.0).contains(&settings.teacher.max_bad_share) {
        return Err(format!("teacher.max_bad_share is {}, must be at least 0 and at most 1", settings.teacher.max_bad_share));
    }
    let (positives, teachers) = (settings.afd.teacher_positives, settings.afd.teacher_clips_per_prompt);
    if positives > teachers {
        return Err(format!("afd.teacher_positives is {positives}, must be at most afd.teacher_clips_per_prompt ({teachers})"));
    }
    check_method(settings)?;
    let steps = &settings.sampler.denoising_step_list;
    let descending = steps.windows(2).all(|pair| pair[0] > pair[1]);
    if steps.is_empty() || !descending || steps.iter().any(|step| !(*step > 0.0 && *step <= 1000.0)) {
        return Err(format!("sampler.denoising_step_list is {steps:?}, must be descending numbers above 0 and at most 1000"));
    }
    let [low, high] = settings.afd.warmup_pair_accuracy;
    if !(0.5..=1.0).contains(&low) || !(low..=1.0).contains(&high) {
        return Err(format!("afd.warmup_pair_accuracy is [{low}, {high}], must be an ascending band within [0.5, 1]"));
    }
    if settings.afd.rollouts_per_prompt < 2 && settings.afd.advantage == crate::afd::advantage::AdvantageForm::Group {
        return Err(format!(
            "afd.rollouts_per_prompt is {}, afd.advantage = \"group\" needs at least 2 (4 or more is advised); with 1 use \"pair-centred\"",
            settings.afd.rollouts_per_prompt
        ));
    }
    if settings.afd.prompts_per_alternation > train.len() {
        return Err(format!(
            "afd.prompts_per_alternation ({}) is more than the {} prompts of prompts.train",
            settings.afd.prompts_per_alternation,
            train.len()
        ));
    }
    if settings.afd.context == crate::afd::model::Context::Cached && !settings.afd.detach_context {
        return Err("afd.context = \"cached\" frees each block's graph, so afd.detach_context must be true".to_string());
    }
    if settings.kind == Kind::Distill && settings.afd.warmup_steps == 0 && settings.afd.alternations == 0 {
        return Err("afd.alternations and afd.warmup_steps are both 0, there is nothing to do".to_string());
    }
    if settings.discriminator.kind == DiscriminatorKind::Conv && settings.discriminator.channels.len() < 2 {
        return Err(format!("discriminator.channels is {:?}, needs at least 2 scales", settings.discriminator.channels));
    }
    if settings.discriminator.channels.contains(&0) {
        return Err(format!("discriminator.channels is {:?}, every scale needs at least 1 channel", settings.discriminator.channels));
    }
    for (field, lora) in [("student.lora", &settings.student.lora), ("discriminator.lora", &settings.discriminator.lora)] {
        if let Some(problem) = lora.as_ref().and_then(LoraConfig::problem) {
            return Err(format!("{field}.{problem}"));
        }
    }
    if settings.student.lora.is_some() && settings.student.checkpoint.is_none() {
        return Err("student.lora adapts the weights of student.checkpoint, which is missing; name it, or train all weights".to_string());
    }
    if settings.student.checkpoint.is_none() && (settings.student.part.is_some() || settings.student.heads.is_some()) {
        return Err(
            "student.part and student.heads say how to read student.checkpoint, which is missing; name it, or remove them".to_string()
        );
    }
    if settings.discriminator.lora.is_some() && settings.discriminator.kind == DiscriminatorKind::Conv {
        return Err("discriminator.lora adapts a copy of the student; it needs discriminator.kind = \"registers\"".to_string());
    }
    let layers = &settings.discriminator.layers;
    if settings.discriminator.kind == DiscriminatorKind::Registers {
        let ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if layers.is_empty() || !ascending || layers.iter().any(|layer| *layer >= student.layers) {
            return Err(format!(
                "discriminator.layers is {layers:?}, must be ascending numbers below the student's {} layers",
                student.layers
            ));
        }
    }
    if settings.teacher.api.is_some() && settings.teacher.kind != TeacherKind::Api {
        return Err("[teacher.api] is given and teacher.kind is not \"api\"; set it, or remove the table".to_string());
    }
    let clips = settings.evaluation.clips_per_prompt;
    if (1..4).contains(&clips) {
        return Err(format!("evaluation.clips_per_prompt is {clips}, must be at least 4, or 0 to leave the table out"));
    }
    if settings.data.as_ref().is_some_and(|data| data.clips_per_shard == 0) {
        return Err("data.clips_per_shard is 0, must be at least 1".to_string());
    }
    let text = &settings.text;
    if text.kind == TextKind::Words && (text.checkpoint.is_some() || text.tokenizer.is_some()) {
        return Err("text.checkpoint and text.tokenizer are umT5's; word vectors have neither, remove them".to_string());
    }
    if text.kind == TextKind::Umt5 {
        for (field, file) in [("text.checkpoint", &text.checkpoint), ("text.tokenizer", &text.tokenizer)] {
            if file.is_none() {
                return Err(format!("{field} is missing: text.kind = \"umt5\" needs the weights of umT5 and its tokenizer.json"));
            }
        }
        if text.length != UMT5_ROWS {
            return Err(format!("text.length is {}, umT5 has {UMT5_ROWS} rows for every prompt", text.length));
        }
        if settings.data.is_none() {
            return Err("data.path is missing: umT5's embeddings are read from the directory that `afd data prepare` fills".to_string());
        }
    }
    let words = (text.kind == TextKind::Words).then_some(WordVectors { length: text.length, width: text.width });
    for prompt in train.iter().chain(held_out) {
        if let Some(words) = words {
            words.encode(prompt)?;
        }
        if settings.teacher.kind == TeacherKind::World {
            World::new(0).scene(prompt, 0).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_films_for_as_long_as_the_clip_needs_and_longer_videos_begin_as_the_shorter_ones() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        let video = |frames: usize| {
            let recipe = Recipe::load(&path, &[format!("clip.frames={frames}")]).unwrap();
            recipe.teacher().unwrap().videos("a small red ball is dropped on the moon", 0..1).unwrap().remove(0)
        };
        let (short, long) = (video(12), video(24));
        assert_eq!((short.frames.len(), long.frames.len()), (36, 47));
        assert_eq!(short.frames, long.frames[..36]);
    }
}

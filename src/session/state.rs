//! A checkpoint's files: the student alone, and everything a resumed run needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use afd_models::kernels::Trainable;
use afd_models::lora::{LoraConfig, is_factor};
use afd_models::precision::Precision;
use afd_models::student::{Student, StudentConfig};
use afd_models::weights::lora::{LoraFile, LoraLayout};
use afd_models::weights::{
    Pickles, Tensors, WeightFile, WeightsError, apply_where, collect, collect_where, read_file,
    shapes, to_bytes, wan,
};
use burn::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SessionError;
use super::encoders::Encoders;
use crate::data::video::ClipShape;
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::optimizer::AfdOptimizer;
use crate::engine::rounds::RoundState;
use crate::exit::ExitStatus;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::{
    CodecTable, SamplerTable, TextTable, reads_latents, reads_text, whole_tokens,
};
use crate::recipe::{Problem, Recipe, check_bounds_of};
use crate::run::checkpoints::Checkpoints;
use crate::run::files::FileError;
use crate::run::manifest::{Manifest, hash};

/// Why a checkpoint's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The weights beside low-rank factors are others now.
    #[error(
        "the weights {} have changed since low-rank factors were trained beside them; put the old \
            ones back", .0.display()
    )]
    BaseChanged(PathBuf),
    /// A JSON file is not what was written.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

impl ExitStatus for StateError {}

/// What it takes to generate with a student besides its weights: `student/config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentCard {
    /// Sizes.
    pub student: StudentConfig,
    /// Clips it makes.
    pub clip: ClipShape,
    /// Its codec.
    pub codec: CodecTable,
    /// Its text encoder.
    pub text: TextTable,
    /// Its sampler.
    pub sampler: SamplerTable,
    /// The type of its products and frozen weights.
    #[serde(default)]
    pub precision: Precision,
    /// The directory that `afd data prepare` filled for its recipe, absolute: embeddings of prompts
    /// are kept there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// What is in the files of its codec and text encoder, where they are in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<Encoders>,
    /// What its low-rank factors stand beside, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
}

/// Low-rank factors need the weights that they were trained beside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Rank, alpha and targets.
    pub lora: LoraConfig,
    /// The weights, by absolute path.
    pub base: PathBuf,
    /// The part of them, where they are a training checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// BLAKE3 of the files that hold them, in the order of their names.
    pub blake3: Vec<String>,
}

impl Adapter {
    /// The adapter of a recipe's student, if it has one; reads the whole base once.
    pub fn of(recipe: &Recipe) -> Result<Option<Self>, SessionError> {
        match (
            &recipe.settings.student.lora,
            &recipe.settings.student.checkpoint,
        ) {
            (Some(lora), Some(base)) => {
                let part = recipe.settings.student.part.clone();
                Ok(Some(Self {
                    lora: lora.clone(),
                    base: base.clone(),
                    part,
                    blake3: hashes(base)?,
                }))
            }
            _ => Ok(None),
        }
    }

    /// The weights. Whether they may be a pickle was settled when the recipe was read.
    pub fn open(&self) -> Result<WeightFile, SessionError> {
        Ok(WeightFile::open(&self.base, Pickles::Allowed)?)
    }

    /// Refuses a base that is not the one that the factors were trained beside.
    pub fn verify(&self) -> Result<(), SessionError> {
        if hashes(&self.base)? == self.blake3 {
            return Ok(());
        }
        Err(StateError::BaseChanged(self.base.clone()).into())
    }
}

/// BLAKE3 of the files that hold weights, in the order of their names.
pub fn hashes(base: &Path) -> Result<Vec<String>, SessionError> {
    let file = WeightFile::open(base, Pickles::Allowed)?;
    Manifest::verify_around(file.path())?;
    Ok(file.files().map(hash).collect::<Result<_, FileError>>()?)
}

impl StudentCard {
    /// The card of a recipe's trained student.
    pub fn of(recipe: &Recipe) -> Result<Self, SessionError> {
        Ok(Self {
            adapter: Adapter::of(recipe)?,
            encoders: Encoders::of(recipe)?,
            ..Self::of_base(recipe)
        })
    }

    /// The card of the student that a recipe starts from.
    pub fn of_base(recipe: &Recipe) -> Self {
        let settings = &recipe.settings;
        Self {
            student: recipe.student.clone(),
            clip: settings.clip,
            codec: settings.codec.clone(),
            text: settings.text.clone(),
            sampler: settings.sampler.clone(),
            precision: settings.run.precision,
            data: recipe.data().map(Path::to_path_buf),
            encoders: None,
            adapter: None,
        }
    }

    /// Whether what the card says can be used together, as a recipe's fields must; the codec's own
    /// files are looked at by [`StudentCard::codec`].
    ///
    /// # Errors
    /// Field, value found, what is needed.
    pub fn check(&self) -> Result<(), Problem> {
        if let Some(problem) = self.student.problem() {
            return Err(Problem::new(problem).about("student"));
        }
        check_bounds_of("clip", &self.clip)?;
        check_bounds_of("codec", &self.codec)?;
        check_bounds_of("text", &self.text)?;
        check_bounds_of("sampler", &self.sampler)?;
        self.text.check()?;
        reads_text(&self.text, &self.student)?;
        self.sampler.check()?;
        match self
            .adapter
            .as_ref()
            .and_then(|adapter| adapter.lora.problem())
        {
            Some(problem) => Err(Problem::new(format!("adapter.lora.{problem}"))),
            None => Ok(()),
        }
    }

    /// The codec, and the latent shape `[F, C, H, W]` of a clip.
    ///
    /// # Errors
    /// Files that cannot be read; clips or a student that do not fit them.
    pub fn codec(&self, pickles: Pickles) -> Result<(CodecPlan, [usize; 4]), Problem> {
        let codec = CodecPlan::of(&self.codec, pickles)?;
        reads_latents(codec.channels(), &self.student)?;
        whole_tokens(&self.clip, codec.stride() * self.student.patch)?;
        let shape = codec.latent_shape(&self.clip)?;
        Ok((codec, shape))
    }

    /// BLAKE3 of the files that hold the weights of the student in `directory`: its own first, then
    /// those that its factors stand beside.
    pub fn weights(&self, directory: &Path) -> Result<Vec<String>, SessionError> {
        let own = directory.join(if self.adapter.is_some() {
            FACTORS
        } else {
            MODEL
        });
        let beside = self
            .adapter
            .iter()
            .flat_map(|adapter| adapter.blake3.iter().cloned());
        Ok(std::iter::once(hash(&own)?).chain(beside).collect())
    }
}

/// BLAKE3 of the files that hold the weights of a run's newest student; none without a checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read.
pub fn weights_of_run(run: &Path) -> Result<Vec<String>, SessionError> {
    let Some((_, checkpoint)) = Checkpoints::new(run, 1).latest()? else {
        return Ok(Vec::new());
    };
    let student = checkpoint.join("student");
    let card: StudentCard = read_json(&student.join("config.json"))?;
    card.weights(&student)
}

/// The file in a student's directory that holds its weights, and the one that holds its low-rank
/// factors if it has any instead.
pub const MODEL: &str = "model.safetensors";
/// See [`MODEL`].
pub const FACTORS: &str = "lora.safetensors";

/// Writes `student/{model.safetensors or lora.safetensors, config.json}` into `directory`.
pub fn write_student<B: Backend>(
    directory: &Path,
    student: &Student<B>,
    card: &StudentCard,
) -> Result<(), SessionError> {
    let directory = directory.join("student");
    create(&directory)?;
    match &card.adapter {
        Some(adapter) => write(
            &directory.join(FACTORS),
            &LoraFile::of(student, &adapter.lora).to_bytes(LoraLayout::Wan)?,
        )?,
        None => {
            let metadata =
                BTreeMap::from([("config".to_string(), serde_json::to_string(&card.student)?)]);
            let tensors = wan::to_wan(&collect(student), card.student.patch);
            write(&directory.join(MODEL), &serialised(&tensors, &metadata)?)?;
        }
    }
    write(
        &directory.join("config.json"),
        serde_json::to_string_pretty(card)?.as_bytes(),
    )
}

/// Writes `training_state/`: all weights that move, both optimizers and the round.
pub fn write_training_state<B: Trainable, D: TrainedDiscriminator<B>>(
    directory: &Path,
    model: &AfdModel<B, D>,
    optimizer: &AfdOptimizer<B, D>,
    state: &RoundState,
) -> Result<(), SessionError> {
    let directory = directory.join("training_state");
    create(&directory)?;
    let save = |name: &str, tensors: &Tensors| -> Result<(), SessionError> {
        write(
            &directory.join(name),
            &serialised(tensors, &BTreeMap::new())?,
        )
    };
    let moves = moving(model);
    save(MODEL, &collect_where(model, |path| moves(path)))?;
    save("optimizers.safetensors", &optimizer.tensors(model))?;
    let text = serde_json::to_string_pretty(state)?;
    write(&directory.join("rounds.json"), text.as_bytes())
}

/// Puts a checkpoint's training state back.
pub fn read_training_state<B: Trainable, D: TrainedDiscriminator<B>>(
    checkpoint: &Path,
    model: AfdModel<B, D>,
    optimizer: &AfdOptimizer<B, D>,
) -> Result<(AfdModel<B, D>, RoundState), SessionError> {
    let path = checkpoint.join("student/config.json");
    let card: StudentCard = read_json(&path)?;
    card.adapter.map_or(Ok(()), |adapter| adapter.verify())?;
    let directory = checkpoint.join("training_state");
    let path = directory.join(MODEL);
    let moves = moving(&model);
    let model = apply_where(
        model,
        |path| moves(path),
        read_file(&path)?.0,
        &path.display().to_string(),
    )?;
    let path = directory.join("optimizers.safetensors");
    optimizer.restore(&model, read_file(&path)?.0, &path.display().to_string())?;
    let path = directory.join("rounds.json");
    let state = read_json(&path)?;
    Ok((model, state))
}

/// Which tensors of the model move: with low-rank factors, what they stand beside is read from its
/// own file instead.
fn moving<B: Trainable, D: TrainedDiscriminator<B>>(
    model: &AfdModel<B, D>,
) -> impl Fn(&str) -> bool + use<B, D> {
    let names = shapes(model);
    let adapted = |part: &str| {
        names
            .keys()
            .any(|name| name.starts_with(part) && is_factor(name))
    };
    let (student, discriminator) = (adapted("student."), adapted("discriminator."));
    move |path: &str| match path.split('.').next() {
        Some("discriminator") => !discriminator || is_factor(path) || !path.contains(".backbone."),
        _ => !student || is_factor(path),
    }
}

/// Reads what [`write_json`] wrote.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SessionError> {
    let bytes = fs::read(path).map_err(|error| FileError::new("read", path, error))?;
    let value = serde_json::from_slice(&bytes).map_err(|source| StateError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(value)
}

/// Writes a small file of a checkpoint.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SessionError> {
    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    write(path, serde_json::to_string_pretty(value)?.as_bytes())
}

fn serialised(
    tensors: &Tensors,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    to_bytes(tensors, metadata).map_err(|error| WeightsError::Write {
        reason: error.to_string(),
    })
}

fn create(directory: &Path) -> Result<(), SessionError> {
    Ok(
        fs::create_dir_all(directory)
            .map_err(|error| FileError::new("create", directory, error))?,
    )
}

/// Plain writes: the checkpoint directory around them is staged, synced and renamed as a whole.
fn write(path: &Path, bytes: &[u8]) -> Result<(), SessionError> {
    Ok(fs::write(path, bytes).map_err(|error| FileError::new("write", path, error))?)
}

//! A checkpoint's files: the student alone, and everything a resumed run needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use afd_models::kernels::Trainable;
use afd_models::student::{Student, StudentConfig};
use afd_models::weights::{Tensors, apply, collect, read_file, to_bytes, wan};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::SessionError;
use crate::afd::model::AfdModel;
use crate::afd::optimizer::AfdOptimizer;
use crate::afd::strategy::RoundState;
use crate::data::video::ClipShape;
use crate::recipe::Recipe;
use crate::recipe::settings::{Codec, Sampler, Text};
use crate::run::files::FileError;

/// What it takes to generate with a student besides its weights: `student/config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentCard {
    /// Sizes.
    pub student: StudentConfig,
    /// Clips it makes.
    pub clip: ClipShape,
    /// Its codec.
    pub codec: Codec,
    /// Its text encoder.
    pub text: Text,
    /// Its sampler.
    pub sampler: Sampler,
}

impl StudentCard {
    /// The card of a recipe's student.
    pub fn of(recipe: &Recipe) -> Self {
        let settings = &recipe.settings;
        Self {
            student: recipe.student.clone(),
            clip: settings.clip,
            codec: settings.codec.clone(),
            text: settings.text.clone(),
            sampler: settings.sampler.clone(),
        }
    }
}

/// Writes `student/{model.safetensors,config.json}` into `directory`.
pub fn write_student<B: Backend>(directory: &Path, student: &Student<B>, card: &StudentCard) -> Result<(), SessionError> {
    let json = |value: serde_json::Result<String>| value.map_err(|error| SessionError::Other(error.to_string()));
    let metadata = BTreeMap::from([("config".to_string(), json(serde_json::to_string(&card.student))?)]);
    let tensors = wan::to_wan(&collect(student), card.student.patch);
    create(&directory.join("student"))?;
    write(&directory.join("student/model.safetensors"), &to_bytes(&tensors, &metadata).map_err(SessionError::Other)?)?;
    write(&directory.join("student/config.json"), json(serde_json::to_string_pretty(card))?.as_bytes())
}

/// Writes `training_state/`: all weights, both optimizers and the round.
pub fn write_training_state<B: Trainable>(
    directory: &Path,
    model: &AfdModel<B>,
    optimizer: &AfdOptimizer<B>,
    state: &RoundState,
) -> Result<(), SessionError> {
    let directory = directory.join("training_state");
    create(&directory)?;
    let save = |name: &str, tensors: &Tensors| -> Result<(), SessionError> {
        write(&directory.join(name), &to_bytes(tensors, &BTreeMap::new()).map_err(SessionError::Other)?)
    };
    save("model.safetensors", &collect(model))?;
    save("optimizers.safetensors", &optimizer.tensors(model))?;
    let text = serde_json::to_string_pretty(state).map_err(|error| SessionError::Other(error.to_string()))?;
    write(&directory.join("rounds.json"), text.as_bytes())
}

/// Puts a checkpoint's training state back.
pub fn read_training_state<B: Trainable>(
    checkpoint: &Path,
    model: AfdModel<B>,
    optimizer: &AfdOptimizer<B>,
) -> Result<(AfdModel<B>, RoundState), SessionError> {
    let directory = checkpoint.join("training_state");
    let path = directory.join("model.safetensors");
    let model = apply(model, read_file(&path)?.0, &path.display().to_string())?;
    let path = directory.join("optimizers.safetensors");
    optimizer.restore(&model, read_file(&path)?.0, &path.display().to_string())?;
    let path = directory.join("rounds.json");
    let bytes = fs::read(&path).map_err(|error| FileError::new("read", &path, error))?;
    let state = serde_json::from_slice(&bytes).map_err(|error| SessionError::Other(format!("{}: {error}", path.display())))?;
    Ok((model, state))
}

fn create(directory: &Path) -> Result<(), SessionError> {
    Ok(fs::create_dir_all(directory).map_err(|error| FileError::new("create", directory, error))?)
}

/// Plain writes: the checkpoint directory around them is staged, synced and renamed as a whole.
fn write(path: &Path, bytes: &[u8]) -> Result<(), SessionError> {
    Ok(fs::write(path, bytes).map_err(|error| FileError::new("write", path, error))?)
}

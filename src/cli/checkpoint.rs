//! Finding a student and its recipe from whatever directory the user names.

use std::fs;
use std::path::{Path, PathBuf};

use afd_models::student::Student;
use afd_models::weights::Pickles;
use afd_models::weights::file::pointed_at;
use burn::prelude::*;

use super::CliError;
use crate::out::note;
use crate::recipe::tables::SamplerTable;
use crate::recipe::{Purpose, Recipe};
use crate::run::checkpoints::Checkpoints;
use crate::run::directory::RECIPE_NAME;
use crate::run::manifest::Manifest;
use crate::session::SessionError;
use crate::session::build::{finished_student, sampled_base};
use crate::session::state::{StudentCard, hashes};

/// A student on disk.
#[derive(Debug, Clone)]
pub struct Found {
    /// The directory of its files.
    pub directory: PathBuf,
    /// What it takes to generate with it.
    pub card: StudentCard,
}

impl Found {
    /// Refuses a recipe whose clips, latents or text embeddings are not those that the student was
    /// trained on; `name` is the option that named it.
    pub fn fits(&self, recipe: &Recipe, name: &str) -> Result<(), CliError> {
        let (card, settings) = (&self.card, &recipe.settings);
        if card.clip == settings.clip && card.codec == settings.codec && card.text == settings.text
        {
            return Ok(());
        }
        Err(CliError::Usage(format!(
            "the student of --{name} was trained with another [clip], [codec] or [text] than {}; \
                evaluate it with its own recipe",
            recipe.path.display()
        )))
    }
}

impl Found {
    /// How the student is sampled: as it was trained, but for the fields of `overrides`. Says so
    /// where the recipe alone would have it sampled in another way; `name` is the option that named
    /// the student.
    pub fn sampler(
        &self,
        recipe: &Recipe,
        overrides: &[String],
        name: &str,
    ) -> Result<SamplerTable, CliError> {
        let of_recipe = &recipe.settings.sampler;
        let asked: Vec<String> = overrides
            .iter()
            .filter(|text| {
                let rest = text.trim_start().strip_prefix("sampler");
                rest.is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
            })
            .cloned()
            .collect();
        let own = self.card.sampler.with(&asked, &recipe.path)?;
        if own != *of_recipe {
            note!(
                "the student of --{name} is sampled as it was trained ({}), not as {} says ({}); \
                    --set sampler.... asks for another sampler",
                shown(&own),
                recipe.path.display(),
                shown(of_recipe)
            );
        }
        Ok(own)
    }
}

/// A sampler in a few words.
fn shown(sampler: &SamplerTable) -> String {
    let steps = sampler.denoising_step_list.iter().map(ToString::to_string);
    let kind = format!("{:?}", sampler.kind).to_lowercase();
    format!("{kind}, {}", steps.collect::<Vec<_>>().join(" "))
}

/// A student to sample.
pub enum Source {
    /// One that was trained.
    Trained(Found),
    /// The one that a recipe starts from, such as a downloaded checkpoint.
    Base(Box<Recipe>, StudentCard),
}

impl Source {
    /// The base student of a recipe.
    pub fn base(recipe: Recipe) -> Result<Self, CliError> {
        if recipe.settings.student.checkpoint.is_none() {
            let path = recipe.path.display();
            return Err(CliError::Usage(format!(
                "{path} has no base student to sample: it starts from random weights, not from a \
                    student.checkpoint"
            )));
        }
        let card = StudentCard::of_base(&recipe);
        Ok(Self::Base(Box::new(recipe), card))
    }

    /// What it takes to generate with it.
    pub fn card(&self) -> &StudentCard {
        match self {
            Self::Trained(found) => &found.card,
            Self::Base(_, card) => card,
        }
    }

    /// Whether its files may be pickles; for a trained student that was settled when its recipe was
    /// read.
    pub fn pickles(&self) -> Pickles {
        match self {
            Self::Trained(_) => Pickles::Allowed,
            Self::Base(recipe, _) => recipe.settings.pickles(),
        }
    }

    /// BLAKE3 of the files that hold its weights.
    pub fn weights(&self) -> Result<Vec<String>, SessionError> {
        match self {
            Self::Trained(found) => found.card.weights(&found.directory),
            Self::Base(recipe, _) => recipe
                .settings
                .student
                .checkpoint
                .as_deref()
                .map_or(Ok(Vec::new()), hashes),
        }
    }

    /// The student on a device.
    pub fn load<B: Backend>(&self, device: &B::Device) -> Result<Student<B>, SessionError> {
        match self {
            Self::Trained(found) => finished_student(&found.card, &found.directory, device),
            Self::Base(recipe, _) => sampled_base(recipe, device),
        }
    }
}

/// The student below `path`: a run directory (its newest checkpoint), a checkpoint, or a `student`
/// directory.
pub fn find(path: &Path) -> Result<Found, CliError> {
    if !path.exists() {
        return Err(CliError::Usage(format!(
            "{} does not exist; name a run directory, a checkpoint or its student directory",
            path.display()
        )));
    }
    let newest = newest_of(path)?;
    if newest.is_file() {
        return Err(CliError::Usage(format!(
            "{} is a file of weights, which does not say what clips, text and sampler it is for; \
                name it as student.checkpoint in a recipe and give that with --recipe, or name a \
                run directory, a checkpoint or its student directory",
            path.display()
        )));
    }
    // The newest of a run was verified when it was chosen.
    if !path.join("checkpoints").is_dir() {
        Manifest::verify_around(&std::path::absolute(&newest).unwrap_or(newest.clone()))?;
    }
    let student = if newest.join("student").is_dir() {
        newest.join("student")
    } else {
        newest
    };
    let card_path = student.join("config.json");
    let text = fs::read_to_string(&card_path).map_err(|error| {
        CliError::Usage(format!(
            "{} holds no student: {} cannot be read ({error}); name a run directory, a checkpoint \
                or its student directory",
            path.display(),
            card_path.display()
        ))
    })?;
    let card: StudentCard = serde_json::from_str(&text).map_err(|error| {
        CliError::Failed(format!("{} is damaged: {error}", card_path.display()))
    })?;
    card.check().map_err(|problem| {
        CliError::Failed(format!("{} is damaged: {problem}", card_path.display()))
    })?;
    if let Some(encoders) = &card.encoders {
        encoders.verify(&card.codec, &card.text)?;
    }
    Ok(Found {
        directory: student,
        card,
    })
}

/// The newest checkpoint, verified, of a run directory, or what a pointer `latest` names; any other
/// path itself.
pub fn newest_of(path: &Path) -> Result<PathBuf, CliError> {
    if path.join("checkpoints").is_dir() {
        let latest = Checkpoints::new(path, 1).latest()?;
        let (_, checkpoint) = latest.ok_or_else(|| {
            CliError::Usage(format!("the run {} has no checkpoint yet", path.display()))
        })?;
        return Ok(checkpoint);
    }
    Ok(pointed_at(path).unwrap_or_else(|| path.to_path_buf()))
}

/// The recipe to evaluate a checkpoint with: the one named, or the snapshot of the run that the
/// checkpoint lies in.
pub fn recipe_of(
    path: &Path,
    named: Option<&Path>,
    overrides: &[String],
) -> Result<Recipe, CliError> {
    if let Some(recipe) = named {
        return Ok(Recipe::load_for(Purpose::Evaluation, recipe, overrides)?);
    }
    let missing = || {
        CliError::Usage(format!(
            "{} lies in no run directory; say what to evaluate on with --recipe",
            path.display()
        ))
    };
    Ok(Recipe::load_for(
        Purpose::Evaluation,
        &snapshot_of(path)?.ok_or_else(missing)?,
        overrides,
    )?)
}

/// The recipe of the run that `path` lies in, if it lies in one.
pub fn snapshot_of(path: &Path) -> Result<Option<PathBuf>, CliError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
    Ok(absolute
        .ancestors()
        .map(|directory| directory.join(RECIPE_NAME))
        .find(|file| file.is_file()))
}

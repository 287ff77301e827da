//! The composite model of a recipe, before any training.

use std::path::{Path, PathBuf};

use afd_models::copies::frozen_copy;
use afd_models::discriminator::AnyDiscriminator;
use afd_models::init::{initialise, initialise_where};
use afd_models::kernels::Trainable;
use afd_models::lora::{adapted, is_factor, without_factors};
use afd_models::precision::{Precision, cast_frozen};
use afd_models::student::{Limits, Student, StudentConfig};
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile};
use burn::prelude::*;

use super::SessionError;
use super::state::{FACTORS, MODEL, StudentCard};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::exit::ExitStatus;
use crate::methods::entry;
use crate::recipe::Recipe;
use crate::run::manifest::Manifest;

/// Why a student cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A base student that nobody has trained.
    #[error(
        "{} starts from random weights; give student.checkpoint to have a base student",
        .0.display()
    )]
    RandomStart(PathBuf),
    /// The backend, by its name, lacks the type.
    #[error("{0} cannot compute in bf16; set run.precision = \"f32\" or choose another --backend")]
    NoBf16(String),
}

impl ExitStatus for BuildError {}

/// A student with the weights of a file in any layout, held in `precision`; `part` chooses among a
/// training checkpoint's.
fn load_student<B: Backend>(
    config: &StudentConfig,
    file: &WeightFile,
    part: Option<&str>,
    precision: Precision,
    device: &B::Device,
) -> Result<Student<B>, SessionError> {
    Ok(TransformerFile::find(file, part)?.load(config, precision, device)?)
}

/// The student of a checkpoint as it was trained: low-rank factors stay beside the frozen weights,
/// whose 8 bits in bf16 would swallow small ones.
pub fn finished_student<B: Backend>(
    card: &StudentCard,
    directory: &Path,
    device: &B::Device,
) -> Result<Student<B>, SessionError> {
    supported::<B>(card.precision, device)?;
    let limits = Limits {
        precision: card.precision,
        ..Limits::default()
    };
    let Some(adapter) = &card.adapter else {
        let file = WeightFile::open(&directory.join(MODEL), Pickles::Refused)?;
        // As training held them: some of its products are in f32 whatever the precision.
        return Ok(
            load_student(&card.student, &file, None, Precision::F32, device)?.within(limits),
        );
    };
    adapter.verify()?;
    let base = load_student(
        &card.student,
        &adapter.open()?,
        adapter.part.as_deref(),
        card.precision,
        device,
    )?;
    let factors = directory.join(FACTORS);
    let file = LoraFile::open(&WeightFile::open(&factors, Pickles::Refused)?)?;
    Ok(file
        .apply(adapted(base, &adapter.lora), &adapter.lora, &factors)?
        .within(limits))
}

/// The weights of student.checkpoint; those of a checkpoint of this program must be whole.
fn start_of(path: &Path, pickles: Pickles) -> Result<WeightFile, SessionError> {
    let file = WeightFile::open(path, pickles)?;
    Manifest::verify_around(file.path())?;
    Ok(file)
}

/// The student that a recipe starts from, to be sampled: without factors, and held as training
/// holds it.
pub fn sampled_base<B: Backend>(
    recipe: &Recipe,
    device: &B::Device,
) -> Result<Student<B>, SessionError> {
    let settings = &recipe.settings;
    supported::<B>(settings.run.precision, device)?;
    let Some(path) = &settings.student.checkpoint else {
        return Err(BuildError::RandomStart(recipe.path.clone()).into());
    };
    let file = start_of(path, settings.pickles())?;
    let student = load_student(
        &recipe.student,
        &file,
        settings.student.part.as_deref(),
        held_in(recipe),
        device,
    )?;
    Ok(student.within(Limits {
        precision: settings.run.precision,
        ..Limits::default()
    }))
}

/// The type that the weights of the start are held in: what is trained is held in f32 whatever it
/// is computed in.
fn held_in(recipe: &Recipe) -> Precision {
    if recipe.settings.student.lora.is_some() {
        recipe.settings.run.precision
    } else {
        Precision::F32
    }
}

/// The student a recipe starts from.
pub fn base_student<B: Backend>(
    recipe: &Recipe,
    device: &B::Device,
) -> Result<Student<B>, SessionError> {
    let settings = &recipe.settings;
    supported::<B>(settings.run.precision, device)?;
    let student = match &settings.student.checkpoint {
        Some(path) => {
            let file = start_of(path, settings.pickles())?;
            load_student(
                &recipe.student,
                &file,
                settings.student.part.as_deref(),
                held_in(recipe),
                device,
            )?
        }
        None => initialise(
            Student::new(&recipe.student, device),
            settings.seed,
            "student",
        ),
    };
    let student = match &settings.student.lora {
        Some(lora) => initialise_where(adapted(student, lora), settings.seed, "student", is_factor),
        None => student,
    };
    Ok(student.within(settings.run.limits()))
}

fn supported<B: Backend>(precision: Precision, device: &B::Device) -> Result<(), SessionError> {
    if B::supports_dtype(device, precision.dtype()) {
        return Ok(());
    }
    Err(BuildError::NoBf16(B::name(device)).into())
}

/// A fresh discriminator; a register discriminator reads the clip with a copy of the base student.
pub fn discriminator<B: Backend>(
    recipe: &Recipe,
    base: &Student<B>,
    seed: u64,
    device: &B::Device,
) -> AnyDiscriminator<B> {
    let spec = recipe.settings.discriminator.spec();
    let text_width = recipe.student.text_width;
    spec.build(recipe.latent_shape, base, text_width, seed, device)
}

/// Student, lagging copies and discriminator as the recipe's method needs them.
///
/// # Errors
/// Weights that cannot be read, or a precision that the backend lacks.
pub fn model<B: Trainable>(
    recipe: &Recipe,
    device: &B::Device,
) -> Result<AfdModel<B>, SessionError> {
    model_with(recipe, device, |student| {
        discriminator(recipe, student, recipe.settings.seed, device)
    })
}

/// The same with a discriminator of the caller's, made from the student of the start.
///
/// # Errors
/// As [`model`].
pub fn model_with<B: Trainable, D: TrainedDiscriminator<B>>(
    recipe: &Recipe,
    device: &B::Device,
    discriminator: impl FnOnce(&Student<B>) -> D,
) -> Result<AfdModel<B, D>, SessionError> {
    let student = base_student::<B>(recipe, device)?;
    let copy = || frozen_copy(student.clone());
    let settings = &recipe.settings;
    let method = entry(settings);
    let ema = copy();
    let old = method.adversarial.then(copy);
    // Whoever learns from its own trajectories learns from those of the student that it was.
    let refers = (method.reference_weight)(settings) > 0.0 || recipe.trajectories.is_some();
    let reference = refers.then(|| cast_frozen(without_factors(copy()), settings.run.precision));
    let discriminator = method.adversarial.then(|| discriminator(&student));
    Ok(AfdModel {
        student,
        old,
        reference,
        ema,
        discriminator,
    })
}

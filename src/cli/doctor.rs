//! `afd doctor`: what this machine can run, and whether it computes what the CPU computes.

use std::path::Path;
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::copies::trained_copy;
use afd_models::kernels::Trainable;
use afd_models::lora::without_factors;
use afd_models::noise::{Noise, Purpose};
use afd_models::weights::{Tensors, collect_gradients};
use burn::optim::GradientsParams;
use burn::prelude::*;
use clap::Args;

use super::CliError;
use crate::data::video_io::{ffmpeg_version, find_ffmpeg};
use crate::out::say;
use crate::recipe::Recipe;
use afd_models::student::passes::{CleanContext, prefill, velocities};

/// Largest difference, relative to the largest value of a tensor, between a device's loss or
/// gradients and the CPU's. GPUs sum in another order and use fused multiply-adds; a wrong kernel
/// is off by orders of magnitude more.
const TOLERANCE: f64 = 1e-3;

/// A check-up.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The recipe whose base student is compared.
    ///
    /// [default: recipes/physics-world/distill.toml, where it is here]
    recipe: Option<std::path::PathBuf>,
}

/// What is compared unless told.
const RECIPE: &str = "recipes/physics-world/distill.toml";

/// Lists backends, devices and ffmpeg; compares loss and gradients of the base student on every
/// device with the CPU's.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, CliError> {
    say!("afd {}", env!("CARGO_PKG_VERSION"));
    let devices = afd_backends::list();
    for found in &devices {
        match &found.absent {
            None => say!(
                "  {:<10} {}{}",
                found.name,
                found.description,
                if found.by_default {
                    ""
                } else {
                    " (only when asked for)"
                }
            ),
            Some(reason) => say!("  {:<10} not here: {reason}", found.name),
        }
    }
    for name in afd_backends::not_compiled_in() {
        say!("  {name:<10} not compiled in; rebuild with --features {name}");
    }
    match find_ffmpeg() {
        Some(path) => say!(
            "  ffmpeg     {} ({})",
            path.display(),
            ffmpeg_version().unwrap_or_else(|| "unknown version".to_string())
        ),
        None => say!(
            "  ffmpeg     not found: .mp4 cannot be read or written; put it on PATH or name it in \
                AFD_FFMPEG, or use .gif"
        ),
    }
    if args.recipe.is_none() && !Path::new(RECIPE).is_file() {
        say!(
            "no device was compared with the CPU: {RECIPE} is not here; name a recipe, or start \
             from the repository"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let named = args.recipe.as_deref().unwrap_or(Path::new(RECIPE));
    let recipe = Recipe::load(named, &[])?;
    let expected = compare(&recipe, "cpu")?;
    let mut wrong = false;
    say!(
        "loss and gradients of {} against the CPU (at most {TOLERANCE} apart, relative):",
        student_name(&recipe)
    );
    for found in devices.iter().filter(|found| found.absent.is_none()) {
        let measured = compare(&recipe, &found.name)?;
        let loss = (measured.loss - expected.loss).abs() / expected.loss.abs();
        let (tensor, gradient) = worst(&expected.gradients, &measured.gradients);
        let fine = loss <= TOLERANCE && gradient <= TOLERANCE;
        wrong |= !fine;
        let most = match tensor.as_str() {
            "" => String::new(),
            tensor => format!(" (most in {tensor})"),
        };
        say!(
            "  {:<10} {}  loss {loss:.1e}, gradients {gradient:.1e}{most}",
            found.name,
            if fine { "agrees" } else { "DIFFERS" }
        );
    }
    if wrong {
        return Err(CliError::Failed(
            "a device computes other gradients than the CPU; do not train on it".to_string(),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn student_name(recipe: &Recipe) -> String {
    let name = recipe
        .settings
        .student
        .checkpoint
        .as_deref()
        .and_then(Path::file_name);
    name.map_or_else(
        || "a fresh student".to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// One tensor's worst difference, relative to its largest value.
fn worst(expected: &Tensors, measured: &Tensors) -> (String, f64) {
    let mut worst = (String::new(), 0.0);
    for (name, tensor) in expected {
        let largest = tensor
            .values
            .iter()
            .map(|value| f64::from(value.abs()))
            .fold(f64::MIN_POSITIVE, f64::max);
        let gap = match measured.get(name) {
            Some(other) => tensor
                .values
                .iter()
                .zip(&other.values)
                .map(|(a, b)| f64::from((a - b).abs()))
                .fold(0.0, |most: f64, gap| {
                    // A NaN is the largest difference there is.
                    if gap.is_nan() {
                        f64::INFINITY
                    } else {
                        most.max(gap)
                    }
                }),
            None => f64::INFINITY,
        };
        if gap / largest > worst.1 {
            worst = (name.clone(), gap / largest);
        }
    }
    worst
}

struct Measured {
    loss: f64,
    gradients: Tensors,
}

fn compare(recipe: &Recipe, backend: &str) -> Result<Measured, CliError> {
    Ok(afd_backends::dispatch(
        Some(backend),
        CompareJob { recipe },
    )??)
}

struct CompareJob<'a> {
    recipe: &'a Recipe,
}

impl Job for CompareJob<'_> {
    type Output = Result<Measured, crate::session::SessionError>;

    /// A flow-matching loss of the student on fixed noise under teacher forcing, and its gradients.
    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let recipe = self.recipe;
        // All weights are compared, those that the recipe freezes too.
        let student = trained_copy(without_factors(crate::session::build::base_student::<B>(
            recipe, &device,
        )?));
        let [frames, channels, rows, columns] = recipe.latent_shape;
        let shape = [2, frames, channels, rows, columns];
        let normal = |index: u64| {
            let values =
                Noise::new(0, Purpose::Evaluation, 1, index).normals(shape.iter().product());
            Tensor::<B, 5>::from_data(TensorData::new(values, shape), &device)
        };
        let [length, width] = [recipe.settings.text.length, recipe.settings.text.width];
        let embeddings = Noise::new(0, Purpose::Evaluation, 1, 9).normals(2 * length * width);
        let text = student.text_cache(Tensor::from_data(
            TensorData::new(embeddings, [2, length, width]),
            &device,
        ));
        let cache = prefill(&student, normal(0), 0.0, &text);
        let sigmas = vec![0.5; 2 * frames];
        let context = CleanContext::on(&student, frames, Some(cache));
        let loss = (velocities(&student, normal(1), &sigmas, &text, &context) - normal(2))
            .square()
            .mean();
        let value: f64 = loss.clone().into_scalar().elem();
        let gradients = GradientsParams::from_grads(loss.backward(), &student);
        Ok(Measured {
            loss: value,
            gradients: collect_gradients(&gradients, &student),
        })
    }
}

//! Supervised training, rollouts and evaluation from plain settings, as another program would run
//! them: no TOML on disk, no command line.
//!
//! `cargo run --release --example from_settings -- DIRECTORY` trains a student of the built-in
//! world for a few steps, shows its clips beside the teacher's, and prints the table of
//! docs/results/metrics.md. For Adversarial Flow Distillation with the library's own discriminator,
//! ask for `Kind::Distill`: `train` is the same call.

mod small_world;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afd::data::batch::Batches;
use afd::eval::estimate::Column;
use afd::eval::table::{Scores, comparison_table};
use afd::recipe::{Recipe, tables::Kind};
use afd::rollout::{Generator, RolloutNoise};
use afd::run::directory::{Environment, RunDirectory};
use afd::session::evaluate::{held_out_clips, scores, write_preview};
use afd::session::train::train;
use burn::backend::{Autodiff, Flex};

/// What came of it.
pub struct Outcome {
    /// The run's directory.
    pub run: PathBuf,
    /// Updates done.
    pub updates: u64,
    /// Shape of the latents that were rolled out, `[B, F, C, H, W]`.
    pub rollout: [usize; 5],
    /// The teacher against itself, then the student.
    pub scores: Vec<Column<Scores>>,
}

/// Trains, rolls out and evaluates; the run is written below `directory`.
///
/// # Errors
/// Files that cannot be written.
pub fn train_and_evaluate(directory: &Path) -> Result<Outcome, Box<dyn Error>> {
    type B = Autodiff<Flex>;
    // Settings are checked as a recipe file's are: a recipe that exists is valid.
    let settings = small_world::settings(Kind::Pretrain, "from-settings");
    let recipe = Recipe::from_settings(settings, Path::new("from_settings"))?;
    let (device, seed) = (Default::default(), recipe.settings.seed);
    let batches = Arc::new(Batches::new(&recipe, &device)?);

    // Training: metrics, checkpoints and events are in the run directory afterwards.
    let environment = Environment::current("flex", "CPU", seed);
    let name = &recipe.settings.name;
    let run = RunDirectory::create(directory, name, &recipe.resolved()?, &environment)?;
    let trained = train::<B>(&recipe, &run, &batches, &device)?;
    let student = trained.model.ema;

    // Rollouts: two clips of a prompt, in latents.
    let text = batches.text(&recipe.train_prompts[..1], 2)?;
    let generator = Generator {
        student: &student,
        text: &student.text_cache(text),
        sampler: &recipe.settings.sampler.build(),
        shape: recipe.latent_shape,
        device: &device,
    };
    let rollout = generator.rollout(RolloutNoise::new(seed, 0, 0..2)).latents;

    // Evaluation: fresh clips of the teacher and of the student for the held-out prompts.
    let clips = held_out_clips::<B>(
        &recipe,
        &batches,
        &[(&student, &recipe.settings.sampler)],
        &device,
    )?;
    let names = ["teacher", "student"];
    write_preview(&run.samples(), &names, &clips, 1)?;
    Ok(Outcome {
        run: run.path().to_path_buf(),
        updates: trained.state.round,
        rollout: rollout.dims(),
        scores: scores::<B>(&recipe, &batches, &names, &clips, &device)?,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .ok_or("usage: from_settings DIRECTORY")?;
    let made = train_and_evaluate(Path::new(&directory))?;
    println!("{}", comparison_table(&made.scores));
    println!(
        "{} updates; rolled out latents {:?}",
        made.updates, made.rollout
    );
    println!("run       {}", made.run.display());
    println!(
        "preview   {}",
        made.run.join("samples/held-out.gif").display()
    );
    Ok(())
}

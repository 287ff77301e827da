//! The command line: one file per verb.

use std::path::PathBuf;
use std::process::ExitCode;

use afd_models::weights::Pickles;
use clap::{Args, Parser, Subcommand};

mod bar;
mod bench;
mod checkpoint;
mod data;
mod doctor;
mod eval;
mod export;
mod generate;
mod inspect;
mod measure;
mod plan;
mod recipes;
mod teacher;
mod train;
mod validate;

/// Adversarial Flow Distillation: teach a causal, few-step video student to imitate a black-box
/// teacher.
#[derive(Debug, Parser)]
#[command(
    name = "afd",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong request, 75 stopped by a signal with the \
        state saved."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Distil the recipe's teacher into its base student.
    Distill(train::TrainArgs),
    /// Make a base student by supervised flow matching.
    Pretrain(train::TrainArgs),
    /// Generate clips with a student.
    Generate(generate::GenerateArgs),
    /// Compare a student, or two, with fresh samples of the teacher on held-out prompts.
    Eval(eval::EvalArgs),
    /// Measure a student of the physics world against all that is known of it.
    Measure(measure::MeasureArgs),
    /// Run methods against each other with equal budgets, in resumable pieces, and report.
    Bench(bench::BenchArgs),
    /// Check a folder of clips, or prepare a recipe's data before training.
    #[command(subcommand)]
    Data(data::DataVerb),
    /// Work with a recipe's teacher.
    #[command(subcommand)]
    Teacher(teacher::TeacherVerb),
    /// List the recipes that ship.
    Recipes(recipes::RecipesArgs),
    /// Check a recipe without touching a device.
    Validate(RecipeArgs),
    /// Say what a recipe will take: parameters, memory of each phase, work, files, and whether it
    /// fits.
    Plan(plan::PlanArgs),
    /// Show what is in a weights file and what it lacks, or verify a checkpoint.
    Inspect(inspect::InspectArgs),
    /// Write a student as a file that other programs load.
    Export(export::ExportArgs),
    /// List backends, devices and ffmpeg, and compare every device with the CPU.
    Doctor(doctor::DoctorArgs),
}

/// A recipe and what to change in it.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// The recipe (TOML).
    pub recipe: PathBuf,
    /// Override a field, such as `--set afd.beta=0.5`; may be given several times.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub overrides: Vec<String>,
}

/// Whether pickles may be read.
#[derive(Debug, Args)]
pub struct PickleArgs {
    /// Read files that torch.save wrote too (.pt, .pth); no code in them is run.
    #[arg(long)]
    allow_pickle: bool,
}

impl PickleArgs {
    /// The same, in the words of the weights.
    pub fn allowed(&self) -> Pickles {
        if self.allow_pickle {
            Pickles::Allowed
        } else {
            Pickles::Refused
        }
    }
}

/// Exit status of a run that a signal stopped after its state was saved.
pub const STOPPED: u8 = 75;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The request itself is wrong: exit status 2.
    #[error("{0}")]
    Usage(String),
    /// It went wrong while running: exit status 1.
    #[error("{0}")]
    Failed(String),
}

impl From<crate::recipe::RecipeError> for CliError {
    fn from(error: crate::recipe::RecipeError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<afd_backends::BackendError> for CliError {
    fn from(error: afd_backends::BackendError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<crate::session::SessionError> for CliError {
    fn from(error: crate::session::SessionError) -> Self {
        use crate::data::batch::BatchError;
        use crate::run::directory::RunError;
        use crate::session::SessionError;
        use crate::session::quarantine::QuarantineError;
        use crate::session::samples::SamplesError;
        use afd_clips::check::CheckError;
        match error {
            SessionError::Recipe(_)
            | SessionError::Check(
                CheckError::Layout(_) | CheckError::Empty(_) | CheckError::Journal(_),
            )
            | SessionError::Quarantine(QuarantineError::Layout(_))
            | SessionError::Samples(
                SamplesError::Foreign(_) | SamplesError::Differs { .. } | SamplesError::Locked(_),
            )
            | SessionError::Batch(BatchError::Recipe(_) | BatchError::Endless)
            | SessionError::Run(
                RunError::Exists { .. } | RunError::Name { .. } | RunError::NotARun { .. },
            ) => Self::Usage(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Parses the command line, runs the verb and prints an error once.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Distill(args) => train::run(&args, crate::recipe::tables::Kind::Distill),
        Verb::Pretrain(args) => train::run(&args, crate::recipe::tables::Kind::Pretrain),
        Verb::Generate(args) => generate::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Measure(args) => measure::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Data(verb) => data::run(&verb),
        Verb::Teacher(verb) => teacher::run(&verb),
        Verb::Recipes(args) => recipes::run(&args),
        Verb::Validate(args) => validate::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("afd: {error}");
            ExitCode::from(match error {
                CliError::Usage(_) => 2,
                CliError::Failed(_) => 1,
            })
        }
    }
}

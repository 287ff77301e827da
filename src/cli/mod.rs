//! The command line: one file per verb.

use std::path::PathBuf;
use std::process::ExitCode;

use afd_models::weights::Pickles;
use clap::{Args, Parser, Subcommand};

use crate::exit::ExitStatus;
use crate::out::{self, note};

mod bar;
mod bench;
mod checkpoint;
mod data;
mod doctor;
mod eval;
mod export;
mod format;
mod generate;
mod inspect;
mod measure;
mod plan;
mod recipes;
mod resume;
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

impl<E: ExitStatus> From<E> for CliError {
    fn from(error: E) -> Self {
        match error.is_request() {
            true => Self::Usage(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

/// Parses the command line, runs the verb and prints an error once.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = enough_memory(&cli.verb).and_then(|()| match cli.verb {
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
    });
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            note!("afd: {error}");
            ExitCode::from(match error {
                CliError::Usage(_) => 2,
                CliError::Failed(_) => 1,
            })
        }
    };
    match out::lost() {
        Some(error) if code == ExitCode::SUCCESS => {
            note!("afd: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Address space that a verb that computes takes at least: threads' stacks and the allocator's own.
/// Measured on the smallest recipe: 300 MB are enough, and less ends wherever the first thread or
/// buffer does not fit.
const LEAST_MEMORY: u64 = 512 << 20;

/// Refuses what computes where the process may hardly take memory (`ulimit -v`): what cannot be
/// allocated later would end it without a word.
fn enough_memory(verb: &Verb) -> Result<(), CliError> {
    let computes = matches!(
        verb,
        Verb::Distill(_)
            | Verb::Pretrain(_)
            | Verb::Generate(_)
            | Verb::Eval(_)
            | Verb::Measure(_)
            | Verb::Bench(_)
            | Verb::Data(_)
            | Verb::Doctor(_)
    );
    match memory_limit() {
        Some(limit) if computes && limit < LEAST_MEMORY => Err(CliError::Usage(format!(
            "this process may take {} MiB of address space, expected at least {}; raise the limit \
                (ulimit -v)",
            limit >> 20,
            LEAST_MEMORY >> 20
        ))),
        _ => Ok(()),
    }
}

/// Bytes of address space that the system lets this process take, where it limits them.
#[cfg(unix)]
fn memory_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn memory_limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use afd_clips::check::CheckError;
    use afd_clips::store::StoreError;

    use super::*;
    use crate::data::batch::BatchError;
    use crate::recipe::{Problem, RecipeError};
    use crate::run::directory::RunError;
    use crate::session::SessionError;
    use crate::session::quarantine::QuarantineError;
    use crate::session::samples::SamplesError;

    fn is_usage(error: impl Into<CliError>) -> bool {
        matches!(error.into(), CliError::Usage(_))
    }

    /// An error keeps its status in whatever it is wrapped.
    #[test]
    fn a_wrong_request_is_told_from_what_failed_underway() {
        let place = PathBuf::from;
        let recipe = || RecipeError::Value {
            path: place("recipe.toml"),
            problem: Problem::new("seed is -1"),
        };
        let requests: [SessionError; 9] = [
            recipe().into(),
            BatchError::from(recipe()).into(),
            BatchError::Endless.into(),
            CheckError::Empty(place("clips")).into(),
            RunError::Exists { path: place("run") }.into(),
            RunError::Name { name: ".".into() }.into(),
            SamplesError::Foreign(place("out")).into(),
            SamplesError::Locked(place("out")).into(),
            RunError::NotARun {
                path: place("run"),
                missing: "environment.json",
            }
            .into(),
        ];
        for error in requests {
            let text = error.to_string();
            assert!(is_usage(error), "{text}");
        }
        let failures: [SessionError; 5] = [
            RunError::InUse { path: place("run") }.into(),
            CheckError::Stopped.into(),
            QuarantineError::Unsettled("a.mp4".into()).into(),
            BatchError::Text(afd_models::text::EncodeError::other("no word")).into(),
            Problem::new("student.width is 0").into(),
        ];
        for error in failures {
            let text = error.to_string();
            assert!(!is_usage(error), "{text}");
        }
        assert!(is_usage(recipe()));
        assert!(is_usage(StoreError::Locked(place("store"))));
        assert!(is_usage(afd_api::ApiError::from(StoreError::Foreign(
            place("store")
        ))));
        assert!(!is_usage(afd_api::ApiError::Stopped("no key".into())));
    }
}

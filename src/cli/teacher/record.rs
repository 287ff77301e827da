//! `afd teacher record`: the teacher's clips as files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::format::Format;
use crate::cli::{CliError, RecipeArgs};
use crate::data::record::record;
use crate::out::{note, say};
use crate::recipe::{Purpose, Recipe};
use crate::run::signals::{self, STOPPED};

/// A recording.
#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A new or empty directory, or one where such a recording was stopped.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Clips per prompt, of the training and the held-out prompts.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clips: u64,
    /// File format; mp4 needs ffmpeg.
    #[arg(long, value_enum, default_value_t = Format::Frames)]
    format: Format,
}

/// Records.
pub fn run(args: &RecordArgs) -> Result<ExitCode, CliError> {
    signals::install()?;
    let given = &args.recipe;
    let recipe = Recipe::load_for(Purpose::Recording, &given.recipe, &given.overrides)?;
    let teacher = recipe.teacher()?;
    let mut prompts = recipe.train_prompts.clone();
    prompts.extend(
        recipe
            .held_out_prompts
            .iter()
            .filter(|prompt| !recipe.train_prompts.contains(prompt))
            .cloned(),
    );
    let format = args.format.video();
    let mut progress = |done: usize, all: usize| {
        if done.is_multiple_of(100) || done == all {
            note!("{done} of {all} clips");
        }
        !signals::stop_requested()
    };
    let settings = &recipe.settings.teacher;
    let origin = json!({
        "teacher": settings.kind,
        "path": settings.path,
        "seed": settings.seed,
        "uncurated": settings.uncurated,
        "format": format,
    });
    let finished = record(
        &*teacher,
        &origin,
        &prompts,
        args.clips,
        format,
        &args.out,
        &mut progress,
    )?;
    if !finished {
        note!("stopped; run the same command again to go on");
        return Ok(ExitCode::from(STOPPED));
    }
    say!("{}", args.out.join("manifest.jsonl").display());
    Ok(ExitCode::SUCCESS)
}

//! `afd teacher record`: the teacher's clips as files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{CliError, RecipeArgs};
use crate::data::record::{RecordError, record};
use crate::data::video_io::VideoFormat;
use crate::recipe::Recipe;

/// What to do with a teacher.
#[derive(Debug, Subcommand)]
pub enum TeacherVerb {
    /// Write the recipe's teacher clips and a manifest.jsonl, ready for `teacher.kind = "folder"`.
    Record(RecordArgs),
}

/// A recording.
#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A new or empty directory.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Clips per prompt, of the training and the held-out prompts.
    #[arg(long, default_value_t = 8)]
    clips: u64,
    /// File format; mp4 needs ffmpeg.
    #[arg(long, value_enum, default_value_t = Format::Frames)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// H.264 through ffmpeg.
    Mp4,
    /// Animated GIF, 256 colours a frame.
    Gif,
    /// Directories of PNG frames, exact.
    Frames,
}

/// Records.
pub fn run(verb: &TeacherVerb) -> Result<ExitCode, CliError> {
    let TeacherVerb::Record(args) = verb;
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let teacher = recipe.teacher()?;
    let mut prompts = recipe.train_prompts.clone();
    prompts.extend(recipe.held_out_prompts.iter().filter(|prompt| !recipe.train_prompts.contains(prompt)).cloned());
    let format = match args.format {
        Format::Mp4 => VideoFormat::Mp4,
        Format::Gif => VideoFormat::Gif,
        Format::Frames => VideoFormat::PngFrames,
    };
    let mut progress = |done: usize, all: usize| {
        if done.is_multiple_of(100) || done == all {
            eprintln!("{done} of {all} clips");
        }
    };
    record(&*teacher, &prompts, args.clips, format, &args.out, &mut progress).map_err(|error| match error {
        RecordError::Request(_) | RecordError::NotEmpty(_) => CliError::Usage(error.to_string()),
        other => CliError::Failed(other.to_string()),
    })?;
    println!("{}", args.out.join("manifest.jsonl").display());
    Ok(ExitCode::SUCCESS)
}

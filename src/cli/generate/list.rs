//! What is asked of `afd generate`: prompts, what their clips are called, and the files that they
//! go to.

use std::collections::BTreeSet;

use afd_clips::prompts::read_prompts;
use clap::ValueEnum;
use serde::Serialize;

use super::GenerateArgs;
use crate::cli::CliError;
use crate::data::video_io::VideoFormat;

/// File formats of clips in a directory.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// H.264 through ffmpeg.
    Mp4,
    /// Animated GIF, 256 colours a frame.
    Gif,
    /// Directories of PNG frames, exact.
    Frames,
}

impl Format {
    /// As the writer of videos calls it.
    pub fn video(self) -> VideoFormat {
        match self {
            Self::Mp4 => VideoFormat::Mp4,
            Self::Gif => VideoFormat::Gif,
            Self::Frames => VideoFormat::PngFrames,
        }
    }
}

/// How a directory's files are named.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Naming {
    /// The prompt itself, a hyphen and the clip's number.
    Vbench,
    /// The prompt's number in the list, a hyphen and the clip's number.
    Numbers,
}

/// A prompt, and what its clips are called if that is something else.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The prompt.
    pub prompt: String,
    /// What its clips are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Listed {
    /// What its clips are called.
    pub fn called(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.prompt)
    }
}

/// One clip to make.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What of.
    pub of: Listed,
    /// Which of the prompt's clips, counted from 0.
    pub sample: u64,
    /// Its file in the directory.
    pub file: String,
}

/// The prompts asked for, each name once.
pub fn prompts(args: &GenerateArgs) -> Result<Vec<Listed>, CliError> {
    if let Some(prompt) = &args.prompt {
        return Ok(vec![Listed {
            prompt: prompt.clone(),
            name: None,
        }]);
    }
    let Some(path) = &args.prompts else {
        unreachable!("clap asks for --prompt or --prompts")
    };
    let prompts = read_prompts(path)?;
    let names: Vec<Option<String>> = match &args.names {
        None => vec![None; prompts.len()],
        Some(file) => read_prompts(file)?.into_iter().map(Some).collect(),
    };
    if prompts.is_empty() {
        return Err(CliError::Usage(format!(
            "{} has no prompts, expected one a line",
            path.display()
        )));
    }
    if let (Some(file), true) = (&args.names, names.len() != prompts.len()) {
        let (file, path, names, prompts) =
            (file.display(), path.display(), names.len(), prompts.len());
        return Err(CliError::Usage(format!(
            "{file} has {names} names, {path} has {prompts} prompts; expected a name for each, \
                line by line"
        )));
    }
    let mut listed: Vec<Listed> = prompts
        .into_iter()
        .zip(names)
        .map(|(prompt, name)| Listed { prompt, name })
        .collect();
    let (all, mut seen) = (listed.len(), BTreeSet::new());
    listed.retain(|listed| seen.insert(listed.called().to_string()));
    if let (Some(file), true) = (&args.names, listed.len() < all) {
        eprintln!(
            "{} of {all} names in {} were there before and are left out",
            all - listed.len(),
            file.display()
        );
    }
    Ok(listed)
}

/// The file of a clip in the directory.
pub fn file_name(
    args: &GenerateArgs,
    number: usize,
    called: &str,
    sample: u64,
) -> Result<String, CliError> {
    let ending = args.format.video().extension();
    let file = match args.naming {
        Naming::Numbers => format!("{number:05}-{sample}.{ending}"),
        Naming::Vbench => format!("{called}-{sample}.{ending}"),
    };
    // A file name ends at 255 bytes on common file systems, and staging adds some.
    if file.contains(['/', '\\', '\0']) || file.starts_with('.') || file.len() > 240 {
        return Err(CliError::Usage(format!(
            "{called:?} cannot be a file name; use --naming numbers, or shorter --names"
        )));
    }
    Ok(file)
}

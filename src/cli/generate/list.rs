//! What is asked of `afd generate`: prompts, what their clips are called, and the files that they
//! go to.

use std::collections::BTreeSet;
use std::path::Path;

use afd_clips::prompts::read_prompts;
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::CliError;
use crate::data::video_io::VideoFormat;

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

/// The prompts of a list, each name once; `names` is a list of what to call their clips.
pub fn prompts(path: &Path, names: Option<&Path>) -> Result<Vec<Listed>, CliError> {
    let prompts = read_prompts(path)?;
    let called: Vec<Option<String>> = match names {
        None => vec![None; prompts.len()],
        Some(file) => read_prompts(file)?.into_iter().map(Some).collect(),
    };
    if prompts.is_empty() {
        return Err(CliError::Usage(format!(
            "{} has no prompts, expected one a line",
            path.display()
        )));
    }
    if let (Some(file), true) = (names, called.len() != prompts.len()) {
        return Err(CliError::Usage(format!(
            "{} has {} names, {} has {} prompts; expected a name for each, line by line",
            file.display(),
            called.len(),
            path.display(),
            prompts.len()
        )));
    }
    let mut listed: Vec<Listed> = prompts
        .into_iter()
        .zip(called)
        .map(|(prompt, name)| Listed { prompt, name })
        .collect();
    let (all, mut seen) = (listed.len(), BTreeSet::new());
    listed.retain(|listed| seen.insert(listed.called().to_string()));
    if let (Some(file), true) = (names, listed.len() < all) {
        eprintln!(
            "{} of {all} names in {} were there before and are left out",
            all - listed.len(),
            file.display()
        );
    }
    Ok(listed)
}

/// The file in the directory of clip number `sample` of the prompt in place `number`, which is
/// `called` something.
pub fn file_name(
    naming: Naming,
    format: VideoFormat,
    number: usize,
    called: &str,
    sample: u64,
) -> Result<String, CliError> {
    let ending = format.extension();
    let file = match naming {
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

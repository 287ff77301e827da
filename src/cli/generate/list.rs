//! What is asked of `afd generate`: prompts, what their clips are called, and the files that they
//! go to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use afd_clips::prompts::read_prompts;
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::CliError;
use crate::data::video_io::VideoFormat;
use crate::out::{commands, note};

/// How a directory's files are named.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Naming {
    /// The prompt itself, a hyphen and the clip's number.
    Vbench,
    /// The same with no more of the prompt than VBench-2.0 looks for, blanks at the cut kept.
    Vbench2,
    /// The prompt's number in the list, a hyphen and the clip's number.
    Numbers,
}

impl Naming {
    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vbench => "vbench",
            Self::Vbench2 => "vbench2",
            Self::Numbers => "numbers",
        }
    }
}

/// Characters of a prompt that VBench-2.0 names its clips by.
const VBENCH2_LETTERS: usize = 180;

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
        note!(
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
        Naming::Vbench2 => {
            let cut: String = called.chars().take(VBENCH2_LETTERS).collect();
            format!("{cut}-{sample}.{ending}")
        }
    };
    let unfit = |letter| matches!(letter, '/' | '\\') || commands(letter);
    // A file name ends at 255 bytes on common file systems, and staging adds some.
    if file.contains(unfit) || file.starts_with('.') || file.len() > 240 {
        return Err(CliError::Usage(format!(
            "{called:?} cannot be a file name; use --naming numbers, or shorter --names"
        )));
    }
    Ok(file)
}

/// Refuses prompts whose clips would have one name, such as those that differ only after the part
/// that names have of them.
pub fn no_file_twice(wanted: &[Wanted]) -> Result<(), CliError> {
    let mut seen = BTreeMap::new();
    for Wanted { of, file, .. } in wanted {
        if let Some(other) = seen.insert(file, of.called()) {
            return Err(CliError::Usage(format!(
                "{other:?} and {:?} would both be called {file:?}; use --naming numbers",
                of.called()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(naming: Naming, called: &str) -> Result<String, String> {
        let file = file_name(naming, VideoFormat::Mp4, 7, called, 2);
        file.map_err(|error| error.to_string())
    }

    #[test]
    fn vbench2_looks_for_the_first_180_characters_of_a_prompt_and_keeps_a_blank_at_the_cut() {
        let prompt = format!("{} and what comes after", "x".repeat(179));
        let name = format!("{} -2.mp4", "x".repeat(179));
        assert_eq!(named(Naming::Vbench2, &prompt), Ok(name));
        assert_eq!(named(Naming::Vbench2, "a ball"), Ok("a ball-2.mp4".into()));
        // Characters, not bytes.
        let name = format!("{}-2.mp4", "\u{e9}".repeat(110));
        assert_eq!(named(Naming::Vbench2, &"\u{e9}".repeat(110)), Ok(name));
        let wanted = |prompt: String| Wanted {
            file: named(Naming::Vbench2, &prompt).unwrap(),
            of: Listed { prompt, name: None },
            sample: 2,
        };
        let pair = [
            wanted(prompt.clone()),
            wanted(format!("{prompt}, at night")),
        ];
        assert!(no_file_twice(&pair[..1]).is_ok());
        let error = no_file_twice(&pair).unwrap_err().to_string();
        assert!(
            error.contains("at night") && error.contains("--naming numbers"),
            "{error}"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_becomes_no_file_name() {
        for bad in [
            "a\u{1b}[2J",
            "a\rb",
            "a\tb",
            "a\nb",
            "a\u{202e}b",
            "a/b",
            ".a",
            "a\0",
        ] {
            let error = named(Naming::Vbench, bad).unwrap_err();
            assert!(error.contains("--naming numbers"), "{bad:?}: {error}");
            assert_eq!(named(Naming::Numbers, bad), Ok("00007-2.mp4".into()));
        }
    }
}

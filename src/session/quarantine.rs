//! Which clips of a teacher's folder are left out: looked for before training or preparation
//! starts, written down, and the same on every resume.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use afd_clips::check::{Options, check};
use afd_clips::layouts::{Layout, LayoutError, Problem, Unused};

use super::SessionError;
use crate::exit::ExitStatus;
use crate::recipe::Recipe;
use crate::recipe::tables::TeacherKind;
use crate::run::files::{FileError, write_atomically};

/// The file's name, in the run's directory or beside the prepared data.
pub const QUARANTINE: &str = "quarantine.jsonl";

/// The journal of the check, beside the prepared data.
pub const JOURNAL: &str = "check.jsonl";

/// Bad clips that a message lists; the rest is counted.
const SHOWN: usize = 5;

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// More bad clips than the recipe allows.
    #[error(
        "{bad} of {clips} clips in {} cannot be used ({:.1} %, teacher.max_bad_share allows {:.1} \
            %): {shown}; mend or remove them (`afd data check {}` lists all), or go on without \
            them with --set teacher.max_bad_share={enough}",
        path.display(), *bad as f64 * 100.0 / *clips as f64, allowed * 100.0, path.display()
    )]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// Clips that cannot be used.
        bad: u64,
        /// Clips in all.
        clips: u64,
        /// The share allowed.
        allowed: f64,
        /// The first of them, with reasons.
        shown: String,
        /// The share that would do, rounded up.
        enough: f64,
    },
    /// No clip is left for any training prompt, or for any held-out one.
    #[error("no clip of {} is left for {field}: {shown}; mend the clips (`afd data check {}` lists \
        all)", path.display(), path.display())]
    NoneLeft {
        /// The folder.
        path: PathBuf,
        /// `prompts.train` or `prompts.held_out`.
        field: &'static str,
        /// The first bad clips, with reasons.
        shown: String,
    },
    /// Fewer training prompts than a round needs.
    #[error(
        "{left} prompts of prompts.train have a clip that can be used, afd.prompts_per_alternation \
            asks for {needed}; mend the clips or lower it"
    )]
    TooFewPrompts {
        /// Prompts left.
        left: usize,
        /// Prompts of a round.
        needed: usize,
    },
    /// A clip could not be decoded in time: on another day it might be.
    #[error(
        "decoding took too long: {0}; make the machine less busy and try again, or remove the clip"
    )]
    Unsettled(String),
    /// A line of the file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The folder cannot be listed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl ExitStatus for QuarantineError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Layout(_))
    }
}

/// The clips that are left out, in the folder's order, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Clips, or lines and members that are none.
    pub clips: Vec<Problem>,
    /// Training and held-out prompts of which no clip is left.
    pub prompts: usize,
    /// What lies in the folder and is no clip of its; known where the folder was looked at.
    pub unused: Unused,
}

impl Quarantine {
    /// Writes `directory/quarantine.jsonl`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, directory: &Path) -> Result<(), FileError> {
        std::fs::create_dir_all(directory)
            .map_err(|error| FileError::new("create the directory", directory, error))?;
        let mut text = String::new();
        for clip in &self.clips {
            text.push_str(&serde_json::to_string(clip).unwrap_or_default());
            text.push('\n');
        }
        write_atomically(&directory.join(QUARANTINE), text.as_bytes())
    }
}

/// Reads `directory/quarantine.jsonl` if it is there, and leaves its clips, and the prompts that
/// have no others, out of `recipe`.
///
/// # Errors
/// A file that is damaged, a folder that cannot be listed, no clips left.
pub fn apply(recipe: &mut Recipe, directory: &Path) -> Result<Option<Quarantine>, SessionError> {
    match read(directory)? {
        Some(clips) if recipe.settings.teacher.kind == TeacherKind::Folder => {
            Ok(Some(leave_out(recipe, clips)?))
        }
        _ => Ok(None),
    }
}

fn read(directory: &Path) -> Result<Option<Vec<Problem>>, SessionError> {
    let path = directory.join(QUARANTINE);
    let text = match std::fs::read_to_string(&path) {
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(FileError::new("read", &path, reason).into()),
        Ok(text) => text,
    };
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| QuarantineError::Damaged {
            path: path.clone(),
            problem: format!("line {}: {error}", index + 1),
        })
    };
    Ok(Some(
        text.lines()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?,
    ))
}

/// Looks at the clips that `recipe` may ask for, leaves the bad ones and the prompts that have no
/// others out of it; `None` for other teachers. `journal` keeps what was seen; `progress` hears
/// (looked at, bad), and stops the check with `false`.
///
/// # Errors
/// [`QuarantineError`], and what keeps a folder from being checked.
pub fn settle(
    recipe: &mut Recipe,
    journal: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<Quarantine>, SessionError> {
    let teacher = &recipe.settings.teacher;
    let (TeacherKind::Folder, Some(path)) = (teacher.kind, &teacher.path) else {
        return Ok(None);
    };
    let layout = teacher
        .layout
        .map_or_else(|| Layout::detect(path), Ok)
        .map_err(QuarantineError::from)?;
    let prompts: BTreeSet<&String> = recipe
        .train_prompts
        .iter()
        .chain(&recipe.held_out_prompts)
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = Options {
        layout,
        shape: Some(recipe.settings.clip),
        journal,
        threads,
    };
    let report = check(
        path,
        &options,
        &|entry| prompts.contains(&entry.prompt),
        progress,
    )?;
    if let Some(problem) = report
        .problems
        .iter()
        .find(|problem| report.unsettled.contains(&problem.file))
    {
        return Err(QuarantineError::Unsettled(problem.problem.clone()).into());
    }
    let mut bad = report.problems;
    let mut named: BTreeSet<String> = bad.iter().map(|problem| problem.file.clone()).collect();
    for flagged in report
        .flags
        .iter()
        .filter(|flagged| teacher.quarantine.contains(&flagged.flag))
    {
        if named.insert(flagged.file.clone()) {
            bad.push(Problem {
                file: flagged.file.clone(),
                problem: format!("{}: {}", flagged.flag, flagged.detail),
            });
        }
    }
    let share = bad.len() as f64 / report.clips as f64;
    if share > teacher.max_bad_share {
        let (bad_clips, allowed) = (bad.len() as u64, teacher.max_bad_share);
        let enough = (share * 1000.0).ceil() / 1000.0;
        return Err(QuarantineError::TooMany {
            path: path.clone(),
            bad: bad_clips,
            clips: report.clips,
            allowed,
            shown: shown(&bad),
            enough,
        }
        .into());
    }
    let mut quarantine = leave_out(recipe, bad)?;
    quarantine.unused = report.unused;
    Ok(Some(quarantine))
}

/// As [`settle`], for the directory that `afd data prepare` fills: the journal and the quarantine
/// are kept there.
///
/// # Errors
/// As there.
pub fn settle_prepared(
    recipe: &mut Recipe,
    data: &Path,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<Quarantine>, SessionError> {
    if recipe.settings.teacher.kind != TeacherKind::Folder {
        return Ok(None);
    }
    std::fs::create_dir_all(data)
        .map_err(|error| FileError::new("create the directory", data, error))?;
    let settled = settle(recipe, Some(&data.join(JOURNAL)), progress)?;
    // Latents know which clips they are of: with another quarantine, others of them are used.
    if let Some(quarantine) = &settled {
        quarantine.write(data)?;
    }
    Ok(settled)
}

fn shown(bad: &[Problem]) -> String {
    let mut shown: Vec<String> = bad
        .iter()
        .take(SHOWN)
        .map(|clip| format!("{}: {}", clip.file, clip.problem))
        .collect();
    if bad.len() > SHOWN {
        shown.push(format!("and {} more", bad.len() - SHOWN));
    }
    shown.join("; ")
}

/// Takes the bad clips, and the prompts whose every clip is bad, out of the recipe.
fn leave_out(recipe: &mut Recipe, bad: Vec<Problem>) -> Result<Quarantine, SessionError> {
    recipe.quarantined = bad.iter().map(|clip| clip.file.clone()).collect();
    let mut quarantine = Quarantine {
        clips: bad,
        prompts: 0,
        unused: Unused::default(),
    };
    let teacher = &recipe.settings.teacher;
    let Some(path) = &teacher.path else {
        return Ok(quarantine);
    };
    if quarantine.clips.is_empty() {
        return Ok(quarantine);
    }
    let layout = teacher
        .layout
        .map_or_else(|| Layout::detect(path), Ok)
        .map_err(QuarantineError::from)?;
    // Clips left of each prompt that the folder lists; a prompt that it does not list stays, to be
    // complained about.
    let mut left = BTreeMap::<String, usize>::new();
    let mut count = |listed: afd_clips::layouts::Listed| {
        if let Ok(entry) = listed {
            let good = !recipe.quarantined.contains(&entry.place.to_string());
            *left.entry(entry.prompt).or_default() += usize::from(good);
        }
        true
    };
    layout
        .list(path, &mut count)
        .map_err(QuarantineError::from)?;
    let compared = !recipe.compared_prompts().is_empty();
    let held_out = compared.then_some(("prompts.held_out", &mut recipe.held_out_prompts));
    for (field, prompts) in [("prompts.train", &mut recipe.train_prompts)]
        .into_iter()
        .chain(held_out)
    {
        let before = prompts.len();
        prompts.retain(|prompt| left.get(prompt) != Some(&0));
        quarantine.prompts += before - prompts.len();
        if prompts.is_empty() {
            return Err(QuarantineError::NoneLeft {
                path: path.clone(),
                field,
                shown: shown(&quarantine.clips),
            }
            .into());
        }
    }
    let (left, needed) = (
        recipe.train_prompts.len(),
        recipe.settings.afd.prompts_per_alternation,
    );
    if recipe.settings.kind == crate::recipe::tables::Kind::Distill && left < needed {
        return Err(QuarantineError::TooFewPrompts { left, needed }.into());
    }
    Ok(quarantine)
}

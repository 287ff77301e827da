//! Looking at every clip of a folder before anything is made of it: which cannot be used and why,
//! and which are suspicious.
//!
//! Clips are decoded to their last frame, several at a time, and looked at one frame at a time.
//! Each result is written to a journal, by which a check that was killed goes on, and one of the
//! same folder later is quick. What grows with the number of clips is 300 bytes each, and what is
//! reported.

mod across;
mod decode;
mod flag;
mod journal;
mod look;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use flag::{Flag, Flagged};
pub use journal::JournalError;
pub use look::Look;

use crate::{
    layouts::{Entry, Layout, LayoutError, Problem, Unused},
    prepare::check_length,
    shown::{shown, shown_path},
    video::ClipShape,
    video_io::VideoError,
};
use across::Across;
use decode::{Looked, looked_at};
use journal::{Journal, Record};

/// Clips in a batch, per thread; the journal is written after each batch.
const BATCH: usize = 16;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// How the folder was read.
    pub layout: Layout,
    /// Clips, and lines or members that should have been one.
    pub clips: u64,
    /// Those that cannot be used, in the folder's order.
    pub problems: Vec<Problem>,
    /// Those of them that might be usable on another day: decoding took too long.
    pub unsettled: BTreeSet<String>,
    /// Those that can be used but are suspicious, in the folder's order.
    pub flags: Vec<Flagged>,
    /// What else lies in the folder.
    #[serde(default)]
    pub unused: Unused,
}

impl Report {
    /// Clips that can be used.
    pub fn good(&self) -> u64 {
        self.clips - self.problems.len() as u64
    }
}

/// What to look for.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// How the folder is read.
    pub layout: Layout,
    /// The clip that each video has to be long enough for, if any.
    pub shape: Option<ClipShape>,
    /// Where results are kept for the next time; `None` keeps them until the end only.
    pub journal: Option<&'a Path>,
    /// Clips decoded at the same time.
    pub threads: usize,
}

/// Why a folder could not be checked to its end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The folder cannot be listed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something other than a clip is wrong: the disk, a missing ffmpeg.
    #[error(transparent)]
    Video(VideoError),
    /// There is nothing to check.
    #[error("{} lists no clip at all", shown_path(.0))]
    Empty(PathBuf),
    /// Nothing in the folder is a clip.
    #[error(
        "{} lists no clip at all; what lies there is not used: {unused}",
        shown_path(path)
    )]
    NoneUsed {
        /// The folder.
        path: PathBuf,
        /// What lies there.
        unused: String,
    },
    /// Clips, but none that is wanted.
    #[error(
        "{} lists {listed} clips, and none of a prompt that was asked for; its prompts begin with \
            {prompts}, and have to be written equally in both",
        shown_path(path)
    )]
    NoneWanted {
        /// The folder.
        path: PathBuf,
        /// Clips of other prompts.
        listed: u64,
        /// The first of those prompts.
        prompts: String,
    },
    /// `progress` said so; the journal keeps what was done.
    #[error("stopped")]
    Stopped,
}

/// Checks the clips of `directory` that `wanted` is true of. `progress` hears (looked at, unusable)
/// now and then, and ends the check with `false`. The report depends on the files alone: not on
/// threads, timing or interruptions.
///
/// # Errors
/// [`CheckError`]; a clip that cannot be used is no error but part of the report.
pub fn check(
    directory: &Path,
    options: &Options,
    wanted: &dyn Fn(&Entry) -> bool,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Report, CheckError> {
    let report = Report {
        layout: options.layout,
        clips: 0,
        problems: Vec::new(),
        unsettled: BTreeSet::new(),
        flags: Vec::new(),
        unused: Unused::default(),
    };
    let journal = Journal::open(options.journal)?;
    let mut run = Run {
        directory,
        options,
        journal,
        across: Across::default(),
        report,
    };
    let mut batch: Vec<Result<Entry, Problem>> = Vec::new();
    let mut ended = Ok(());
    let mut others = Others::default();
    let unused = options.layout.list(directory, &mut |listed| {
        if let Ok(entry) = &listed
            && !wanted(entry)
        {
            others.add(&entry.prompt);
            return true;
        }
        batch.push(listed);
        if batch.len() == BATCH * options.threads.max(1) {
            ended = run.batch(std::mem::take(&mut batch), progress);
        }
        ended.is_ok()
    })?;
    ended?;
    run.batch(batch, progress)?;
    if run.report.clips == 0 {
        return Err(others.error(directory, &unused));
    }
    run.report.unused = unused;
    run.finish()
}

/// Clips that are not wanted.
#[derive(Default)]
struct Others {
    listed: u64,
    /// The first prompts.
    prompts: Vec<String>,
}

impl Others {
    fn add(&mut self, prompt: &str) {
        self.listed += 1;
        let is_new = !self.prompts.iter().any(|known| known == prompt);
        if self.prompts.len() < 3 && is_new {
            self.prompts.push(prompt.to_string());
        }
    }

    /// That no clip is wanted, or that there is none.
    fn error(&self, directory: &Path, unused: &Unused) -> CheckError {
        let path = directory.to_path_buf();
        if self.listed == 0 {
            return match unused.is_empty() {
                true => CheckError::Empty(path),
                false => CheckError::NoneUsed {
                    path,
                    unused: unused.to_string(),
                },
            };
        }
        let short = |prompt: &String| {
            let short: String = prompt.chars().take(80).collect();
            format!("\"{}\"", shown(&short))
        };
        let prompts: Vec<String> = self.prompts.iter().map(short).collect();
        CheckError::NoneWanted {
            path,
            listed: self.listed,
            prompts: prompts.join(", "),
        }
    }
}

struct Run<'a> {
    directory: &'a Path,
    options: &'a Options<'a>,
    journal: Journal,
    across: Across,
    report: Report,
}

impl Run<'_> {
    fn batch(
        &mut self,
        batch: Vec<Result<Entry, Problem>>,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), CheckError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut found: Vec<Option<Found>> = Vec::with_capacity(batch.len());
        for listed in &batch {
            found.push(match listed {
                Ok(entry) => self.known(entry)?,
                Err(problem) => Some(Found::Listed(problem.clone())),
            });
        }
        let unknown: Vec<(usize, &Entry)> = batch
            .iter()
            .enumerate()
            .filter(|(index, _)| found[*index].is_none())
            .filter_map(|(index, listed)| Some((index, listed.as_ref().ok()?)))
            .collect();
        for (index, result) in looked_at(self.directory, &unknown, self.options.threads) {
            found[index] = Some(Found::Looked(result.map_err(CheckError::Video)?));
        }
        for found in found.into_iter().flatten() {
            self.add(found)?;
        }
        self.journal.flush()?;
        match progress(self.report.clips, self.report.problems.len() as u64) {
            true => Ok(()),
            false => Err(CheckError::Stopped),
        }
    }

    /// What the journal says about this clip, if its file has not changed since.
    fn known(&mut self, entry: &Entry) -> Result<Option<Found>, CheckError> {
        let file = entry.place.to_string();
        match entry.place.stamp(self.directory) {
            Ok(stamp) => Ok(self.journal.find(&file, &stamp)?.map(Found::Known)),
            Err(error) => Ok(Some(Found::Listed(Problem {
                file,
                problem: format!("it cannot be read: {error}"),
            }))),
        }
    }

    /// Adds one clip to the report, in the folder's order.
    fn add(&mut self, found: Found) -> Result<(), CheckError> {
        self.report.clips += 1;
        let (record, at) = match found {
            Found::Listed(problem) => {
                self.report.problems.push(problem);
                return Ok(());
            }
            Found::Known((record, at)) => (record, at),
            Found::Looked(Looked { record, is_lasting }) => {
                if !is_lasting {
                    self.report.unsettled.insert(record.file.clone());
                    self.report.problems.push(Problem {
                        file: record.file,
                        problem: record.problem.unwrap_or_default(),
                    });
                    return Ok(());
                }
                let at = self.journal.add(&record)?;
                (record, at)
            }
        };
        let problem = match (&record.look, record.problem) {
            (Some(look), None) => self.options.shape.and_then(|shape| {
                check_length(look.seconds, look.frames, shape)
                    .err()
                    .map(|error| error.to_string())
            }),
            (_, problem) => {
                Some(problem.unwrap_or_else(|| "nothing is known about it".to_string()))
            }
        };
        match (problem, record.look) {
            (None, Some(look)) => {
                for (flag, detail) in &look.flags {
                    self.report.flags.push(Flagged {
                        file: record.file.clone(),
                        flag: *flag,
                        detail: detail.clone(),
                    });
                }
                if let Some(like) = self.across.add(&look, at) {
                    let earlier = self.journal.read(like.at)?.file;
                    let detail = if like.exact {
                        format!("the same pixels as {earlier}")
                    } else {
                        format!("nearly the same as {earlier}")
                    };
                    self.report.flags.push(Flagged {
                        file: record.file,
                        flag: Flag::Duplicate,
                        detail,
                    });
                }
            }
            (problem, _) => self.report.problems.push(Problem {
                file: record.file,
                problem: problem.unwrap_or_default(),
            }),
        }
        Ok(())
    }

    /// Goes through the good clips once more for what only all of them together tell.
    fn finish(mut self) -> Result<Report, CheckError> {
        if let Some(region) = self.across.unmoving() {
            for at in self.across.busy() {
                let record = self.journal.read(at)?;
                if record.look.is_some_and(|look| region.is_in(&look)) {
                    self.report.flags.push(Flagged {
                        file: record.file,
                        flag: Flag::Watermark,
                        detail: region.detail(),
                    });
                }
            }
        }
        self.journal.sync()?;
        Ok(self.report)
    }
}

/// What became of one entry.
enum Found {
    Listed(Problem),
    Known((Record, u64)),
    Looked(Looked),
}

#[cfg(test)]
mod tests;

//! `metrics.jsonl`: one JSON object per step, appended as training goes, cut back to the checkpoint
//! on resume.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{AtPath, FileError, write_atomically};
use crate::exit::ExitStatus;

/// Why a number or a log could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A value is NaN or infinite: training went wrong and must stop before it saves anything.
    #[error(
        "the metric {name:?} is {value} at step {step}, expected a finite number; stop here and \
            look at the inputs of this step"
    )]
    NotFinite {
        /// The metric's name.
        name: String,
        /// Its value.
        value: f64,
        /// The step it belongs to.
        step: u64,
    },
    /// "step" and "phase" are fields of every line and no metric may take their names.
    #[error(
        "the metric name {name:?} at step {step} is taken by the log itself; give the metric \
            another name"
    )]
    Reserved {
        /// The metric's name.
        name: String,
        /// The step it belongs to.
        step: u64,
    },
    /// A line before the last cannot be read.
    #[error("{} line {line} is no metrics line ({reason}); restore the file or move it away to \
        start a new log", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the JSON reader said.
        reason: String,
    },
    /// The lines up to the checkpoint are not those that it was saved after.
    #[error("{} is not what was written up to step {step}: lines were lost, added or changed; put \
        a backup in its place, or start another run", path.display())]
    Changed {
        /// The log.
        path: PathBuf,
        /// The checkpoint's step.
        step: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ExitStatus for EventError {}

/// Refuses NaN and infinities by name.
pub(crate) fn require_finite(step: u64, name: &str, value: f64) -> Result<(), EventError> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(EventError::NotFinite {
            name: name.into(),
            value,
            step,
        })
    }
}

/// The metrics of a run, one line per step: `{"step":3,"phase":"flow","loss":0.25}`, metric names
/// sorted.
///
/// Numbers are printed with the fewest digits that read back as the same f64.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    length: u64,
    /// Of all of them.
    hasher: blake3::Hasher,
}

#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    phase: &'a str,
    #[serde(flatten)]
    values: &'a BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct StepOf {
    step: u64,
}

impl MetricsLog {
    /// Opens the log to go on after `step`, creating it where there is none.
    ///
    /// `written` is the hash of the lines up to there ([`MetricsLog::hash`]), where it is known.
    ///
    /// Lines of later steps are removed, and so is a last line that a crash cut short; a run
    /// resumed from the checkpoint of `step` therefore leaves the same bytes as one that was never
    /// interrupted.
    ///
    /// # Errors
    /// [`EventError::Line`] for an unreadable line before the last; [`EventError::Changed`] for
    /// other lines than were written; [`EventError::File`] when the disk refuses.
    pub fn open_at(path: &Path, step: u64, written: Option<&str>) -> Result<Self, EventError> {
        let found = match fs::read(path) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.at("read", path)?,
        };
        let kept = keep_through(path, &found, step)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&kept);
        if written.is_some_and(|written| hasher.finalize().to_hex().as_str() != written) {
            return Err(EventError::Changed {
                path: path.into(),
                step,
            });
        }
        if kept != found {
            write_atomically(path, &kept)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .at("open", path)?;
        Ok(Self {
            path: path.into(),
            file,
            length: kept.len() as u64,
            hasher,
        })
    }

    /// BLAKE3 of every line so far.
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// Appends the line of one step.
    ///
    /// # Errors
    /// [`EventError::NotFinite`] or [`EventError::Reserved`] before anything is written;
    /// [`EventError::File`] when the disk refuses, and then the line is taken back.
    pub fn append(
        &mut self,
        step: u64,
        phase: &str,
        values: &BTreeMap<String, f64>,
    ) -> Result<(), EventError> {
        for (name, &value) in values {
            if name == "step" || name == "phase" {
                return Err(EventError::Reserved {
                    name: name.clone(),
                    step,
                });
            }
            require_finite(step, name, value)?;
        }
        let mut line = serde_json::to_vec(&Line {
            step,
            phase,
            values,
        })
        .map_err(std::io::Error::from)
        .at("write", &self.path)?;
        line.push(b'\n');
        // One write per line, straight to the system: a killed process loses no finished line.
        if let Err(reason) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.length);
            return Err(FileError::new("append to", &self.path, reason).into());
        }
        self.length += line.len() as u64;
        self.hasher.update(&line);
        Ok(())
    }

    /// Makes every line so far survive a power cut; call it before saving the checkpoint of the
    /// same step.
    pub fn sync(&self) -> Result<(), EventError> {
        Ok(self.file.sync_all().at("sync", &self.path)?)
    }
}

/// The lines of `bytes` up to `step`, each ended by a newline.
fn keep_through(path: &Path, bytes: &[u8], step: u64) -> Result<Vec<u8>, EventError> {
    let mut kept = Vec::with_capacity(bytes.len());
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice::<StepOf>(line) {
            Ok(found) if found.step <= step => {
                kept.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                kept.push(b'\n');
            }
            Ok(_) => {}
            // Only a last line can lack its newline: the one that was being written when the
            // process died.
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(EventError::Line {
                    path: path.into(),
                    line: index + 1,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;

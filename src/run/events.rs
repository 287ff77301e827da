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
    /// Lines of later steps are removed, and so is a last line that a crash cut short; a run
    /// resumed from the checkpoint of `step` therefore leaves the same bytes as one that was never
    /// interrupted.
    ///
    /// # Errors
    /// [`EventError::Line`] for an unreadable line before the last; [`EventError::File`] when the
    /// disk refuses.
    pub fn open_at(path: &Path, step: u64) -> Result<Self, EventError> {
        let found = match fs::read(path) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.at("read", path)?,
        };
        let kept = keep_through(path, &found, step)?;
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
        })
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
mod tests {
    use super::*;

    fn values(step: u64) -> BTreeMap<String, f64> {
        // Awkward decimals, so that a printing error shows.
        BTreeMap::from([
            ("loss".into(), 0.1 + 0.2 * step as f64),
            ("advantage".into(), 1.0 / (3.0 + step as f64)),
        ])
    }

    fn append(log: &mut MetricsLog, steps: std::ops::RangeInclusive<u64>) {
        steps.for_each(|step| {
            log.append(
                step,
                if step % 2 == 0 {
                    "flow"
                } else {
                    "discriminator"
                },
                &values(step),
            )
            .unwrap()
        });
    }

    #[test]
    fn a_line_has_the_step_the_phase_and_sorted_names() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        let mut log = MetricsLog::open_at(&path, 0).unwrap();
        log.append(
            3,
            "flow",
            &BTreeMap::from([("loss".into(), 0.25), ("accuracy".into(), 1.0)]),
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":3,\"phase\":\"flow\",\"accuracy\":1.0,\"loss\":0.25}\n"
        );
    }

    #[test]
    fn printed_numbers_read_back_as_the_same_bits() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        let mut log = MetricsLog::open_at(&path, 0).unwrap();
        for value in [
            0.1 + 0.2,
            1.0 / 3.0,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            -0.0,
            1e21,
            123_456_789.123_456_79,
        ] {
            log.append(1, "p", &BTreeMap::from([("v".into(), value)]))
                .unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let printed = text
                .lines()
                .last()
                .unwrap()
                .rsplit_once(':')
                .unwrap()
                .1
                .trim_end_matches('}');
            assert_eq!(
                printed.parse::<f64>().unwrap().to_bits(),
                value.to_bits(),
                "{printed}"
            );
        }
    }

    #[test]
    fn an_interrupted_and_resumed_log_has_the_bytes_of_an_uninterrupted_one() {
        let place = tempfile::tempdir().unwrap();
        let (whole, resumed) = (place.path().join("whole"), place.path().join("resumed"));
        append(&mut MetricsLog::open_at(&whole, 0).unwrap(), 1..=10);
        // The checkpoint was made at 5.
        append(&mut MetricsLog::open_at(&resumed, 0).unwrap(), 1..=8);
        append(&mut MetricsLog::open_at(&resumed, 5).unwrap(), 6..=10);
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&resumed).unwrap());
    }

    #[test]
    fn a_last_line_torn_at_any_byte_is_dropped_or_completed() {
        let place = tempfile::tempdir().unwrap();
        let (whole, torn) = (place.path().join("whole"), place.path().join("torn"));
        append(&mut MetricsLog::open_at(&whole, 0).unwrap(), 1..=3);
        let bytes = fs::read(&whole).unwrap();
        let two_lines = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(1)
            .unwrap()
            .0
            + 1;
        for length in two_lines..=bytes.len() {
            fs::write(&torn, &bytes[..length]).unwrap();
            let complete = length >= bytes.len() - 1; // only the newline is missing
            append(
                &mut MetricsLog::open_at(&torn, 3).unwrap(),
                if complete { 4..=4 } else { 3..=4 },
            );
            append(&mut MetricsLog::open_at(&whole, 3).unwrap(), 4..=4);
            assert_eq!(
                fs::read(&torn).unwrap(),
                fs::read(&whole).unwrap(),
                "torn at byte {length}"
            );
        }
    }

    #[test]
    fn zeros_after_a_power_cut_count_as_a_torn_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        append(&mut MetricsLog::open_at(&path, 0).unwrap(), 1..=2);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [whole.as_slice(), &[0; 64]].concat()).unwrap();
        MetricsLog::open_at(&path, 2).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named_and_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\n{\"step\":\n{\"step\":3}\n").unwrap();
        let error = MetricsLog::open_at(&path, 3).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl line 2"), "{error}");
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .ends_with("{\"step\":3}\n")
        );
    }

    #[test]
    fn a_value_that_is_not_finite_is_named_and_not_written() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        let mut log = MetricsLog::open_at(&path, 0).unwrap();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = log
                .append(4, "flow", &BTreeMap::from([("flow_loss".into(), value)]))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("flow_loss") && error.contains("step 4"),
                "{error}"
            );
        }
        assert!(matches!(
            log.append(4, "flow", &BTreeMap::from([("step".into(), 1.0)])),
            Err(EventError::Reserved { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}

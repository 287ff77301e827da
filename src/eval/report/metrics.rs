//! `metrics.jsonl` read back; `run::events` writes it.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

use super::ReportError;
use crate::run::files::FileError;

/// The numbers of one step of training.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MetricsLine {
    /// The step, counted over the whole run.
    pub step: u64,
    /// The part of training that measured, e.g. "flow".
    #[serde(default)]
    pub phase: String,
    /// Named numbers.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// The lines of a `metrics.jsonl`, in the order of the file. A last line that a crash cut short is
/// left out.
///
/// # Errors
/// [`ReportError::File`] when the file cannot be read, [`ReportError::Metrics`] for a line that is
/// not one of a metrics log.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, ReportError> {
    let bytes = fs::read(path).map_err(|reason| FileError::new("read", path, reason))?;
    let mut lines = Vec::new();
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(read) => lines.push(read),
            // Only a last line can lack its newline: the one that was being written when the
            // process died.
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(ReportError::Metrics {
                    path: path.display().to_string(),
                    line: index + 1,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(lines)
}

/// (step, value) in the order of the log, all finite.
type Points = Vec<(u64, f64)>;

/// One learning curve.
#[derive(Debug, PartialEq)]
pub(super) struct Curve<'a> {
    /// The part of training that measured.
    pub phase: &'a str,
    /// The metric's name.
    pub name: &'a str,
    /// What to draw.
    pub points: Points,
}

/// The curves of a log: phases as they first appear, names in alphabetical order.
///
/// A name that two phases share makes two curves: their losses have nothing to do with each other.
pub(super) fn curves(lines: &[MetricsLine]) -> Vec<Curve<'_>> {
    let mut phases: Vec<(&str, BTreeMap<&str, Points>)> = Vec::new();
    for line in lines {
        let found = phases.iter().position(|(phase, _)| *phase == line.phase);
        let index = found.unwrap_or(phases.len());
        if found.is_none() {
            phases.push((&line.phase, BTreeMap::new()));
        }
        for (name, &value) in line.values.iter().filter(|(_, value)| value.is_finite()) {
            phases[index]
                .1
                .entry(name)
                .or_default()
                .push((line.step, value));
        }
    }
    phases
        .into_iter()
        .flat_map(|(phase, names)| {
            names.into_iter().map(move |(name, points)| Curve {
                phase,
                name,
                points,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<MetricsLine>, ReportError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        read_metrics(&path)
    }

    #[test]
    fn lines_become_one_curve_per_phase_and_name() {
        let lines = read(concat!(
            "{\"step\":1,\"phase\":\"flow\",\"accuracy\":1.0,\"loss\":0.25}\n",
            "{\"step\":2,\"phase\":\"discriminator\",\"loss\":3.0}\n",
            "{\"step\":3,\"phase\":\"flow\",\"loss\":-1e-3}\n",
        ))
        .unwrap();
        let expected = [
            Curve {
                phase: "flow",
                name: "accuracy",
                points: vec![(1, 1.0)],
            },
            Curve {
                phase: "flow",
                name: "loss",
                points: vec![(1, 0.25), (3, -1e-3)],
            },
            Curve {
                phase: "discriminator",
                name: "loss",
                points: vec![(2, 3.0)],
            },
        ];
        assert_eq!(curves(&lines), expected);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_any_other_broken_line_is_named() {
        assert_eq!(
            read("{\"step\":1,\"phase\":\"p\",\"v\":1}\n{\"step\":2,\"pha")
                .unwrap()
                .len(),
            1
        );
        assert_eq!(read("").unwrap(), []);
        let message = read("{\"step\":1,\"phase\":\"p\"}\n{\"step\":\"two\"}\n")
            .unwrap_err()
            .to_string();
        assert!(message.contains("metrics.jsonl line 2"), "{message}");
        assert!(
            read_metrics(Path::new("/no/such/metrics.jsonl"))
                .unwrap_err()
                .to_string()
                .contains("/no/such/metrics.jsonl")
        );
    }
}

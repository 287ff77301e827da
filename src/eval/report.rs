//! What came of a run: `report.json` for programs, one self-contained `report.html` for people.

mod html;
mod metrics;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::estimate::{Column, Summary};
use super::table::{METRICS, Scores, mean_scores};
use crate::exit::ExitStatus;
use crate::run::files::{FileError, write_atomically};

pub use metrics::{MetricsLine, read_metrics};

/// Everything about a run that a reader needs to judge and repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The headline.
    pub title: String,
    /// The run's name or directory.
    pub run: String,
    /// The command line that repeats it: the one that started the run, also where it was resumed.
    pub command: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The program's source commit, where known.
    pub commit: Option<String>,
    /// What it ran on, e.g. "cuda".
    pub backend: String,
    /// Wall-clock duration over all processes that worked on it, in seconds.
    pub wall_seconds: f64,
    /// Videos asked of the teacher, over all of them.
    pub teacher_queries: u64,
    /// Means over prompts in the order of the table's columns: the teacher first, then the base,
    /// then the distilled student.
    pub scores: Vec<(String, Scores)>,
    /// The same columns prompt by prompt; empty in reports of before.
    #[serde(default)]
    pub columns: Vec<Column<Scores>>,
    /// What each number rests on, its interval, and what may be said of changes.
    #[serde(default)]
    pub summary: Summary,
    /// Remarks for the reader, a paragraph each.
    pub notes: Vec<String>,
}

/// Why a report could not be written, or the metrics for it not read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system refused, or the report is there already.
    #[error(transparent)]
    File(#[from] FileError),
    /// NaN and infinities have no place in JSON.
    #[error(
        "the report cannot be written as JSON: found `{found}`, expected a finite number; look for \
            the step where the run diverged"
    )]
    NotFinite {
        /// The line of JSON, with `null` where the number should be.
        found: String,
    },
    /// A line of the metrics cannot be read.
    #[error(
        "{path} line {line} is no metrics line ({reason}); restore the file or write the report \
            without it"
    )]
    Metrics {
        /// The log.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What the JSON reader said.
        reason: String,
    },
}

impl ExitStatus for ReportError {}

impl Report {
    /// The same report with these columns.
    #[must_use]
    pub fn with_columns(mut self, columns: Vec<Column<Scores>>) -> Self {
        let mean = |column: &Column<Scores>| (column.name.clone(), mean_scores(&column.prompts));
        self.scores = columns.iter().map(mean).collect();
        self.summary = Summary::of(&METRICS, &columns);
        self.columns = columns;
        self
    }

    /// Writes a JSON file, indented, ending in a newline.
    ///
    /// # Errors
    /// [`ReportError::File`] when the disk refuses, [`ReportError::NotFinite`] for a number that is
    /// not finite.
    pub fn write_json(&self, path: &Path) -> Result<(), ReportError> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|reason| FileError::new("write", path, reason.into()))?;
        // A number that is not finite is written as null: an empty cell, or no number at all.
        for (_, scores) in &self.scores {
            let values = METRICS
                .iter()
                .map(|metric| (metric.name, (metric.value)(scores)));
            for (name, value) in values {
                if value.is_some_and(|value| !value.is_finite()) {
                    let found = format!("\"{name}\": null");
                    return Err(ReportError::NotFinite { found });
                }
            }
        }
        if let Err(error) = serde_json::from_str::<Self>(&text) {
            let found = text
                .lines()
                .nth(error.line().saturating_sub(1))
                .unwrap_or_default()
                .trim()
                .to_string();
            return Err(ReportError::NotFinite { found });
        }
        text.push('\n');
        Ok(write_atomically(path, text.as_bytes())?)
    }
}

/// Writes an HTML file that needs nothing else: styles, learning curves (one per phase and metric)
/// and GIFs are inside, scripts are not.
///
/// `metrics` come from [`read_metrics`]; `previews` are pairs of a title and the bytes of a GIF.
/// The file grows by 4/3 of the GIFs' size.
///
/// # Errors
/// [`ReportError::File`] when the disk refuses. A report of the same run, left by a run that was
/// resumed, is replaced as a whole.
pub fn write_html(
    path: &Path,
    report: &Report,
    metrics: &[MetricsLine],
    previews: &[(String, Vec<u8>)],
) -> Result<(), ReportError> {
    Ok(write_atomically(
        path,
        html::page(report, metrics, previews).as_bytes(),
    )?)
}

/// A report for the tests of this module.
#[cfg(test)]
fn example() -> Report {
    use super::estimate::PromptScores;

    let scores = |value: f64| Scores {
        trajectory_energy_distance: Some(value),
        gravity_error: Some(value / 4.0),
        object_permanence: Some(1.0 - value / 10.0),
        pixel_energy_distance: Some(value / 8.0),
        temporal_flicker: Some(0.875),
        temporal_flicker_gap: Some(value / 64.0),
        dynamic_degree: Some(1.0),
        motion_smoothness: Some(0.9375),
        ..Scores::default()
    };
    // Eight prompts, whose scores lie around that of the column.
    let column = |name: &str, value: f64| Column {
        name: name.to_string(),
        prompts: (0..8)
            .map(|prompt| PromptScores {
                prompt: format!("p{prompt}"),
                clips: [4, 4],
                scores: scores(value + 0.125 * f64::from(2 * prompt - 7)),
            })
            .collect(),
    };
    let report = Report {
        title: "Falling balls".into(),
        run: "runs/balls".into(),
        command: "afd distill recipes/balls.toml --set train.steps=400".into(),
        seed: u64::MAX,
        commit: Some("0123abcd".into()),
        backend: "ndarray".into(),
        wall_seconds: 3725.5,
        teacher_queries: 640,
        scores: Vec::new(),
        columns: Vec::new(),
        summary: Summary::default(),
        notes: vec!["Two bodies per scene.".into()],
    };
    report.with_columns(vec![
        column("teacher", 0.125),
        column("base", 6.5),
        column("distilled", 1.25),
    ])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_report_survives_json() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("report.json");
        for commit in [None, Some("0123abcd".to_string())] {
            let report = Report {
                commit,
                ..example()
            };
            report.write_json(&path).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
            assert!(
                text.contains("\"seed\": 18446744073709551615,\n") && text.ends_with("}\n"),
                "{text}"
            );
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn numbers_say_what_they_rest_on_and_reports_of_before_can_be_read() {
        let report = example();
        let found = &report.summary.estimates["trajectory_energy_distance"]["distilled"];
        assert_eq!(
            (found.value, found.prompts, found.clips),
            (1.25, 8, [32, 32])
        );
        let change = &report.summary.changes["trajectory_energy_distance"];
        assert_eq!(change.difference, -5.25);
        let mut json = serde_json::to_value(&report).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.remove("columns");
        fields.remove("summary");
        let old: Report = serde_json::from_value(json).unwrap();
        assert_eq!(old.scores, report.scores);
    }

    #[test]
    fn numbers_that_are_not_finite_are_named_and_nothing_is_written() {
        let place = tempfile::tempdir().unwrap();
        let mut report = example();
        report.scores[2].1.pixel_energy_distance = Some(f64::NAN);
        let message = report
            .write_json(&place.path().join("report.json"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("pixel_energy_distance"), "{message}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_report_of_a_resumed_run_replaces_the_one_it_was_killed_with() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("report.html");
        fs::write(&path, "torn").unwrap();
        write_html(&path, &example(), &[], &[]).unwrap();
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .starts_with("<!doctype html>")
        );
    }

    #[test]
    fn the_html_is_written_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("report.html");
        write_html(&path, &example(), &[], &[]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"));
    }
}

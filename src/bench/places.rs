//! The directories of a benchmark.

use std::fs;
use std::path::{Path, PathBuf};

use super::plan::PlannedRun;
use crate::run::files::FileError;

/// The directories of a benchmark.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Places {
    /// Those below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where run directories are.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// A run's directory.
    pub fn run(&self, run: &PlannedRun) -> PathBuf {
        self.runs().join(run.id())
    }

    /// Its measurements.
    pub fn measured(&self, run: &PlannedRun) -> PathBuf {
        self.root.join("measured").join(run.id())
    }

    /// What its processes printed.
    pub fn log(&self, run: &PlannedRun) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", run.id()))
    }

    /// Why it failed the last time.
    pub fn failure(&self, run: &PlannedRun) -> PathBuf {
        self.root.join("logs").join(format!("{}.failed", run.id()))
    }

    /// The report, or the one that compares with another method than the benchmark says.
    pub fn report(&self, reference: Option<&str>) -> PathBuf {
        self.root
            .join(reference.map_or("report".to_string(), |method| {
                format!("report-against-{method}")
            }))
    }

    /// Seconds that `afd bench` has spent so far.
    pub fn wall(&self) -> PathBuf {
        self.root.join("wall-seconds.txt")
    }

    pub(super) fn create(&self) -> Result<(), FileError> {
        for directory in [
            self.runs(),
            self.root.join("measured"),
            self.root.join("logs"),
        ] {
            fs::create_dir_all(&directory)
                .map_err(|error| FileError::new("create", &directory, error))?;
        }
        Ok(())
    }
}

//! Benchmarks: methods x families x regimes x seeds, made in resumable pieces and gathered into a
//! report.

pub mod gather;
pub mod lanes;
pub mod places;
pub mod plan;
pub mod runner;

use std::path::PathBuf;

use crate::exit::ExitStatus;

/// Why a benchmark's runs cannot be made, or gathered.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A run or its measurement.
    #[error(transparent)]
    Session(#[from] crate::session::SessionError),
    /// The directory of a run.
    #[error(transparent)]
    Run(#[from] crate::run::directory::RunError),
    /// The recipe of a run.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] crate::run::files::FileError),
    /// A run was measured before the benchmark was changed; holds its name.
    #[error(
        "{0} was measured with another recipe than the benchmark now asks for; make it anew with \
            --only {0} --again, or give the benchmark another name"
    )]
    OtherRecipe(String),
    /// A run went on, or was made anew, after it was measured; holds its name.
    #[error(
        "{0} was measured before its run became what it is now; make it anew with --only {0} \
        --again"
    )]
    OtherStudent(String),
    /// The report of a run cannot be read.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

/// The benchmark and its recipes were read before.
impl ExitStatus for BenchError {}

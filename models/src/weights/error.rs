//! Why weights cannot be used.

use std::path::{Path, PathBuf};

use super::float::NotFinite;

/// Why weights could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read the weights {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong and what is expected.
        reason: String,
    },
    /// Weights cannot be written.
    #[error("cannot write the weights: {reason}")]
    Write {
        /// What went wrong.
        reason: String,
    },
    /// Names, shapes or types differ from what the model needs.
    #[error("{origin} does not fit this model: {}", problems.join("; "))]
    Mismatch {
        /// Where the tensors came from.
        origin: String,
        /// One entry per missing, unexpected or misshapen tensor.
        problems: Vec<String>,
    },
    /// Values that are no finite numbers, of which a model makes nothing but more of them.
    #[error(
        "tensor {name:?} of {} is not finite: {} of its {count} values, the first is {:e} at \
            {place:?}; get the file again, or take an earlier checkpoint",
        path.display(),
        found.count,
        found.value
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// How many values it has.
        count: usize,
        /// Which are not finite.
        found: NotFinite,
        /// Indices of the first, slowest dimension first.
        place: Vec<usize>,
    },
}

impl WeightsError {
    pub(super) fn read(path: &Path, reason: impl Into<String>) -> Self {
        Self::Read {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    pub(super) fn write(reason: impl std::fmt::Display) -> Self {
        Self::Write {
            reason: reason.to_string(),
        }
    }

    pub(super) fn not_finite(path: &Path, name: &str, shape: &[usize], found: NotFinite) -> Self {
        let mut rest = found.first;
        let mut place: Vec<usize> = shape
            .iter()
            .rev()
            .map(|size| {
                let index = rest % (*size).max(1);
                rest /= (*size).max(1);
                index
            })
            .collect();
        place.reverse();
        Self::NotFinite {
            path: path.to_path_buf(),
            name: name.to_string(),
            count: shape.iter().product(),
            found,
            place,
        }
    }
}

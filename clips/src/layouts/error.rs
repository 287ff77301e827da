//! Why a folder cannot be listed at all.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::shown::{shown, shown_path};

/// Why a folder cannot be listed at all.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot read {}: {source}", shown_path(path))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// No layout, or several.
    #[error(
        "{} holds {found}; expected one of: manifest.jsonl, metadata.csv or metadata.json naming \
            clips, videos.txt and prompts.txt, videos with a .txt each, .tar shards (WebDataset), \
            .parquet files{advice}",
        shown_path(path)
    )]
    Unclear {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A file that describes all others is damaged.
    #[error("{}: {problem}", shown_path(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
}

impl LayoutError {
    /// For `map_err`: the file system refused to read `path`.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, problem: impl AsRef<str>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            problem: shown(problem.as_ref()),
        }
    }
}

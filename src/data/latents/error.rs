//! Why prepared latents cannot be used.

use std::path::PathBuf;

use afd_models::weights::WeightsError;

use crate::exit::ExitStatus;
use crate::run::files::FileError;

/// Why prepared latents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatentError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A shard cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The index, or a shard, is not what it should be.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, expected, and what to do.
        problem: String,
    },
    /// A clip that was asked for is not there.
    #[error("{} lacks latents of {file} ({prompt:?}); run `afd data prepare` with this recipe to \
        its end", directory.display())]
    Missing {
        /// The store.
        directory: PathBuf,
        /// The prompt.
        prompt: String,
        /// The clip.
        file: String,
    },
    /// A clip is another one now.
    #[error("{file} ({prompt:?}) has changed since its latents were prepared in {}; run `afd data \
        prepare` with this recipe again, or put the clip back", directory.display())]
    Changed {
        /// The store.
        directory: PathBuf,
        /// The prompt.
        prompt: String,
        /// The clip.
        file: String,
    },
    /// The codec made something else than numbers.
    #[error(
        "the codec gave the value {value} for {file} ({prompt:?}), expected finite ones; check \
        codec.checkpoint, and the clip"
    )]
    NotFinite {
        /// The prompt.
        prompt: String,
        /// The clip.
        file: String,
        /// The first such value.
        value: f32,
    },
}

impl ExitStatus for LatentError {}

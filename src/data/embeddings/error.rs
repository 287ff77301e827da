//! Why embeddings cannot be written or read.

use std::path::PathBuf;

use afd_models::weights::WeightsError;

use super::ROWS;
use crate::run::files::FileError;

/// Why embeddings could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A weight file of an encoder could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The directory is no cache.
    #[error("{} is not a cache of embeddings: {reason}; run `afd data prepare RECIPE` to make \
        one", path.display())]
    NoCache {
        /// The directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// What says whose embeddings these are cannot be read.
    #[error("{} is damaged: {reason}; remove that file and run `afd data prepare RECIPE`: \
        embeddings of the same encoder are kept", path.display())]
    DamagedDescription {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The directory belongs to another encoder.
    #[error(
        "{} holds embeddings of another text encoder ({found}, {found_shape:?} values per prompt), \
            this one is {wanted} ({wanted_shape:?}); choose another directory or remove that one",
        path.display()
    )]
    OtherEncoder {
        /// The directory.
        path: PathBuf,
        /// Identity there.
        found: String,
        /// Length and width there.
        found_shape: [usize; 2],
        /// Identity of the encoder at hand.
        wanted: String,
        /// Its length and width.
        wanted_shape: [usize; 2],
    },
    /// The prompt was not prepared.
    #[error("{} has no embedding of the prompt {prompt:?}; run `afd data prepare RECIPE` to add \
        it", path.display())]
    Missing {
        /// The cache.
        path: PathBuf,
        /// The prompt.
        prompt: String,
    },
    /// A prompt's file is not what was written.
    #[error(
        "the embedding of the prompt {prompt:?} in {} is damaged: {reason}; remove the file and \
            run `afd data prepare RECIPE`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The prompt.
        prompt: String,
        /// What is wrong with it.
        reason: Box<Damage>,
    },
    /// The encoder did not read the prompt.
    #[error("cannot encode the prompt {prompt:?}: {reason}")]
    Encode {
        /// The prompt.
        prompt: String,
        /// The encoder's words.
        reason: String,
    },
}

/// What is wrong with a prompt's file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is no safetensors file, or cut short.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// It does not say what it holds.
    #[error("it does not say whose embeddings it holds")]
    Unlabelled,
    /// What it says cannot be read.
    #[error("what it says about its embeddings: {0}")]
    Label(serde_json::Error),
    /// It belongs elsewhere.
    #[error("it holds the prompt {prompt:?} of the encoder {identity}")]
    Other {
        /// Its prompt.
        prompt: String,
        /// Its encoder.
        identity: String,
    },
    /// There is nothing in it.
    #[error("it has no tensor {ROWS:?}")]
    Empty,
    /// Its values are too many or too few.
    #[error("its embeddings are {found:?}, expected [{length}, {width}] and at most {most}")]
    Shape {
        /// Their shape.
        found: Vec<usize>,
        /// The prompt's length, by the file's own words.
        length: usize,
        /// The encoder's width.
        width: usize,
        /// The longest prompt that the encoder reads.
        most: usize,
    },
    /// Its values have changed.
    #[error("its values are not those that were written (their hash differs)")]
    Hash,
}

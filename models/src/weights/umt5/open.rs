//! An encoder with its tokenizer out of their files.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::FloatDType;

use super::UmT5File;
use crate::text::umt5::{TEXT_LENGTH, Tokenizer, TokenizerError, UmT5};
use crate::weights::{WeightFile, WeightsError};

/// Why an encoder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UmT5Error {
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Tokenizer and weights are not of the same encoder.
    #[error(
        "the tokenizer {} has {ids} ids, but the weights {} have embeddings for {vocabulary}; use \
            the tokenizer.json that belongs to the weights",
        tokenizer.display(),
        weights.display()
    )]
    Vocabulary {
        /// `tokenizer.json`.
        tokenizer: PathBuf,
        /// The weight file.
        weights: PathBuf,
        /// Ids in the tokenizer.
        ids: usize,
        /// Entries of the embedding table.
        vocabulary: usize,
    },
}

impl<B: Backend> UmT5<B> {
    /// The encoder of `weights` with the `tokenizer.json` at `tokenizer`; parameters are held as
    /// `dtype`. Sizes are read from the weights.
    ///
    /// # Errors
    /// [`UmT5Error`]: a file that is not what it should be, a type that the backend does not
    /// compute in, files that do not belong together.
    pub fn open(
        tokenizer: &Path,
        weights: &WeightFile,
        dtype: FloatDType,
        device: &B::Device,
    ) -> Result<Self, UmT5Error> {
        let (tokenizer, path) = (Tokenizer::open(tokenizer, TEXT_LENGTH)?, tokenizer);
        let file = UmT5File::find(weights)?;
        let config = file.expected_sizes()?;
        let (ids, vocabulary) = (tokenizer.vocabulary(), config.vocabulary);
        if ids > vocabulary {
            return Err(UmT5Error::Vocabulary {
                tokenizer: path.to_path_buf(),
                weights: weights.path().to_path_buf(),
                ids,
                vocabulary,
            });
        }
        Ok(Self::new(
            tokenizer,
            file.load::<B>(&config, dtype, device)?,
            device,
        ))
    }
}

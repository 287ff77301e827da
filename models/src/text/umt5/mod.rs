//! umT5, the text encoder of Wan (docs/method.md D): cleaning, tokenizer and encoder behind
//! [`TextEncoder`].

mod config;
mod encoder;
mod position;
mod tokenizer;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::{DType, FloatDType, Int};

pub use config::UmT5Config;
pub use encoder::{Layer, UmT5Encoder};
pub use position::bucket;
pub use tokenizer::Tokenizer;

use super::clean::clean;
use super::{EncodeError, TextEncoder};
use crate::kernels::Kernels;
use crate::weights::umt5::UmT5File;
use crate::weights::{WeightFile, WeightsError};

/// Why an encoder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UmT5Error {
    /// The tokenizer cannot be used.
    #[error("cannot use the tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// `tokenizer.json`.
        path: PathBuf,
        /// What was found and what is expected.
        reason: String,
    },
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

/// Tokens of a prompt that Wan reads, padding included (its `text_len`).
pub const TEXT_LENGTH: usize = 512;

/// The encoder on a device, with its tokenizer.
#[derive(Debug)]
pub struct UmT5<B: Backend> {
    tokenizer: Tokenizer,
    encoder: UmT5Encoder<B>,
    device: B::Device,
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

    /// An encoder from its parts; the tokenizer's ids must be below the encoder's vocabulary.
    pub fn new(tokenizer: Tokenizer, encoder: UmT5Encoder<B>, device: &B::Device) -> Self {
        Self {
            tokenizer,
            encoder,
            device: device.clone(),
        }
    }
}

impl<B: Kernels> TextEncoder for UmT5<B> {
    fn shape(&self) -> [usize; 2] {
        [self.tokenizer.length(), self.encoder.config().width]
    }

    /// The prompt is cleaned as Wan does; a longer one than fits is cut. The empty prompt is a
    /// prompt: guidance needs it.
    fn encode(&self, prompt: &str) -> Result<Vec<f32>, EncodeError> {
        let ids = self.tokenizer.ids(&clean(prompt))?;
        let vocabulary = self.encoder.config().vocabulary;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(EncodeError::Id {
                prompt: prompt.to_string(),
                id,
                vocabulary,
            });
        }
        // Padding changes nothing for the tokens before it, so none is computed.
        let length = ids.len();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [1, length]), &self.device);
        let mut embeddings: Vec<f32> = self
            .encoder
            .forward(ids, &[length])
            .into_data()
            .convert_dtype(DType::F32)
            .iter::<f32>()
            .collect();
        embeddings.resize(self.shape().iter().product(), 0.0);
        Ok(embeddings)
    }
}

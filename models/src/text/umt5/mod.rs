//! umT5, the text encoder of Wan (docs/method.md D): cleaning, tokenizer and encoder behind
//! [`TextEncoder`].

mod config;
mod encoder;
mod position;
mod tokenizer;

use burn::prelude::*;
use burn::tensor::{DType, Int};

pub use config::UmT5Config;
pub use encoder::{Layer, UmT5Encoder};
pub use position::bucket;
pub use tokenizer::{Tokenizer, TokenizerError};

use super::clean::clean;
use super::{EncodeError, TextEncoder};
use crate::kernels::Kernels;

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

//! Prompts to token ids: Hugging Face's `tokenizer.json`, with what umT5 and Wan add to it.

use std::path::{Path, PathBuf};

use crate::text::EncodeError;

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the tokenizer {}: {reason}", path.display())]
pub struct TokenizerError {
    /// `tokenizer.json`.
    pub path: PathBuf,
    /// What was found and what is expected.
    pub reason: String,
}

/// A tokenizer of umT5's kind: pieces, then the end; padding is id 0.
///
/// Normaliser, pieces and ids are whatever the file says. How a prompt is truncated is decided
/// here, not by the file.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pieces: tokenizers::Tokenizer,
    end: u32,
    length: usize,
}

impl Tokenizer {
    /// The id that fills a prompt up.
    pub const PADDING: u32 = 0;

    /// Reads `tokenizer.json`; prompts are cut to `length` ids (Wan: 512), the end included.
    ///
    /// # Errors
    /// A file that cannot be read or is no tokenizer, one without `</s>`, one whose `<pad>` is not
    /// 0, a length of 0.
    pub fn open(path: &Path, length: usize) -> Result<Self, TokenizerError> {
        let problem = |reason: String| TokenizerError {
            path: PathBuf::from(path),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        let mut pieces = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| {
            problem(format!(
                "{error}; expected the tokenizer.json of google/umt5-xxl, not spiece.model"
            ))
        })?;
        pieces
            .with_truncation(None)
            .map_err(|error| problem(error.to_string()))?
            .with_padding(None);
        let end = pieces.token_to_id("</s>").ok_or_else(|| {
            problem("it has no \"</s>\"; expected a tokenizer of T5's kind".to_string())
        })?;
        match pieces.token_to_id("<pad>") {
            Some(Self::PADDING) => {}
            found => {
                return Err(problem(format!(
                    "the id of \"<pad>\" is {found:?}, expected {}",
                    Self::PADDING
                )));
            }
        }
        if length == 0 {
            return Err(problem(
                "prompts of 0 tokens leave no room for the end; expected at least 1, Wan reads 512"
                    .to_string(),
            ));
        }
        Ok(Self {
            pieces,
            end,
            length,
        })
    }

    /// The most ids that [`Tokenizer::ids`] gives.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Ids of the tokenizer file, at most one more than the largest.
    pub fn vocabulary(&self) -> usize {
        self.pieces
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |largest| *largest as usize + 1)
    }

    /// The ids of a (clean) prompt, 1 to [`Tokenizer::length`], the last one the end. No padding.
    ///
    /// # Errors
    /// [`EncodeError::Tokenizer`]: what the file's own normaliser or model cannot do.
    pub fn ids(&self, prompt: &str) -> Result<Vec<u32>, EncodeError> {
        let encoding =
            self.pieces
                .encode(prompt, false)
                .map_err(|error| EncodeError::Tokenizer {
                    prompt: prompt.to_string(),
                    reason: error.to_string(),
                })?;
        let kept = encoding.get_ids().iter().take(self.length - 1);
        Ok(kept.copied().chain([self.end]).collect())
    }
}

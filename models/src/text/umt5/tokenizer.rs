//! Prompts to token ids: Hugging Face's `tokenizer.json`, with what umT5 and Wan add to it.

use std::path::{Path, PathBuf};

use crate::caught::caught;
use crate::text::EncodeError;
use crate::weights::file::small_text;

/// Bytes of a tokenizer.json; umT5's has 17 million.
const MOST_BYTES: u64 = 200_000_000;

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
    vocabulary: usize,
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
        let text = small_text(path, MOST_BYTES).map_err(|error| problem(error.to_string()))?;
        let expected = "expected the tokenizer.json of google/umt5-xxl, not spiece.model";
        if let Some(claimed) = claims_too_much(&text) {
            return Err(problem(format!(
                "its precompiled_charsmap claims a table of {claimed} bytes that is not there; \
                    {expected}"
            )));
        }
        // The library panics on some files that are no tokenizers.
        let read = caught(|| {
            let mut pieces = tokenizers::Tokenizer::from_bytes(text.as_bytes())?;
            pieces.with_truncation(None)?.with_padding(None);
            let largest = pieces.get_vocab(true).values().max().copied();
            Ok::<_, tokenizers::Error>((pieces, largest))
        });
        let (pieces, largest) = read
            .map_err(|panic| problem(format!("its pieces cannot be read ({panic}); {expected}")))?
            .map_err(|error| problem(format!("{error}; {expected}")))?;
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
            vocabulary: largest.map_or(0, |largest| largest as usize + 1),
            length,
        })
    }

    /// The most ids that [`Tokenizer::ids`] gives.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Ids of the tokenizer file, at most one more than the largest.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The ids of a (clean) prompt, 1 to [`Tokenizer::length`], the last one the end. No padding.
    ///
    /// # Errors
    /// [`EncodeError::Tokenizer`]: what the file's own normaliser or model cannot do.
    pub fn ids(&self, prompt: &str) -> Result<Vec<u32>, EncodeError> {
        let problem = |reason: String| EncodeError::Tokenizer {
            prompt: prompt.to_string(),
            reason,
        };
        let encoding = caught(|| self.pieces.encode(prompt, false))
            .map_err(|panic| problem(format!("its tokenizer.json is damaged: {panic}")))?
            .map_err(|error| problem(error.to_string()))?;
        let kept = encoding.get_ids().iter().take(self.length - 1);
        Ok(kept.copied().chain([self.end]).collect())
    }
}

/// What a table of characters in the text claims to measure, in bytes, if that is more than is
/// there: the library would allocate it.
fn claims_too_much(text: &str) -> Option<u64> {
    text.split("\"precompiled_charsmap\"")
        .skip(1)
        .find_map(|rest| {
            let value = rest.trim_start().strip_prefix(':')?.trim_start();
            let table = value.strip_prefix('"')?.split('"').next()?;
            let mut bits = 0u64;
            // Six letters of Base64 hold the length, 32 bits in little endian, and four bits more.
            for letter in table.bytes().take(6) {
                let value = match letter {
                    b'A'..=b'Z' => letter - b'A',
                    b'a'..=b'z' => letter - b'a' + 26,
                    b'0'..=b'9' => letter - b'0' + 52,
                    b'+' => 62,
                    b'/' => 63,
                    _ => return None,
                };
                bits = bits << 6 | u64::from(value);
            }
            let claimed = u64::from(((bits >> 4) as u32).swap_bytes());
            (claimed > table.len() as u64).then_some(claimed)
        })
}

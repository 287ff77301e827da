//! `[text]`: prompts to text embeddings.

use std::path::PathBuf;

use afd_models::precision::Precision;
use afd_models::text::umt5::TEXT_LENGTH as UMT5_LENGTH;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recipe::Problem;

/// Prompts to text embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextTable {
    /// The encoder.
    pub kind: TextKind,
    /// Embeddings per prompt (L): the longest prompt in words; umT5 always has 512.
    #[schemars(range(min = 1, max = 65_536))]
    pub length: usize,
    /// Width of an embedding; umT5-XXL: 4096.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Weights of umT5 in any layout, relative to the recipe (`kind = "umt5"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// Its `tokenizer.json`, relative to the recipe (`kind = "umt5"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// The type that it computes in (`kind = "umt5"`).
    #[serde(default)]
    pub precision: Precision,
}

/// Text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// Fixed word vectors.
    Words,
    /// Wan's: prompts are encoded once, by `afd data prepare`.
    Umt5,
}

/// Numbers of a prompt's embeddings: eight times umT5's 512 x 4096.
const MOST_VALUES: usize = 1 << 24;

impl TextTable {
    /// Files of the encoder, and the length that umT5 has.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let values = self.length.saturating_mul(self.width);
        if values > MOST_VALUES {
            return Err(Problem::new(format!(
                "text.length x text.width is {values} numbers for every prompt, expected at most \
                 {MOST_VALUES}"
            )));
        }
        if self.kind == TextKind::Words {
            if self.checkpoint.is_some() || self.tokenizer.is_some() {
                return Err(Problem::new(
                    "text.checkpoint and text.tokenizer are umT5's; word vectors have neither, \
                     remove them",
                ));
            }
            return Ok(());
        }
        for (field, file) in [
            ("text.checkpoint", &self.checkpoint),
            ("text.tokenizer", &self.tokenizer),
        ] {
            if file.is_none() {
                return Err(Problem::new(format!(
                    "{field} is missing: text.kind = \"umt5\" needs the weights of umT5 and its \
                     tokenizer.json"
                )));
            }
        }
        if self.length == UMT5_LENGTH {
            return Ok(());
        }
        Err(Problem::new(format!(
            "text.length is {}, umT5 has {UMT5_LENGTH} embeddings for every prompt",
            self.length
        )))
    }
}

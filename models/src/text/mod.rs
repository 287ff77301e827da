//! Text encoders: prompts to the embeddings that a student cross-attends to.

pub mod clean;
pub mod umt5;
pub mod words;

/// Why a prompt cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Too few or too many words for the fixed vectors.
    #[error(
        "the prompt {prompt:?} has {words} words, the text encoder reads 1 to {length} \
            (text.length)"
    )]
    Words {
        /// The prompt.
        prompt: String,
        /// Its words.
        words: usize,
        /// The most words that are read.
        length: usize,
    },
    /// The tokenizer's own normaliser or model fails.
    #[error("the tokenizer cannot split {prompt:?}: {reason}")]
    Tokenizer {
        /// The prompt.
        prompt: String,
        /// What the tokenizer says.
        reason: String,
    },
    /// Tokenizer and encoder do not belong together.
    #[error(
        "the tokenizer gives id {id} in {prompt:?}, but the encoder has {vocabulary} embeddings"
    )]
    Id {
        /// The prompt.
        prompt: String,
        /// The token's id.
        id: u32,
        /// Entries of the embedding table.
        vocabulary: usize,
    },
    /// What another crate's encoder says.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl EncodeError {
    /// The error of another crate's encoder.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// A text encoder. It runs once per prompt, on the host or a device; its embeddings are cached.
pub trait TextEncoder: Send + Sync {
    /// Embeddings per prompt (L) and their width.
    fn shape(&self) -> [usize; 2];

    /// The embeddings `[L, width]` of one prompt in row-major order, zero past the prompt's length.
    ///
    /// # Errors
    /// [`EncodeError`]: why the prompt cannot be encoded.
    fn encode(&self, prompt: &str) -> Result<Vec<f32>, EncodeError>;
}

//! Text encoders: prompts to the embeddings that a student cross-attends to.

pub mod clean;
pub mod umt5;
pub mod words;

/// A text encoder. It runs once per prompt, on the host or a device; its embeddings are cached.
pub trait TextEncoder: Send + Sync {
    /// Embeddings per prompt (L) and their width.
    fn shape(&self) -> [usize; 2];

    /// The embeddings `[L, width]` of one prompt, zero past the prompt's length; or why the prompt
    /// cannot be encoded.
    fn encode(&self, prompt: &str) -> Result<Vec<f32>, String>;
}

//! Text encoders: prompts to the rows a student cross-attends to.

pub mod clean;
pub mod umt5;
pub mod words;

/// A text encoder. It runs once per prompt, on the host or a device; its rows are cached.
pub trait TextEncoder: Send + Sync {
    /// Rows per prompt (L) and their width.
    fn shape(&self) -> [usize; 2];

    /// The rows of one prompt, `L * width` values, zero past the prompt's length; or why the prompt
    /// cannot be encoded.
    fn encode(&self, prompt: &str) -> Result<Vec<f32>, String>;
}

//! Codecs: finished pixels to the latents a student works on, and back.

pub mod pixel;
pub mod wan_vae;

use burn::prelude::*;

/// A codec between clips and latents.
pub trait Codec<B: Backend>: Send + Sync {
    /// Latent shape `[F, C, H, W]` of a clip of `[T, 3, H, W]` pixels, or why such a clip cannot be
    /// encoded.
    fn latent_shape(
        &self,
        frames: usize,
        height: usize,
        width: usize,
    ) -> Result<[usize; 4], String>;

    /// `[B, T, 3, H, W]` in [-1, 1] to latents `[B, F, C, H, W]`. May panic for clips that
    /// [`Self::latent_shape`] refuses.
    fn encode(&self, clips: Tensor<B, 5>) -> Tensor<B, 5>;

    /// Latents `[B, F, C, H, W]` to `[B, T, 3, H, W]`, clamped to [-1, 1].
    fn decode(&self, latents: Tensor<B, 5>) -> Tensor<B, 5>;

    /// A decoder for one clip (or batch) whose latents come a few frames at a time, as a student
    /// generates them.
    fn decoder(&self) -> Box<dyn DecodeStream<B>>;
}

/// Decodes a clip as its latents come; together the pieces are what [`Codec::decode`] makes of all
/// latents.
pub trait DecodeStream<B: Backend>: Send {
    /// The next latents `[B, F, C, H, W]`, at least one frame, to the frames `[B, T, 3, H, W]` that
    /// they stand for, clamped to [-1, 1].
    fn push(&mut self, latents: Tensor<B, 5>) -> Tensor<B, 5>;
}

//! Codecs: finished pixels to the latents a student works on, and back.

pub mod pixel;
pub mod wan_vae;

use burn::prelude::*;

/// Why clips of a shape cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LatentShapeError {
    /// The pixel codec's squares do not tile the frame.
    #[error("codec.stride ({stride}) must divide the clip's height ({height}) and width ({width})")]
    PixelStride {
        /// Pixels per latent row and column.
        stride: usize,
        /// Rows of the clip.
        height: usize,
        /// Columns of the clip.
        width: usize,
    },
    /// The Wan VAE's latent frames do not fill up.
    #[error("the Wan VAE encodes 1 + {step} n frames, and the clip has {frames}")]
    WanFrames {
        /// Frames per latent frame after the first.
        step: usize,
        /// Frames of the clip.
        frames: usize,
    },
    /// The Wan VAE's latent positions do not tile the frame.
    #[error(
        "the Wan VAE's stride ({stride}) must divide the clip's height ({height}) and width \
            ({width})"
    )]
    WanStride {
        /// Pixels per latent row and column.
        stride: usize,
        /// Rows of the clip.
        height: usize,
        /// Columns of the clip.
        width: usize,
    },
}

/// A codec between clips and latents.
pub trait Codec<B: Backend>: Send + Sync {
    /// Latent shape `[F, C, H, W]` of a clip of `frames` frames of `height` x `width` pixels.
    ///
    /// # Errors
    /// [`LatentShapeError`]: why such a clip cannot be encoded.
    fn latent_shape(
        &self,
        frames: usize,
        height: usize,
        width: usize,
    ) -> Result<[usize; 4], LatentShapeError>;

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

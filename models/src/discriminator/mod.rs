//! Prompt-conditioned discriminators: one scalar per finished clip (method.md E).

pub mod conv;
pub mod pieces;
pub mod registers;

use burn::prelude::*;

use crate::kernels::Kernels;

use pieces::Judged;

pub use conv::{ConvConfig, ConvDiscriminator};
pub use registers::{RegisterConfig, RegisterDiscriminator};

/// A prompt and finished clips in, one score per clip out; higher means "more like the teacher".
pub trait Discriminator<B: Kernels> {
    /// Clean latents `[B, F, C, H, W]` and text rows `[B, L, text_width]` to scores `[B]`.
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 1>;
}

/// The discriminator a recipe asks for.
// There is one of it, so the size of the smaller variant does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum AnyDiscriminator<B: Backend> {
    /// Multiscale 3-D convolution head.
    Conv(ConvDiscriminator<B>),
    /// Register tokens on transformer features.
    Registers(RegisterDiscriminator<B>),
}

impl<B: Kernels> AnyDiscriminator<B> {
    /// The scores of [`Discriminator::score`] within the limits of a register discriminator's
    /// backbone: one clip at a time where its blocks are run again, so that memory does not grow
    /// with the clips. For use without a graph.
    pub fn score_within_limits(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 1> {
        match self {
            Self::Registers(discriminator) if discriminator.backbone.limits().recompute_blocks => {
                discriminator.score_one_by_one(&Judged { clips, text })
            }
            _ => self.score(clips, text),
        }
    }
}

impl<B: Kernels> Discriminator<B> for AnyDiscriminator<B> {
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 1> {
        match self {
            Self::Conv(discriminator) => discriminator.score(clips, text),
            Self::Registers(discriminator) => discriminator.score(clips, text),
        }
    }
}

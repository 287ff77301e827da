//! Prompt-conditioned discriminators: scores of finished clips (docs/method.md E).

mod batch;
pub mod conv;
pub mod pieces;
pub mod registers;
pub mod sizes;
pub mod spec;

use burn::prelude::*;

use crate::kernels::Kernels;

pub use conv::{ConvConfig, ConvDiscriminator};
pub use registers::{RegisterConfig, RegisterDiscriminator};
pub use sizes::GraphSizes;
pub use spec::DiscriminatorSpec;

/// A prompt and finished clips in, S scores per clip out; higher means "more like the teacher".
///
/// S belongs to the kind of discriminator: 1 where it scores whole clips, the number of the clip's
/// blocks where it scores every block of frames.
pub trait Discriminator<B: Kernels> {
    /// Clean latents `[B, F, C, H, W]` and text embeddings `[B, L, text_width]` to scores `[B, S]`.
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2>;

    /// The scores `[B, S]` of [`Discriminator::score`] in bounded memory, for use without a graph.
    ///
    /// Unless a discriminator has limits of its own, all clips are scored at once.
    fn score_within_limits(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        self.score(clips, text)
    }

    /// The discriminator whose loss must be differentiated in [`pieces`], if it is one: otherwise
    /// the loss is one graph.
    fn in_pieces(&self) -> Option<&RegisterDiscriminator<B>> {
        None
    }
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

impl<B: Kernels> Discriminator<B> for AnyDiscriminator<B> {
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        match self {
            Self::Conv(discriminator) => discriminator.score(clips, text),
            Self::Registers(discriminator) => discriminator.score(clips, text),
        }
    }

    fn score_within_limits(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        match self {
            Self::Conv(discriminator) => discriminator.score_within_limits(clips, text),
            Self::Registers(discriminator) => discriminator.score_within_limits(clips, text),
        }
    }

    fn in_pieces(&self) -> Option<&RegisterDiscriminator<B>> {
        match self {
            Self::Conv(discriminator) => discriminator.in_pieces(),
            Self::Registers(discriminator) => discriminator.in_pieces(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    /// Scores every block of one frame by its mean.
    struct PerBlock;

    impl<B: Kernels> Discriminator<B> for PerBlock {
        fn score(&self, clips: Tensor<B, 5>, _text: Tensor<B, 3>) -> Tensor<B, 2> {
            let [batch, frames, channels, rows, columns] = clips.dims();
            clips
                .reshape([batch, frames, channels * rows * columns])
                .mean_dim(2)
                .reshape([batch, frames])
        }
    }

    fn scored<B: Kernels, D: Discriminator<B>>(discriminator: &D) -> [usize; 2] {
        let device = Default::default();
        assert!(discriminator.in_pieces().is_none());
        discriminator
            .score_within_limits(
                Tensor::zeros([2, 3, 1, 4, 4], &device),
                Tensor::zeros([2, 1, 1], &device),
            )
            .dims()
    }

    #[test]
    fn a_discriminator_needs_nothing_but_scores_and_may_have_one_per_block() {
        assert_eq!(scored::<NdArray, _>(&PerBlock), [2, 3]);
    }
}

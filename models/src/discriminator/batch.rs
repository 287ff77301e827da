//! What a discriminator scores.

use burn::prelude::*;

/// Clips with the prompts that they are scored for.
#[derive(Debug, Clone)]
pub struct ScoreBatch<B: Backend> {
    /// Clean latents `[B, F, C, H, W]`.
    pub clips: Tensor<B, 5>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
}

impl<B: Backend> ScoreBatch<B> {
    pub(super) fn len(&self) -> usize {
        self.clips.dims()[0]
    }

    pub(super) fn clip(&self, index: usize) -> Self {
        let part = index..index + 1;
        Self {
            clips: self.clips.clone().slice_dim(0, part.clone()),
            text: self.text.clone().slice_dim(0, part),
        }
    }
}

//! The register discriminator's loss, differentiated one clip and one transformer block at a time.
//!
//! A loss reads nothing of a clip but its score. So the scores come first, without a graph; the
//! loss's graph has them as leaves and gives one number per clip, the loss's slope; and each clip
//! is then run again on its own, block by block ([`Segments`]), with that slope. Memory is that of
//! one clip's tokens between blocks and of one block's graph, however many clips there are, for two
//! more forward passes.
//!
//! The same goes for whoever made the clips ([`Pieces::to_clips`]): the weights are then constants,
//! and what comes out at the end of a clip is the loss's gradient for the clip itself.

use burn::module::AutodiffModule;
use burn::prelude::*;

pub use super::batch::ScoreBatch;
use super::registers::RegisterDiscriminator;
use crate::kernels::Trainable;
use crate::student::segments::Segments;

/// A loss of scores in the making. The caller walks the graphs in order, the loss first, then those
/// of one clip after another, and hands each one's gradients to [`Pieces::absorb`].
pub struct Pieces<B: Trainable> {
    batches: Vec<ScoreBatch<B::InnerBackend>>,
    /// The scores of each batch, `[B, 1]`: leaves until the loss's slopes are known.
    scores: Vec<Tensor<B, 2>>,
    /// Slope of the loss for the score of every clip of every batch, in order, each `[1, 1]`.
    slopes: Vec<Tensor<B::InnerBackend, 2>>,
    /// The clip that is being walked.
    segments: Option<Segments<B>>,
    /// Whether the clips are what is differentiated.
    to_clips: bool,
    /// Gradients of the clips that are done, each `[1, F, C, H, W]`.
    gradients: Vec<Tensor<B::InnerBackend, 5>>,
}

impl<B: Trainable> Pieces<B> {
    /// Scores all clips without a graph, one at a time.
    pub fn new(
        discriminator: &RegisterDiscriminator<B>,
        batches: Vec<ScoreBatch<B::InnerBackend>>,
    ) -> Self {
        let plain = discriminator.valid();
        let scores = batches
            .iter()
            .map(|batch| Tensor::from_inner(plain.score_one_by_one(batch)).require_grad())
            .collect();
        Self {
            batches,
            scores,
            slopes: Vec::new(),
            segments: None,
            to_clips: false,
            gradients: Vec::new(),
        }
    }

    /// The same with gradients of the clips ([`Pieces::clips_gradient`]) in place of those of the
    /// weights, of which none may be trained.
    pub fn to_clips(
        discriminator: &RegisterDiscriminator<B>,
        batches: Vec<ScoreBatch<B::InnerBackend>>,
    ) -> Self {
        Self {
            to_clips: true,
            ..Self::new(discriminator, batches)
        }
    }

    /// How many graphs there are for `clips` clips: the loss, then per clip the readers with the
    /// head, one per block, the inputs. Blocks above the last one that is read have none, and a
    /// backbone of which nothing is trained has none at all.
    pub fn graphs(discriminator: &RegisterDiscriminator<B>, clips: usize) -> usize {
        1 + clips * Self::graphs_of_clip(discriminator)
    }

    /// How many there are down to the clips ([`Pieces::to_clips`]): the loss, then per clip the
    /// readers with the head, one per block, the clip's latents.
    pub fn graphs_to_clips(discriminator: &RegisterDiscriminator<B>, clips: usize) -> usize {
        1 + clips * (depth(discriminator) + 2)
    }

    fn graphs_of_clip(discriminator: &RegisterDiscriminator<B>) -> usize {
        Segments::graphs_down_to(&discriminator.backbone, depth(discriminator))
    }

    /// The scores of each batch, `[B, 1]`, for the loss to be made of: the first graph.
    pub fn scores(&self) -> &[Tensor<B, 2>] {
        &self.scores
    }

    /// Graph `number` (from 1): a scalar `[1]` whose gradients are the loss's for what it runs
    /// through.
    pub fn graph(
        &mut self,
        discriminator: &RegisterDiscriminator<B>,
        number: usize,
    ) -> Tensor<B, 1> {
        let of_clip = if self.to_clips {
            depth(discriminator) + 2
        } else {
            Self::graphs_of_clip(discriminator)
        };
        let (clip, piece) = ((number - 1) / of_clip, (number - 1) % of_clip);
        match &mut self.segments {
            Some(segments) if piece > 0 => segments.graph(&discriminator.backbone, piece),
            _ => self.tail(discriminator, clip),
        }
    }

    /// Takes the gradients of the current graph's leaves out of `gradients`, which keep those of
    /// the weights.
    pub fn absorb(&mut self, gradients: &mut B::Gradients) {
        if let Some(segments) = &mut self.segments {
            return segments.absorb(gradients);
        }
        for (batch, scores) in self.batches.iter().zip(&self.scores) {
            // A batch that the loss does not read has no slope.
            let slopes = scores
                .grad_remove(gradients)
                .unwrap_or_else(|| scores.clone().inner().zeros_like());
            self.slopes.extend(
                (0..batch.len()).map(|index| slopes.clone().slice_dim(0, index..index + 1)),
            );
        }
    }

    /// Runs a clip through the backbone without a graph, and reads it with one.
    fn tail(&mut self, discriminator: &RegisterDiscriminator<B>, mut index: usize) -> Tensor<B, 1> {
        let slope = self.slopes[index].clone();
        let mut batches = self.batches.iter();
        let Some(ScoreBatch { clips, text }) =
            batches.find_map(|batch| match index.checked_sub(batch.len()) {
                Some(later) => {
                    index = later;
                    None
                }
                None => Some(batch.clip(index)),
            })
        else {
            unreachable!("there is a slope for every clip")
        };
        // The clip before is done: its tokens go before this one's come.
        self.finish_clip();
        let mut segments = Segments::down_to(
            &discriminator.backbone,
            text,
            vec![discriminator.pass(clips)],
            depth(discriminator),
        );
        if self.to_clips {
            segments = segments.to_latents();
        }
        let score = discriminator.score_features(
            self.segments
                .insert(segments)
                .features(discriminator.layers()),
        );
        (score * Tensor::from_inner(slope)).sum()
    }

    fn finish_clip(&mut self) {
        let done = self.segments.take();
        let gradient = done.and_then(|mut segments| segments.latents_gradient());
        self.gradients.extend(gradient);
    }

    /// The loss's gradients for all clips of all batches, `[B, F, C, H, W]`, once the graphs of
    /// [`Pieces::to_clips`] have been walked.
    pub fn clips_gradient(mut self) -> Tensor<B::InnerBackend, 5> {
        self.finish_clip();
        Tensor::cat(self.gradients, 0)
    }
}

/// Blocks of the backbone that a register reads or that come before one.
fn depth<B: Backend>(discriminator: &RegisterDiscriminator<B>) -> usize {
    discriminator.layers().last().map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests;

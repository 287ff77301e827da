//! The register discriminator's loss, differentiated one clip and one transformer block at a time.
//!
//! A loss reads nothing of a clip but its score. So the scores come first, without a graph; the
//! loss's graph has them as leaves and gives one number per clip, the loss's slope; and each clip
//! is then run again on its own, block by block ([`Segments`]), with that slope. Memory is that of
//! one clip's tokens between blocks and of one block's graph, however many clips there are, for two
//! more forward passes.

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
        }
    }

    /// How many graphs there are for `clips` clips: the loss, then per clip the readers with the
    /// head, one per block, the inputs. Blocks above the last one that is read have none, and a
    /// backbone of which nothing is trained has none at all.
    pub fn graphs(discriminator: &RegisterDiscriminator<B>, clips: usize) -> usize {
        1 + clips * Self::graphs_of_clip(discriminator)
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
        let of_clip = Self::graphs_of_clip(discriminator);
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
        self.segments = None;
        let segments = Segments::down_to(
            &discriminator.backbone,
            text,
            vec![discriminator.pass(clips)],
            depth(discriminator),
        );
        let score = discriminator.score_features(
            self.segments
                .insert(segments)
                .features(discriminator.layers()),
        );
        (score * Tensor::from_inner(slope)).sum()
    }
}

/// Blocks of the backbone that a register reads or that come before one.
fn depth<B: Backend>(discriminator: &RegisterDiscriminator<B>) -> usize {
    discriminator.layers().last().map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex, NdArray};
    use burn::module::{Module, Param};
    use burn::optim::{GradientsAccumulator, GradientsParams};
    use burn::tensor::activation::softplus;

    use super::*;
    use crate::discriminator::{Discriminator, RegisterConfig};
    use crate::init::initialise;
    use crate::noise::{Noise, Purpose};
    use crate::student::{Limits, StudentConfig};
    use crate::weights::collect_gradients;

    fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
        let values = Noise::new(11, Purpose::Evaluation, 0, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// Registers after the first and the third of four blocks: one tap between blocks, none after
    /// the last.
    fn discriminator<B: Trainable>() -> RegisterDiscriminator<B> {
        let sizes = StudentConfig {
            width: 24,
            layers: 4,
            heads: 2,
            feed_forward_width: 48,
            latent_channels: 4,
            text_width: 8,
            frequency_width: 16,
            ..StudentConfig::wan_1_3b()
        };
        let config = RegisterConfig {
            layers: vec![0, 2],
            feed_forward_width: 32,
            sigma: 0.0,
        };
        let mut fresh = initialise(
            RegisterDiscriminator::<B>::new(&config, &sizes, &Default::default()),
            3,
            "discriminator",
        );
        // Gates of order one, so that the blocks matter.
        for (index, block) in fresh.backbone.blocks.iter_mut().enumerate() {
            block.modulation = Param::from_tensor(random([1, 6, 24], 50 + index as u64));
        }
        fresh
    }

    /// Two teacher clips and three rollouts, and the same moved a little: what a penalised
    /// Bradley-Terry loss reads.
    fn batches<B: Backend>() -> Vec<ScoreBatch<B>> {
        let (clips, text) = (random([5, 3, 4, 4, 6], 1), random([5, 3, 8], 2));
        let moved = clips.clone() + random([5, 3, 4, 4, 6], 3) * 0.05;
        vec![
            ScoreBatch {
                clips,
                text: text.clone(),
            },
            ScoreBatch { clips: moved, text },
        ]
    }

    fn loss<B: Backend>(scores: &[Tensor<B, 2>]) -> Tensor<B, 1> {
        let scores: Vec<Tensor<B, 1>> = scores
            .iter()
            .map(|scores| scores.clone().reshape([5]))
            .collect();
        let (teacher, student) = (
            scores[0].clone().slice_dim(0, 0..2),
            scores[0].clone().slice_dim(0, 2..5),
        );
        let pairs = softplus(
            student.unsqueeze_dim::<2>(0) - teacher.unsqueeze_dim::<2>(1),
            1.0,
        )
        .mean();
        pairs
            + ((scores[1].clone() - scores[0].clone()) / 0.05)
                .square()
                .mean()
                * 0.1
    }

    fn pieces_equal_the_plain_graph<B: Trainable>(
        discriminator: &RegisterDiscriminator<B>,
        tensors: usize,
        graphs: usize,
    ) {
        let score = |batch: ScoreBatch<_>| {
            discriminator.score(
                Tensor::from_inner(batch.clips),
                Tensor::from_inner(batch.text),
            )
        };
        let scores: Vec<Tensor<B, 2>> = batches().into_iter().map(score).collect();
        let mut gradients = loss(&scores).backward();
        let expected = collect_gradients(
            &GradientsParams::from_module::<B, _>(&mut gradients, discriminator),
            discriminator,
        );

        let mut pieces = Pieces::new(discriminator, batches());
        for (scores, found) in scores.into_iter().zip(pieces.scores()) {
            let gap: f32 = (scores - found.clone()).abs().max().into_scalar().elem();
            assert!(gap < 1e-5, "scores: {gap}");
        }
        assert_eq!(Pieces::graphs(discriminator, 10), graphs);
        let mut found = GradientsAccumulator::new();
        for number in 0..graphs {
            let scalar = if number == 0 {
                loss(pieces.scores())
            } else {
                pieces.graph(discriminator, number)
            };
            let mut gradients = scalar.backward();
            pieces.absorb(&mut gradients);
            found.accumulate(
                discriminator,
                GradientsParams::from_module::<B, _>(&mut gradients, discriminator),
            );
        }
        let found = collect_gradients(&found.grads(), discriminator);
        assert_eq!(
            expected.keys().collect::<Vec<_>>(),
            found.keys().collect::<Vec<_>>()
        );
        assert_eq!(found.len(), tensors);
        let size = |values: &[f32]| {
            values
                .iter()
                .fold(0.0, |largest: f32, value| largest.max(value.abs()))
        };
        let largest = expected
            .values()
            .map(|expected| size(&expected.values))
            .fold(0.0, f32::max);
        for (name, expected) in expected {
            let expected = expected.values;
            // The last bias moves all scores alike, which the loss does not see: its gradient is
            // zero but for rounding.
            let scale = if name == "head.down.bias" {
                largest
            } else {
                size(&expected)
            };
            let gap = expected
                .iter()
                .zip(&found[&name].values)
                .fold(0.0, |largest: f32, (a, b)| largest.max((a - b).abs()));
            // The same sums, clip by clip: rounding of f32, relative to each tensor's largest.
            assert!(gap < 1e-5 * scale, "{name}: {} relative", gap / scale);
        }
    }

    fn trained_and_frozen<B: Trainable>() {
        let discriminator = discriminator::<B>();
        // 12 tensors before the blocks; 27 in each of three blocks; 16 in each of two readers;
        // registers, their norm, the head's norm (2) and the head (4). Per clip: tail, three
        // blocks, inputs.
        pieces_equal_the_plain_graph(&discriminator, 12 + 3 * 27 + 2 * 16 + 8, 1 + 10 * 5);
        let mut frozen = discriminator;
        frozen.backbone = frozen.backbone.no_grad();
        pieces_equal_the_plain_graph(&frozen, 2 * 16 + 8, 1 + 10);
    }

    #[test]
    fn scores_and_gradients_in_pieces_equal_those_of_the_plain_graph() {
        trained_and_frozen::<Autodiff<NdArray>>();
        trained_and_frozen::<Autodiff<Flex>>();
    }
    fn only_blocks_that_are_run_again_bound_the_clips<B: Trainable>() {
        let all_at_once = discriminator::<B>();
        assert!(all_at_once.in_pieces().is_none());
        let mut bounded = all_at_once.clone();
        bounded.backbone = bounded.backbone.within(Limits {
            recompute_blocks: true,
            ..Limits::default()
        });
        assert!(bounded.in_pieces().is_some());
        let score = |discriminator: &RegisterDiscriminator<B>| {
            discriminator.score_within_limits(random([2, 3, 4, 4, 6], 1), random([2, 3, 8], 2))
        };
        let (expected, found) = (score(&all_at_once), score(&bounded));
        assert_eq!(found.dims(), [2, 1]);
        // The same sums, clip by clip: rounding of f32.
        let gap: f32 = (expected - found).abs().max().into_scalar().elem();
        assert!(gap < 1e-5, "{gap}");
    }

    #[test]
    fn scores_within_limits_are_those_of_all_clips_at_once() {
        only_blocks_that_are_run_again_bound_the_clips::<Autodiff<NdArray>>();
        only_blocks_that_are_run_again_bound_the_clips::<Autodiff<Flex>>();
    }
}

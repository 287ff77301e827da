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

/// The loss's gradient for every clip, of a discriminator that is not trained.
fn clips_in_pieces_equal_the_plain_graph<B: Trainable>() {
    let discriminator = discriminator::<B>().no_grad();
    let clips: Vec<Tensor<B, 5>> = batches::<B::InnerBackend>()
        .into_iter()
        .map(|batch| Tensor::from_inner(batch.clips).require_grad())
        .collect();
    let texts = batches().into_iter().map(|batch| batch.text);
    let scores: Vec<Tensor<B, 2>> = (clips.iter().zip(texts))
        .map(|(clips, text)| discriminator.score(clips.clone(), text))
        .collect();
    let gradients = loss(&scores).backward();
    let expected = Tensor::cat(
        clips
            .iter()
            .map(|clips| clips.grad(&gradients).unwrap())
            .collect(),
        0,
    );

    let mut pieces = Pieces::to_clips(&discriminator, batches());
    let graphs = Pieces::graphs_to_clips(&discriminator, 10);
    // Per clip: tail, three blocks, latents.
    assert_eq!(graphs, 1 + 10 * 5);
    for number in 0..graphs {
        let scalar = if number == 0 {
            loss(pieces.scores())
        } else {
            pieces.graph(&discriminator, number)
        };
        pieces.absorb(&mut scalar.backward());
    }
    let found = pieces.clips_gradient();
    assert_eq!(found.dims(), [10, 3, 4, 4, 6]);
    let largest =
        |tensor: Tensor<B::InnerBackend, 5>| -> f32 { tensor.abs().max().into_scalar().elem() };
    let (gap, size) = (largest(found - expected.clone()), largest(expected));
    // The same sums, clip by clip: rounding of f32.
    assert!(size > 1e-4 && gap < 1e-5 * size, "{gap} of {size}");
}

#[test]
fn gradients_of_clips_in_pieces_equal_those_of_the_plain_graph() {
    clips_in_pieces_equal_the_plain_graph::<Autodiff<NdArray>>();
    clips_in_pieces_equal_the_plain_graph::<Autodiff<Flex>>();
}

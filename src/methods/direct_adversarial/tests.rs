use super::*;
use crate::flow::path::levels;
use afd_models::copies::frozen_copy;
use afd_models::discriminator::{
    AnyDiscriminator, ConvConfig, ConvDiscriminator, Discriminator, RegisterConfig,
    RegisterDiscriminator,
};
use afd_models::init::{initialise, initialise_where};
use afd_models::noise::{Noise, Purpose};
use afd_models::student::{Limits, StudentConfig};
use afd_models::weights::collect_gradients;
use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::Param;
use burn::train::TrainStep;

use crate::engine::step::Step;
use crate::engine::update::Update;

type B = Autodiff<NdArray>;
const SHAPE: [usize; 5] = [2, 4, 2, 4, 4];

fn random<B: Backend, const N: usize>(index: u64, shape: [usize; N]) -> Tensor<B, N> {
    let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// The loss of a velocity, in one graph.
fn loss_of_velocity(
    velocity: Tensor<B, 5>,
    discriminator: &AnyDiscriminator<B>,
    work: &DirectUpdate<B>,
) -> Tensor<B, 1> {
    let scores = discriminator.score(clips(velocity, work.clone()), work.text.clone());
    loss(scores, work.clone())
}

#[test]
fn the_gradient_through_the_discriminator_is_what_finite_differences_measure() {
    let device = Default::default();
    let config = ConvConfig {
        channels: vec![4, 4],
        width: 4,
    };
    let discriminator = AnyDiscriminator::Conv(initialise(
        ConvDiscriminator::<B>::new(&config, [4, 2, 4, 4], 3, &device),
        1,
        "discriminator",
    ));
    for form in [
        DiscriminatorLoss::BradleyTerry,
        DiscriminatorLoss::NonSaturating,
    ] {
        let sigmas = vec![0.6; 8];
        let work = DirectUpdate {
            clean: random::<B, 5>(0, SHAPE),
            states: random(1, SHAPE),
            levels: levels(&sigmas, 2, 4, &device),
            sigmas,
            text: random(2, [2, 2, 3]),
            teacher_scores: random(3, [2, 3]),
            shown: None,
            noise: Some(random(4, SHAPE) * 0.1),
            loss: form,
        };
        let start = random::<B, 5>(5, SHAPE);
        let velocity = start.clone().require_grad();
        let gradient = velocity
            .grad(&loss_of_velocity(velocity.clone(), &discriminator, &work).backward())
            .unwrap();
        for direction in 0..8 {
            let step = random::<B, 5>(100 + direction, SHAPE);
            let value = |by: f32| -> f32 {
                let moved = start.clone() + step.clone() * by;
                loss_of_velocity(moved, &discriminator, &work).into_scalar()
            };
            let size = 5e-4;
            let measured = (value(size) - value(-size)) / (2.0 * size);
            let expected: f32 = (gradient.clone() * step.clone().inner())
                .sum()
                .into_scalar();
            // Kinks of the activations within the step, and rounding of a loss of order one.
            let tolerance = 2e-3
                * (gradient.clone().square().sum().sqrt().into_scalar() + 1e-3)
                * (SHAPE.iter().product::<usize>() as f32).sqrt();
            assert!(
                (measured - expected).abs() < tolerance,
                "{form:?} {direction}: {measured} {expected} ({tolerance})"
            );
        }
    }
}

#[test]
fn the_discriminator_sees_the_clip_after_the_round_trip_and_the_gradient_passes_through() {
    let (own, shown) = (random::<B, 5>(0, SHAPE).require_grad(), random(1, SHAPE));
    let weights = random::<B, 5>(2, SHAPE);
    let passed = straight_through(own.clone(), shown.clone());
    assert!((passed.clone() - shown).abs().max().into_scalar() < 1e-6);
    let gradient = own
        .grad(&(passed * weights.clone()).sum().backward())
        .unwrap();
    assert_eq!(gradient.into_data(), weights.inner().into_data());
}

/// A student of three blocks and a register discriminator on a backbone of its own, all of whose
/// parts matter.
fn model<A: Trainable>(recompute_blocks: bool) -> AfdModel<A> {
    let device = Default::default();
    let sizes = StudentConfig {
        width: 24,
        layers: 3,
        heads: 2,
        feed_forward_width: 48,
        latent_channels: 2,
        text_width: 3,
        frequency_width: 16,
        frames_per_block: 2,
        ..StudentConfig::wan_1_3b()
    };
    let limits = Limits {
        recompute_blocks,
        ..Limits::default()
    };
    let transformer = |seed| {
        let mut fresh = initialise(Student::<A>::new(&sizes, &device), seed, "student");
        for (index, block) in fresh.blocks.iter_mut().enumerate() {
            block.modulation = Param::from_tensor(random(50 + index as u64, [1, 6, 24]));
        }
        let weights: Tensor<A, 2> = random(60, fresh.head.output.weight.dims());
        fresh.head.output.weight = Param::from_tensor(weights * 0.2);
        fresh.within(limits)
    };
    let config = RegisterConfig {
        layers: vec![0, 1],
        feed_forward_width: 32,
        sigma: 0.0,
    };
    let student = transformer(1);
    let registers = RegisterDiscriminator::around(&config, transformer(2), &device);
    let fresh = |path: &str| !path.contains(".backbone.");
    let registers = initialise_where(registers, 3, "discriminator", fresh);
    AfdModel {
        old: None,
        reference: None,
        ema: frozen_copy(student.clone()),
        student,
        discriminator: Some(AnyDiscriminator::Registers(registers)),
    }
}

fn pieces_give_the_gradients_of_one_graph<A: Trainable>() {
    let device = Default::default();
    let sigmas = vec![0.6; 8];
    let update = || -> Update<A, AnyDiscriminator<A>> {
        Update::Student(Box::new(DirectUpdate {
            clean: random(0, SHAPE),
            states: random(1, SHAPE),
            levels: levels(&sigmas, 2, 4, &device),
            sigmas: sigmas.clone(),
            text: random(2, [2, 2, 3]),
            teacher_scores: random(3, [2, 3]),
            shown: Some(random(6, SHAPE)),
            noise: Some(random::<A::InnerBackend, 5>(4, SHAPE) * 0.1),
            loss: DiscriminatorLoss::BradleyTerry,
        }))
    };
    let gradients = |recompute_blocks| {
        let model = model::<A>(recompute_blocks);
        let step = Step::new(model.clone(), update());
        // The loss; per clip readers, two blocks, latents; the student's tail, three blocks,
        // inputs.
        let graphs = if recompute_blocks { 1 + 2 * 4 + 5 } else { 1 };
        assert_eq!(step.graphs(), graphs);
        let output = model.step(update());
        let loss = output.item.scalars.clone();
        let discriminator = model.discriminator.as_ref().unwrap();
        assert!(collect_gradients::<A, _>(&output.grads, discriminator).is_empty());
        (
            loss,
            collect_gradients::<A, _>(&output.grads, &model.student),
        )
    };
    let ((loss, expected), (loss_in_pieces, found)) = (gradients(false), gradients(true));
    let ((name, loss), (_, in_pieces)) = (loss[0], loss_in_pieces[0]);
    assert!(
        name == LOSS && (loss - in_pieces).abs() < 1e-5,
        "{loss} {in_pieces}"
    );
    // 12 tensors before the blocks, 27 in each of three, head and its modulation.
    assert_eq!(
        (expected.len(), found.len()),
        (12 + 3 * 27 + 3, 12 + 3 * 27 + 3)
    );
    let size = |values: &[f32]| {
        values
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()))
    };
    for (name, expected) in expected {
        let gaps: Vec<f32> = (expected.values.iter().zip(&found[&name].values))
            .map(|(a, b)| a - b)
            .collect();
        // The same sums in another order: rounding of f32, relative to each tensor's largest. Key
        // biases move all scores of a query alike: their gradient is zero but for rounding.
        let (gap, size) = (size(&gaps), size(&expected.values));
        assert!(gap < 2e-5 * size + 1e-8, "{name}: {gap} of {size}");
    }
}

#[test]
fn a_step_in_pieces_has_the_gradients_of_one_graph() {
    pieces_give_the_gradients_of_one_graph::<Autodiff<NdArray>>();
    pieces_give_the_gradients_of_one_graph::<Autodiff<Flex>>();
}

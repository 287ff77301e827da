use super::*;
use crate::flow::path::levels;
use afd_models::noise::{Noise, Purpose};
use burn::backend::{Autodiff, Flex, NdArray};

const SHAPE: [usize; 5] = [2, 4, 2, 1, 2];
const LAYOUT: BlockLayout = BlockLayout {
    frames: 4,
    frames_per_block: 2,
    window_frames: 0,
    sink_frames: 0,
};
/// Values per block: 2 frames of 2 channels, 1 row, 2 columns.
const VALUES: usize = 8;

fn random<B: Backend>(index: u64, size: f64) -> Tensor<B, 5> {
    let values = Noise::new(8, Purpose::Evaluation, 0, index).normals(SHAPE.iter().product());
    Tensor::<B, 5>::from_data(TensorData::new(values, SHAPE), &Default::default()) * size
}

fn steps<B: Backend>(fresh_noise: f64) -> ChainSteps<B> {
    let device = Default::default();
    ChainSteps {
        from: random(1, 1.0),
        to: random(2, 0.7),
        sigma: levels(&[1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.9, 0.9], 2, 4, &device),
        next: levels(&[0.9, 0.9, 0.8, 0.8, 0.6, 0.6, 0.8, 0.8], 2, 4, &device),
        fresh_noise,
    }
}

fn host<B: Backend>(tensor: Tensor<B, 5>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Mean and deviation of the next state's Gaussian, from the sampler's definition, one value at
/// a time.
fn gaussian(x: f64, v: f64, sigma: f64, next: f64, fresh: f64) -> (f64, f64) {
    let turn = fresh * std::f64::consts::FRAC_PI_2;
    let (clean, noise) = (x - sigma * v, x + (1.0 - sigma) * v);
    (
        (1.0 - next) * clean + next * turn.cos() * noise,
        next * turn.sin(),
    )
}

fn exact_ratios<B: Backend>() {
    for fresh in [1.0, 0.5] {
        let steps = steps::<B>(fresh);
        let (velocity, old) = (
            random::<B>(3, 1.0),
            random::<B>(3, 1.0) + random::<B>(4, 0.05),
        );
        let found = host(steps.log_ratio(velocity.clone(), old.clone(), &LAYOUT));
        let divergence: f64 = steps
            .divergence(velocity.clone(), old.clone())
            .into_scalar()
            .elem();
        let [x, to, v, w] = [steps.from, steps.to, velocity, old].map(host);
        let [sigma, next] = [steps.sigma, steps.next].map(host);
        // The Gaussian's whole log density: the constants must cancel in the ratio.
        let log_density = |at: f64, (mean, std): (f64, f64)| {
            -0.5 * ((at - mean) / std).powi(2) - std.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
        };
        let mut kl = 0.0;
        for block in 0..4 {
            let range = block * VALUES..(block + 1) * VALUES;
            let frame = |index: usize| index / 4;
            let of = |index: usize, v: &[f64]| {
                gaussian(
                    x[index],
                    v[index],
                    sigma[frame(index)],
                    next[frame(index)],
                    fresh,
                )
            };
            let expected = range
                .clone()
                .map(|i| log_density(to[i], of(i, &v)) - log_density(to[i], of(i, &w)))
                .sum::<f64>()
                / VALUES as f64;
            // The KL of two Gaussians in full: ln(s2/s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) -
            // 1/2.
            kl += range
                .map(|i| {
                    let ((m1, s1), (m2, s2)) = (of(i, &v), of(i, &w));
                    (s2 / s1).ln() + (s1 * s1 + (m1 - m2).powi(2)) / (2.0 * s2 * s2) - 0.5
                })
                .sum::<f64>()
                / 32.0;
            for copy in 0..2 {
                // f32 against f64, sums of eight terms of order one.
                assert!(
                    (found[2 * block + copy] - expected).abs() < 1e-6,
                    "{fresh} {block}: {} {expected}",
                    found[2 * block + copy]
                );
            }
        }
        assert!(
            (divergence - kl).abs() < 1e-6 + 1e-5 * kl,
            "{divergence} {kl}"
        );
    }
}

#[test]
fn ratio_and_divergence_are_those_of_the_samplers_gaussians() {
    exact_ratios::<NdArray>();
    exact_ratios::<Flex>();
}

#[test]
fn the_old_policys_own_steps_have_ratio_one_and_the_policy_gradient() {
    type B = Autodiff<NdArray>;
    let steps = steps::<B>(1.0);
    let velocity = random::<B>(3, 1.0).require_grad();
    let old = Tensor::from_inner(velocity.clone().inner());
    let advantage =
        Tensor::<B, 1>::from_floats([1.5, -0.5], &Default::default()).reshape([2, 1, 1, 1, 1]);
    let log_ratio = steps.log_ratio(velocity.clone(), old.clone(), &LAYOUT);
    let (loss, outside, shift) = surrogate(log_ratio, advantage.clone(), 1e-3);
    assert_eq!((outside, shift), (0.0, 0.0));
    let gradient = velocity
        .grad(&loss.backward())
        .unwrap()
        .into_data()
        .to_vec::<f32>()
        .unwrap();
    // REINFORCE: the gradient of -A log p, in which the ratio's clip plays no part; by central
    // differences of the log density.
    let nudge = 1e-2;
    for index in 0..SHAPE.iter().product() {
        let mut step = vec![0.0f32; SHAPE.iter().product()];
        step[index] = nudge;
        let step = Tensor::<B, 5>::from_data(TensorData::new(step, SHAPE), &Default::default());
        let value = |v: Tensor<B, 5>| -> f32 {
            (steps.log_ratio(v, old.clone(), &LAYOUT) * advantage.clone())
                .mean()
                .neg()
                .into_scalar()
        };
        let measured =
            (value(old.clone() + step.clone()) - value(old.clone() - step)) / (2.0 * nudge);
        // The log density is quadratic in the velocity: what is left is rounding.
        assert!(
            (measured - gradient[index]).abs() < 1e-3 * (0.1 + gradient[index].abs()),
            "{index}: {measured} {}",
            gradient[index]
        );
    }
}

#[test]
fn ratios_beyond_the_clip_earn_nothing_more_but_losses_still_count() {
    type B = Autodiff<Flex>;
    let ratio = |values: [f32; 2]| {
        Tensor::<B, 1>::from_floats(values, &Default::default())
            .reshape([2, 1, 1, 1, 1])
            .log()
            .require_grad()
    };
    let advantage =
        Tensor::<B, 1>::from_floats([1.0, -1.0], &Default::default()).reshape([2, 1, 1, 1, 1]);
    let gradient = |values: [f32; 2]| {
        let log_ratio = ratio(values);
        let (loss, ..) = surrogate(log_ratio.clone(), advantage.clone(), 0.1);
        log_ratio
            .grad(&loss.backward())
            .unwrap()
            .into_data()
            .to_vec::<f32>()
            .unwrap()
    };
    assert_eq!(gradient([1.2, 0.8]), [0.0, 0.0]);
    // On the other side the ratio itself comes through: -A ratio / 2 per clip.
    let other = gradient([0.8, 1.2]);
    assert!(
        (other[0] + 0.4).abs() < 1e-6 && (other[1] - 0.6).abs() < 1e-6,
        "{other:?}"
    );
}

//! The DiffusionNFT forward-process loss (docs/method.md F.1, F.3).

use afd_models::student::BlockLayout;
use burn::prelude::*;

use crate::flow::path::{Noised, clean_estimate};
use crate::recipe::tables::LossForm;

/// Constants of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForwardProcessSettings {
    /// The form.
    pub form: LossForm,
    /// Strength beta of the implicit policies, > 0: smaller means a weaker trust region.
    pub beta: f64,
    /// The advantage clip; only scales the adaptive form.
    pub advantage_clip: f64,
}

/// `r |v+ - v|^2 + (1 - r) |v- - v|^2` with the implicit policies `v+- = v_old +- beta (v_theta -
/// v_old)`.
///
/// `velocity` is the student's (differentiated), `old` the old policy's, both `[B, F, C, H, W]`;
/// `r` is `[B, 1, 1, 1, 1]`, or `[B, F, 1, 1, 1]`.
pub fn loss<B: Backend>(
    velocity: Tensor<B, 5>,
    old: Tensor<B, 5>,
    clips: &Noised<B>,
    r: Tensor<B, 5>,
    layout: &BlockLayout,
    settings: &ForwardProcessSettings,
) -> Tensor<B, 1> {
    let step = (velocity - old.clone()) * settings.beta;
    let (positive, negative) = (old.clone() + step.clone(), old - step);
    let error = |implicit: Tensor<B, 5>| match settings.form {
        LossForm::Velocity => (implicit - (clips.noise.clone() - clips.clean.clone())).square(),
        LossForm::Clean => {
            (clean_estimate(clips.state(), implicit, &clips.sigmas) - clips.clean.clone()).square()
        }
        LossForm::Adaptive => {
            let gap = clean_estimate(clips.state(), implicit, &clips.sigmas) - clips.clean.clone();
            let weight = block_mean(gap.clone().detach().abs(), layout).clamp_min(1e-5);
            gap.square() / weight
        }
    };
    let both = r.clone() * error(positive) + (-r + 1.0) * error(negative);
    let scale = if settings.form == LossForm::Adaptive {
        settings.advantage_clip / settings.beta
    } else {
        1.0
    };
    both.mean() * scale
}

/// Mean over channels, rows, columns and the frames of a block, repeated for each of the block's
/// frames: `[B, F, 1, 1, 1]`.
pub fn block_mean<B: Backend>(values: Tensor<B, 5>, layout: &BlockLayout) -> Tensor<B, 5> {
    let device = values.device();
    let [batch, frames, channels, height, width] = values.dims();
    let per_frame = values
        .reshape([batch, frames, channels * height * width])
        .mean_dim(2)
        .reshape([batch, frames]);
    let mut average = vec![0.0f32; frames * frames];
    for block in layout.blocks() {
        for row in block.clone() {
            for column in block.clone() {
                average[row * frames + column] = 1.0 / block.len() as f32;
            }
        }
    }
    let average = Tensor::<B, 2>::from_data(TensorData::new(average, [frames, frames]), &device);
    per_frame.matmul(average).reshape([batch, frames, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_models::noise::{Noise, Purpose};
    use burn::backend::{Autodiff, Flex, NdArray};

    const SHAPE: [usize; 5] = [2, 4, 2, 1, 2];
    const LAYOUT: BlockLayout = BlockLayout {
        frames: 4,
        frames_per_block: 2,
        window_frames: 0,
        sink_frames: 0,
    };

    fn random<B: Backend>(index: u64) -> Tensor<B, 5> {
        let values = Noise::new(2, Purpose::Evaluation, 0, index).normals(SHAPE.iter().product());
        Tensor::from_data(TensorData::new(values, SHAPE), &Default::default())
    }

    fn clips<B: Backend>() -> Noised<B> {
        let sigmas = [1.0, 1.0, 0.5, 0.5, 0.75, 0.75, 0.25, 0.25];
        Noised {
            clean: random(1),
            noise: random(2),
            sigmas: crate::flow::path::levels(&sigmas, 2, 4, &Default::default()),
        }
    }

    fn r<B: Backend>() -> Tensor<B, 5> {
        Tensor::<B, 1>::from_floats([0.9, 0.3], &Default::default()).reshape([2, 1, 1, 1, 1])
    }

    fn settings(form: LossForm, beta: f64) -> ForwardProcessSettings {
        ForwardProcessSettings {
            form,
            beta,
            advantage_clip: 5.0,
        }
    }

    /// F.1: with a = v_old - v and d = v_theta - v_old the loss is |a|^2 + 2 beta (2r - 1) <a, d> +
    /// beta^2 |d|^2.
    fn value_and_gradient_follow_the_expansion<B: burn::tensor::backend::AutodiffBackend>() {
        let (clips, beta) = (clips::<B>(), 0.7);
        let (velocity, old) = (random::<B>(3).require_grad(), random::<B>(4));
        let loss = loss(
            velocity.clone(),
            old.clone(),
            &clips,
            r(),
            &LAYOUT,
            &settings(LossForm::Velocity, beta),
        );
        let gradient = velocity.grad(&loss.backward()).unwrap();

        let count = SHAPE.iter().product::<usize>() as f64;
        let a = (old.clone() - (clips.noise.clone() - clips.clean.clone())).inner();
        let d = (velocity - old).inner();
        let tilt = r::<B>().inner() * 2.0 - 1.0;
        let expected = (a.clone().square()
            + tilt.clone() * a.clone() * d.clone() * (2.0 * beta)
            + d.clone().square() * (beta * beta))
            .mean();
        let expected_gradient = (tilt * a * (2.0 * beta) + d * (2.0 * beta * beta)) / count;
        // f32 rounding of sums of 32 terms of order one; docs/method.md L asks for 1e-6.
        assert!((loss.inner() - expected).abs().into_scalar().elem::<f64>() < 1e-6);
        assert!(
            (gradient - expected_gradient)
                .abs()
                .max()
                .into_scalar()
                .elem::<f64>()
                < 1e-6
        );
    }

    #[test]
    fn value_and_gradient_follow_the_closed_form() {
        value_and_gradient_follow_the_expansion::<Autodiff<NdArray>>();
        value_and_gradient_follow_the_expansion::<Autodiff<Flex>>();
    }

    /// The clean form is the velocity form times sigma^2 (A.1), the adaptive form divides by a
    /// constant on top.
    #[test]
    fn every_form_has_the_gradient_that_finite_differences_measure() {
        type B = Autodiff<NdArray>;
        for form in [LossForm::Adaptive, LossForm::Clean, LossForm::Velocity] {
            let settings = settings(form, 0.5);
            let (clips, old) = (clips::<B>(), random::<B>(4));
            let start = random::<B>(3);
            let velocity = start.clone().require_grad();
            let gradient = velocity
                .grad(
                    &loss(
                        velocity.clone(),
                        old.clone(),
                        &clips,
                        r(),
                        &LAYOUT,
                        &settings,
                    )
                    .backward(),
                )
                .unwrap()
                .into_data()
                .to_vec::<f32>()
                .unwrap();
            // The adaptive weights are constants for the gradient: freeze them by differencing sums
            // of squares over the weights at the start.
            let frozen = |v: Tensor<B, 5>, at: Tensor<B, 5>| -> f32 {
                let one = |sign: f64| {
                    let gap = |v: Tensor<B, 5>| {
                        clean_estimate(
                            clips.state(),
                            old.clone() + (v - old.clone()) * (sign * settings.beta),
                            &clips.sigmas,
                        ) - clips.clean.clone()
                    };
                    gap(v.clone()).square()
                        / block_mean(gap(at.clone()).abs(), &LAYOUT).clamp_min(1e-5)
                };
                let r = r::<B>();
                ((r.clone() * one(1.0) + (-r + 1.0) * one(-1.0)).mean() * 10.0).into_scalar()
            };
            let value = |v: Tensor<B, 5>| match form {
                LossForm::Adaptive => frozen(v, start.clone()),
                _ => loss(v, old.clone(), &clips, r(), &LAYOUT, &settings).into_scalar(),
            };
            let count = gradient.len();
            for index in 0..count {
                let mut nudge = vec![0.0f32; count];
                nudge[index] = 0.1;
                let nudge =
                    Tensor::<B, 5>::from_data(TensorData::new(nudge, SHAPE), &Default::default());
                let measured =
                    (value(start.clone() + nudge.clone()) - value(start.clone() - nudge)) / 0.2;
                // The loss is quadratic, so central differences are exact at any step; what is left
                // is f32 rounding of a loss of order ten.
                let scale = gradient
                    .iter()
                    .fold(0.0f32, |most, value| most.max(value.abs()));
                assert!(
                    (measured - gradient[index]).abs() < 1e-3 * scale,
                    "{form:?} {index}: {measured} {}",
                    gradient[index]
                );
            }
        }
    }

    #[test]
    fn r_above_one_half_moves_the_velocity_towards_the_sample_and_below_away() {
        type B = Autodiff<Flex>;
        for form in [LossForm::Adaptive, LossForm::Clean, LossForm::Velocity] {
            for (r_value, towards) in [(0.8f32, true), (0.2, false)] {
                let clips = clips::<B>();
                let target = (clips.noise.clone() - clips.clean.clone()).inner();
                let old = random::<B>(4);
                // On policy: v_theta = v_old, where the gradient is carried by 2r - 1 alone.
                let velocity = Tensor::<B, 5>::from_inner(old.clone().inner()).require_grad();
                let r = Tensor::<B, 5>::full([2, 1, 1, 1, 1], r_value, &Default::default());
                let loss = loss(
                    velocity.clone(),
                    old.clone(),
                    &clips,
                    r,
                    &LAYOUT,
                    &settings(form, 1.0),
                );
                let gradient = velocity.grad(&loss.backward()).unwrap();
                let before = (old.clone().inner() - target.clone())
                    .square()
                    .sum()
                    .into_scalar();
                let after = (old.inner() - gradient * 1e-2 - target)
                    .square()
                    .sum()
                    .into_scalar();
                assert_eq!(
                    after < before,
                    towards,
                    "{form:?} r = {r_value}: {before} -> {after}"
                );
            }
        }
    }
}

//! Direct adversarial training, the baseline: the discriminator's gradient flows through a finished
//! clip into the student's last step (method.md H.2).

use afd_models::discriminator::{AnyDiscriminator, Discriminator};
use afd_models::kernels::Kernels;
use burn::prelude::*;

use super::bradley_terry::{self, DiscriminatorLoss};
use crate::flow::path::clean_estimate;

/// The last states of rollouts, and what the student's clips are judged against.
#[derive(Debug, Clone)]
pub struct DirectWork<B: Backend> {
    /// Finished clips that blocks look back at, `[B, F, C, H, W]`; cut off from the graph, as in
    /// Self Forcing.
    pub clean: Tensor<B, 5>,
    /// What the student saw last before each clip, `[B, F, C, H, W]`.
    pub states: Tensor<B, 5>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// The same as `[B, F, 1, 1, 1]`.
    pub levels: Tensor<B, 5>,
    /// Text rows `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// Scores of teacher clips of the same prompt, `[B, M]`.
    pub teacher_scores: Tensor<B, 2>,
    /// The clips after the same journey as the teacher's (8 bits, codec): what the discriminator
    /// sees, while the gradient passes as if it saw the student's own; `None` where there is no
    /// journey.
    pub equalised: Option<Tensor<B, 5>>,
    /// Instance noise.
    pub noise: Option<Tensor<B, 5>>,
    /// The game.
    pub loss: DiscriminatorLoss,
}

/// The student's loss for its velocity `[B, F, C, H, W]`.
pub fn loss<B: Kernels>(
    velocity: Tensor<B, 5>,
    discriminator: &AnyDiscriminator<B>,
    work: DirectWork<B>,
) -> Tensor<B, 1> {
    let own = clean_estimate(work.states, velocity, &work.levels);
    let mut clips = match work.equalised {
        Some(shown) => straight_through(own, shown),
        None => own,
    };
    if let Some(noise) = work.noise {
        clips = clips + noise;
    }
    bradley_terry::student_loss(
        discriminator.score(clips, work.text),
        work.teacher_scores,
        work.loss,
    )
}

/// The value of `shown` with the gradient of `own`.
fn straight_through<B: Backend>(own: Tensor<B, 5>, shown: Tensor<B, 5>) -> Tensor<B, 5> {
    own.clone() + (shown - own.detach())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::path::levels;
    use afd_models::discriminator::{ConvConfig, ConvDiscriminator};
    use afd_models::init::initialise;
    use afd_models::noise::{Noise, Purpose};
    use burn::backend::{Autodiff, NdArray};

    type B = Autodiff<NdArray>;
    const SHAPE: [usize; 5] = [2, 4, 2, 4, 4];

    fn random<const N: usize>(index: u64, shape: [usize; N]) -> Tensor<B, N> {
        let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
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
            "judge",
        ));
        for form in [
            DiscriminatorLoss::BradleyTerry,
            DiscriminatorLoss::NonSaturating,
        ] {
            let sigmas = vec![0.6; 8];
            let work = DirectWork {
                clean: random(0, SHAPE),
                states: random(1, SHAPE),
                levels: levels(&sigmas, 2, 4, &device),
                sigmas,
                text: random(2, [2, 2, 3]),
                teacher_scores: random(3, [2, 3]),
                equalised: None,
                noise: Some(random(4, SHAPE) * 0.1),
                loss: form,
            };
            let start = random(5, SHAPE);
            let velocity = start.clone().require_grad();
            let gradient = velocity
                .grad(&loss(velocity.clone(), &discriminator, work.clone()).backward())
                .unwrap();
            for direction in 0..8 {
                let step = random(100 + direction, SHAPE);
                let value = |by: f32| -> f32 {
                    loss(
                        start.clone() + step.clone() * by,
                        &discriminator,
                        work.clone(),
                    )
                    .into_scalar()
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
    fn the_discriminator_sees_the_equalised_clip_and_the_gradient_passes_through() {
        let (own, shown) = (random(0, SHAPE).require_grad(), random(1, SHAPE));
        let weights = random(2, SHAPE);
        let passed = straight_through(own.clone(), shown.clone());
        assert!((passed.clone() - shown).abs().max().into_scalar() < 1e-6);
        let gradient = own
            .grad(&(passed * weights.clone()).sum().backward())
            .unwrap();
        assert_eq!(gradient.into_data(), weights.inner().into_data());
    }
}

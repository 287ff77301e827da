//! The prompt-paired Bradley-Terry loss and its finite-difference penalties (docs/method.md E.5).

use burn::prelude::*;
use burn::tensor::activation::softplus;

use crate::recipe::tables::DiscriminatorLoss;

/// `mean softplus(-(s_T - s_S))` over all pairs of a teacher clip and a student clip of the same
/// prompt.
///
/// Teacher scores `[P, M]`, student scores `[P, K]`. A constant added to both scores of a prompt
/// changes nothing.
pub fn loss<B: Backend>(teacher: Tensor<B, 2>, student: Tensor<B, 2>) -> Tensor<B, 1> {
    softplus(-gaps(teacher, student), 1.0).mean()
}

/// The discriminator's loss on teacher scores `[P, M]` and student scores `[P, K]`.
pub fn discriminator_loss<B: Backend>(
    teacher: Tensor<B, 2>,
    student: Tensor<B, 2>,
    form: DiscriminatorLoss,
) -> Tensor<B, 1> {
    match form {
        DiscriminatorLoss::BradleyTerry => loss(teacher, student),
        DiscriminatorLoss::NonSaturating => {
            softplus(-teacher, 1.0).mean() + softplus(student, 1.0).mean()
        }
    }
}

/// The student's loss in direct adversarial training: scores `[B]` of its clips, scores `[B, M]` of
/// teacher clips of the same prompts.
pub fn student_loss<B: Backend>(
    student: Tensor<B, 1>,
    teacher: Tensor<B, 2>,
    form: DiscriminatorLoss,
) -> Tensor<B, 1> {
    match form {
        DiscriminatorLoss::BradleyTerry => {
            softplus(teacher - student.unsqueeze_dim::<2>(1), 1.0).mean()
        }
        DiscriminatorLoss::NonSaturating => softplus(-student, 1.0).mean(),
    }
}

/// Share of same-prompt pairs in which the teacher's clip scores higher (ties count half), and the
/// mean score gap.
pub fn pair_accuracy<B: Backend>(teacher: Tensor<B, 2>, student: Tensor<B, 2>) -> (f64, f64) {
    let gaps: Vec<f64> = gaps(teacher, student).into_data().iter::<f64>().collect();
    (wins(&gaps), gaps.iter().sum::<f64>() / gaps.len() as f64)
}

/// Share of score gaps `s_T - s_S` above 0; ties count half.
pub fn wins(gaps: &[f64]) -> f64 {
    let win = |gap: &f64| match gap {
        gap if *gap > 0.0 => 1.0,
        gap if *gap == 0.0 => 0.5,
        _ => 0.0,
    };
    gaps.iter().map(win).sum::<f64>() / gaps.len() as f64
}

/// Scores `[P * K, S]` of prompt-major clips as one row per prompt and score, `[P * S, K]`: only
/// what belongs to the same prompt (and the same block of frames) is compared.
pub fn by_prompt<B: Backend>(scores: Tensor<B, 2>, prompts: usize) -> Tensor<B, 2> {
    let [clips, per_clip] = scores.dims();
    let count = clips / prompts;
    if per_clip == 1 {
        return scores.reshape([prompts, count]);
    }
    // [P K, S] -> [P, K, S] -> [P, S, K] -> [P S, K]
    let scores = scores.reshape([prompts, count, per_clip]).swap_dims(1, 2);
    scores.reshape([prompts * per_clip, count])
}

/// `s_T - s_S` of every same-prompt pair: `[P, M, K]`.
fn gaps<B: Backend>(teacher: Tensor<B, 2>, student: Tensor<B, 2>) -> Tensor<B, 3> {
    teacher.unsqueeze_dim::<3>(2) - student.unsqueeze_dim::<3>(1)
}

/// `((D(x + s n) - D(x)) / s)^2` per clip: its mean over directions n ~ N(0, I) is the
/// finite-difference form of a zero-centred gradient penalty (R1 on teacher clips, R2 on student
/// clips).
///
/// `scores` are `D(x)`, `moved` are `D(x + s n)`, both `[B]`; `size` is s, > 0.
pub fn squared_slopes<B: Backend>(
    scores: Tensor<B, 1>,
    moved: Tensor<B, 1>,
    size: f64,
) -> Tensor<B, 1> {
    ((moved - scores) / size).square()
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_models::discriminator::Discriminator;
    use afd_models::kernels::Kernels;
    use burn::backend::{Autodiff, Flex, NdArray};

    fn scores<B: Backend>(values: [[f32; 2]; 2]) -> Tensor<B, 2> {
        Tensor::from_floats(values, &Default::default())
    }

    #[test]
    fn the_loss_is_the_mean_over_all_same_prompt_pairs() {
        let (teacher, student) = ([[1.0, 0.2], [-0.5, 0.0]], [[0.3, -1.0], [2.0, 0.1]]);
        let mut expected = 0.0f64;
        for prompt in 0..2 {
            for t in teacher[prompt] {
                for s in student[prompt] {
                    expected += (1.0 + (-f64::from(t - s)).exp()).ln() / 8.0;
                }
            }
        }
        let found = loss(scores::<NdArray>(teacher), scores(student)).into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-6);
        let wins = [
            1.0 > 0.3,
            1.0 > -1.0,
            0.2 > 0.3,
            0.2 > -1.0,
            -0.5 > 2.0,
            -0.5 > 0.1,
            0.0 > 2.0,
            0.0 > 0.1,
        ];
        let share = wins.iter().filter(|&&win| win).count() as f64 / 8.0;
        assert_eq!(
            pair_accuracy(scores::<NdArray>(teacher), scores(student)).0,
            share
        );
    }

    #[test]
    fn scores_of_blocks_are_compared_with_those_of_the_same_prompt_and_block() {
        let device = Default::default();
        // 2 prompts with 2 clips of 3 scores: the score tells prompt, clip and block.
        let scores = Tensor::<NdArray, 2>::from_floats(
            [
                [0., 1., 2.],
                [10., 11., 12.],
                [100., 101., 102.],
                [110., 111., 112.],
            ],
            &device,
        );
        let found = by_prompt(scores, 2).into_data().to_vec::<f32>().unwrap();
        assert_eq!(
            found,
            [
                0., 10., 1., 11., 2., 12., 100., 110., 101., 111., 102., 112.
            ]
        );
    }

    #[test]
    fn a_constant_per_prompt_changes_neither_loss_nor_gradient() {
        type B = Autodiff<Flex>;
        let run = |constant: [f32; 2]| {
            let shift =
                Tensor::<B, 2>::from_floats([[constant[0]], [constant[1]]], &Default::default());
            let teacher = scores::<B>([[1.0, 0.2], [-0.5, 0.0]]).require_grad();
            let student = scores::<B>([[0.3, -1.0], [2.0, 0.1]]).require_grad();
            let loss = loss(teacher.clone() + shift.clone(), student.clone() + shift);
            let gradients = loss.backward();
            (
                loss.into_scalar(),
                student
                    .grad(&gradients)
                    .unwrap()
                    .into_data()
                    .to_vec::<f32>()
                    .unwrap(),
            )
        };
        let (plain, shifted) = (run([0.0, 0.0]), run([3.0, -7.0]));
        // Rounding of (s + 3) - (t + 3) in f32.
        assert!((plain.0 - shifted.0).abs() < 1e-6);
        assert!(
            plain
                .1
                .iter()
                .zip(&shifted.1)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert!(plain.1.iter().any(|value| value.abs() > 1e-2));
    }

    /// D(x) = <w, x> has gradient w everywhere, so the penalty's expectation over directions is
    /// |w|^2.
    #[derive(Module, Debug)]
    struct Linear<B: Backend> {
        weights: burn::module::Param<Tensor<B, 5>>,
    }

    impl<B: Kernels> Discriminator<B> for Linear<B> {
        fn score(&self, clips: Tensor<B, 5>, _text: Tensor<B, 3>) -> Tensor<B, 2> {
            let batch = clips.dims()[0];
            (clips * self.weights.val()).reshape([batch, 4]).sum_dim(1)
        }
    }

    #[test]
    fn the_penalty_of_a_linear_discriminator_is_its_squared_gradient_norm() {
        let device = Default::default();
        let weights = Tensor::<NdArray, 1>::from_floats([0.5, -1.0, 2.0, 0.1], &device)
            .reshape([1, 1, 4, 1, 1]);
        let discriminator = Linear {
            weights: burn::module::Param::from_tensor(weights),
        };
        let count = 20_000;
        let values = afd_models::noise::Noise::new(1, afd_models::noise::Purpose::Penalty, 0, 0)
            .normals(4 * count);
        let direction =
            Tensor::<NdArray, 5>::from_data(TensorData::new(values, [count, 1, 4, 1, 1]), &device);
        let clips = Tensor::zeros([count, 1, 4, 1, 1], &device);
        let text = Tensor::zeros([count, 1, 1], &device);
        let score = |clips| discriminator.score(clips, text.clone()).reshape([count]);
        let scores = score(clips.clone());
        let moved = score(clips + direction * 0.05);
        let found = squared_slopes(scores, moved, 0.05).mean().into_scalar();
        // |w|^2 = 5.26; the estimate's standard error is |w|^2 sqrt(2 / 20000) = 0.05.
        assert!((found - 5.26).abs() < 0.25, "{found}");
    }
}

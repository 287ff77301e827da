//! Fréchet and kernel distances between sets of feature vectors.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::EvalError;

/// What each feature's variance is raised by before covariances meet, as a share of the mean
/// variance of both sets: sets smaller than the number of features have singular covariances, whose
/// eigenvalues rounding may push below zero.
const RIDGE: f64 = 1e-6;

/// `|m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x^(1/2) S_y S_x^(1/2))^(1/2))` of the sets' means and
/// unbiased covariances; >= 0, in squared units of the vectors; lower is better.
///
/// Dowson & Landau (1982); Heusel et al., arXiv 1706.08500; Unterthiner et al., arXiv 1812.01717
/// for videos. Square roots come from symmetric eigendecompositions, with eigenvalues below zero
/// taken as zero. The same small multiple of the identity (1e-6 of the mean variance) is added to
/// both covariances. **Biased upwards for small sets**, more so the fewer vectors there are per
/// feature: compare sets of equal sizes only, and with what two sets of the teacher's give.
///
/// # Errors
/// [`EvalError::TooFewSamples`] below two samples on either side, [`EvalError::SampleLength`] for
/// vectors of different lengths.
pub fn frechet_distance<S: AsRef<[f32]>>(x: &[S], y: &[S]) -> Result<f64, EvalError> {
    EvalError::check_samples(x, y)?;
    let ((mean_x, mut covariance_x), (mean_y, mut covariance_y)) = (moments(x), moments(y));
    let features = mean_x.len().max(1) as f64;
    let ridge = RIDGE * (covariance_x.trace() + covariance_y.trace()) / (2.0 * features);
    for covariance in [&mut covariance_x, &mut covariance_y] {
        (0..covariance.nrows()).for_each(|index| covariance[(index, index)] += ridge);
    }
    let root = square_root(&covariance_x);
    let between = &root * &covariance_y * &root;
    let roots: f64 = eigen(&between)
        .eigenvalues
        .iter()
        .map(|value| value.max(0.0).sqrt())
        .sum();
    Ok(
        ((mean_x - mean_y).norm_squared() + covariance_x.trace() + covariance_y.trace()
            - 2.0 * roots)
            .max(0.0),
    )
}

/// Squared maximum mean discrepancy with the kernel `(x . y / features + 1)^3`, unbiased; lower is
/// better.
///
/// The kernel distance of Bińkowski et al., "Demystifying MMD GANs" (ICLR 2018, arXiv 1801.01401).
/// Zero in expectation for sets of one distribution whatever their size, so an estimate may be
/// slightly negative.
///
/// # Errors
/// Those of [`frechet_distance`].
pub fn kernel_distance<S: AsRef<[f32]>>(x: &[S], y: &[S]) -> Result<f64, EvalError> {
    EvalError::check_samples(x, y)?;
    let features = x[0].as_ref().len().max(1) as f64;
    let kernel = |a: &S, b: &S| {
        let product: f64 = a
            .as_ref()
            .iter()
            .zip(b.as_ref())
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum();
        (product / features + 1.0).powi(3)
    };
    let within = |set: &[S]| {
        let pairs: f64 = set
            .iter()
            .enumerate()
            .map(|(i, a)| set[..i].iter().map(|b| kernel(a, b)).sum::<f64>())
            .sum();
        2.0 * pairs / (set.len() as f64 * (set.len() as f64 - 1.0))
    };
    let across: f64 = x
        .iter()
        .map(|a| y.iter().map(|b| kernel(a, b)).sum::<f64>())
        .sum();
    Ok(within(x) + within(y) - 2.0 * across / (x.len() as f64 * y.len() as f64))
}

/// Mean and unbiased covariance.
fn moments<S: AsRef<[f32]>>(samples: &[S]) -> (DVector<f64>, DMatrix<f64>) {
    let features = samples.first().map_or(0, |sample| sample.as_ref().len());
    let rows = DMatrix::from_fn(samples.len(), features, |row, column| {
        f64::from(samples[row].as_ref()[column])
    });
    let mean = rows.row_mean().transpose();
    let centred = DMatrix::from_fn(samples.len(), features, |row, column| {
        rows[(row, column)] - mean[column]
    });
    let covariance = centred.transpose() * &centred / (samples.len() as f64 - 1.0);
    (mean, covariance)
}

/// The symmetric positive semi-definite square root.
fn square_root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let SymmetricEigen {
        eigenvectors,
        eigenvalues,
    } = eigen(matrix);
    let scaled =
        &eigenvectors * DMatrix::from_diagonal(&eigenvalues.map(|value| value.max(0.0).sqrt()));
    scaled * eigenvectors.transpose()
}

/// Products of symmetric matrices are symmetric up to rounding only.
fn eigen(matrix: &DMatrix<f64>) -> SymmetricEigen<f64, nalgebra::Dyn> {
    ((matrix + matrix.transpose()) / 2.0).symmetric_eigen()
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_noise::{Noise, Purpose};

    /// Corners of a box around `centre` with half-widths `half`: mean and covariance are known, n /
    /// (n - 1) of the squared half-widths.
    fn corners(centre: [f32; 3], half: [f32; 3]) -> Vec<Vec<f32>> {
        (0..8)
            .map(|corner| {
                (0..3)
                    .map(|axis| {
                        centre[axis]
                            + if corner >> axis & 1 == 0 {
                                half[axis]
                            } else {
                                -half[axis]
                            }
                    })
                    .collect()
            })
            .collect()
    }

    fn rotated(points: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let (sine, cosine) = (0.6, 0.8);
        points
            .iter()
            .map(|p| {
                vec![
                    cosine * p[0] - sine * p[1],
                    sine * p[0] + cosine * p[1],
                    p[2],
                ]
            })
            .collect()
    }

    #[test]
    fn the_frechet_distance_of_boxes_matches_the_closed_form_in_any_orientation() {
        // Diagonal covariances: |m|^2 + sum (s_x - s_y)^2 with s^2 = half^2 * 8 / 7.
        let (x, y) = (
            corners([0.0; 3], [1.0, 2.0, 0.5]),
            corners([1.0, -1.0, 2.0], [2.0, 0.5, 0.5]),
        );
        let expected = 6.0 + (1.0 + 1.5f64.powi(2)) * 8.0 / 7.0;
        for (x, y) in [
            (x.clone(), y.clone()),
            (rotated(&x), rotated(&y)),
            (y.clone(), x.clone()),
        ] {
            let found = frechet_distance(&x, &y).unwrap();
            assert!(
                (found - expected).abs() < 1e-4,
                "{found} instead of {expected}"
            );
        }
    }

    #[test]
    fn covariances_that_do_not_commute_match_the_square_root_of_the_product() {
        // 2 x 2: tr (A B)^(1/2) = sqrt(tr AB + 2 sqrt(det AB)).
        let flat = |points: Vec<Vec<f32>>| {
            points
                .into_iter()
                .map(|p| p[..2].to_vec())
                .collect::<Vec<_>>()
        };
        let (x, y) = (
            flat(corners([0.0; 3], [1.0, 3.0, 0.0])),
            flat(rotated(&corners([0.0; 3], [0.5, 2.0, 0.0]))),
        );
        let ((_, a), (_, b)) = (moments(&x), moments(&y));
        let product = &a * &b;
        let expected = a.trace() + b.trace()
            - 2.0 * (product.trace() + 2.0 * product.determinant().sqrt()).sqrt();
        assert!((frechet_distance(&x, &y).unwrap() - expected).abs() < 1e-4);
    }

    #[test]
    fn fewer_samples_than_features_still_give_a_number() {
        let cloud = |seed: u64, count: usize| -> Vec<Vec<f32>> {
            let mut noise = Noise::new(seed, Purpose::Evaluation, 0, 0);
            (0..count).map(|_| noise.normals(20)).collect()
        };
        let x = cloud(1, 5);
        assert!(frechet_distance(&x, &x).unwrap() < 1e-3);
        let (few, many) = (
            frechet_distance(&cloud(2, 8), &cloud(3, 8)).unwrap(),
            frechet_distance(&cloud(2, 400), &cloud(3, 400)).unwrap(),
        );
        assert!(
            few.is_finite() && few > 5.0 * many && many > 0.0,
            "{few} {many}: biased for small sets"
        );
        let equal = vec![vec![1.0f32; 4]; 3];
        assert_eq!(frechet_distance(&equal, &equal).unwrap(), 0.0);
    }

    #[test]
    fn the_kernel_distance_matches_a_case_by_hand_and_is_unbiased() {
        // On a line: k(x, y) = (xy + 1)^3. X = {0, 1}: k = 1. Y = {1, 2}: k(1, 2) = 27. Across: 1 +
        // 1 + 8 + 27 = 37, mean 9.25.
        let line = |values: &[f32]| values.iter().map(|&value| vec![value]).collect::<Vec<_>>();
        assert!(
            (kernel_distance(&line(&[0.0, 1.0]), &line(&[1.0, 2.0])).unwrap()
                - (1.0 + 27.0 - 18.5))
                .abs()
                < 1e-12
        );
        let mut noise = Noise::new(5, Purpose::Evaluation, 0, 0);
        let mut cloud = || (0..8).map(|_| noise.normals(3)).collect::<Vec<_>>();
        let found: Vec<f64> = (0..400)
            .map(|_| kernel_distance(&cloud(), &cloud()).unwrap())
            .collect();
        let mean = found.iter().sum::<f64>() / 400.0;
        let error = (found
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / 400.0
            / 399.0)
            .sqrt();
        assert!(
            mean.abs() < 4.0 * error,
            "{mean} with a standard error of {error}"
        );
    }

    #[test]
    fn too_few_samples_are_refused() {
        let one = vec![vec![0.0f32]];
        assert!(frechet_distance(&one, &one).is_err() && kernel_distance(&one, &one).is_err());
    }
}

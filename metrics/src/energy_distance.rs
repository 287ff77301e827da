//! The energy distance between two sets of vectors.
//!
//! Székely & Rizzo, "Energy statistics: a class of statistics based on distances", J. Stat. Plann.
//! Inference 143 (2013).

use super::EvalError;

/// `2 E|X-Y| - E|X-X'| - E|Y-Y'|` with the Euclidean norm, in the unit of the vectors.
///
/// Zero in expectation exactly when both sets come from one distribution. Unbiased (a sample is
/// never paired with itself), so an estimate between two sets of one distribution scatters around
/// zero and may be slightly negative. Accumulates in `f64`.
///
/// # Errors
/// [`EvalError::TooFewSamples`] below two samples on either side, [`EvalError::SampleLength`] for
/// vectors of different lengths.
pub fn energy_distance<S: AsRef<[f32]>>(x: &[S], y: &[S]) -> Result<f64, EvalError> {
    EvalError::check_samples(x, y)?;
    let across: f64 = x
        .iter()
        .map(|a| {
            y.iter()
                .map(|b| euclidean(a.as_ref(), b.as_ref()))
                .sum::<f64>()
        })
        .sum();
    Ok(2.0 * across / (x.len() as f64 * y.len() as f64)
        - mean_distance_within(x)
        - mean_distance_within(y))
}

/// Mean distance over all pairs of different samples.
fn mean_distance_within<S: AsRef<[f32]>>(samples: &[S]) -> f64 {
    let pairs = samples.len() as f64 * (samples.len() as f64 - 1.0) / 2.0;
    let sum: f64 = samples
        .iter()
        .enumerate()
        .map(|(i, a)| {
            samples[..i]
                .iter()
                .map(|b| euclidean(a.as_ref(), b.as_ref()))
                .sum::<f64>()
        })
        .sum();
    sum / pairs
}

/// Norm of the difference.
pub(crate) fn euclidean(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum::<f64>()
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_far_apart_pairs_of_points_match_the_closed_form() {
        // On a line: X = {0, 1}, Y = {10, 11}. E|X-Y| = 10, E|X-X'| = E|Y-Y'| = 1, so 20 - 2 = 18.
        let distance = energy_distance(&[vec![0.0], vec![1.0]], &[vec![10.0], vec![11.0]]).unwrap();
        assert!((distance - 18.0).abs() < 1e-12);
    }

    #[test]
    fn uniform_sets_shifted_by_their_width_match_the_integral() {
        // X uniform on [0, 1], Y uniform on [1, 2]: E|X-Y| = 1, E|X-X'| = 1/3, so 2 - 2/3 = 4/3.
        let grid = |start: f32| {
            (0..400)
                .map(|i| vec![start + (i as f32 + 0.5) / 400.0])
                .collect::<Vec<_>>()
        };
        assert!((energy_distance(&grid(0.0), &grid(1.0)).unwrap() - 4.0 / 3.0).abs() < 3e-3);
    }

    #[test]
    fn interleaved_samples_of_one_distribution_are_near_zero_and_may_be_negative() {
        let grid = |start: f32| {
            (0..200)
                .map(|i| vec![start + 2.0 * i as f32 / 400.0])
                .collect::<Vec<_>>()
        };
        let distance = energy_distance(&grid(0.0), &grid(1.0 / 400.0)).unwrap();
        assert!(distance < 0.0 && distance > -0.01, "{distance}");
    }

    #[test]
    fn the_norm_is_euclidean_over_all_coordinates() {
        let x = [vec![0.0, 0.0], vec![0.0, 0.0]];
        let y = [vec![3.0, 4.0], vec![3.0, 4.0]];
        assert!((energy_distance(&x, &y).unwrap() - 10.0).abs() < 1e-12);
    }

    #[test]
    fn brute_force_over_ordered_pairs_agrees() {
        let x: Vec<Vec<f32>> = (0..5)
            .map(|i| vec![(i * i) as f32 * 0.3, 1.0 - i as f32, 0.2])
            .collect();
        let y: Vec<Vec<f32>> = (0..7)
            .map(|i| vec![(i * 2) as f32 * 0.1, i as f32 - 3.0, -0.4])
            .collect();
        let distance = |a: &[f32], b: &[f32]| {
            ((a[0] - b[0]) as f64)
                .hypot((a[1] - b[1]) as f64)
                .hypot((a[2] - b[2]) as f64)
        };
        let mut expected = 0.0;
        for a in &x {
            for b in &y {
                expected += 2.0 * distance(a, b) / 35.0;
            }
        }
        for (set, pairs) in [(&x, 20.0), (&y, 42.0)] {
            for i in 0..set.len() {
                for j in (0..set.len()).filter(|&j| j != i) {
                    expected -= distance(&set[i], &set[j]) / pairs;
                }
            }
        }
        assert!((energy_distance(&x, &y).unwrap() - expected).abs() < 1e-6);
    }

    #[test]
    fn single_samples_and_ragged_samples_are_refused() {
        assert_eq!(
            energy_distance(&[vec![0.0]], &[vec![0.0], vec![1.0]]),
            Err(EvalError::TooFewSamples { x: 1, y: 2 })
        );
        let ragged = energy_distance(&[vec![0.0], vec![0.0]], &[vec![0.0], vec![1.0, 2.0]]);
        assert_eq!(
            ragged,
            Err(EvalError::SampleLength {
                set: "second",
                index: 1,
                found: 2,
                expected: 1
            })
        );
    }
}

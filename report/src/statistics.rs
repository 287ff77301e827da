//! Means with intervals, paired differences and their tests.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Share of intervals that should hold the true mean.
pub const CONFIDENCE: f64 = 0.95;
/// Differences with a corrected p-value below this are called better or worse.
pub const SIGNIFICANCE: f64 = 0.05;
/// Fewer seeds than this decide nothing.
pub const FEWEST_SEEDS: usize = 3;
/// Up to this many pairs all 2^n signs are tried.
const MOST_PAIRS_TRIED: usize = 16;

/// A sample's mean with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation (n - 1); `None` for a single value.
    pub std: Option<f64>,
    /// Half the width of Student's t interval; `None` for a single value.
    pub half_width: Option<f64>,
}

impl Estimate {
    /// From values; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let std = (count > 1).then(|| {
            (values
                .iter()
                .map(|value| (value - mean).powi(2))
                .sum::<f64>()
                / (count - 1) as f64)
                .sqrt()
        });
        let half_width =
            std.and_then(|std| Some(critical_t(count - 1)? * std / (count as f64).sqrt()));
        Some(Self {
            count,
            mean,
            std,
            half_width,
        })
    }

    /// The interval's ends; `None` for a single value.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.half_width
            .map(|half| (self.mean - half, self.mean + half))
    }
}

/// Student's t such that [`CONFIDENCE`] of the distribution lies within plus and minus it; `None`
/// without degrees of freedom.
fn critical_t(degrees: usize) -> Option<f64> {
    StudentsT::new(0.0, 1.0, degrees as f64)
        .ok()
        .map(|t| t.inverse_cdf(0.5 + CONFIDENCE / 2.0))
}

/// Two-sided p-value of the paired t test: how often differences with a true mean of 0 would be
/// this far off. `None` below two differences.
///
/// Differences that are all the same have p = 0, or 1 if they are 0.
pub fn paired_t_test(differences: &[f64]) -> Option<f64> {
    let estimate = Estimate::of(differences)?;
    let error = estimate.std? / (estimate.count as f64).sqrt();
    if error == 0.0 {
        return Some(if estimate.mean == 0.0 { 1.0 } else { 0.0 });
    }
    let t = StudentsT::new(0.0, 1.0, (estimate.count - 1) as f64).ok()?;
    Some((2.0 * t.cdf(-(estimate.mean / error).abs())).min(1.0))
}

/// Exact two-sided p-value of the sign-flip (paired permutation) test on the mean; `None` without
/// differences and above 16 of them.
///
/// It assumes nothing but symmetry; with n pairs it cannot be below 2 / 2^n, so three pairs never
/// reach 0.05.
pub fn sign_flip_test(differences: &[f64]) -> Option<f64> {
    let count = differences.len();
    if count == 0 || count > MOST_PAIRS_TRIED {
        return None;
    }
    let seen = differences.iter().sum::<f64>().abs();
    // Sums that differ by rounding alone count as equal.
    let margin = 1e-12
        * differences
            .iter()
            .map(|difference| difference.abs())
            .sum::<f64>();
    let flipped = |signs: u32| -> f64 {
        differences
            .iter()
            .enumerate()
            .map(|(at, value)| if signs >> at & 1 == 1 { -value } else { *value })
            .sum()
    };
    let as_far = (0..1u32 << count)
        .filter(|signs| flipped(*signs).abs() >= seen - margin)
        .count();
    Some(as_far as f64 / f64::from(1u32 << count))
}

/// Holm's step-down correction of p-values for having looked at all of them; in their order.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max((p_values[index] * (p_values.len() - rank) as f64).min(1.0));
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    // From report/scripts/statistics.py with SciPy 1.17.1 and statsmodels 0.15.0. Both sides are
    // good to about 1e-12; quantiles of statrs are found by search.
    const TOLERANCE: f64 = 1e-9;
    const DIFFERENCES: [f64; 5] = [
        3.52 - 3.02,
        3.11 - 2.71,
        4.08 - 3.48,
        3.3 - 3.35,
        2.95 - 2.6,
    ];

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn quantiles_of_student_s_t_are_scipy_s() {
        let scipy = [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (4, 2.7764451051977934),
            (17, 2.1098155778333156),
        ];
        for (degrees, expected) in scipy {
            near(critical_t(degrees).unwrap(), expected);
        }
        assert_eq!(critical_t(0), None);
    }

    #[test]
    fn the_interval_of_three_seeds_is_scipy_s() {
        let estimate = Estimate::of(&[3.02, 2.71, 3.48]).unwrap();
        near(estimate.mean, 3.07);
        near(estimate.std.unwrap(), 0.3874274125562103);
        let (low, high) = estimate.interval().unwrap();
        near(low, 2.1075769539032647);
        near(high, 4.032423046096736);
    }

    #[test]
    fn one_value_has_a_mean_and_no_interval() {
        let estimate = Estimate::of(&[2.5]).unwrap();
        assert_eq!(
            (estimate.mean, estimate.std, estimate.interval()),
            (2.5, None, None)
        );
        assert_eq!(
            (
                Estimate::of(&[]),
                paired_t_test(&[2.5]),
                sign_flip_test(&[])
            ),
            (None, None, None)
        );
    }

    #[test]
    fn the_paired_tests_are_scipy_s() {
        near(paired_t_test(&DIFFERENCES).unwrap(), 0.03169096688531275);
        near(sign_flip_test(&DIFFERENCES).unwrap(), 0.125);
        let (low, high) = Estimate::of(&DIFFERENCES).unwrap().interval().unwrap();
        near(low, 0.05145211771285252);
        near(high, 0.6685478822871475);
        near(
            paired_t_test(&DIFFERENCES.map(|difference| -difference)).unwrap(),
            0.03169096688531275,
        );
    }

    #[test]
    fn three_pairs_can_never_decide_the_exact_test() {
        assert_eq!(sign_flip_test(&[1.0, 1.1, 1.2]), Some(0.25));
        assert_eq!(
            sign_flip_test(&[0.1; 6]),
            Some(2.0 / 64.0),
            "equal up to rounding"
        );
        assert_eq!(sign_flip_test(&[1.0; 17]), None);
    }

    #[test]
    fn differences_without_spread_are_certain() {
        assert_eq!(
            (paired_t_test(&[0.0; 3]), paired_t_test(&[0.5; 3])),
            (Some(1.0), Some(0.0))
        );
    }

    #[test]
    fn holm_s_correction_is_statsmodels_s() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            near(*found, expected);
        }
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}

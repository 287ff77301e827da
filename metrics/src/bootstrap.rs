//! Intervals of means over prompts, by the bootstrap.
//!
//! Prompts are drawn with replacement, whole: clips of one prompt are alike, so they are no
//! independent observations. The percentile interval is too narrow for few prompts; its tails are
//! those of Hesterberg's expanded percentiles ("What Teachers Should Know About the Bootstrap", The
//! American Statistician 69(4), 2015, section 5.3), which come to Student's t for a mean of normal
//! values.

use afd_noise::{Noise, Purpose};

/// Samples that are drawn.
const RESAMPLES: usize = 10_000;

/// The share that lies below the interval, for 2 to 30 prompts: `Phi(-sqrt(n / (n - 1)) t)`, t the
/// quantile 0.975 of Student's t with n - 1 degrees of freedom. In hundred-thousandths, so that
/// every machine takes the same ranks.
const TAILS: [usize; 29] = [
    0, 0, 12, 95, 243, 411, 574, 722, 855, 972, 1076, 1167, 1248, 1321, 1386, 1444, 1497, 1544,
    1588, 1628, 1665, 1698, 1729, 1758, 1785, 1810, 1833, 1855, 1875,
];
/// The same for endlessly many.
const NORMAL_TAIL: usize = 2500;

/// The 95 % interval of the mean of one value per prompt: low and high end. `None` below two
/// values, from which nothing can be told.
///
/// The same values in the same order give the same interval on every machine. Sets of one size are
/// resampled alike.
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let count = values.len();
    if count < 2 {
        return None;
    }
    let mut noise = Noise::new(0, Purpose::Bootstrap, 0, count as u64);
    let mut mean = || {
        let sum: f64 = (0..count).map(|_| values[noise.below(count)]).sum();
        sum / count as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
    means.sort_unstable_by(f64::total_cmp);
    let below = RESAMPLES * tail(count) / 100_000;
    Some([means[below], means[RESAMPLES - 1 - below]])
}

/// The 95 % interval of a number that needs all prompts at once, from its value over all of them
/// and the values that leave each prompt out: low and high end. `None` below two prompts.
///
/// What each prompt adds, `n value - (n - 1) without`, is a mean's own value of that prompt; these
/// are resampled as [`interval`] resamples values, about `value` (the jackknife: Efron & Stein,
/// Annals of Statistics 9(3), 1981). Prompts drawn twice would make a Fréchet distance larger, so
/// the number itself is not resampled.
pub fn jackknife_interval(value: f64, without: &[f64]) -> Option<[f64; 2]> {
    let count = without.len() as f64;
    let added = without
        .iter()
        .map(|without| count * value - (count - 1.0) * without);
    let added: Vec<f64> = added.collect();
    let centre = super::mean(added.iter().copied())?;
    interval(&added).map(|ends| ends.map(|end| end - centre + value))
}

/// The share of either tail, in hundred-thousandths.
fn tail(count: usize) -> usize {
    match TAILS.get(count - 2) {
        Some(tail) => *tail,
        // Beyond the table the tail nears the normal one as 1 / n.
        None => NORMAL_TAIL - (NORMAL_TAIL - TAILS[28]) * 30 / count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `count` independent draws, each a hit with probability `share`, hit at most
    /// `hits` times: the exact distribution of a resampled sum of ones and zeros.
    fn binomial_cdf(count: u32, share: f64, hits: u32) -> f64 {
        let choose = |k: u32| (0..k).fold(1.0, |c, i| c * f64::from(count - i) / f64::from(i + 1));
        let mass =
            |k: u32| choose(k) * share.powi(k as i32) * (1.0 - share).powi((count - k) as i32);
        (0..=hits).map(mass).sum()
    }

    #[test]
    fn ones_and_zeros_have_the_binomial_s_own_quantiles() {
        for (count, ones) in [(6, 3), (8, 2), (12, 4), (12, 6), (30, 10), (64, 20)] {
            let values: Vec<f64> = (0..count)
                .map(|at| if at < ones { 1.0 } else { 0.0 })
                .collect();
            let (share, tail) = (ones as f64 / count as f64, tail(count) as f64 / 1e5);
            let cdf = |hits: u32| binomial_cdf(count as u32, share, hits);
            let quantile = |of: f64| (0..count as u32).find(|&k| cdf(k) > of);
            let quantile = |of: f64| quantile(of).unwrap_or(count as u32);
            // The draw may fall to either side where a step of the distribution is at the tail.
            let margin = 5.0 * (tail / RESAMPLES as f64).sqrt();
            let ends = [tail, 1.0 - tail].map(|of| {
                [of - margin, of + margin].map(|of| f64::from(quantile(of)) / count as f64)
            });
            let found = interval(&values).unwrap();
            for (found, [least, most]) in found.into_iter().zip(ends) {
                assert!(
                    (least..=most).contains(&found),
                    "{ones} of {count}: {found}, expected {least} to {most}"
                );
            }
        }
    }

    #[test]
    fn few_prompts_are_resampled_as_every_ordered_choice_says() {
        // A second implementation: all 4^4 resamples instead of a draw of them.
        let values = [0.3, 1.7, -2.0, 5.5];
        let mut all: Vec<f64> = (0..256)
            .map(|choice: usize| {
                let drawn = (0..4).map(|place| values[choice >> (2 * place) & 3]);
                drawn.sum::<f64>() / 4.0
            })
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        // The tail of 4 is 0.00012, less than the rarest resample's 1 / 256.
        let [low, high] = interval(&values).unwrap();
        assert!((low - all[0]).abs() < 1e-12 && (high - all[255]).abs() < 1e-12);
    }

    #[test]
    fn the_interval_of_many_values_is_the_normal_one() {
        let values: Vec<f64> = Noise::new(1, Purpose::Rollout, 0, 0)
            .normals(400)
            .into_iter()
            .map(f64::from)
            .collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 399.0;
        let half = 1.96 * (variance / 400.0).sqrt();
        let [low, high] = interval(&values).unwrap();
        // Quantiles of 10,000 draws are good to about 3 % of the half width.
        assert!(
            (low - (mean - half)).abs() < 0.06 * half,
            "{low} {mean} {half}"
        );
        assert!(
            (high - (mean + half)).abs() < 0.06 * half,
            "{high} {mean} {half}"
        );
    }

    #[test]
    fn it_is_the_same_every_time_and_on_every_machine() {
        let values = [0.25, 1.5, -0.75, 3.0, 2.25, 0.5, 1.0, -1.25];
        let found = interval(&values).unwrap();
        assert_eq!(interval(&values).unwrap(), found);
        assert_eq!(found, RECORDED);
    }
    /// Eighths are exact, so the ends are whatever the order of summing.
    const RECORDED: [f64; 2] = [-0.34375, 1.96875];

    #[test]
    fn the_jackknife_of_a_mean_is_the_mean_s_interval() {
        let values = [0.25, 1.5, -0.75, 3.0, 2.25, 0.5, 1.0, -1.25];
        let sum: f64 = values.iter().sum();
        let without = values.map(|value| (sum - value) / 7.0);
        let [low, high] = jackknife_interval(sum / 8.0, &without).unwrap();
        let [expected_low, expected_high] = interval(&values).unwrap();
        // Rounding of the subtraction alone.
        assert!((low - expected_low).abs() < 1e-12 && (high - expected_high).abs() < 1e-12);
        assert_eq!(jackknife_interval(1.0, &[1.0]), None);
    }

    #[test]
    fn the_jackknife_of_a_ratio_holds_the_truth_as_often_as_it_says() {
        // Ratios of means of x and y, 1 / 2 in truth, from 12 prompts, 400 times.
        let (count, times) = (12, 400);
        let mut held = 0;
        for time in 0..times {
            let drawn = Noise::new(5, Purpose::Rollout, time, 0).normals(2 * count);
            let pairs: Vec<[f64; 2]> = drawn
                .chunks(2)
                .map(|of| [1.0 + 0.3 * f64::from(of[0]), 2.0 + 0.5 * f64::from(of[1])])
                .collect();
            let ratio = |left_out: Option<usize>| {
                let kept = (0..count).filter(|&at| Some(at) != left_out);
                let [x, y] = kept.fold([0.0, 0.0], |[x, y], at| {
                    [x + pairs[at][0], y + pairs[at][1]]
                });
                x / y
            };
            let without: Vec<f64> = (0..count).map(|at| ratio(Some(at))).collect();
            let [low, high] = jackknife_interval(ratio(None), &without).unwrap();
            held += usize::from((low..=high).contains(&0.5));
        }
        // 95 % of 400 is 380, its binomial deviation 4.4; four of them either way.
        assert!((362..=398).contains(&held), "{held} of {times}");
    }

    #[test]
    fn one_value_tells_nothing_and_equal_ones_are_their_own_interval() {
        assert_eq!((interval(&[]), interval(&[1.0])), (None, None));
        assert_eq!(interval(&[0.5; 7]), Some([0.5, 0.5]));
    }
}

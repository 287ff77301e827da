//! Diversity: does the student show everything the teacher shows for a prompt, and nothing else?
//!
//! Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
//! Models" (ICML 2020, arXiv 2002.09797), on the bodies' paths, where the nearest neighbours of a
//! clip are the samples that look like it. A student that repeats one fine sample has high density,
//! and low coverage and variance.

use super::{EvalError, energy_distance::euclidean, mean};

/// Neighbours that make a sample's surroundings, as Naeem et al. advise. With equal sets of n
/// samples on each side, coverage is then expected at `1 - prod_{i<k} (n - 1 - i) / (2n - 1 - i)`,
/// which is 0.97 or more.
pub const NEIGHBOURS: usize = 5;

/// Diversity of a student's clips of one prompt against the teacher's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// Share of the teacher's samples that have a student's clip in their surroundings; in [0, 1];
    /// higher is better, about 0.97 for the teacher.
    pub coverage: f64,
    /// How many surroundings a student's clip lies in, over how many it would if it were a sample
    /// of the teacher; >= 0, about 1 for the teacher. Fidelity rather than diversity: clips unlike
    /// any sample lower it.
    pub density: f64,
    /// Total variance of the student's vectors over that of the teacher's; >= 0; 1 for the teacher,
    /// below 1 too little variety, above too much.
    pub variance_ratio: f64,
}

/// Density and coverage with `neighbours`, and the ratio of variances, of vectors of one length.
///
/// A sample's surroundings reach to its `neighbours`-th nearest other sample (fewer where there are
/// fewer samples), border included. The variance ratio is 1 where neither side varies, and infinite
/// where only the student's does.
///
/// # Errors
/// [`EvalError::TooFewSamples`] below two samples on either side, [`EvalError::SampleLength`] for
/// vectors of different lengths.
pub fn diversity<S: AsRef<[f32]>>(
    teacher: &[S],
    student: &[S],
    neighbours: usize,
) -> Result<Diversity, EvalError> {
    EvalError::check_samples(teacher, student)?;
    let neighbours = neighbours.clamp(1, teacher.len() - 1);
    let distance = |a: &S, b: &S| euclidean(a.as_ref(), b.as_ref());
    let reach = |index: usize| {
        let others = teacher
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let mut distances: Vec<f64> = others
            .map(|(_, sample)| distance(&teacher[index], sample))
            .collect();
        *distances
            .select_nth_unstable_by(neighbours - 1, f64::total_cmp)
            .1
    };
    // Per sample of the teacher: how many of the student's clips lie in its surroundings.
    let inside = |(index, sample): (usize, &S)| {
        let reach = reach(index);
        student
            .iter()
            .filter(|clip| distance(sample, clip) <= reach)
            .count()
    };
    let counts: Vec<usize> = teacher.iter().enumerate().map(inside).collect();
    Ok(Diversity {
        coverage: counts.iter().filter(|&&count| count > 0).count() as f64 / teacher.len() as f64,
        density: counts.iter().sum::<usize>() as f64 / (neighbours * student.len()) as f64,
        variance_ratio: ratio(total_variance(student), total_variance(teacher)),
    })
}

/// The mean over prompts; `None` without a prompt.
pub fn average(all: &[Diversity]) -> Option<Diversity> {
    Some(Diversity {
        coverage: mean(all.iter().map(|one| one.coverage))?,
        density: mean(all.iter().map(|one| one.density))?,
        variance_ratio: mean(all.iter().map(|one| one.variance_ratio))?,
    })
}

/// Sum over coordinates of the unbiased variance.
fn total_variance<S: AsRef<[f32]>>(samples: &[S]) -> f64 {
    let length = samples.first().map_or(0, |sample| sample.as_ref().len());
    let of = |coordinate: usize| {
        let values = || {
            samples
                .iter()
                .map(|sample| f64::from(sample.as_ref()[coordinate]))
        };
        let centre = mean(values()).unwrap_or(0.0);
        values().map(|value| (value - centre).powi(2)).sum::<f64>() / (samples.len() as f64 - 1.0)
    };
    (0..length).map(of).sum()
}

fn ratio(student: f64, teacher: f64) -> f64 {
    if teacher > 0.0 {
        student / teacher
    } else if student > 0.0 {
        f64::INFINITY
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_noise::{Noise, Purpose};

    fn line(values: &[f32]) -> Vec<Vec<f32>> {
        values.iter().map(|&value| vec![value]).collect()
    }

    #[test]
    fn density_and_coverage_match_a_case_counted_by_hand() {
        // One neighbour. Reaches: 1, 1, 2 (to 3), 6 (to 9... the nearest of 9 is 3).
        let teacher = line(&[0.0, 1.0, 3.0, 9.0]);
        let student = line(&[0.5, 1.5, 100.0]);
        let found = diversity(&teacher, &student, 1).unwrap();
        // 0.5 lies around 0 and 1; 1.5 around 1, 3 and nothing else (|9 - 1.5| = 7.5 > 6); 100
        // nowhere.
        assert_eq!(found.coverage, 0.75);
        assert!((found.density - 4.0 / 3.0).abs() < 1e-12);
        let variance = |values: [f64; 3]| {
            let centre = values.iter().sum::<f64>() / 3.0;
            values
                .iter()
                .map(|value| (value - centre).powi(2))
                .sum::<f64>()
                / 2.0
        };
        // The teacher's: mean 3.25, squares 10.5625 + 5.0625 + 0.0625 + 33.0625 = 48.75, over 3.
        assert!((found.variance_ratio - variance([0.5, 1.5, 100.0]) / 16.25).abs() < 1e-9);
    }

    fn cloud(seed: u64, count: usize, spread: f32) -> Vec<Vec<f32>> {
        let mut noise = Noise::new(seed, Purpose::Evaluation, 0, 0);
        (0..count)
            .map(|_| {
                noise
                    .normals(4)
                    .iter()
                    .map(|value| spread * value)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn two_sets_of_one_distribution_reach_the_expected_coverage() {
        let mut means = [0.0; 3];
        for seed in 0..20 {
            let found = diversity(
                &cloud(seed, 64, 1.0),
                &cloud(100 + seed, 64, 1.0),
                NEIGHBOURS,
            )
            .unwrap();
            [found.coverage, found.density, found.variance_ratio]
                .iter()
                .zip(&mut means)
                .for_each(|(value, sum)| *sum += value / 20.0);
        }
        let expected = 1.0
            - (0..NEIGHBOURS)
                .map(|i| (63.0 - i as f64) / (127.0 - i as f64))
                .product::<f64>();
        assert!(
            (means[0] - expected).abs() < 0.02,
            "{means:?} instead of {expected}"
        );
        assert!(
            (means[1] - 1.0).abs() < 0.1 && (means[2] - 1.0).abs() < 0.1,
            "{means:?}"
        );
    }

    #[test]
    fn one_sample_repeated_is_dense_but_covers_and_varies_little() {
        let teacher = cloud(1, 64, 1.0);
        // The sample nearest to the middle: many surroundings include it.
        let norm = |vector: &Vec<f32>| vector.iter().map(|value| value * value).sum::<f32>();
        let central = teacher
            .iter()
            .min_by(|a, b| norm(a).total_cmp(&norm(b)))
            .unwrap()
            .clone();
        let found = diversity(&teacher, &vec![central; 64], NEIGHBOURS).unwrap();
        assert!(
            found.coverage < 0.5 && found.density > 1.0 && found.variance_ratio < 1e-9,
            "{found:?}"
        );
        let far = diversity(&teacher, &cloud(2, 64, 30.0), NEIGHBOURS).unwrap();
        assert!(far.density < 0.1 && far.variance_ratio > 500.0, "{far:?}");
    }

    #[test]
    fn single_and_ragged_samples_are_refused_and_still_sets_do_not_divide_by_zero() {
        assert_eq!(
            diversity(&line(&[0.0]), &line(&[0.0, 1.0]), 5),
            Err(EvalError::TooFewSamples { x: 1, y: 2 })
        );
        assert!(matches!(
            diversity(&line(&[0.0, 1.0]), &[vec![0.0], vec![]], 5),
            Err(EvalError::SampleLength { .. })
        ));
        let same = diversity(&line(&[2.0; 3]), &line(&[2.0; 3]), 5).unwrap();
        assert_eq!((same.coverage, same.variance_ratio), (1.0, 1.0));
        assert_eq!(
            diversity(&line(&[2.0; 3]), &line(&[2.0, 3.0]), 5)
                .unwrap()
                .variance_ratio,
            f64::INFINITY
        );
    }
}

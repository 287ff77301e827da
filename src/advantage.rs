//! From discriminator scores to the optimality probability r in [0, 1] (docs/method.md F.2, G.4).
//! Plain host arithmetic, with the names that recipes give its forms: a new advantage is a variant
//! and an arm here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rollout's score is compared with (docs/method.md F.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdvantageForm {
    /// The mean score of the same prompt's rollouts (A-group, the default): "which of my samples
    /// looks most teacher-like".
    Group,
    /// The mean score of the whole batch (A-batch).
    Batch,
    /// The teacher's mean score for the prompt, then the batch mean of that (A-pair-centred); for
    /// K = 1.
    PairCentred,
    /// `r = sigmoid(s - g)` without normalisation (A-pair-raw); ablation only, its mean drifts away
    /// from 1/2.
    PairRaw,
}

/// Over which rollouts the standard deviation is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdvantageScale {
    /// All rollouts of the alternation.
    All,
    /// The rollouts of the same prompt.
    Group,
}

/// Scores, or anything that belongs to scores: `[P][K][S]`, S of them per clip. S is 1 for a
/// discriminator of whole clips, or the number of blocks for one that scores blocks of frames.
pub type PerScore = Vec<Vec<Vec<f64>>>;

/// How scores become r.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageSettings {
    /// The baseline.
    pub form: AdvantageForm,
    /// The normaliser.
    pub scale: AdvantageScale,
    /// Advantages are clipped to +- this many standard deviations; r = 1/2 + A / (2 clip).
    pub clip: f64,
    /// Groups whose scores have a smaller standard deviation than this get advantage 0.
    pub minimum_std: f64,
}

/// The groups `[P][K]` of each of the S scores per clip.
pub fn groups(scores: &PerScore) -> Vec<Vec<Vec<f64>>> {
    let per_clip = scores
        .first()
        .and_then(|group| group.first())
        .map_or(0, Vec::len);
    let group = |score: usize| {
        let of_prompt = |clips: &Vec<Vec<f64>>| clips.iter().map(|clip| clip[score]).collect();
        scores.iter().map(of_prompt).collect()
    };
    (0..per_clip).map(group).collect()
}

/// [`optimality`] of each of the S scores per clip: scores `[P][K][S]` to r `[P][K][S]`.
pub fn optimality_per_score(
    student: &PerScore,
    teacher: &PerScore,
    settings: &AdvantageSettings,
) -> PerScore {
    let groups: Vec<_> = groups(student)
        .iter()
        .zip(groups(teacher))
        .map(|(student, teacher)| optimality(student, &teacher, settings))
        .collect();
    let r_of = |prompt: usize, clip: usize| groups.iter().map(|r| r[prompt][clip]).collect();
    let of_prompt = |(prompt, clips): (usize, &Vec<Vec<f64>>)| {
        (0..clips.len()).map(|clip| r_of(prompt, clip)).collect()
    };
    student.iter().enumerate().map(of_prompt).collect()
}

/// Student scores `[P][K]` and teacher scores `[P][M]` to r `[P][K]`.
///
/// For the group form the mean of r over every group is exactly 1/2: clipped advantages are centred
/// again, because a mean above (below) one half pulls the student towards (pushes it away from) all
/// of its own samples (docs/method.md F.1 i).
pub fn optimality(
    student: &[Vec<f64>],
    teacher: &[Vec<f64>],
    settings: &AdvantageSettings,
) -> Vec<Vec<f64>> {
    if settings.form == AdvantageForm::PairRaw {
        return raw_pairs(student, teacher);
    }
    let minus = |groups: &[Vec<f64>], baseline: &dyn Fn(usize) -> f64| -> Vec<Vec<f64>> {
        groups
            .iter()
            .enumerate()
            .map(|(prompt, scores)| {
                scores
                    .iter()
                    .map(|score| score - baseline(prompt))
                    .collect()
            })
            .collect()
    };
    let centred = match settings.form {
        AdvantageForm::Group => minus(student, &|prompt| mean(&student[prompt])),
        AdvantageForm::Batch => {
            let all = mean(&student.concat());
            minus(student, &|_| all)
        }
        AdvantageForm::PairCentred | AdvantageForm::PairRaw => {
            let paired = minus(student, &|prompt| mean(&teacher[prompt]));
            let all = mean(&paired.concat());
            minus(&paired, &|_| all)
        }
    };
    let everywhere = population_std(&student.concat());
    let normalised = centred.iter().zip(student).map(|(group, scores)| {
        let own = population_std(scores);
        let scale = match settings.scale {
            AdvantageScale::All => everywhere,
            AdvantageScale::Group => own,
        };
        let informative = own >= settings.minimum_std || scores.len() == 1;
        let clipped = |value: &f64| {
            if informative {
                (value / (scale + 1e-4)).clamp(-settings.clip, settings.clip)
            } else {
                0.0
            }
        };
        group.iter().map(clipped).collect::<Vec<f64>>()
    });
    let to_r = |advantage: &f64| 0.5 + advantage / (2.0 * settings.clip);
    normalised
        .map(|group| match settings.form {
            AdvantageForm::Group => {
                // Subtracting the clipped group's mean can leave +-clip by that mean: shrink the
                // group so that r stays in [0, 1].
                let centre = mean(&group);
                let largest = group
                    .iter()
                    .map(|value| (value - centre).abs())
                    .fold(0.0, f64::max);
                let shrink = if largest > settings.clip {
                    settings.clip / largest
                } else {
                    1.0
                };
                group
                    .iter()
                    .map(|value| to_r(&((value - centre) * shrink)))
                    .collect()
            }
            _ => group.iter().map(to_r).collect(),
        })
        .collect()
}

/// `sigmoid(s - g)` against the teacher's mean score for the prompt.
fn raw_pairs(student: &[Vec<f64>], teacher: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let against = |(scores, teacher): (&Vec<f64>, &Vec<f64>)| {
        let baseline = mean(teacher);
        let r = scores
            .iter()
            .map(|score| 1.0 / (1.0 + (baseline - score).exp()));
        r.collect()
    };
    student.iter().zip(teacher).map(against).collect()
}

/// Mean of a non-empty list.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Population standard deviation of a non-empty list.
pub fn population_std(values: &[f64]) -> f64 {
    let centre = mean(values);
    (values
        .iter()
        .map(|value| (value - centre).powi(2))
        .sum::<f64>()
        / values.len() as f64)
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AdvantageSettings = AdvantageSettings {
        form: AdvantageForm::Group,
        scale: AdvantageScale::All,
        clip: 5.0,
        minimum_std: 0.0,
    };

    #[test]
    fn group_advantages_have_mean_one_half_and_ignore_a_prompts_constant() {
        let student = vec![vec![0.0, 1.0, 2.0, 9.0], vec![-3.0, -3.5, -2.0, 40.0]];
        let teacher = vec![vec![5.0], vec![6.0]];
        for clip in [0.5, 2.0, 5.0] {
            let r = optimality(&student, &teacher, &AdvantageSettings { clip, ..SETTINGS });
            for group in &r {
                assert!((mean(group) - 0.5).abs() < 1e-12, "{group:?}");
                assert!(
                    group.iter().all(|value| (0.0..=1.0).contains(value)),
                    "{group:?}"
                );
            }
        }
        let scale = AdvantageScale::Group;
        let plain = optimality(&student, &teacher, &AdvantageSettings { scale, ..SETTINGS });
        let moved: Vec<Vec<f64>> = student
            .iter()
            .map(|group| group.iter().map(|score| score + 8.0).collect())
            .collect();
        let shifted = optimality(&moved, &teacher, &AdvantageSettings { scale, ..SETTINGS });
        assert!(
            plain
                .concat()
                .iter()
                .zip(shifted.concat())
                .all(|(a, b)| (a - b).abs() < 1e-9)
        );
    }

    #[test]
    fn two_symmetric_scores_are_one_deviation_apart_from_the_middle() {
        // Scores -1 and 1 have deviation 1: A = -+1 / 1.0001, r = 1/2 -+ 0.1 / 1.0001 at clip 5.
        let r = optimality(&[vec![-1.0, 1.0]], &[vec![0.0]], &SETTINGS);
        assert!((r[0][1] - (0.5 + 0.1 / 1.0001)).abs() < 1e-12, "{r:?}");
    }

    #[test]
    fn the_raw_pair_form_follows_the_score_gap_and_loses_its_centre() {
        let r = optimality(
            &[vec![0.0, -4.0]],
            &[vec![1.0, 3.0]],
            &AdvantageSettings {
                form: AdvantageForm::PairRaw,
                ..SETTINGS
            },
        );
        assert!((r[0][0] - 1.0 / (1.0 + 2.0f64.exp())).abs() < 1e-12);
        assert!(mean(&r[0]) < 0.2);
    }

    #[test]
    fn the_pair_centred_form_uses_the_teacher_as_prompt_baseline() {
        // K = 1: scores 1 and 5 against teacher means 2 and 4 are gaps -1 and +1.
        let settings = AdvantageSettings {
            form: AdvantageForm::PairCentred,
            ..SETTINGS
        };
        let r = optimality(&[vec![1.0], vec![5.0]], &[vec![2.0], vec![4.0]], &settings);
        assert!(
            (r[0][0] + r[1][0] - 1.0).abs() < 1e-12 && r[1][0] > 0.5,
            "{r:?}"
        );
    }

    #[test]
    fn uninformative_groups_are_left_alone() {
        let r = optimality(
            &[vec![1.0, 1.001], vec![0.0, 1.0]],
            &[vec![0.0], vec![0.0]],
            &AdvantageSettings {
                minimum_std: 0.01,
                ..SETTINGS
            },
        );
        assert_eq!(r[0], [0.5, 0.5]);
        assert!(r[1][1] > 0.5);
    }
}

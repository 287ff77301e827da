//! A number with what it rests on, a difference of two of them, and what may be said of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bootstrap::interval;
use super::metric::{Better, Metric};

/// The fewest prompts that can call a difference better or worse: with n prompts all of one sign
/// come by chance in 2 of 2^n cases, and 2 / 2^5 is above 0.05.
pub const FEWEST_PROMPTS: usize = 6;

/// One prompt's scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptScores<S> {
    /// The prompt.
    pub prompt: String,
    /// How many clips were compared: of the teacher, and of the column.
    pub clips: [usize; 2],
    /// The scores.
    pub scores: S,
}

/// A column of the table: everybody's scores prompt by prompt, all columns in one order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column<S> {
    /// What the table calls it.
    pub name: String,
    /// One entry per prompt.
    pub prompts: Vec<PromptScores<S>>,
}

/// A mean over prompts, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Low and high end of its 95 % interval, by [`interval`]; `None` for a single prompt.
    pub interval: Option<[f64; 2]>,
    /// Prompts that have a value.
    pub prompts: usize,
    /// Their clips: of the teacher (0 where the metric does not look at them) and of the column.
    pub clips: [usize; 2],
}

/// How one column's metric differs from another's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Mean difference over the prompts that both have a value for.
    pub difference: f64,
    /// Low and high end of its 95 % interval; `None` for a single prompt.
    pub interval: Option<[f64; 2]>,
    /// Those prompts.
    pub prompts: usize,
    /// What may be said of it; `None` where neither way is better.
    pub verdict: Option<Verdict>,
}

/// What may be said of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Outside the interval, the right way, and not past what the teacher itself scores.
    Better,
    /// Outside the interval, the wrong way.
    Worse,
    /// The right way, up to the teacher's own interval: no clips of its own would score better.
    LikeTeacher,
    /// Beyond the teacher's own interval: no longer the teacher's way.
    PastTeacher,
    /// Inside the interval, too few prompts, or no score of the teacher's own to hold it against.
    Unsure,
}

/// Columns in numbers, for programs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// By the metric's and the column's name.
    pub estimates: BTreeMap<String, BTreeMap<String, Estimate>>,
    /// From the last column but one to the last, by the metric's name.
    pub changes: BTreeMap<String, Change>,
}

impl Summary {
    /// Of columns of which the first is the teacher's own.
    pub fn of<S>(metrics: &[Metric<S>], columns: &[Column<S>]) -> Self {
        let mut summary = Self::default();
        for metric in metrics {
            let found: BTreeMap<String, Estimate> = columns
                .iter()
                .filter_map(|column| Some((column.name.clone(), column.estimate(metric)?)))
                .collect();
            if !found.is_empty() {
                summary.estimates.insert(metric.name.to_string(), found);
            }
            if let [teacher, ..] = columns
                && let [.., before, after] = columns
                && let Some(change) = after.change(before, teacher, metric)
            {
                summary.changes.insert(metric.name.to_string(), change);
            }
        }
        summary
    }
}

impl Verdict {
    /// As the table prints it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::LikeTeacher => "like the teacher",
            Self::PastTeacher => "past the teacher",
            Self::Unsure => "unsure",
        }
    }
}

impl<S> Column<S> {
    /// A metric over all prompts that have a value; `None` if none has.
    pub fn estimate(&self, metric: &Metric<S>) -> Option<Estimate> {
        let mut clips = [0, 0];
        let mut values = Vec::with_capacity(self.prompts.len());
        for prompt in &self.prompts {
            if let Some(value) = (metric.value)(&prompt.scores) {
                values.push(value);
                let of_prompt = metric.rests_on.clips(prompt.clips);
                (0..2).for_each(|side| clips[side] += of_prompt[side]);
            }
        }
        Some(Estimate {
            value: super::mean(values.iter().copied())?,
            interval: interval(&values),
            prompts: values.len(),
            clips,
        })
    }

    /// How `self` differs from `before`, prompt by prompt; `teacher` is the teacher's own column.
    /// `None` where they share no prompt with a value.
    pub fn change(&self, before: &Self, teacher: &Self, metric: &Metric<S>) -> Option<Change> {
        let value = |of: &PromptScores<S>| (metric.value)(&of.scores);
        let pairs = before.prompts.iter().zip(&self.prompts);
        let both: Vec<[f64; 2]> = pairs
            .filter_map(|(before, after)| Some([value(before)?, value(after)?]))
            .collect();
        let differences: Vec<f64> = both.iter().map(|[before, after]| after - before).collect();
        let mean_of = |side: usize| super::mean(both.iter().map(|pair| pair[side]));
        let difference = super::mean(differences.iter().copied())?;
        let interval = interval(&differences);
        let own = teacher.estimate(metric).map(|own| Own {
            value: own.value,
            interval: own.interval.unwrap_or([own.value; 2]),
        });
        let own = own.or(metric.chance.map(|value| Own {
            value,
            interval: [value; 2],
        }));
        let sign = match metric.better {
            Better::LikeTeacher => None,
            Better::Lower => Some(1.0),
            Better::Higher => Some(-1.0),
        };
        let decided = interval.filter(|_| differences.len() >= FEWEST_PROMPTS);
        let verdict = sign.and_then(|sign| {
            let (Some(interval), Some(own)) = (decided, own) else {
                return Some(Verdict::Unsure);
            };
            verdict(sign, interval, [mean_of(0)?, mean_of(1)?], own)
        });
        Some(Change {
            difference,
            interval,
            prompts: differences.len(),
            verdict,
        })
    }
}

/// What the teacher itself scores.
struct Own {
    value: f64,
    interval: [f64; 2],
}

/// `sign` is 1 where lower is better, -1 where higher is.
fn verdict(
    sign: f64,
    [low, high]: [f64; 2],
    [before, after]: [f64; 2],
    own: Own,
) -> Option<Verdict> {
    let furthest = (sign * own.interval[0]).min(sign * own.interval[1]);
    let (before, after, own) = (sign * before, sign * after, sign * own.value);
    let (least, most) = ((sign * low).min(sign * high), (sign * low).max(sign * high));
    if most < 0.0 {
        Some(if after > own {
            Verdict::Better
        } else if after >= furthest {
            Verdict::LikeTeacher
        } else {
            Verdict::PastTeacher
        })
    } else if least > 0.0 {
        // What comes back from beyond the teacher's own is no loss.
        ((after - own).abs() > (before - own).abs()).then_some(Verdict::Worse)
    } else {
        Some(Verdict::Unsure)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metric::RestsOn;
    use super::*;

    const DISTANCE: Metric<f64> = Metric {
        name: "distance",
        title: "distance",
        unit: "px",
        better: Better::Lower,
        rests_on: RestsOn::Both,
        chance: None,
        value: |value| (!value.is_nan()).then_some(*value),
    };

    fn column(values: &[f64]) -> Column<f64> {
        let prompt = |(at, &scores): (usize, &f64)| PromptScores {
            prompt: format!("p{at}"),
            clips: [3, 8],
            scores,
        };
        Column {
            name: "any".into(),
            prompts: values.iter().enumerate().map(prompt).collect(),
        }
    }

    /// Eight prompts around `mean`, `spread` apart.
    fn around(mean: f64, spread: f64) -> Column<f64> {
        column(&[-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0].map(|at| mean + spread * at))
    }

    fn said(before: &Column<f64>, after: &Column<f64>, better: Better) -> Option<Verdict> {
        let metric = Metric { better, ..DISTANCE };
        after
            .change(before, &around(2.0, 0.1), &metric)
            .unwrap()
            .verdict
    }

    #[test]
    fn an_estimate_says_what_it_rests_on() {
        let estimate = column(&[1.0, f64::NAN, 3.0]).estimate(&DISTANCE).unwrap();
        assert_eq!(
            (estimate.value, estimate.prompts, estimate.clips),
            (2.0, 2, [6, 16])
        );
        assert_eq!(estimate.interval, Some([1.0, 3.0]));
        let alone = column(&[1.5]).estimate(&DISTANCE).unwrap();
        assert_eq!((alone.value, alone.interval), (1.5, None));
        assert_eq!(column(&[f64::NAN]).estimate(&DISTANCE), None);
    }

    #[test]
    fn a_change_outside_its_interval_is_better_or_worse() {
        let (far, near) = (around(12.5, 0.2), around(6.0, 0.3));
        assert_eq!(said(&far, &near, Better::Lower), Some(Verdict::Better));
        assert_eq!(said(&near, &far, Better::Lower), Some(Verdict::Worse));
        assert_eq!(said(&near, &far, Better::LikeTeacher), None);
    }

    #[test]
    fn a_change_inside_its_interval_is_nothing() {
        // Half the prompts gain what the other half loses, and a little.
        let before = around(6.0, 0.0);
        let after = column(&[8.0, 4.0, 8.1, 4.1, 7.9, 3.9, 8.0, 3.8]);
        let change = after.change(&before, &around(2.0, 0.1), &DISTANCE).unwrap();
        assert!(change.difference < 0.0 && change.prompts == 8, "{change:?}");
        assert_eq!(change.verdict, Some(Verdict::Unsure));
    }

    #[test]
    fn nothing_is_better_past_the_teacher_s_own() {
        // A student that fades to noise: 12.5, then 1.95, where other clips of the teacher score 2.
        let far = around(12.5, 0.2);
        let (like, past) = (around(1.95, 0.3), around(0.5, 0.1));
        assert_eq!(said(&far, &like, Better::Lower), Some(Verdict::LikeTeacher));
        assert_eq!(said(&far, &past, Better::Lower), Some(Verdict::PastTeacher));
        // Back from beyond the teacher's is no loss; further than it was before, it is.
        assert_eq!(said(&past, &like, Better::Lower), None);
        assert_eq!(said(&past, &far, Better::Lower), Some(Verdict::Worse));
        assert_eq!(
            said(&around(0.2, 0.1), &past, Better::Higher),
            Some(Verdict::Better)
        );
        assert_eq!(
            said(&past, &far, Better::Higher),
            Some(Verdict::PastTeacher)
        );
    }

    #[test]
    fn few_prompts_and_a_teacher_without_a_score_decide_nothing() {
        let (before, after) = (column(&[9.0; 5]), column(&[5.0; 5]));
        let change = |teacher: &Column<f64>, metric: &Metric<f64>| {
            around(5.0, 0.1)
                .change(&around(9.0, 0.1), teacher, metric)
                .unwrap()
                .verdict
        };
        let few = after
            .change(&before, &column(&[2.0; 5]), &DISTANCE)
            .unwrap();
        assert_eq!(few.verdict, Some(Verdict::Unsure));
        let without = column(&[f64::NAN; 8]);
        assert_eq!(change(&without, &DISTANCE), Some(Verdict::Unsure));
        let chance = Metric {
            chance: Some(0.5),
            ..DISTANCE
        };
        assert_eq!(change(&without, &chance), Some(Verdict::Better));
    }
}

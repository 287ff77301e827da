//! Methods compared with the reference over equal family, regime and seed.

use serde::{Deserialize, Serialize};

use crate::{
    benchmark::{Benchmark, Better, Metric, Role},
    cells::{Cell, find},
    statistics::{Estimate, FEWEST_SEEDS, SIGNIFICANCE, holm, paired_t_test, sign_flip_test},
};

/// A method against the reference in one metric, over the pairs of equal family, regime and seed in
/// a scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name of the metric.
    pub metric: String,
    /// The set of ablations; `None`: the main comparison.
    pub group: Option<String>,
    /// Name of the family; `None`: all of them.
    pub family: Option<String>,
    /// Name of the regime; `None`: all of them.
    pub regime: Option<String>,
    /// Name of the method.
    pub method: String,
    /// Method minus reference; for metrics that are best at a target, the difference of the
    /// distances from it.
    pub difference: Estimate,
    /// The pairs behind it.
    pub pairs: Vec<Pair>,
    /// Two-sided p-value of the paired t test; `None` for one pair.
    pub p_paired_t: Option<f64>,
    /// Two-sided p-value of the exact sign-flip test; `None` above 16 pairs.
    pub p_sign_flip: Option<f64>,
    /// `p_paired_t` after Holm's correction over the methods of this metric, group and scope;
    /// `None` below three seeds.
    pub p_corrected: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// A run of a method beside the reference's run of the same family, regime and seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Index of the method's run in [`Benchmark::runs`].
    pub run: usize,
    /// Index of the reference's run.
    pub reference_run: usize,
    /// Method minus reference, as in [`Comparison::difference`].
    pub difference: f64,
}

/// How a method stands to the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The method is better than the reference: corrected p below 0.05.
    Better,
    /// The method is worse than the reference: corrected p below 0.05.
    Worse,
    /// One is ahead of the other, corrected p below 0.05, and of the teacher's own clips too, by
    /// its mean: no longer the teacher's way, so that it is not called better.
    PastTeacher,
    /// The seeds do not tell.
    Undecided,
    /// Below three seeds nothing is tested.
    TooFewSeeds,
}

/// Every method of a group against the reference, in one metric and scope.
pub(crate) fn compare(
    benchmark: &Benchmark,
    cells: &[Cell],
    metric: &Metric,
    group: Option<&str>,
    (family, regime): (Option<&str>, Option<&str>),
) -> Vec<Comparison> {
    let mut found = Vec::new();
    for method in benchmark.tested(group) {
        let pairs = pairs(benchmark, cells, metric, &method.name, family, regime);
        let differences: Vec<f64> = pairs.iter().map(|pair| pair.difference).collect();
        let Some(difference) = Estimate::of(&differences) else {
            continue;
        };
        let mut seeds: Vec<Option<u64>> = pairs
            .iter()
            .map(|pair| benchmark.runs[pair.reference_run].seed)
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        found.push(Comparison {
            metric: metric.name.clone(),
            group: group.map(String::from),
            family: family.map(String::from),
            regime: regime.map(String::from),
            method: method.name.clone(),
            difference,
            pairs,
            p_paired_t: paired_t_test(&differences),
            p_sign_flip: sign_flip_test(&differences),
            p_corrected: None,
            verdict: if seeds.len() < FEWEST_SEEDS {
                Verdict::TooFewSeeds
            } else {
                Verdict::Undecided
            },
        });
    }
    decide(&mut found, metric.better);
    for comparison in &mut found {
        if past_teacher(benchmark, cells, metric, comparison) {
            comparison.verdict = Verdict::PastTeacher;
        }
    }
    found
}

/// Over equal family, regime and seed.
fn pairs(
    benchmark: &Benchmark,
    cells: &[Cell],
    metric: &Metric,
    method: &str,
    family: Option<&str>,
    regime: Option<&str>,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let in_scope = |cell: &&Cell| {
        cell.metric == metric.name
            && cell.method == benchmark.reference
            && family.is_none_or(|family| cell.family == family)
            && regime.is_none_or(|regime| cell.regime == regime)
    };
    for reference in cells.iter().filter(in_scope) {
        let Some(cell) = find(
            cells,
            &metric.name,
            method,
            &reference.family,
            &reference.regime,
        ) else {
            continue;
        };
        let Some(target) = target(benchmark, cells, metric, cell) else {
            continue;
        };
        let shown = |value: f64| target.map_or(value, |target| (value - target).abs());
        for sample in &reference.samples {
            let partner = cell
                .samples
                .iter()
                .find(|partner| partner.seed.is_none() || partner.seed == sample.seed);
            pairs.extend(partner.map(|partner| Pair {
                run: partner.run,
                reference_run: sample.run,
                difference: shown(partner.value) - shown(sample.value),
            }));
        }
    }
    pairs
}

/// What the metric's values should be near in a cell, if anything; `None` if that is the
/// teacher's mean and there is none.
fn target(
    benchmark: &Benchmark,
    cells: &[Cell],
    metric: &Metric,
    cell: &Cell,
) -> Option<Option<f64>> {
    match metric.better {
        Better::Lower | Better::Higher => Some(None),
        Better::Target(target) => Some(Some(target)),
        Better::Teacher => {
            let teacher = benchmark
                .methods
                .iter()
                .find(|method| method.role == Role::Teacher)?;
            let cell = find(
                cells,
                &metric.name,
                &teacher.name,
                &cell.family,
                &cell.regime,
            )?;
            cell.estimate.map(|estimate| Some(estimate.mean))
        }
    }
}

/// Whether the one that is ahead is also ahead of the teacher's own clips in the same places.
fn past_teacher(
    benchmark: &Benchmark,
    cells: &[Cell],
    metric: &Metric,
    comparison: &Comparison,
) -> bool {
    let sign = match metric.better {
        Better::Lower => 1.0,
        Better::Higher => -1.0,
        // These are measured by how far they are from the teacher.
        Better::Target(_) | Better::Teacher => return false,
    };
    let ahead: fn(&Pair) -> usize = match comparison.verdict {
        Verdict::Better => |pair| pair.run,
        Verdict::Worse => |pair| pair.reference_run,
        _ => return false,
    };
    let Some(teacher) = benchmark
        .methods
        .iter()
        .find(|method| method.role == Role::Teacher)
    else {
        return false;
    };
    let beyond = comparison.pairs.iter().map(|pair| {
        let reference = &benchmark.runs[pair.reference_run];
        let regime = reference.regime.as_deref()?;
        let own = find(
            cells,
            &metric.name,
            &teacher.name,
            &reference.family,
            regime,
        )?;
        let value = *benchmark.runs[ahead(pair)].values.get(&metric.name)?;
        Some(sign * (own.estimate?.mean - value?))
    });
    let beyond: Option<Vec<f64>> = beyond.collect();
    beyond.is_some_and(|beyond| beyond.iter().sum::<f64>() > 0.0)
}

fn decide(comparisons: &mut [Comparison], better: Better) {
    let mut tested: Vec<&mut Comparison> = comparisons
        .iter_mut()
        .filter(|comparison| comparison.verdict == Verdict::Undecided)
        .collect();
    let p_values: Vec<f64> = tested
        .iter()
        .map(|comparison| comparison.p_paired_t.unwrap_or(1.0))
        .collect();
    for (comparison, corrected) in tested.iter_mut().zip(holm(&p_values)) {
        comparison.p_corrected = Some(corrected);
        if corrected < SIGNIFICANCE {
            let higher = comparison.difference.mean > 0.0;
            comparison.verdict = if higher == (better == Better::Higher) {
                Verdict::Better
            } else {
                Verdict::Worse
            };
        }
    }
}

#[cfg(test)]
mod tests;

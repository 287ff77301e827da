//! Runs gathered into cells: one metric of one method in one place.

use serde::{Deserialize, Serialize};

use crate::{
    benchmark::{Benchmark, Run, State},
    statistics::Estimate,
};

/// One metric of one method in one family and regime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the metric.
    pub metric: String,
    /// Name of the method.
    pub method: String,
    /// Name of the family.
    pub family: String,
    /// Name of the regime.
    pub regime: String,
    /// Mean and interval over the samples; `None` without any.
    pub estimate: Option<Estimate>,
    /// The values behind it, by seed.
    pub samples: Vec<Sample>,
    /// The planned seeds that have no value.
    pub absent: Vec<Absence>,
}

/// One run's value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The run's seed; `None`: it stands for every seed.
    pub seed: Option<u64>,
    /// The metric's value.
    pub value: f64,
    /// Index of the run in [`Benchmark::runs`].
    pub run: usize,
}

/// A planned seed without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// The seed; `None`: the one run that stands for every seed.
    pub seed: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// One cell per metric, method, family and regime, whether it has runs or not.
pub(crate) fn gather(benchmark: &Benchmark) -> Vec<Cell> {
    let mut cells = Vec::new();
    for metric in &benchmark.metrics {
        for method in benchmark
            .methods
            .iter()
            .filter(|method| method.refused.is_none())
        {
            for family in &benchmark.families {
                for regime in &benchmark.regimes {
                    cells.push(cell(
                        benchmark,
                        &metric.name,
                        &method.name,
                        &family.name,
                        &regime.name,
                    ));
                }
            }
        }
    }
    cells
}

/// The cell of these names.
pub(crate) fn find<'a>(
    cells: &'a [Cell],
    metric: &str,
    method: &str,
    family: &str,
    regime: &str,
) -> Option<&'a Cell> {
    let wanted = (metric, method, family, regime);
    cells
        .iter()
        .find(|cell| (&*cell.metric, &*cell.method, &*cell.family, &*cell.regime) == wanted)
}

fn cell(benchmark: &Benchmark, metric: &str, method: &str, family: &str, regime: &str) -> Cell {
    let belongs = |run: &&Run| {
        run.method == method
            && run.family == family
            && run.regime.as_deref().is_none_or(|name| name == regime)
    };
    let runs: Vec<(usize, &Run)> = benchmark
        .runs
        .iter()
        .enumerate()
        .filter(|(_, run)| belongs(run))
        .collect();
    // One run may stand for every seed.
    let once = runs.iter().any(|(_, run)| run.seed.is_none());
    let planned: Vec<Option<u64>> = if once {
        vec![None]
    } else {
        benchmark.seeds.iter().copied().map(Some).collect()
    };
    let (mut samples, mut absent) = (Vec::new(), Vec::new());
    for seed in planned {
        let run = runs.iter().find(|(_, run)| run.seed == seed);
        match run.map_or(Err(NoValue::NoRun), |(_, run)| value(run, metric)) {
            Ok(value) => samples.extend(run.map(|(index, _)| Sample {
                seed,
                value,
                run: *index,
            })),
            Err(reason) => absent.push(Absence {
                seed,
                reason: reason.to_string(),
            }),
        }
    }
    let estimate = Estimate::of(
        &samples
            .iter()
            .map(|sample| sample.value)
            .collect::<Vec<_>>(),
    );
    let [metric, method, family, regime] = [metric, method, family, regime].map(String::from);
    Cell {
        metric,
        method,
        family,
        regime,
        estimate,
        samples,
        absent,
    }
}

/// Why a metric has no value for a seed.
#[derive(Debug, thiserror::Error)]
enum NoValue<'a> {
    #[error("no run")]
    NoRun,
    #[error("failed: {0}")]
    Failed(&'a str),
    #[error("missing: {0}")]
    Missing(&'a str),
    #[error("no value")]
    Null,
    #[error("not measured")]
    NotMeasured,
}

/// The value that counts, or why there is none.
fn value<'a>(run: &'a Run, metric: &str) -> Result<f64, NoValue<'a>> {
    match &run.state {
        State::Failed(reason) => Err(NoValue::Failed(reason)),
        State::Missing(reason) => Err(NoValue::Missing(reason)),
        State::Done => match run.values.get(metric) {
            Some(Some(value)) => Ok(*value),
            Some(None) => Err(NoValue::Null),
            None => Err(NoValue::NotMeasured),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::{example::small, summary::Summary};

    #[test]
    fn a_cell_holds_its_seeds_and_says_what_is_absent() {
        let summary = Summary::of(&small());
        let cell = summary.cell("distance", "afd", "chunk", "200").unwrap();
        assert_eq!(
            cell.samples
                .iter()
                .map(|sample| (sample.seed, sample.value))
                .collect::<Vec<_>>(),
            [(Some(0), 3.0), (Some(1), 2.7), (Some(2), 3.4)]
        );
        assert!(cell.absent.is_empty());
        let cell = summary.cell("distance", "gan", "chunk", "200").unwrap();
        assert_eq!(cell.estimate.unwrap().count, 1);
        let reasons: Vec<_> = cell
            .absent
            .iter()
            .map(|absence| (absence.seed.unwrap(), &*absence.reason))
            .collect();
        assert_eq!(
            reasons,
            [
                (1, "failed: loss is NaN in round 40"),
                (2, "missing: stopped before")
            ]
        );
        let cell = summary.cell("distance", "gan", "frame", "200").unwrap();
        assert_eq!(cell.absent.len(), 3, "no run at all: {:?}", cell.absent);
    }
}

//! All that is said about the runs: cells, and their comparisons.

use serde::{Deserialize, Serialize};

use crate::{
    benchmark::Benchmark,
    cells::{Cell, find, gather},
    comparison::{Comparison, compare},
};

/// All that is said about the runs' values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// One per metric, method, family and regime, whether it has runs or not; none for methods that
    /// are refused.
    pub cells: Vec<Cell>,
    /// One per metric, comparison group, scope and method that shares a seed with the reference.
    pub comparisons: Vec<Comparison>,
}

impl Summary {
    /// Gathers and compares. The benchmark should have passed [`Benchmark::check`].
    pub fn of(benchmark: &Benchmark) -> Self {
        let cells = gather(benchmark);
        let mut summary = Self {
            cells,
            comparisons: Vec::new(),
        };
        for metric in &benchmark.metrics {
            for group in benchmark.groups() {
                for (family, regime) in scopes(benchmark) {
                    let found = compare(benchmark, &summary.cells, metric, group, (family, regime));
                    summary.comparisons.extend(found);
                }
            }
        }
        summary
    }

    /// The cell of these names.
    pub fn cell(&self, metric: &str, method: &str, family: &str, regime: &str) -> Option<&Cell> {
        find(&self.cells, metric, method, family, regime)
    }

    /// The comparison of these names.
    pub fn comparison(
        &self,
        metric: &str,
        group: Option<&str>,
        family: Option<&str>,
        regime: Option<&str>,
        method: &str,
    ) -> Option<&Comparison> {
        let wanted = (metric, group, family, regime, method);
        self.comparisons.iter().find(|found| {
            (
                &*found.metric,
                found.group.as_deref(),
                found.family.as_deref(),
                found.regime.as_deref(),
                &*found.method,
            ) == wanted
        })
    }
}

/// Every (family, regime); every family over all its regimes, and everything, where there is more
/// than one.
pub(crate) fn scopes(benchmark: &Benchmark) -> Vec<(Option<&str>, Option<&str>)> {
    let mut scopes = Vec::new();
    for family in &benchmark.families {
        scopes.extend(
            benchmark
                .regimes
                .iter()
                .map(|regime| (Some(&*family.name), Some(&*regime.name))),
        );
        if benchmark.regimes.len() > 1 {
            scopes.push((Some(&*family.name), None));
        }
    }
    if benchmark.families.len() > 1 {
        scopes.push((None, None));
    }
    scopes
}

//! What was planned and has no value.

use super::{is_shown, scope_title};
use crate::{
    benchmark::{Benchmark, Method},
    summary::Summary,
};

/// Planned runs of one method in one place without a value, for one reason.
pub(crate) struct Gap<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// Where.
    pub(crate) scope: String,
    /// Which seeds; `None`: the one run that stands for all.
    pub(crate) seeds: Vec<Option<u64>>,
    /// Why.
    pub(crate) reason: String,
    /// Titles of the metrics that lack a value; empty: all of them.
    pub(crate) metrics: Vec<&'a str>,
}

impl Gap<'_> {
    /// "0, 2".
    pub(crate) fn seed_text(&self) -> String {
        let texts = self
            .seeds
            .iter()
            .map(|seed| seed.map_or("all".into(), |seed| seed.to_string()));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// "all" or their titles.
    pub(crate) fn metric_text(&self) -> String {
        if self.metrics.is_empty() {
            "all".into()
        } else {
            self.metrics.join(", ")
        }
    }
}

/// Everything that was planned and has no value.
pub(crate) fn gaps<'a>(benchmark: &'a Benchmark, summary: &Summary) -> Vec<Gap<'a>> {
    let mut gaps = Vec::new();
    for method in benchmark
        .methods
        .iter()
        .filter(|method| method.refused.is_none())
    {
        for family in &benchmark.families {
            for regime in &benchmark.regimes {
                if is_shown(
                    benchmark,
                    method.group.as_deref(),
                    Some(&family.name),
                    Some(&regime.name),
                ) {
                    gaps.extend(gaps_of(
                        benchmark,
                        summary,
                        method,
                        &family.name,
                        &regime.name,
                    ));
                }
            }
        }
    }
    gaps
}

/// Per seed and reason the metrics; then equal ones together.
fn gaps_of<'a>(
    benchmark: &'a Benchmark,
    summary: &Summary,
    method: &'a Method,
    family: &str,
    regime: &str,
) -> Vec<Gap<'a>> {
    let mut found: Vec<(Option<u64>, &str, Vec<&str>)> = Vec::new();
    for metric in &benchmark.metrics {
        let cell = summary.cell(&metric.name, &method.name, family, regime);
        for absence in cell.map_or(&[][..], |cell| &cell.absent) {
            match found
                .iter_mut()
                .find(|(seed, reason, _)| *seed == absence.seed && *reason == absence.reason)
            {
                Some((_, _, metrics)) => metrics.push(&metric.title),
                None => found.push((absence.seed, &absence.reason, vec![&metric.title])),
            }
        }
    }
    let mut gaps: Vec<Gap> = Vec::new();
    for (seed, reason, mut metrics) in found {
        if metrics.len() == benchmark.metrics.len() {
            metrics.clear();
        }
        match gaps
            .iter_mut()
            .find(|gap| gap.reason == reason && gap.metrics == metrics)
        {
            Some(gap) => gap.seeds.push(seed),
            None => {
                let scope = scope_title(benchmark, Some(family), Some(regime));
                gaps.push(Gap {
                    method,
                    scope,
                    seeds: vec![seed],
                    reason: reason.into(),
                    metrics,
                });
            }
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn gaps_are_listed_run_by_run_with_their_reasons() {
        let benchmark = small();
        let gaps = gaps(&benchmark, &Summary::of(&benchmark));
        let found = |scope: &str, seed: &str| {
            gaps.iter().find(|gap| {
                gap.method.name == "gan" && gap.scope == scope && gap.seed_text() == seed
            })
        };
        assert_eq!(
            found("Chunk-wise, 200 clips", "1").unwrap().reason,
            "failed: loss is NaN in round 40"
        );
        assert_eq!(
            found("Frame-wise, 8 clips", "0, 1, 2").unwrap().reason,
            "no run"
        );
        let unmeasured = gaps.iter().find(|gap| gap.method.name == "afd").unwrap();
        assert_eq!(
            (unmeasured.reason.as_str(), &unmeasured.metrics[..]),
            ("no value", &["Flicker"][..])
        );
        assert!(
            gaps.iter().all(|gap| gap.method.name != "no-warm-up"),
            "its group was planned in one place alone"
        );
    }
}

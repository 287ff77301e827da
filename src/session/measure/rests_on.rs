//! What the numbers of the physics world rest on.

use std::collections::BTreeMap;

use crate::eval::EvalError;
use crate::eval::bootstrap::jackknife_interval;
use crate::eval::estimate::{Column, Estimate, PromptScores};
use crate::eval::metric::Metric;
use crate::eval::physics::{PHYSICS_METRICS, Part, PhysicsScores, PromptEvidence};

/// Metrics and means over prompts agree up to the order of their sums.
const ROUNDING: f64 = 1e-9;

/// Every metric with its interval and clips, by name. Means over prompts have the bootstrap's;
/// the Fréchet distance, which needs all prompts at once, and the continuation score, a ratio of
/// means, have the jackknife's. `parts` are those of `evidence`, `all` their numbers together.
///
/// # Errors
/// Those of [`Part::together`].
pub(super) fn estimates(
    evidence: &[PromptEvidence<'_>],
    parts: &[Part],
    all: &PhysicsScores,
) -> Result<BTreeMap<String, Estimate>, EvalError> {
    let alone = parts
        .iter()
        .map(|part| Ok(Part::together([part])?.scores))
        .collect::<Result<Vec<_>, EvalError>>()?;
    let without = if parts.len() > 1 {
        (0..parts.len())
            .map(|out| {
                let kept = (0..parts.len()).filter(|at| *at != out);
                Ok(Part::together(kept.map(|at| &parts[at]))?.scores)
            })
            .collect::<Result<Vec<_>, EvalError>>()?
    } else {
        Vec::new()
    };
    let mut found = BTreeMap::new();
    for metric in &PHYSICS_METRICS {
        let Some(value) = (metric.value)(all) else {
            continue;
        };
        let column = column(metric, evidence, &alone);
        let is_mean =
            |mean: &Estimate| (value - mean.value).abs() <= ROUNDING * value.abs().max(1.0);
        let estimate = column.estimate(metric).map(|mean| {
            if is_mean(&mean) {
                return mean;
            }
            let without: Vec<f64> = without.iter().filter_map(metric.value).collect();
            Estimate {
                value,
                interval: jackknife_interval(value, &without),
                ..mean
            }
        });
        found.extend(estimate.map(|estimate| (metric.name.to_string(), estimate)));
    }
    Ok(found)
}

fn column(
    metric: &Metric<PhysicsScores>,
    evidence: &[PromptEvidence<'_>],
    alone: &[PhysicsScores],
) -> Column<PhysicsScores> {
    let prompts = evidence.iter().zip(alone);
    Column {
        name: metric.name.to_string(),
        prompts: prompts
            .map(|(prompt, scores)| PromptScores {
                prompt: prompt.prompt.to_string(),
                clips: clips(metric.name, prompt),
                scores: scores.clone(),
            })
            .collect(),
    }
}

/// The clips that a metric looks at: the teacher's and the student's.
fn clips(metric: &str, prompt: &PromptEvidence<'_>) -> [usize; 2] {
    if metric.starts_with("continuation") {
        let cases = prompt.continuations;
        let generated = cases.iter().map(|case| case.generated.len()).sum();
        [cases.len(), generated]
    } else if metric.starts_with("last_window") || metric == "trajectory_drift" {
        [prompt.long_teacher.len(), prompt.long_student.len()]
    } else {
        [prompt.teacher.len(), prompt.student.len()]
    }
}

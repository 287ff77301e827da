//! What the numbers of the physics world rest on.

use std::collections::BTreeMap;

use crate::eval::EvalError;
use crate::eval::estimate::{Column, Estimate, PromptScores};
use crate::eval::physics::{PHYSICS_METRICS, PhysicsScores, PromptEvidence, measure};

/// Metrics and means over prompts agree up to the order of their sums.
const ROUNDING: f64 = 1e-9;

/// Every metric that is a mean over prompts, with its interval and clips, by name. The Fréchet
/// distance, which needs all prompts at once, and the continuation score, a ratio of means, are
/// none.
///
/// # Errors
/// Those of [`measure`].
pub(super) fn estimates(
    evidence: &[PromptEvidence<'_>],
    all: &PhysicsScores,
) -> Result<BTreeMap<String, Estimate>, EvalError> {
    let alone = evidence
        .iter()
        .map(|prompt| Ok(measure(std::slice::from_ref(prompt))?.scores))
        .collect::<Result<Vec<_>, EvalError>>()?;
    let mut found = BTreeMap::new();
    for metric in &PHYSICS_METRICS {
        let prompts = evidence.iter().zip(&alone);
        let column = Column {
            name: metric.name.to_string(),
            prompts: prompts
                .map(|(prompt, scores)| PromptScores {
                    prompt: prompt.prompt.to_string(),
                    clips: clips(metric.name, prompt),
                    scores: scores.clone(),
                })
                .collect(),
        };
        let is_mean = |estimate: &Estimate| {
            (metric.value)(all).is_some_and(|value| {
                (value - estimate.value).abs() <= ROUNDING * value.abs().max(1.0)
            })
        };
        if let Some(estimate) = column.estimate(metric).filter(is_mean) {
            found.insert(metric.name.to_string(), estimate);
        }
    }
    Ok(found)
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

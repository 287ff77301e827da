//! What a round measured and cost.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// What a round cost; a resumed run may have to pay for a round again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Videos that the teacher was asked for.
    pub teacher_queries: u64,
    /// Clips that the student generated.
    pub rollouts: u64,
    /// Clips that went forwards and backwards through the student.
    pub student_passes: u64,
    /// Clips that went forwards and backwards through the discriminator, those of its penalties
    /// included.
    pub discriminator_passes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Self) {
        self.teacher_queries += more.teacher_queries;
        self.rollouts += more.rollouts;
        self.student_passes += more.student_passes;
        self.discriminator_passes += more.discriminator_passes;
    }
}

/// What a round measured.
#[derive(Debug, Clone)]
pub struct RoundReport {
    /// Name of the phase.
    pub phase: &'static str,
    /// Measurements; the same in every run of the same recipe.
    pub values: BTreeMap<String, f64>,
    /// Milliseconds per part; different every time, and kept out of `values` for that reason.
    pub milliseconds: BTreeMap<String, f64>,
    /// What it cost.
    pub cost: Cost,
    /// When the part under way began.
    started: Instant,
}

impl RoundReport {
    /// An empty report; the first part begins now.
    pub fn new(phase: &'static str) -> Self {
        Self {
            phase,
            values: BTreeMap::new(),
            milliseconds: BTreeMap::new(),
            cost: Cost::default(),
            started: Instant::now(),
        }
    }

    /// Adds one measurement.
    pub fn measure(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_string(), value);
    }

    /// Adds what a step measured; of several steps of a kind the last one stays.
    pub fn merge(&mut self, outcome: Outcome) {
        outcome
            .scalars
            .into_iter()
            .for_each(|(name, value)| self.measure(name, value));
    }

    /// Ends a part of the round, such as `rollout`; the next one begins now.
    pub fn finished(&mut self, part: &str) {
        let now = Instant::now();
        let milliseconds = now.duration_since(self.started).as_secs_f64() * 1e3;
        *self.milliseconds.entry(part.to_string()).or_default() += milliseconds;
        self.started = now;
    }
}

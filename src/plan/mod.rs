//! What a recipe will take, before anything is loaded: parameters, memory of each phase, work,
//! files (`afd plan`).
//!
//! [`inputs`] are plain sizes, [`transformer`], [`codec`] and [`weights`] count what is exact,
//! [`activations`] what passes hold at once, `student` and `alternation` put the phases of a round
//! together, [`whole`] a run, [`table`] prints it.

pub mod activations;
mod alternation;
pub mod codec;
pub mod inputs;
pub mod phase;
mod student;
pub mod table;
pub mod transformer;
pub mod weights;
pub mod whole;

#[cfg(test)]
mod tests;

use serde::Serialize;

use alternation::PlannedAlternation;
use inputs::{PlanInputs, PlannedMethod};
use phase::{Part, Phase};
use weights::Weights;
use whole::Whole;

/// What a recipe will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What it was made from.
    pub inputs: PlanInputs,
    /// Weights, gradients, moments, checkpoints.
    pub weights: Weights,
    /// Bytes of one clip's keys and values over all its frames.
    pub cache_per_clip: u64,
    /// What each phase of a round holds and computes.
    pub phases: Vec<Phase>,
    /// The run from preparation to end: work, time, files.
    pub whole: Whole,
    /// The largest phase and all that is held: bytes.
    pub peak: u64,
    /// Name of the largest phase.
    pub peak_phase: String,
    /// Bytes of the device's memory, if known.
    pub memory: Option<u64>,
    /// Whether the peak fits; `None` where the memory is not known.
    pub fits: Option<bool>,
    /// What takes most at the peak, largest first.
    pub largest: Vec<Part>,
    /// How long all of it takes, where a rate is known.
    pub time: Option<Time>,
}

/// Time at a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Time {
    /// Floating-point operations a second.
    pub rate: f64,
    /// Hours.
    pub hours: f64,
}

/// Parts named when memory is short.
const NAMED: usize = 6;

impl Plan {
    /// The plan for `inputs` on a device with `memory` bytes.
    pub fn new(inputs: PlanInputs, memory: Option<u64>) -> Self {
        let weights = Weights::of(&inputs);
        let phases = phases(&inputs, &weights);
        let largest_phase = phases.iter().max_by_key(|phase| phase.bytes());
        let peak = weights.held_bytes() + largest_phase.map_or(0, Phase::bytes);
        let mut largest = [
            &weights.held[..],
            largest_phase.map_or(&[], |phase| &phase.parts),
        ]
        .concat();
        largest.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        largest.truncate(NAMED);
        let whole = Whole::of(&inputs, &weights, &phases);
        Self {
            cache_per_clip: transformer::cache_values(&inputs.student, inputs.tokens())
                * inputs.activation_bytes as u64,
            peak_phase: largest_phase.map_or_else(String::new, |phase| phase.name.clone()),
            whole,
            peak,
            memory,
            fits: memory.map(|memory| peak <= memory),
            largest,
            time: None,
            phases,
            weights,
            inputs,
        }
    }

    /// The same with the time that all of it takes at `rate` floating-point operations a second.
    pub fn at(self, rate: f64) -> Self {
        Self {
            time: Some(Time {
                rate,
                hours: self.whole.hours(rate),
            }),
            ..self
        }
    }
}

/// The phases of a round, in order.
fn phases(inputs: &PlanInputs, weights: &Weights) -> Vec<Phase> {
    match &inputs.method {
        PlannedMethod::Pretrain(pretrain) => {
            let own = pretrain.trajectories.as_ref();
            let own = own.map(|of| student::trajectories(inputs, pretrain.batch, of));
            let update = student::supervised(inputs, weights, pretrain);
            own.into_iter().chain([update]).collect()
        }
        PlannedMethod::Distill(distill) => PlannedAlternation {
            inputs,
            weights,
            distill,
        }
        .phases(),
    }
}

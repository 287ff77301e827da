//! What a recipe will take, before anything is loaded: parameters, memory of each phase, work, files (`afd plan`).
//!
//! [`inputs`] are plain sizes, [`transformer`] and [`weights`] count what is exact, [`activations`] what passes hold at once, [`phases`] puts a round
//! together, [`table`] prints it.

pub mod activations;
pub mod inputs;
pub mod phases;
pub mod table;
pub mod transformer;
pub mod weights;

#[cfg(test)]
mod tests;

use serde::Serialize;

use inputs::{Method, PlanInputs};
use phases::{Part, Phase};
use weights::Weights;

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
    /// Files and host memory of the data, in f32.
    pub data: Data,
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
}

/// Sizes of data in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Data {
    /// Text rows of all prompts.
    pub text: u64,
    /// Latents of all distinct teacher clips; 0 where every clip is a fresh one.
    pub latents: u64,
    /// The same clips prepared as pixels: what a run keeps in the host's memory.
    pub pixels: u64,
}

/// Parts named when memory is short.
const NAMED: usize = 6;

impl Plan {
    /// The plan for `inputs` on a device with `memory` bytes.
    pub fn new(inputs: PlanInputs, memory: Option<u64>) -> Self {
        let weights = Weights::of(&inputs);
        let phases = phases::phases(&inputs, &weights);
        let largest_phase = phases.iter().max_by_key(|phase| phase.bytes());
        let peak = weights.held_bytes() + largest_phase.map_or(0, Phase::bytes);
        let mut largest = [&weights.held[..], largest_phase.map_or(&[], |phase| &phase.parts)].concat();
        largest.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        largest.truncate(NAMED);
        let clips = (inputs.prompts * inputs.takes_per_prompt) as u64;
        let data = Data {
            text: 4 * (inputs.prompts * inputs.text_rows * inputs.student.text_width) as u64,
            latents: 4 * clips * inputs.latent_values() as u64,
            pixels: 4 * clips * inputs.pixels as u64,
        };
        Self {
            cache_per_clip: transformer::cache_values(&inputs.student, inputs.tokens()) * inputs.activation_bytes as u64,
            peak_phase: largest_phase.map_or_else(String::new, |phase| phase.name.clone()),
            data,
            peak,
            memory,
            fits: memory.map(|memory| peak <= memory),
            largest,
            phases,
            weights,
            inputs,
        }
    }

    /// What a round of the method is called.
    pub fn round(&self) -> &'static str {
        match self.inputs.method {
            Method::Distill(_) => "alternation",
            Method::Pretrain(_) => "update",
        }
    }
}

//! What a run takes from preparation to end: work, time, files.

use serde::Serialize;

use super::inputs::PlanInputs;
use super::phase::{Phase, Rounds};
use super::transformer::Flops;
use super::weights::Weights;
use crate::data::batch::CLIP_MEMORY;

/// A whole run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Whole {
    /// Of `afd data prepare`: the clips' way through the codec, and the prompts' through the text
    /// encoder if all were as long as they can be.
    pub preparation: Preparation,
    /// Operations of one round.
    pub round: Flops,
    /// Operations of one round of the warm-up.
    pub warm_up_round: Flops,
    /// Operations of all rounds, the warm-up taken at its longest, and of the updates before it.
    pub rounds: f64,
    /// Files.
    pub disk: Disk,
    /// Bytes of the host's memory that prepared clips take where training reads them as pixels:
    /// at most [`CLIP_MEMORY`].
    pub host_pixels: u64,
    /// Distinct clips beyond that, which are prepared each time they are asked for.
    pub clips_again: u64,
}

/// Operations before training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Preparation {
    /// Of the codec.
    pub clips: f64,
    /// Of the text encoder, at most.
    pub prompts: f64,
}

/// Bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Checkpoints: those that are kept, and the next one, which is written before the oldest goes.
    pub checkpoints: u64,
    /// Latents of all distinct teacher clips, in f32; 0 where clips are encoded when they are asked
    /// for.
    pub latents: u64,
    /// Text embeddings of all prompts in bf16, at most: only a prompt's own are stored. 0 where
    /// there is no encoder to save.
    pub text: u64,
}

/// Of `clips` clips of `pixels` values, those that stay in memory; all of clips without pixels.
fn held_clips(clips: u64, pixels: usize) -> u64 {
    match 4 * pixels as u64 {
        0 => clips,
        bytes => clips.min(CLIP_MEMORY / bytes),
    }
}

impl Whole {
    /// Of a plan.
    pub fn of(inputs: &PlanInputs, weights: &Weights, phases: &[Phase]) -> Self {
        let sum = |rounds: &[Rounds]| {
            phases
                .iter()
                .filter(|phase| rounds.contains(&phase.rounds))
                .fold(Flops::default(), |sum, phase| sum.plus(phase.flops))
        };
        let (start, warm_up_round, round) = (
            sum(&[Rounds::Start]),
            sum(&[Rounds::WarmUp, Rounds::All]),
            sum(&[Rounds::All, Rounds::Later]),
        );
        let schedule = &inputs.schedule;
        let of = |times: u64, flops: Flops| times as f64 * flops.total();
        let clips = (inputs.prompts * inputs.samples_per_prompt) as u64;
        let prompts = inputs.prompts + inputs.held_out;
        let prepared = inputs.pixels == 0;
        let text = prompts * inputs.text_length * inputs.student.text_width;
        Self {
            preparation: Preparation {
                clips: inputs
                    .codec
                    .filter(|_| prepared)
                    .map_or(0.0, |codec| clips as f64 * codec.encoding),
                prompts: inputs
                    .text_encoder
                    .map_or(0.0, |encoder| prompts as f64 * encoder.encoding),
            },
            round,
            warm_up_round,
            rounds: of(schedule.start, start)
                + of(schedule.warm_up, warm_up_round)
                + of(schedule.rounds, round),
            disk: Disk {
                checkpoints: (schedule.checkpoints + 1) * weights.checkpoint,
                latents: if prepared {
                    4 * clips * inputs.latent_values() as u64
                } else {
                    0
                },
                text: inputs.text_encoder.map_or(0, |_| 2 * text as u64),
            },
            host_pixels: held_clips(clips, inputs.pixels) * 4 * inputs.pixels as u64,
            clips_again: clips - held_clips(clips, inputs.pixels),
        }
    }

    /// Operations of all of it.
    pub fn total(&self) -> f64 {
        self.preparation.clips + self.preparation.prompts + self.rounds
    }

    /// Hours at `rate` operations a second.
    pub fn hours(&self, rate: f64) -> f64 {
        self.total() / rate / 3600.0
    }
}

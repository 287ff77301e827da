//! An alternation's phases: rollout, scores, the discriminator's update, the velocities to compare
//! with, the student's update.

mod discriminator;
mod flow;
mod through;

use afd_models::student::Visibility;

use super::inputs::{Distill, PlanInputs, PlannedUpdate};
use super::phase::{Part, Phase, Rounds, part};
use super::student::{run, student, supervised};
use super::transformer::cache_values;
use super::weights::Weights;

/// One alternation.
pub(super) struct PlannedAlternation<'a> {
    pub inputs: &'a PlanInputs,
    pub weights: &'a Weights,
    pub distill: &'a Distill,
}

impl PlannedAlternation<'_> {
    /// Its phases, in order.
    pub fn phases(&self) -> Vec<Phase> {
        let start = self.distill.supervised_start.map(|pretrain| Phase {
            rounds: Rounds::Start,
            ..supervised(self.inputs, self.weights, &pretrain)
        });
        let mut phases: Vec<_> = start
            .into_iter()
            .chain([self.rollout(), self.scoring(), self.discriminator()])
            .collect();
        if self.distill.lagging_old || self.distill.reference {
            phases.push(self.velocities());
        }
        phases.push(match self.distill.update {
            PlannedUpdate::ThroughDiscriminator => self.through_discriminator(),
            _ => self.flow(),
        });
        phases
    }

    /// Clips that the flow update learns from.
    fn samples(&self) -> usize {
        self.distill.prompts * (self.distill.rollouts + self.distill.teacher_positives)
    }

    fn micro_batch(&self) -> usize {
        self.inputs.micro_batch.min(self.samples())
    }

    /// Bytes of keys and values of `clips` clips over `frames` frames.
    fn cache(&self, clips: usize, frames: usize) -> u64 {
        let tokens = clips * frames * self.inputs.tokens_per_frame();
        cache_values(&self.inputs.student, tokens) * self.inputs.activation_bytes as u64
    }

    /// Frames before the last block: what is kept of a rollout.
    fn prefilled(&self) -> usize {
        self.inputs
            .layout()
            .blocks()
            .last()
            .map_or(0, |last| last.start)
    }

    fn text(&self, clips: usize) -> Part {
        let values = cache_values(&self.inputs.student, clips * self.inputs.text_length);
        part(
            "keys and values of the prompts",
            values * self.inputs.activation_bytes as u64,
        )
    }

    /// What a round holds from the rollout to its end.
    fn held(&self) -> Vec<Part> {
        let clips = self.both();
        let text = clips * self.inputs.text_length * self.inputs.student.text_width;
        let copies = 1 + usize::from(self.micro_batch() < self.samples());
        let states = (copies * self.distill.states) as u64;
        vec![
            part(
                "keys and values of the rollouts",
                self.cache(self.inputs.caches_kept, self.prefilled()),
            ),
            self.text(self.micro_batch()),
            // As made, as scored and in micro-batches; and noise with both velocities to compare
            // with, or augmented, moved and the way there. States on the way as made, and in
            // micro-batches.
            part(
                "latents and noise",
                4 * (6 + states) * (clips * self.inputs.latent_values()) as u64,
            ),
            // Of the round, and in micro-batches.
            part("text embeddings", 4 * 2 * text as u64),
        ]
    }

    /// Rollouts and teacher clips.
    fn both(&self) -> usize {
        self.distill.prompts * (self.distill.rollouts + self.distill.teacher_clips)
    }

    fn rollout(&self) -> Phase {
        let (inputs, layout) = (self.inputs, self.inputs.layout());
        let block = layout.frames_per_block.min(layout.frames);
        let visibility = Visibility::rollout(layout.frames - block, block);
        let clips = self.micro_batch();
        let run = run(inputs, clips, &visibility);
        // The cache and the last block's own; of finished rollouts what is kept. A rolling window
        // is a copy.
        let window = if layout.window_frames > 0 {
            layout.window_frames.min(layout.frames)
        } else {
            0
        };
        let finished = inputs.caches_kept.saturating_sub(clips);
        let parts = vec![
            part(
                "keys and values of the rollouts",
                self.cache(clips, layout.frames + window) + self.cache(finished, self.prefilled()),
            ),
            self.text(clips),
            part(
                "forward pass of a block",
                (run.forward() + run.outside()) * inputs.activation_bytes as u64,
            ),
        ];
        let flops = student(inputs).rollout(&layout, self.distill.sampler_steps, false);
        let rollouts = (self.distill.prompts * self.distill.rollouts) as f64;
        Phase {
            rounds: Rounds::All,
            name: "rollout".into(),
            parts,
            flops: flops.times(rollouts),
        }
    }
}

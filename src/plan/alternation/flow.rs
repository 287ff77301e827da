//! The student's side of an alternation: velocities to compare with, and its update.

use afd_models::student::Visibility;

use super::PlannedAlternation;
use crate::plan::activations::Run;
use crate::plan::inputs::PlannedUpdate;
use crate::plan::phase::{Phase, Rounds, part};
use crate::plan::student::{run, student, update, update_flops};
use crate::plan::transformer::{Computed, Flops};
use crate::recipe::tables::Context;

impl PlannedAlternation<'_> {
    /// Velocities of old policy and reference, without a graph.
    pub(super) fn velocities(&self) -> Phase {
        let (inputs, layout) = (self.inputs, self.inputs.layout());
        let (frames, clips) = (layout.frames, self.micro_batch());
        let (causal, forcing) = (
            Visibility::block_causal(&layout),
            Visibility::teacher_forcing(&layout),
        );
        let noisy_past = self.distill.context == Context::UniformNoise;
        let run = run(inputs, clips, if noisy_past { &causal } else { &forcing });
        let mut parts = self.held();
        // A pass gives back its own keys and values, all layers at once, whether or not they are
        // asked for.
        parts.push(part(
            "keys and values of the pass itself",
            self.cache(clips, frames),
        ));
        if !noisy_past && (self.distill.reference || inputs.caches_kept == 0) {
            parts.push(part(
                "keys and values of the clean context",
                self.cache(clips, frames),
            ));
        }
        parts.push(part(
            "forward pass of a block",
            (run.forward() + run.outside()) * inputs.activation_bytes as u64,
        ));
        let noisy = |policy: Computed| policy.forward(if noisy_past { &causal } else { &forcing });
        let clean = |policy: Computed| {
            if noisy_past {
                Flops::default()
            } else {
                policy.forward(&causal)
            }
        };
        let old = student(inputs);
        let mut flops = Flops::default();
        if self.distill.lagging_old {
            flops = flops.plus(noisy(old));
            if inputs.caches_kept == 0 {
                flops = flops.plus(clean(old));
            }
        }
        if self.distill.reference {
            let reference = Computed { lora: None, ..old };
            flops = flops.plus(noisy(reference)).plus(clean(reference));
        }
        let times = self.samples() as f64 * self.distill.flow_steps as f64;
        Phase {
            rounds: Rounds::Later,
            name: "velocities of old policy and reference".into(),
            parts,
            flops: flops.times(times),
        }
    }

    pub(super) fn flow(&self) -> Phase {
        let (inputs, layout) = (self.inputs, self.inputs.layout());
        let (frames, clips) = (layout.frames, self.micro_batch());
        let causal = Visibility::block_causal(&layout);
        let constant = self.distill.context == Context::Cached
            || (self.distill.context == Context::OwnClean && self.distill.detach_context);
        let visibility = match self.distill.context {
            Context::UniformNoise => causal.clone(),
            Context::OwnClean => Visibility::teacher_forcing(&layout),
            Context::Cached => {
                let block = layout.frames_per_block.min(frames);
                Visibility::rollout(frames - block, block)
            }
        };
        let differentiated_context = self.distill.context == Context::OwnClean && !constant;
        let run = Run {
            passes: if differentiated_context { 2 } else { 1 },
            ..run(inputs, clips, &visibility)
        };
        let mut parts = self.held();
        parts.extend(update(inputs, self.weights, &run, self.samples()));
        if constant {
            parts.push(part(
                "keys and values of the clean context",
                self.cache(clips, frames),
            ));
        }
        let student = student(inputs);
        let clean = student.forward(&causal);
        let noisy = match self.distill.context {
            Context::UniformNoise => clean,
            _ => student.forward(&Visibility::teacher_forcing(&layout)),
        };
        let flops = if differentiated_context {
            update_flops(inputs, noisy.plus(clean))
        } else {
            update_flops(inputs, noisy).plus(if constant { clean } else { Flops::default() })
        };
        let times = self.samples() as f64 * self.distill.flow_steps as f64;
        Phase {
            rounds: Rounds::Later,
            name: match self.distill.update {
                PlannedUpdate::ReverseChain => "reverse-chain update".into(),
                _ => "flow update".into(),
            },
            parts,
            flops: flops.times(times),
        }
    }
}

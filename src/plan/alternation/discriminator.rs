//! The discriminator's side of an alternation: scores of all clips, and its update.

use afd_models::discriminator::RegisterConfig;
use afd_models::student::{StudentConfig, Visibility};

use super::PlannedAlternation;
use crate::plan::activations::{self, Peak, Run};
use crate::plan::inputs::DiscriminatorSizes;
use crate::plan::phase::{Part, Phase, Rounds, part};
use crate::plan::student::run;
use crate::plan::transformer::{Computed, Flops};

impl PlannedAlternation<'_> {
    /// Clips that one discriminator update scores.
    fn scored(&self) -> usize {
        let moved = if self.distill.penalised {
            self.both()
        } else {
            0
        };
        let mismatched = if self.distill.mismatched {
            self.distill.prompts * self.distill.teacher_clips
        } else {
            0
        };
        self.both() + moved + mismatched
    }

    /// The backbone's run over `clips` clips.
    pub(super) fn backbone<'b>(&'b self, clips: usize, visibility: &'b Visibility) -> Run<'b> {
        Run {
            lora: self.distill.discriminator_lora.as_ref(),
            ..run(self.inputs, clips, visibility)
        }
    }

    pub(super) fn scoring(&self) -> Phase {
        let (inputs, visibility) = (
            self.inputs,
            Visibility::bidirectional(self.inputs.latents[0]),
        );
        let larger = self.distill.rollouts.max(self.distill.teacher_clips);
        let clips = self.distill.prompts * larger;
        let values = match &self.distill.discriminator {
            DiscriminatorSizes::Registers(config) => {
                let clips = if inputs.recompute_blocks {
                    inputs.shards.min(clips)
                } else {
                    clips
                };
                let run = self.backbone(clips, &visibility);
                // The last of the tokens that are read are the block's own.
                run.forward() + run.outside() + (config.layers.len() as u64 - 1) * run.boundary()
            }
            DiscriminatorSizes::Graph(sizes) => clips as u64 * sizes.values / 2,
        };
        let mut parts = self.held();
        let scoring = values * inputs.activation_bytes as u64;
        // Clips go through the codec before they are scored; the larger of the two counts.
        match inputs.codec.filter(|codec| codec.working > scoring) {
            Some(codec) => parts.push(part("a clip through the codec", codec.working)),
            None => parts.push(part("scoring", scoring)),
        }
        let flops = self
            .discriminator_flops()
            .times(self.both() as f64)
            .plus(Flops {
                codec: self.round_trips(),
                ..Flops::default()
            });
        Phase {
            rounds: Rounds::All,
            name: "scores".into(),
            parts,
            flops,
        }
    }

    /// Operations of the codec: rollouts are decoded and encoded again, teacher clips are encoded
    /// where they are not prepared.
    fn round_trips(&self) -> f64 {
        let Some(codec) = &self.inputs.codec else {
            return 0.0;
        };
        let rollouts = (self.distill.prompts * self.distill.rollouts) as f64
            * (codec.decoding + codec.encoding);
        let teacher = if self.inputs.pixels > 0 {
            self.distill.prompts * self.distill.teacher_clips
        } else {
            0
        };
        rollouts + teacher as f64 * codec.encoding
    }

    pub(super) fn discriminator(&self) -> Phase {
        let inputs = self.inputs;
        let mut parts = self.held();
        let scored = self.scored();
        match &self.distill.discriminator {
            DiscriminatorSizes::Registers(config) => parts.extend(self.registers_update(config)),
            DiscriminatorSizes::Graph(sizes) => parts.push(part(
                "graph of the discriminator",
                scored as u64 * sizes.values * inputs.activation_bytes as u64,
            )),
        }
        parts.push(part(
            "discriminator's gradients",
            self.weights.discriminator_gradients,
        ));
        let once = self.discriminator_flops();
        let trained = self.distill.discriminator_lora.is_none();
        let in_pieces = inputs.recompute_blocks
            && matches!(self.distill.discriminator, DiscriminatorSizes::Registers(_));
        // Scores first, then a pass that keeps the tokens between blocks, then each block again.
        let forwards = if in_pieces { 3.0 } else { 1.0 };
        let flops = once
            .times(forwards)
            .plus(once.backward(trained))
            .times(scored as f64 * self.distill.discriminator_steps as f64);
        Phase {
            rounds: if self.distill.frozen_after_warm_up {
                Rounds::WarmUp
            } else {
                Rounds::All
            },
            name: "discriminator update".into(),
            parts,
            flops,
        }
    }

    /// What the update of a register discriminator holds, its gradients left out.
    fn registers_update(&self, config: &RegisterConfig) -> [Part; 3] {
        let inputs = self.inputs;
        let visibility = Visibility::bidirectional(inputs.latents[0]);
        let scored = self.scored();
        let depth = config.layers.last().map_or(0, |last| last + 1);
        let frozen = inputs.recompute_blocks && self.weights.backbone_gradients == 0;
        // What is moved or mismatched is scored, and walked backwards, as a batch of its own.
        let (clips, passes) = if inputs.recompute_blocks {
            (inputs.shards.min(scored), 1)
        } else {
            (self.both(), scored.div_ceil(self.both()))
        };
        let run = Run {
            passes,
            ..self.backbone(clips, &visibility)
        };
        let readers = (passes * clips) as u64
            * activations::readers(config, inputs.student.width, inputs.tokens(), true);
        let Peak {
            boundaries,
            graphs,
            backward,
        } = if inputs.recompute_blocks {
            activations::block_by_block(&run, depth)
        } else {
            activations::plain(&run, depth)
        };
        // In pieces either the readers are differentiated or one block.
        let (graphs, backward) = match (
            inputs.recompute_blocks,
            frozen || readers > graphs + backward,
        ) {
            (true, true) => (readers + run.boundary() + run.outside(), 0),
            (true, false) => (graphs, backward),
            (false, _) => (graphs + readers, backward),
        };
        let (graph, kept) = match inputs.recompute_blocks {
            true => ("graph of one block", boundaries),
            false => ("graph of all blocks", 0),
        };
        let bytes = inputs.activation_bytes as u64;
        [
            part(graph, graphs * bytes),
            part("tokens between blocks", kept * bytes),
            part("backward pass of a block", backward * bytes),
        ]
    }

    /// Operations of scoring one clip.
    pub(super) fn discriminator_flops(&self) -> Flops {
        let inputs = self.inputs;
        match &self.distill.discriminator {
            DiscriminatorSizes::Registers(config) => {
                let depth = config.layers.last().map_or(0, |last| last + 1);
                let read = StudentConfig {
                    layers: depth,
                    ..inputs.student.clone()
                };
                let readers = 4.0
                    * (config.layers.len()
                        * inputs.student.width
                        * inputs.student.width
                        * inputs.tokens()) as f64;
                let lora = self.distill.discriminator_lora.as_ref();
                let backbone = Computed {
                    config: &read,
                    lora,
                    tokens_per_frame: inputs.tokens_per_frame(),
                };
                backbone
                    .forward(&Visibility::bidirectional(inputs.latents[0]))
                    .plus(Flops {
                        linear: readers,
                        ..Flops::default()
                    })
            }
            DiscriminatorSizes::Graph(sizes) => Flops {
                linear: sizes.flops,
                ..Flops::default()
            },
        }
    }
}

//! The student's update through the discriminator: direct adversarial training.

use afd_models::student::Visibility;

use super::PlannedAlternation;
use crate::plan::activations::{self, Peak, Run};
use crate::plan::inputs::DiscriminatorSizes;
use crate::plan::phase::{Part, Phase, Rounds, part};
use crate::plan::student::{gradients_before, run, student, update, update_flops};

impl PlannedAlternation<'_> {
    /// The loss leads back through the discriminator, whose weights are constants, and then through
    /// the student's last step: the larger of the two moments counts.
    pub(super) fn through_discriminator(&self) -> Phase {
        let (inputs, layout) = (self.inputs, self.inputs.layout());
        let clips = self.micro_batch();
        let visibility = Visibility::teacher_forcing(&layout);
        let run = run(inputs, clips, &visibility);
        let own = update(inputs, self.weights, &run, self.samples());
        let scores = self.on_the_way_back(&run);
        let bytes = |parts: &[Part]| parts.iter().map(|part| part.bytes).sum::<u64>();
        let larger = if bytes(&scores) > bytes(&own) {
            scores
        } else {
            own
        };
        let mut parts = self.held();
        parts.extend(larger);
        parts.push(part(
            "keys and values of the clean context",
            self.cache(clips, layout.frames),
        ));

        let policy = student(inputs);
        let last_step = update_flops(inputs, policy.forward(&visibility))
            .plus(policy.forward(&Visibility::block_causal(&layout)));
        let score = self.discriminator_flops();
        // Scores first, then a pass that keeps the tokens between blocks, then each block again.
        let forwards = if self.in_pieces() { 3.0 } else { 1.0 };
        let through = score.times(forwards).plus(score.backward(false));
        let updates = self.samples() as f64 * self.distill.flow_steps as f64;
        // Teacher clips are scored by the discriminator as it is after its own updates.
        let teachers = (self.distill.prompts * self.distill.teacher_clips) as f64;
        Phase {
            rounds: Rounds::Later,
            name: "update through the discriminator".into(),
            parts,
            flops: last_step
                .plus(through)
                .times(updates)
                .plus(score.times(teachers)),
        }
    }

    /// Whether the discriminator is walked one clip and one block at a time.
    fn in_pieces(&self) -> bool {
        let registers = matches!(self.distill.discriminator, DiscriminatorSizes::Registers(_));
        self.inputs.recompute_blocks && registers
    }

    /// What is held while the gradient is on its way back through the discriminator: what waits of
    /// the student's run, and the discriminator's graph.
    fn on_the_way_back(&self, run: &Run) -> Vec<Part> {
        let inputs = self.inputs;
        let bytes = inputs.activation_bytes as u64;
        let waiting = if inputs.recompute_blocks {
            let boundaries = (inputs.student.layers as u64 + 1) * run.boundary();
            part(
                "student's tokens between blocks",
                (boundaries + run.outside()) * bytes,
            )
        } else {
            let graphs = activations::plain(run, inputs.student.layers).graphs;
            part("graph of all blocks", graphs * bytes)
        };
        let mut parts = vec![waiting, gradients_before(self.weights, run, self.samples())];
        match &self.distill.discriminator {
            DiscriminatorSizes::Graph(sizes) => parts.push(part(
                "graph of the discriminator",
                run.clips as u64 * sizes.values * bytes,
            )),
            DiscriminatorSizes::Registers(config) => {
                let visibility = Visibility::bidirectional(inputs.latents[0]);
                let clips = if self.in_pieces() {
                    inputs.shards.min(run.clips)
                } else {
                    run.clips
                };
                let backbone = Run {
                    trained: false,
                    ..self.backbone(clips, &visibility)
                };
                let depth = config.layers.last().map_or(0, |last| last + 1);
                let readers = clips as u64
                    * activations::readers(config, inputs.student.width, inputs.tokens(), false);
                let Peak {
                    boundaries,
                    graphs,
                    backward,
                } = if self.in_pieces() {
                    let block = activations::block_by_block(&backbone, depth);
                    // Either the readers are differentiated or one block.
                    if readers > block.graphs + block.backward {
                        Peak {
                            graphs: readers + backbone.boundary() + backbone.outside(),
                            backward: 0,
                            ..block
                        }
                    } else {
                        block
                    }
                } else {
                    let plain = activations::plain(&backbone, depth);
                    Peak {
                        graphs: plain.graphs + readers,
                        ..plain
                    }
                };
                parts.extend([
                    part("graph of the discriminator", graphs * bytes),
                    part("discriminator's tokens between blocks", boundaries * bytes),
                    part("backward pass of a block", backward * bytes),
                ]);
            }
        }
        parts
    }
}

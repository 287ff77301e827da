//! An alternation's phases: rollout, scores, the discriminator's update, the velocities to compare
//! with, the student's update.

use afd_models::student::{StudentConfig, Visibility};

use super::activations::{self, Peak, Run};
use super::inputs::{DiscriminatorSizes, Distill, PlanInputs};
use super::phases::{Part, Phase, Rounds, part, run, student, supervised, update, update_flops};
use super::transformer::{Computed, Flops, cache_values, conv_scales};
use super::weights::Weights;
use crate::recipe::tables::Context;

/// One alternation.
pub(super) struct Alternation<'a> {
    pub inputs: &'a PlanInputs,
    pub weights: &'a Weights,
    pub distill: &'a Distill,
}

impl Alternation<'_> {
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
        phases.push(self.flow());
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
        let values = cache_values(&self.inputs.student, clips * self.inputs.text_rows);
        part(
            "keys and values of the prompts",
            values * self.inputs.activation_bytes as u64,
        )
    }

    /// What a round holds from the rollout to its end.
    fn held(&self) -> Vec<Part> {
        let clips = self.both();
        let rows = clips * self.inputs.text_rows * self.inputs.student.text_width;
        vec![
            part(
                "keys and values of the rollouts",
                self.cache(self.inputs.memories_kept, self.prefilled()),
            ),
            self.text(self.micro_batch()),
            // As made, as judged and in portions; and noise with both velocities to compare with,
            // or augmented, moved and the way there.
            part(
                "latents and noise",
                4 * 6 * (clips * self.inputs.latent_values()) as u64,
            ),
            // Of the round, and in portions.
            part("text rows", 4 * 2 * rows as u64),
        ]
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
        let finished = inputs.memories_kept.saturating_sub(clips);
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

    /// Rollouts and teacher clips.
    fn both(&self) -> usize {
        self.distill.prompts * (self.distill.rollouts + self.distill.teacher_clips)
    }

    /// Clips that one discriminator update scores.
    fn judged(&self) -> usize {
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
    fn backbone<'b>(&'b self, clips: usize, visibility: &'b Visibility) -> Run<'b> {
        Run {
            lora: self.distill.discriminator_lora.as_ref(),
            ..run(self.inputs, clips, visibility)
        }
    }

    fn scoring(&self) -> Phase {
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
            DiscriminatorSizes::Conv(_) => self.conv_values(clips) / 2,
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
                codec: self.journeys(),
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
    fn journeys(&self) -> f64 {
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

    fn discriminator(&self) -> Phase {
        let (inputs, visibility) = (
            self.inputs,
            Visibility::bidirectional(self.inputs.latents[0]),
        );
        let bytes = inputs.activation_bytes as u64;
        let mut parts = self.held();
        let judged = self.judged();
        match &self.distill.discriminator {
            DiscriminatorSizes::Registers(config) => {
                let depth = config.layers.last().map_or(0, |last| last + 1);
                let frozen = inputs.recompute_blocks && self.weights.backbone_gradients == 0;
                // What is moved or mistaken is scored, and walked backwards, as a batch of its own.
                let (clips, passes) = if inputs.recompute_blocks {
                    (inputs.shards.min(judged), 1)
                } else {
                    (self.both(), judged.div_ceil(self.both()))
                };
                let run = Run {
                    passes,
                    ..self.backbone(clips, &visibility)
                };
                let readers = (passes * clips) as u64
                    * activations::readers(config, inputs.student.width, inputs.tokens());
                let Peak {
                    boundaries,
                    graphs,
                    backward,
                } = if inputs.recompute_blocks {
                    activations::block_by_block(&run, depth)
                } else {
                    activations::plain(&run, depth)
                };
                let kept = if inputs.recompute_blocks {
                    boundaries
                } else {
                    0
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
                parts.push(part(
                    if inputs.recompute_blocks {
                        "graph of one block"
                    } else {
                        "graph of all blocks"
                    },
                    graphs * bytes,
                ));
                parts.push(part("tokens between blocks", kept * bytes));
                parts.push(part("backward pass of a block", backward * bytes));
            }
            DiscriminatorSizes::Conv(_) => parts.push(part(
                "graph of the convolutions",
                self.conv_values(judged) * bytes,
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
            .times(judged as f64 * self.distill.discriminator_steps as f64);
        Phase {
            rounds: Rounds::All,
            name: "discriminator update".into(),
            parts,
            flops,
        }
    }

    /// Operations of scoring one clip.
    fn discriminator_flops(&self) -> Flops {
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
            DiscriminatorSizes::Conv(config) => {
                let scales = conv_scales(config, inputs.latents);
                let stem = 2.0 * (scales[0].0 * (inputs.latents[1] + 3) * scales[0].1) as f64;
                let stages: f64 = scales
                    .windows(2)
                    .map(|pair| 2.0 * (pair[1].0 * 27 * pair[0].1 * pair[1].1) as f64)
                    .sum();
                Flops {
                    linear: stem + stages,
                    ..Flops::default()
                }
            }
        }
    }

    /// Values of the convolution discriminator's graph with its backward pass: unfolded taps twice,
    /// and four times each scale.
    fn conv_values(&self, clips: usize) -> u64 {
        let DiscriminatorSizes::Conv(config) = &self.distill.discriminator else {
            return 0;
        };
        let scales = conv_scales(config, self.inputs.latents);
        let taps: usize = scales
            .windows(2)
            .map(|pair| 2 * pair[1].0 * 27 * pair[0].1)
            .sum();
        let outputs: usize = scales
            .iter()
            .map(|(positions, channels)| 4 * positions * channels)
            .sum();
        (clips * (taps + outputs + scales[0].0 * (self.inputs.latents[1] + 3))) as u64
    }

    /// Velocities of old policy and reference, without a graph.
    fn velocities(&self) -> Phase {
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
        if !noisy_past && (self.distill.reference || inputs.memories_kept == 0) {
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
            if inputs.memories_kept == 0 {
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

    fn flow(&self) -> Phase {
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
            name: "flow update".into(),
            parts,
            flops: flops.times(times),
        }
    }
}

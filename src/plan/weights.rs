//! Weights, gradients and optimizer state.

use afd_models::student::StudentConfig;
use serde::Serialize;

use super::inputs::{DiscriminatorSizes, Distill, Method, PlanInputs};
use super::phase::Part;
use super::transformer::{block_parameters, lora_parameters, parameters, register_parameters};

/// Bytes of an f32: LoRA factors, gradients, moments.
const SINGLE: u64 = 4;

/// Parameters and what they take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weights {
    /// Parameters of the student, LoRA factors not counted.
    pub student_parameters: u64,
    /// Parameters of the student that are trained.
    pub student_trainable: u64,
    /// Parameters of the discriminator, LoRA factors not counted.
    pub discriminator_parameters: u64,
    /// Parameters of the discriminator that are trained.
    pub discriminator_trainable: u64,
    /// Bytes of the student's gradients.
    pub student_gradients: u64,
    /// Of these, of one block.
    #[serde(skip)]
    pub block_gradients: u64,
    /// Bytes of the discriminator's gradients.
    pub discriminator_gradients: u64,
    /// Of these, of its backbone.
    #[serde(skip)]
    pub backbone_gradients: u64,
    /// What is held all the time: weights, copies, moments.
    pub held: Vec<Part>,
    /// Bytes of a checkpoint: the student's file, all weights and both optimizers' moments.
    pub checkpoint: u64,
    /// Bytes of the host's memory while a checkpoint is written: all its weights as values, as
    /// bytes and as a file.
    pub checkpoint_host: u64,
}

impl Weights {
    /// Of a plan.
    pub fn of(inputs: &PlanInputs) -> Self {
        let config = &inputs.student;
        let student = parameters(config) as u64;
        let factors = inputs
            .student_lora
            .as_ref()
            .map(|lora| lora_parameters(config, lora) as u64);
        let weight = inputs.weight_bytes as u64;
        let mut held = Vec::new();
        let mut push = |what: &str, bytes: u64| {
            held.push(Part {
                what: what.to_string(),
                bytes,
            })
        };
        let distill = match &inputs.method {
            Method::Distill(distill) => Some(distill),
            Method::Pretrain(_) => None,
        };
        let reference = distill.is_some_and(|distill| distill.reference);
        let (trainable, lagging) = match factors {
            Some(factors) => {
                push("base weights, shared", student * weight);
                push("student's LoRA factors", factors * SINGLE);
                (factors, factors * SINGLE)
            }
            None => {
                push("student's weights", student * weight);
                if reference {
                    push("reference's weights", student * weight);
                }
                (student, student * weight)
            }
        };
        if distill.is_some() {
            push("old policy", lagging);
        }
        push("EMA", lagging);
        push("student's moments", 2 * SINGLE * trainable);
        // Copies in a checkpoint; with LoRA only factors, because the base is the file that the run
        // started from.
        let of_student =
            2 + u64::from(distill.is_some()) + u64::from(reference && factors.is_none());
        let mut weights = Self {
            student_parameters: student,
            student_trainable: trainable,
            discriminator_parameters: 0,
            discriminator_trainable: 0,
            student_gradients: SINGLE * trainable,
            block_gradients: SINGLE
                * factors.map_or(block_parameters(config) as u64, |factors| {
                    factors / config.layers as u64
                }),
            discriminator_gradients: 0,
            backbone_gradients: 0,
            held: Vec::new(),
            checkpoint: 0,
            checkpoint_host: 0,
        };
        if let Some(distill) = distill {
            let (backbone, rest, trained) = discriminator(inputs, distill);
            // What is trained is held in f32; a backbone at rest beside a student at rest is the
            // same memory.
            let cast_frozen = if factors.is_some() {
                0
            } else {
                backbone * weight
            };
            let of_backbone = if trained.backbone > 0 {
                backbone * SINGLE
            } else {
                cast_frozen
            };
            push(
                "discriminator's weights",
                of_backbone + (rest + trained.lora) * SINGLE,
            );
            push("discriminator's moments", 2 * SINGLE * trained.all());
            weights.discriminator_parameters = backbone + rest;
            weights.discriminator_trainable = trained.all();
            weights.discriminator_gradients = SINGLE * trained.all();
            weights.backbone_gradients = SINGLE * (trained.all() - trained.rest);
        }
        if let Some(codec) = &inputs.codec {
            push("codec's weights", codec.parameters * codec.weight_bytes);
        }
        let trained = weights.student_trainable + weights.discriminator_trainable;
        let state = SINGLE * (of_student * trainable + weights.discriminator_trainable);
        weights.checkpoint = SINGLE * trainable + state + 2 * SINGLE * trained;
        weights.checkpoint_host = 3 * state.max(2 * SINGLE * trained);
        weights.held = held;
        weights
    }

    /// Bytes of all that is held.
    pub fn held_bytes(&self) -> u64 {
        self.held.iter().map(|part| part.bytes).sum()
    }
}

/// Trained parameters of a discriminator.
struct Trained {
    backbone: u64,
    lora: u64,
    rest: u64,
}

impl Trained {
    fn all(&self) -> u64 {
        self.backbone + self.lora + self.rest
    }
}

/// Parameters of backbone and rest, and what of them is trained.
fn discriminator(inputs: &PlanInputs, distill: &Distill) -> (u64, u64, Trained) {
    let config: &StudentConfig = &inputs.student;
    match &distill.discriminator {
        DiscriminatorSizes::Graph(sizes) => {
            let trained = Trained {
                backbone: 0,
                lora: 0,
                rest: sizes.parameters,
            };
            (0, sizes.parameters, trained)
        }
        DiscriminatorSizes::Registers(registers) => {
            let (backbone, rest) = (
                parameters(config) as u64,
                register_parameters(registers, config.width) as u64,
            );
            let trained = match &distill.discriminator_lora {
                Some(lora) => Trained {
                    backbone: 0,
                    lora: lora_parameters(config, lora) as u64,
                    rest,
                },
                None => Trained {
                    backbone,
                    lora: 0,
                    rest,
                },
            };
            (backbone, rest, trained)
        }
    }
}

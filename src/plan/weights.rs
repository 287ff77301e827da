//! Weights, gradients and optimizer state.

use afd_models::student::StudentConfig;
use serde::Serialize;

use super::inputs::{DiscriminatorSizes, Distill, PlanInputs, PlannedMethod};
use super::phase::{Part, part};
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
        let distill = match &inputs.method {
            PlannedMethod::Distill(distill) => Some(distill),
            PlannedMethod::Pretrain(_) => None,
        };
        let mut weights = Self::of_student(inputs, distill);
        if let Some(distill) = distill {
            weights.add_discriminator(inputs, distill);
        }
        if let Some(codec) = &inputs.codec {
            let bytes = codec.parameters * codec.weight_bytes;
            weights.held.push(part("codec's weights", bytes));
        }
        // Copies in a checkpoint; with LoRA only factors, because the base is the file that the run
        // started from.
        let reference = inputs.method.keeps_reference();
        let copies = 2
            + u64::from(distill.is_some())
            + u64::from(reference && inputs.student_lora.is_none());
        let (student, discriminator) = (weights.student_trainable, weights.discriminator_trainable);
        let moments = 2 * SINGLE * (student + discriminator);
        let state = SINGLE * (copies * student + discriminator);
        weights.checkpoint = SINGLE * student + state + moments;
        weights.checkpoint_host = 3 * state.max(moments);
        weights
    }

    /// The student and its copies.
    fn of_student(inputs: &PlanInputs, distill: Option<&Distill>) -> Self {
        let config = &inputs.student;
        let student = parameters(config) as u64;
        let factors = inputs
            .student_lora
            .as_ref()
            .map(|lora| lora_parameters(config, lora) as u64);
        let bytes = student * inputs.weight_bytes as u64;
        let mut held = Vec::new();
        let (trainable, lagging) = match factors {
            Some(factors) => {
                held.push(part("base weights, shared", bytes));
                held.push(part("student's LoRA factors", factors * SINGLE));
                (factors, factors * SINGLE)
            }
            None => {
                held.push(part("student's weights", bytes));
                if inputs.method.keeps_reference() {
                    // It is never trained.
                    let bytes = student * inputs.activation_bytes as u64;
                    held.push(part("reference's weights", bytes));
                }
                (student, bytes)
            }
        };
        if distill.is_some() {
            held.push(part("old policy", lagging));
        }
        held.push(part("EMA", lagging));
        held.push(part("student's moments", 2 * SINGLE * trainable));
        let of_block = factors.map_or(block_parameters(config) as u64, |factors| {
            factors / config.layers as u64
        });
        Self {
            student_parameters: student,
            student_trainable: trainable,
            discriminator_parameters: 0,
            discriminator_trainable: 0,
            student_gradients: SINGLE * trainable,
            block_gradients: SINGLE * of_block,
            discriminator_gradients: 0,
            backbone_gradients: 0,
            held,
            checkpoint: 0,
            checkpoint_host: 0,
        }
    }

    fn add_discriminator(&mut self, inputs: &PlanInputs, distill: &Distill) {
        let (backbone, others, trained) = discriminator(inputs, distill);
        // What is trained is held in f32; a frozen backbone beside a frozen student is the same
        // memory.
        let of_backbone = if trained.backbone > 0 {
            backbone * SINGLE
        } else if inputs.student_lora.is_some() {
            0
        } else {
            backbone * inputs.weight_bytes as u64
        };
        self.held.extend([
            part(
                "discriminator's weights",
                of_backbone + (others + trained.lora) * SINGLE,
            ),
            part("discriminator's moments", 2 * SINGLE * trained.all()),
        ]);
        self.discriminator_parameters = backbone + others;
        self.discriminator_trainable = trained.all();
        self.discriminator_gradients = SINGLE * trained.all();
        self.backbone_gradients = SINGLE * (trained.all() - trained.others);
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
    others: u64,
}

impl Trained {
    fn all(&self) -> u64 {
        self.backbone + self.lora + self.others
    }
}

/// Parameters of the backbone and of all else, and what of them is trained.
fn discriminator(inputs: &PlanInputs, distill: &Distill) -> (u64, u64, Trained) {
    let config: &StudentConfig = &inputs.student;
    match &distill.discriminator {
        DiscriminatorSizes::Graph(sizes) => {
            let trained = Trained {
                backbone: 0,
                lora: 0,
                others: sizes.parameters,
            };
            (0, sizes.parameters, trained)
        }
        DiscriminatorSizes::Registers(registers) => {
            let (backbone, others) = (
                parameters(config) as u64,
                register_parameters(registers, config.width) as u64,
            );
            let trained = match &distill.discriminator_lora {
                Some(lora) => Trained {
                    backbone: 0,
                    lora: lora_parameters(config, lora) as u64,
                    others,
                },
                None => Trained {
                    backbone,
                    lora: 0,
                    others,
                },
            };
            (backbone, others, trained)
        }
    }
}

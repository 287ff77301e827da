//! What a plan is made from: plain sizes.

mod of_recipe;

use afd_models::discriminator::{GraphSizes, RegisterConfig};
use afd_models::lora::LoraConfig;
use afd_models::precision::Precision;
use afd_models::student::{BlockLayout, StudentConfig};
use serde::Serialize;

use super::codec::{CodecSizes, TextEncoderSizes};
use crate::recipe::tables::Context;

/// Everything that memory and work depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanInputs {
    /// Sizes of the student.
    pub student: StudentConfig,
    /// Latent frames, channels, rows and columns of a clip, `[F, C, H, W]`.
    pub latents: [usize; 4],
    /// Pixel values of a prepared clip, T * H * W * 3; 0 where training reads prepared latents.
    pub pixels: usize,
    /// Text embeddings of a prompt (L).
    pub text_length: usize,
    /// Prompts trained on.
    pub prompts: usize,
    /// Prompts kept for evaluation.
    pub held_out: usize,
    /// Distinct teacher clips per prompt, rounded up; 0 = a fresh one every time, none is stored.
    pub samples_per_prompt: usize,
    /// What is trained how.
    pub method: PlannedMethod,
    /// The codec, where it is a network: rollouts go through it before the discriminator sees them.
    pub codec: Option<CodecSizes>,
    /// The text encoder, where it is a network.
    pub text_encoder: Option<TextEncoderSizes>,
    /// The student's low-rank factors; `None` trains all weights. With them the student, its
    /// lagging copies and the reference share one set of base weights.
    pub student_lora: Option<LoraConfig>,
    /// Bytes of a weight that is not trained, and of one that is trained without LoRA. LoRA
    /// factors, gradients and moments are f32.
    pub weight_bytes: usize,
    /// Bytes of an activation.
    pub activation_bytes: usize,
    /// Whether updates hold the graph of one transformer block at a time (`run.recompute_blocks`).
    pub recompute_blocks: bool,
    /// Queries of a clip and head whose attention scores are held at once
    /// (`run.attention_queries`).
    pub attention_queries: usize,
    /// Parts of a batch that run side by side (`run.shards`).
    pub shards: usize,
    /// Clips that the student's passes hold at once, over all parts: all of a round, or
    /// `run.micro_batch` of every part.
    pub micro_batch: usize,
    /// Rollouts whose KV caches are kept from the rollout to the last update of the round:
    /// all of a round, or 0 where they are made again.
    pub caches_kept: usize,
    /// Who computes.
    pub kernels: KernelSet,
    /// How long the run is.
    pub schedule: Schedule,
}

/// How many rounds a run has, and what it keeps of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// Supervised updates before the warm-up.
    pub start: u64,
    /// Most rounds in which only the discriminator learns.
    pub warm_up: u64,
    /// Alternations, or supervised updates.
    pub rounds: u64,
    /// Checkpoints that stay on disk.
    pub checkpoints: u64,
}

/// Which implementation of [`afd_models::kernels::Kernels`] computes: they differ in what they hold
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelSet {
    /// flex's loops, which are for f32: attention scores of one clip and head at a time.
    Loops,
    /// Tensor operations (cuda, wgpu, ndarray, and flex in bf16): attention scores of all clips and
    /// heads at a time.
    Operations,
}

impl KernelSet {
    /// Those of a backend, by its name, in a precision.
    pub fn of(backend: &str, precision: Precision) -> Self {
        if backend == "flex" && precision == Precision::F32 {
            Self::Loops
        } else {
            Self::Operations
        }
    }
}

/// What is trained how.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedMethod {
    /// Adversarial Flow Distillation.
    Distill(Distill),
    /// Supervised flow matching.
    Pretrain(Pretrain),
}

/// One supervised update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pretrain {
    /// Clips per update.
    pub batch: usize,
    /// Clips of a micro-batch.
    pub micro_batch: usize,
    /// Whether blocks attend to clean clips: two passes instead of one.
    pub teacher_forcing: bool,
    /// Where the clips come from if not from the teacher.
    pub trajectories: Option<Trajectories>,
}

/// Clips that the student of the start makes in many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Trajectories {
    /// Steps of each block.
    pub steps: usize,
    /// Levels at which each is shown: clips of an update per trajectory.
    pub levels: usize,
    /// Those that are made at once.
    pub at_once: usize,
}

/// One alternation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distill {
    /// Prompts per alternation (P).
    pub prompts: usize,
    /// Rollouts per prompt (K).
    pub rollouts: usize,
    /// Teacher clips per prompt (M).
    pub teacher_clips: usize,
    /// Teacher clips per prompt that the flow update learns from.
    pub teacher_positives: usize,
    /// Steps of the few-step sampler: of a clip's first block, and of the others. The mean over
    /// rounds, where rollouts end at a random step.
    pub sampler_steps: [f64; 2],
    /// Sets of latents of the states on the way to the rollouts, where the update reads them.
    pub states: usize,
    /// What the student's update is.
    pub update: PlannedUpdate,
    /// Whether the discriminator is left alone after the warm-up.
    pub frozen_after_warm_up: bool,
    /// What comes before the first one.
    pub supervised_start: Option<Pretrain>,
    /// Discriminator updates.
    pub discriminator_steps: u64,
    /// Student updates.
    pub flow_steps: u64,
    /// What a block attends to during the update.
    pub context: Context,
    /// Whether that is cut off from the graph.
    pub detach_context: bool,
    /// Whether a lagging policy's velocity is computed.
    pub lagging_old: bool,
    /// Whether a reference is kept.
    pub reference: bool,
    /// Whether the discriminator's clips are scored a second time, moved a little (R1, R2).
    pub penalised: bool,
    /// Whether teacher clips are scored a second time with other prompts.
    pub mismatched: bool,
    /// The discriminator.
    pub discriminator: DiscriminatorSizes,
    /// Low-rank factors of its backbone's blocks, whose other weights are then frozen; `None`
    /// trains all.
    pub discriminator_lora: Option<LoraConfig>,
}

/// A student's update in an alternation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedUpdate {
    /// AFD's, on noised rollouts.
    ForwardProcess,
    /// Through the discriminator into the last step of the rollouts.
    ThroughDiscriminator,
    /// Policy gradients on a step of the rollouts.
    ReverseChain,
}

/// Sizes of a discriminator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorSizes {
    /// One without a backbone.
    Graph(GraphSizes),
    /// Registers on a copy of the student.
    Registers(RegisterConfig),
}

impl PlanInputs {
    /// Tokens of a latent frame (S).
    pub fn tokens_per_frame(&self) -> usize {
        let [_, _, rows, columns] = self.latents;
        rows * columns / (self.student.patch * self.student.patch)
    }

    /// Tokens of a clip.
    pub fn tokens(&self) -> usize {
        self.latents[0] * self.tokens_per_frame()
    }

    /// How a clip's frames fall into blocks.
    pub fn layout(&self) -> BlockLayout {
        BlockLayout {
            frames: self.latents[0],
            frames_per_block: self.student.frames_per_block,
            window_frames: self.student.window_frames,
            sink_frames: self.student.sink_frames,
        }
    }

    /// Values of a clip's latents.
    pub fn latent_values(&self) -> usize {
        self.latents.iter().product()
    }
}

impl PlannedMethod {
    /// Whether the student of the start is kept.
    pub(super) fn keeps_reference(&self) -> bool {
        match self {
            Self::Pretrain(pretrain) => pretrain.trajectories.is_some(),
            Self::Distill(distill) => distill.reference,
        }
    }

    /// Clips that an update of the student learns from.
    fn clips(&self) -> usize {
        match self {
            Self::Pretrain(pretrain) => pretrain.batch,
            Self::Distill(distill) => {
                distill.prompts * (distill.rollouts + distill.teacher_positives)
            }
        }
    }
}

//! What a plan is made from: plain sizes, and how a recipe becomes them.

use afd_clips::layouts::Layout as FolderLayout;
use afd_models::discriminator::{DiscriminatorSpec, GraphSizes, RegisterConfig};
use afd_models::lora::LoraConfig;
use afd_models::precision::Precision;
use afd_models::student::{BlockLayout, StudentConfig};
use afd_models::text::umt5::UmT5Config;
use serde::Serialize;

use super::codec::{CodecSizes, TextEncoderSizes};
use crate::recipe::Recipe;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::{Context, OldPolicy, Settings, TextKind};

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
    /// Steps of the few-step sampler.
    pub sampler_steps: usize,
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
    /// What `recipe` does on a backend, by its name.
    pub fn of(recipe: &Recipe, backend: &str) -> Self {
        let samples_per_prompt = samples_per_prompt(recipe);
        let training_clips = (samples_per_prompt > 0)
            .then_some((samples_per_prompt * recipe.train_prompts.len()) as u64);
        let settings = &recipe.settings.clone().within_passes(training_clips);
        let method = PlannedMethod::of(recipe, settings);
        let clips = method.clips();
        let micro_batch = micro_batch(settings, clips);
        let clip = settings.clip;
        Self {
            student: recipe.student.clone(),
            latents: recipe.latent_shape,
            // Prepared latents are read instead of pixels.
            pixels: if recipe.data().is_some() {
                0
            } else {
                clip.frames * clip.height * clip.width * 3
            },
            text_length: settings.text.length,
            prompts: recipe.train_prompts.len(),
            held_out: recipe.held_out_prompts.len(),
            samples_per_prompt,
            method,
            codec: match &recipe.codec {
                CodecPlan::Pixel(_) => None,
                CodecPlan::WanVae {
                    config, precision, ..
                } => Some(CodecSizes::wan_vae(
                    config,
                    *precision,
                    [clip.frames, clip.height, clip.width],
                )),
            },
            // Its weights are not opened for this: Wan's students were all trained with the same
            // one.
            text_encoder: (settings.text.kind == TextKind::Umt5).then(|| {
                TextEncoderSizes::umt5(
                    &UmT5Config::xxl(),
                    settings.text.precision,
                    settings.text.length,
                )
            }),
            student_lora: settings.student.lora.clone(),
            weight_bytes: if settings.student.lora.is_some() {
                settings.run.precision.bytes()
            } else {
                4
            },
            activation_bytes: settings.run.precision.bytes(),
            recompute_blocks: settings.run.recompute_blocks,
            attention_queries: settings.run.attention_queries,
            shards: settings.run.shards,
            micro_batch,
            caches_kept: if micro_batch < clips { 0 } else { clips },
            kernels: KernelSet::of(backend, settings.run.precision),
            schedule: Schedule::of(settings),
        }
    }

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
    /// The baselines with a discriminator are planned like AFD: the same rollouts, an update of the
    /// same size.
    /// `settings` are the recipe's with the schedule that runs.
    fn of(recipe: &Recipe, settings: &Settings) -> Self {
        let batch = settings.supervised.batch;
        let supervised = Pretrain {
            batch,
            micro_batch: micro_batch(settings, batch),
            teacher_forcing: settings.supervised.teacher_forcing,
        };
        if settings.is_supervised() {
            return Self::Pretrain(supervised);
        }
        let (afd, discriminator) = (&settings.afd, &settings.discriminator);
        Self::Distill(Distill {
            prompts: afd.prompts_per_alternation,
            rollouts: afd.rollouts_per_prompt,
            teacher_clips: afd.teacher_clips_per_prompt,
            teacher_positives: afd.teacher_positives,
            sampler_steps: settings.sampler.denoising_step_list.len(),
            supervised_start: (afd.supervised_rounds > 0).then_some(supervised),
            discriminator_steps: afd.discriminator_steps,
            flow_steps: afd.flow_steps,
            context: afd.context,
            detach_context: afd.detach_context,
            lagging_old: afd.old_policy == OldPolicy::Lagging,
            reference: afd.reference_weight > 0.0,
            penalised: discriminator.r1_weight > 0.0 || discriminator.r2_weight > 0.0,
            mismatched: discriminator.mismatch_weight > 0.0,
            discriminator: DiscriminatorSizes::of(recipe),
            discriminator_lora: discriminator.lora.clone(),
        })
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

impl DiscriminatorSizes {
    /// The sizes of the recipe's discriminator.
    fn of(recipe: &Recipe) -> Self {
        let spec = recipe.settings.discriminator.spec();
        match (
            spec.graph_sizes(recipe.latent_shape, recipe.student.text_width),
            spec,
        ) {
            (Some(sizes), _) => Self::Graph(sizes),
            (None, DiscriminatorSpec::Registers { config, .. }) => Self::Registers(config),
            (None, _) => unreachable!("all others tell their sizes"),
        }
    }
}

impl Schedule {
    fn of(settings: &Settings) -> Self {
        let (afd, checkpoints) = (&settings.afd, settings.run.keep as u64);
        match settings.is_supervised() {
            true => Self {
                start: 0,
                warm_up: 0,
                rounds: settings.supervised.steps,
                checkpoints,
            },
            false => Self {
                start: afd.supervised_rounds,
                warm_up: afd.warmup_steps,
                rounds: afd.alternations,
                checkpoints,
            },
        }
    }
}

/// Clips of a micro-batch, of `clips`; every part of a batch is cut by itself.
fn micro_batch(settings: &Settings, clips: usize) -> usize {
    match settings.run.micro_batch {
        0 => clips,
        limit => clips.min(limit * settings.run.shards),
    }
}

/// As the recipe says; or, where it leaves that to a folder whose clips are prepared, as many as
/// the folder lists, if it is there already.
fn samples_per_prompt(recipe: &Recipe) -> usize {
    let teacher = &recipe.settings.teacher;
    if teacher.samples_per_prompt > 0 || recipe.data().is_none() {
        return teacher.samples_per_prompt as usize;
    }
    let mut clips = 0usize;
    if let Some(path) = &teacher.path {
        let layout = teacher
            .layout
            .map_or_else(|| FolderLayout::detect(path), Ok);
        // A folder that is not there yet, or cannot be read, is planned as one clip per prompt.
        let _ = layout.and_then(|layout| {
            layout.list(path, &mut |listed| {
                clips += usize::from(listed.is_ok());
                true
            })
        });
    }
    clips.div_ceil(recipe.train_prompts.len()).max(1)
}

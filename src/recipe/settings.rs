//! The fields of a recipe, their units and their defaults.

use std::path::PathBuf;

use afd_api::service::ApiSettings;
use afd_clips::check::Flag;
use afd_clips::layouts::Layout;
use afd_clips::prepare::Fit;
use afd_models::lora::LoraConfig;
use afd_models::precision::Precision;
use afd_models::student::Limits;
use afd_models::weights::Pickles;
use serde::{Deserialize, Serialize};

use crate::afd::advantage::{AdvantageForm, AdvantageScale};
use crate::afd::bradley_terry::DiscriminatorLoss;
use crate::afd::forward_process::LossForm;
use crate::afd::model::Context;
use crate::afd::optimizer::AdamSettings;
use crate::afd::policies::OldPolicySchedule;
use crate::data::video::ClipShape;
use crate::flow::sampler::SamplerKind;

/// A recipe as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the recipe does.
    pub kind: Kind,
    /// How the student is taught (`kind = "distill"`).
    #[serde(default)]
    pub method: Method,
    /// Name of the run directory below `runs/`.
    pub name: String,
    /// Seed of every random number but the teacher's.
    #[serde(default)]
    pub seed: u64,
    /// Size, length and rate that teacher and student clips share.
    pub clip: ClipShape,
    /// Pixels to latents.
    pub codec: Codec,
    /// Prompts to text rows.
    pub text: Text,
    /// What is prepared before training; without it, clips are encoded when they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Whether weight files that torch.save wrote (.pt, .pth) are read too; no code in them is run.
    #[serde(default)]
    pub allow_pickle: bool,
    /// The student.
    pub student: Student,
    /// The black box.
    pub teacher: Teacher,
    /// Prompts trained on and prompts kept for evaluation.
    pub prompts: Prompts,
    /// The few-step sampler.
    pub sampler: Sampler,
    /// Adversarial Flow Distillation (`kind = "distill"`).
    #[serde(default)]
    pub afd: Afd,
    /// The discriminator (`kind = "distill"`).
    #[serde(default)]
    pub discriminator: Discriminator,
    /// Reverse-chain reinforcement learning (`method = "reverse-chain"`).
    #[serde(default)]
    pub reverse_chain: ReverseChain,
    /// Supervised flow matching (`kind = "pretrain"`, or `method = "supervised"`).
    #[serde(default)]
    pub supervised: Supervised,
    /// The student's optimizer.
    #[serde(default)]
    pub optimizer: AdamSettings,
    /// The final table.
    #[serde(default)]
    pub evaluation: Evaluation,
    /// Threads and checkpoints.
    #[serde(default)]
    pub run: Run,
}

impl Settings {
    /// Whether weight files may be pickles.
    pub fn pickles(&self) -> Pickles {
        if self.allow_pickle {
            Pickles::Allowed
        } else {
            Pickles::Refused
        }
    }

    /// Whether the student learns from teacher clips alone: no rollouts, no discriminator.
    pub fn is_supervised(&self) -> bool {
        self.kind == Kind::Pretrain || self.method == Method::Supervised
    }
}

/// What a recipe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Adversarial Flow Distillation of a base student.
    Distill,
    /// Supervised flow matching: makes a base student of random weights, or a few-step student of
    /// one that takes many (`supervised.trajectory_steps`).
    Pretrain,
}

/// How a student is taught: Adversarial Flow Distillation, or what one would use instead (method.md
/// H).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Adversarial Flow Distillation (default).
    #[default]
    Afd,
    /// The same with a discriminator that rests after the warm-up (H.4).
    FrozenDiscriminator,
    /// The same with rollouts of the base student only, scored by a discriminator that rests after
    /// the warm-up (H.6).
    Offline,
    /// The discriminator's gradient flows through the student's last step (H.2); `[direct]`.
    DirectAdversarial,
    /// Policy gradients on the sampler's chain (H.5); `[reverse_chain]`.
    ReverseChain,
    /// Flow matching on teacher clips, nothing else (H.1); `[supervised]`.
    Supervised,
    /// Distribution matching by scores (H.3): refused, because a black box has none.
    ScoreDistillation,
}

/// Pixels to latents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codec {
    /// The codec.
    pub kind: CodecKind,
    /// Pixels per latent row and column (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Whether a square of pixels shares one pair of colour differences: half the channels, lossy
    /// in colour only (`kind = "pixel"`).
    #[serde(default)]
    pub subsampled_chroma: bool,
    /// Mean of the pixels, in [-1, 1] (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f32>,
    /// Standard deviation of the pixels, > 0 (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f32>,
    /// Weights in any layout, relative to the recipe (`kind = "wan-vae"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// The type that it computes in (`kind = "wan-vae"`); the same for teacher and student.
    #[serde(default)]
    pub precision: Precision,
}

/// Codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodecKind {
    /// Space-to-depth.
    Pixel,
    /// Wan's causal VAE.
    WanVae,
}

/// Prompts to text rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The encoder.
    pub kind: TextKind,
    /// Rows per prompt (L): the longest prompt in words; umT5 always has 512.
    pub length: usize,
    /// Width of a row; umT5-XXL: 4096.
    pub width: usize,
    /// Weights of umT5 in any layout, relative to the recipe (`kind = "umt5"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// Its `tokenizer.json`, relative to the recipe (`kind = "umt5"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// The type that it computes in (`kind = "umt5"`).
    #[serde(default)]
    pub precision: Precision,
}

/// Text encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextKind {
    /// Fixed word vectors.
    Words,
    /// Wan's: prompts are encoded once, by `afd data prepare`.
    Umt5,
}

/// What `afd data prepare` makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The directory that it fills, relative to the recipe: embeddings of the prompts, latents of
    /// the teacher's clips.
    pub path: PathBuf,
    /// Clips per file of latents.
    #[serde(default = "eight")]
    pub clips_per_shard: usize,
}

fn eight() -> usize {
    8
}

/// The student: a file, or sizes for a fresh one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Student {
    /// Weights to start from, relative to the recipe; brings its sizes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// Latent frames generated together: more than 1 is a chunk-wise student, 1 a frame-wise one.
    pub frames_per_block: usize,
    /// Attention window in latent frames, sink included; 0 = everything.
    #[serde(default)]
    pub window_frames: usize,
    /// First frames that stay visible.
    #[serde(default)]
    pub sink_frames: usize,
    /// Which part of a training checkpoint to start from, such as `generator`; without it,
    /// `generator_ema` before `generator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Attention heads of a checkpoint that does not say; without it, 128 channels each as in every
    /// Wan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Sizes of a fresh student.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Sizes>,
    /// Train low-rank factors beside the checkpoint's weights, which rest; without it every weight
    /// is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// Sizes of a fresh student; see [`afd_models::student::StudentConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Token width.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the feed-forward network.
    pub feed_forward_width: usize,
    /// Latent rows and columns per token.
    pub patch: usize,
    /// Width of the timestep embedding.
    pub frequency_width: usize,
}

/// The black box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// Which one.
    pub kind: TeacherKind,
    /// The folder of `kind = "folder"` (see [`afd_clips::layouts`]), or the store of `kind =
    /// "api"`; relative to the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// How the folder says which clip shows which prompt; without it, what the folder holds
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How videos of another aspect ratio become clips.
    #[serde(default)]
    pub fit: Fit,
    /// Largest share of a folder's clips that may be unusable; those are left out, and named in
    /// `quarantine.jsonl`.
    #[serde(default = "one_percent")]
    pub max_bad_share: f64,
    /// Suspicious clips that are left out as well; they count as unusable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Flag>,
    /// Seed of the world's own randomness.
    #[serde(default)]
    pub seed: u64,
    /// The world with gravity and restitution that ignore the prompt: pre-training data.
    #[serde(default)]
    pub uncurated: bool,
    /// Distinct training samples per prompt (M_c); 0 = a fresh sample every time, which an API's
    /// teacher does not give.
    #[serde(default)]
    pub samples_per_prompt: u64,
    /// The provider (`kind = "api"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiSettings>,
}

fn one_percent() -> f64 {
    0.01
}

/// Teachers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherKind {
    /// The built-in physics world.
    World,
    /// A folder of finished clips.
    Folder,
    /// A provider's API, and the store of the clips that it made.
    Api,
}

/// Prompt lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Prompts trained on.
    pub train: PromptList,
    /// Prompts kept for evaluation; needed where `evaluation.clips_per_prompt` is not 0.
    #[serde(default)]
    pub held_out: PromptList,
}

/// A file with one prompt a line, relative to the recipe, or the prompts themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PromptList {
    /// The file.
    File(PathBuf),
    /// The prompts.
    Inline(Vec<String>),
}

impl Default for PromptList {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// The few-step sampler (method.md A.3, A.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampler {
    /// The kind of step.
    pub kind: SamplerKind,
    /// Nominal timesteps, descending, in (0, 1000].
    pub denoising_step_list: Vec<f64>,
    /// Shift of the schedule, > 0; Wan students use 5.
    pub timestep_shift: f64,
    /// Whether the nominal list is warped by the shifted schedule.
    pub warp_denoising_step: bool,
}

/// Which noise levels an update trains (method.md G.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SigmaSet {
    /// The sampler's own levels: the only states a few-step student visits (default).
    Sampler,
    /// The nominal list over 1000, unwarped (Astrolabe).
    Unwarped,
    /// Continuous: uniform, then shifted.
    Shifted,
}

/// What stands in for v_old in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldPolicy {
    /// The lagging policy that the rollouts were drawn with (default): the trust region of
    /// method.md F.1.
    Lagging,
    /// The student's own velocity, cut off from the graph: no trust region.
    StopGradient,
}

/// Adversarial Flow Distillation (method.md G).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Afd {
    /// Alternations after the warm-up.
    pub alternations: u64,
    /// Supervised updates on teacher clips before the warm-up, as `[supervised]` says (but for its
    /// `steps`); 0 goes without.
    pub supervised_rounds: u64,
    /// Most warm-up rounds, in which only the discriminator learns.
    pub warmup_steps: u64,
    /// The warm-up ends when the pair accuracy on fresh clips has reached this band; inside a run a
    /// discriminator above the band is not updated until the student has caught up if
    /// `pause_above_band` is set.
    pub warmup_pair_accuracy: [f64; 2],
    /// Skip discriminator updates while fresh pair accuracy is above the band.
    pub pause_above_band: bool,
    /// Prompts per alternation (P).
    pub prompts_per_alternation: usize,
    /// Rollouts per prompt (K).
    pub rollouts_per_prompt: usize,
    /// Teacher clips per prompt and alternation (M).
    pub teacher_clips_per_prompt: usize,
    /// Teacher clips per prompt that the flow update learns from as well, with r = 1: pure AFD has
    /// none.
    pub teacher_positives: usize,
    /// The part of the alternations in which it does, from and to, in [0, 1].
    pub teacher_positives_span: [f64; 2],
    /// Whether teacher clips stand for another prompt of the batch: destroys the pairing, for an
    /// ablation only.
    pub shuffled_pairs: bool,
    /// Rounds of base rollouts that `method = "offline"` goes through again and again.
    pub offline_rounds: u64,
    /// Discriminator updates per alternation.
    pub discriminator_steps: u64,
    /// Student updates per alternation, on the same rollouts with fresh noise.
    pub flow_steps: u64,
    /// Strength of the implicit policies.
    pub beta: f64,
    /// Baseline of the advantage.
    pub advantage: AdvantageForm,
    /// Normaliser of the advantage.
    pub advantage_scale: AdvantageScale,
    /// Clip of the advantage in standard deviations; r = 1/2 + A / (2 clip).
    pub advantage_clip: f64,
    /// Groups whose scores differ less than this are left alone.
    pub minimum_std: f64,
    /// Noise levels of the update.
    pub sigmas: SigmaSet,
    /// Form of the loss.
    pub loss: LossForm,
    /// What a block looks back at during the update.
    pub context: Context,
    /// Whether that context is cut off from the graph.
    pub detach_context: bool,
    /// What stands in for v_old.
    pub old_policy: OldPolicy,
    /// How fast the old policy follows.
    pub old_policy_schedule: OldPolicySchedule,
    /// Its decay per alternation (the ceiling of the ramp).
    pub old_policy_decay: f64,
    /// Student learning rate of the first alternation, as a share of `optimizer.learning_rate`,
    /// which a supervised start has.
    pub first_rate: f64,
    /// Student learning rate of the last alternation, as a share of the first's; a half cosine
    /// leads there.
    pub final_rate: f64,
    /// Weight lambda of `|v_theta - v_ref|^2`; 0 keeps no reference.
    pub reference_weight: f64,
    /// Ceiling of the evaluation average's decay per alternation.
    pub ema_decay: f64,
}

impl Default for Afd {
    fn default() -> Self {
        Self {
            alternations: 100,
            supervised_rounds: 0,
            warmup_steps: 60,
            warmup_pair_accuracy: [0.85, 0.95],
            pause_above_band: false,
            prompts_per_alternation: 6,
            rollouts_per_prompt: 8,
            teacher_clips_per_prompt: 8,
            teacher_positives: 0,
            teacher_positives_span: [0.0, 1.0],
            shuffled_pairs: false,
            offline_rounds: 50,
            discriminator_steps: 2,
            flow_steps: 2,
            beta: 1.0,
            advantage: AdvantageForm::Group,
            advantage_scale: AdvantageScale::Group,
            advantage_clip: 2.0,
            minimum_std: 0.0,
            sigmas: SigmaSet::Sampler,
            loss: LossForm::Adaptive,
            context: Context::OwnClean,
            detach_context: true,
            old_policy: OldPolicy::Lagging,
            old_policy_schedule: OldPolicySchedule::Constant,
            old_policy_decay: 0.9,
            first_rate: 1.0,
            final_rate: 1.0,
            reference_weight: 1e-4,
            ema_decay: 0.9,
        }
    }
}

/// Reverse-chain reinforcement learning (method.md H.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReverseChain {
    /// Share of fresh noise in the steps of a rollout, in (0, 1], for students whose own sampler is
    /// deterministic; a consistency sampler's is 1.
    pub fresh_noise: f64,
    /// Clip of the ratio of two densities, each the mean over a block's values, > 0.
    pub clip_range: f64,
    /// Weight of the divergence from the base student; 0 keeps no reference.
    pub divergence_weight: f64,
}

impl Default for ReverseChain {
    fn default() -> Self {
        Self {
            fresh_noise: 0.5,
            clip_range: 1e-3,
            divergence_weight: 0.0,
        }
    }
}

/// Discriminators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorKind {
    /// Multiscale 3-D convolutions.
    Conv,
    /// Register tokens on a copy of the student.
    Registers,
}

/// The discriminator (method.md E).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discriminator {
    /// Which one.
    pub kind: DiscriminatorKind,
    /// What it is trained on: pairs, or clips on their own.
    pub loss: DiscriminatorLoss,
    /// Channels of each scale (`kind = "conv"`).
    pub channels: Vec<usize>,
    /// Width of the feature that meets the prompt (`kind = "conv"`), or of the readers'
    /// feed-forward networks (`kind = "registers"`).
    pub width: usize,
    /// Depths that are read (`kind = "registers"`).
    pub layers: Vec<usize>,
    /// Train low-rank factors beside the weights of the copy of the student, which rest (`kind =
    /// "registers"`); readers and head are trained either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Standard deviation of the noise added to both sides, in latent units.
    pub instance_noise: f32,
    /// Weight of the penalty on teacher clips.
    pub r1_weight: f64,
    /// Weight of the penalty on student clips.
    pub r2_weight: f64,
    /// Step of the finite differences, in latent units.
    pub penalty_size: f64,
    /// Fresh pair accuracy above which both penalties grow, and below which they shrink again to
    /// their weights, by 2 % an alternation; 1 leaves them alone. Keeps a discriminator that sees
    /// few teacher clips from learning them by heart.
    pub penalty_target: f64,
    /// Weight of a second Bradley-Terry loss: teacher clips with their own prompt against the same
    /// clips with a prompt that is easily mistaken for it. Teaches the discriminator to read the
    /// prompt even while artefacts alone tell the sides apart; 0 leaves it out.
    pub mismatch_weight: f64,
    /// Largest shift, in latent pixels, applied to both sides of an update.
    pub augment_shift: usize,
    /// Largest relative change of brightness, applied to both sides of an update.
    pub augment_brightness: f32,
    /// Its optimizer.
    pub optimizer: AdamSettings,
}

impl Default for Discriminator {
    fn default() -> Self {
        Self {
            kind: DiscriminatorKind::Conv,
            loss: DiscriminatorLoss::BradleyTerry,
            channels: vec![32, 64, 64, 64],
            width: 64,
            layers: vec![],
            lora: None,
            instance_noise: 0.02,
            r1_weight: 0.01,
            r2_weight: 0.01,
            penalty_size: 0.05,
            penalty_target: 1.0,
            mismatch_weight: 0.0,
            augment_shift: 0,
            augment_brightness: 0.0,
            optimizer: AdamSettings {
                learning_rate: 5e-4,
                beta_1: 0.5,
                beta_2: 0.99,
                weight_decay: 0.0,
                ..AdamSettings::default()
            },
        }
    }
}

/// Supervised flow matching (method.md H.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervised {
    /// Updates.
    pub steps: u64,
    /// Clips per update.
    pub batch: usize,
    /// Most updates that a teacher clip, on average, takes part in directly: here, in AFD's
    /// supervised start, and as one of its `teacher_positives`. More teach a student few clips by
    /// heart; the discriminator goes on seeing them. AFD makes up for what falls away with
    /// alternations. 0 sets no limit, and a teacher without an end needs none.
    pub passes: u64,
    /// Steps in which the student of the start makes the clips that it learns to make in few (`kind
    /// = "pretrain"` with `student.checkpoint`); the noise levels are then the sampler's. 0 learns
    /// from teacher clips.
    pub trajectory_steps: usize,
    /// Noise levels: all of them (`shifted`, default), or only those that a few-step student visits
    /// (`sampler`, `unwarped`).
    pub sigmas: SigmaSet,
    /// Whether blocks look back at clean clips (teacher forcing) or at noisy ones (diffusion
    /// forcing).
    pub teacher_forcing: bool,
    /// Noise level of the clean half, in [0, 1).
    pub context_noise: f32,
    /// Updates over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// Learning rate at the end, as a share of the peak; a half cosine leads there.
    pub final_rate: f64,
    /// Ceiling of the evaluation average's decay per update.
    pub ema_decay: f64,
}

impl Default for Supervised {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 32,
            passes: 0,
            trajectory_steps: 0,
            sigmas: SigmaSet::Shifted,
            teacher_forcing: true,
            context_noise: 0.05,
            warmup_steps: 50,
            final_rate: 0.05,
            ema_decay: 0.99,
        }
    }
}

/// The final table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// Clips per held-out prompt, of the teacher and of each student; at least 4, or 0 to leave the
    /// table out.
    pub clips_per_prompt: u64,
    /// First sample of the teacher's evaluation clips; far from the samples that training draws.
    pub first_sample: u64,
    /// Clips generated at once.
    pub batch: usize,
    /// Updates of the freshly trained held-out discriminator; 0 leaves it out.
    pub holdout_steps: u64,
    /// Clips shown side by side in the preview.
    pub preview_clips: usize,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            clips_per_prompt: 32,
            first_sample: 1 << 40,
            batch: 64,
            holdout_steps: 60,
            preview_clips: 6,
        }
    }
}

/// How a run is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Parts that a batch is split into, one thread each, for CPU backends; leave 1 on a GPU.
    /// Changes the last bits of the results.
    pub shards: usize,
    /// Clips of a part that are rolled out, scored and learned from at once; 0 = all of them.
    /// Changes the last bits of the results.
    pub micro_batch: usize,
    /// Queries of a clip and head whose attention scores are held at once: bounds memory, changes
    /// the last bits of the results.
    pub attention_queries: usize,
    /// Hold the graph of one block of the student at a time and run the blocks twice: less memory,
    /// more time, the last bits of the results.
    pub recompute_blocks: bool,
    /// The type of the blocks' products of matrices, keys, values and weights at rest (`f32` or
    /// `bf16`); tokens between the branches of a block, trained weights, patches, text, head,
    /// norms, softmax and losses are in f32 either way.
    pub precision: Precision,
    /// Rounds between checkpoints.
    pub checkpoint_every: usize,
    /// Checkpoints kept.
    pub keep: usize,
}

impl Default for Run {
    fn default() -> Self {
        let Limits {
            attention_queries,
            recompute_blocks,
            precision,
        } = Limits::default();
        Self {
            shards: 1,
            micro_batch: 0,
            attention_queries,
            recompute_blocks,
            precision,
            checkpoint_every: 10,
            keep: 2,
        }
    }
}

//! The tables of a recipe: one file per table with its fields, units, defaults, bounds and checks.
//!
//! A field's doc, unit and bounds stand in its attributes, and its default in the same file.
//! [`super::schema`] reads all four from there: for `afd recipes fields`, for `docs/recipe.md`, for
//! the JSON Schema, and for the check of bounds. What one field cannot say alone (such as "at most
//! that other field") is in the table's `check`.

mod afd;
mod clip;
mod codec;
mod data;
mod discriminator;
mod evaluation;
mod optimizer;
mod prompts;
mod reverse_chain;
mod run;
mod sampler;
mod student;
mod supervised;
mod teacher;
mod text;

use afd_models::weights::Pickles;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Inputs, Problem, Purpose};
use afd_clips::video::ClipShape;
use afd_metrics::table::FEWEST_FRAMES;

pub use crate::advantage::{AdvantageForm, AdvantageScale};
pub use afd::{AfdTable, Context, LossForm, OldPolicy, OldPolicySchedule, SigmaSet};
pub use codec::{CodecKind, CodecTable};
pub use data::DataTable;
pub use discriminator::{DiscriminatorKind, DiscriminatorLoss, DiscriminatorTable};
pub use evaluation::EvaluationTable;
pub use optimizer::OptimizerTable;
pub use prompts::{PromptList, PromptsTable};
pub use reverse_chain::ReverseChainTable;
pub use run::RunTable;
pub use sampler::SamplerTable;
pub use student::{SizesTable, StudentTable};
pub use supervised::SupervisedTable;
pub use teacher::{TeacherKind, TeacherTable};
pub use text::{TextKind, TextTable};

pub(crate) use clip::{previewable, whole_blocks, whole_tokens};
pub(crate) use student::{reads_latents, reads_text};

/// A recipe: what is trained, how, on what, and where it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub codec: CodecTable,
    /// Prompts to text embeddings.
    pub text: TextTable,
    /// What is prepared before training; without it, clips are encoded when they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataTable>,
    /// Whether weight files that torch.save wrote (.pt, .pth) are read too; no code in them is run.
    #[serde(default)]
    pub allow_pickle: bool,
    /// The student.
    pub student: StudentTable,
    /// The black box.
    pub teacher: TeacherTable,
    /// Prompts trained on and prompts kept for evaluation.
    pub prompts: PromptsTable,
    /// The few-step sampler.
    pub sampler: SamplerTable,
    /// Adversarial Flow Distillation (`kind = "distill"`).
    #[serde(default)]
    pub afd: AfdTable,
    /// The discriminator (`kind = "distill"`).
    #[serde(default)]
    pub discriminator: DiscriminatorTable,
    /// Reverse-chain reinforcement learning (`method = "reverse-chain"`).
    #[serde(default)]
    pub reverse_chain: ReverseChainTable,
    /// Supervised flow matching (`kind = "pretrain"`, or `method = "supervised"`).
    #[serde(default)]
    pub supervised: SupervisedTable,
    /// The student's optimizer.
    #[serde(default)]
    pub optimizer: OptimizerTable,
    /// The final table.
    #[serde(default)]
    pub evaluation: EvaluationTable,
    /// Threads, precision and checkpoints.
    #[serde(default)]
    pub run: RunTable,
}

/// What a recipe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Teaches a base student, as `method` says.
    Distill,
    /// Supervised flow matching: makes a base student of random weights, or a few-step student of
    /// one that takes many steps (`supervised.trajectory_steps`).
    Pretrain,
}

impl Kind {
    /// Its name in a recipe, which is that of the verb that runs it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Distill => "distill",
            Self::Pretrain => "pretrain",
        }
    }
}

/// How a student is taught: Adversarial Flow Distillation, or what one would use instead
/// (docs/method.md H).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Adversarial Flow Distillation (default).
    #[default]
    Afd,
    /// The same with a discriminator that is frozen after the warm-up (H.4).
    FrozenDiscriminator,
    /// The same with rollouts of the base student only, scored by a discriminator that is frozen
    /// after the warm-up (H.6).
    Offline,
    /// The discriminator's gradient flows through the student's last step (H.2).
    DirectAdversarial,
    /// Policy gradients on the sampler's chain (H.5); `[reverse_chain]`.
    ReverseChain,
    /// Flow matching on teacher clips, nothing else (H.1); `[supervised]`.
    Supervised,
    /// Distribution matching by scores (H.3): refused, because a black box has none.
    ScoreDistillation,
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

    /// What has to hold between the fields of a recipe; bounds of single fields were checked.
    pub(super) fn check(&self, inputs: &Inputs<'_>) -> Result<(), Problem> {
        self.text.check()?;
        self.sampler.check()?;
        self.student.check()?;
        if inputs.purpose == Purpose::Sampling {
            return Ok(());
        }
        self.prompts.check(self, inputs)?;
        self.teacher.check()?;
        if inputs.purpose == Purpose::Recording {
            return Ok(());
        }
        self.evaluation.check()?;
        self.check_compared(inputs.purpose)?;
        if inputs.purpose == Purpose::Training {
            self.check_training(inputs)?;
        }
        if self.text.kind == TextKind::Umt5 && self.data.is_none() {
            return Err(Problem::new(
                "data.path is missing: umT5's embeddings are read from the directory that \
                 `afd data prepare` fills",
            ));
        }
        Ok(())
    }

    /// What the comparison with the teacher, after the last round, cannot do without.
    fn check_compared(&self, purpose: Purpose) -> Result<(), Problem> {
        let (evaluation, clip) = (&self.evaluation, &self.clip);
        if evaluation.clips_per_prompt == 0 {
            return Ok(());
        }
        if clip.frames < FEWEST_FRAMES {
            return Err(Problem::new(format!(
                "clip.frames is {}, the final table measures clips of at least {FEWEST_FRAMES}; \
                 evaluation.clips_per_prompt = 0 leaves it out",
                clip.frames
            )));
        }
        if purpose == Purpose::Training && evaluation.preview_clips > 0 {
            return previewable(clip).map_err(|problem| {
                Problem::new(format!(
                    "{problem}; evaluation.preview_clips = 0 leaves the preview out"
                ))
            });
        }
        Ok(())
    }

    /// What nothing but training needs.
    fn check_training(&self, inputs: &Inputs<'_>) -> Result<(), Problem> {
        self.check_method()?;
        self.afd.check(self, inputs)?;
        self.discriminator.check(inputs.student)?;
        if self.optimizer.learning_rate == 0.0 {
            return Err(Problem::new(
                "optimizer.learning_rate is 0, must be a finite number above 0",
            ));
        }
        Ok(())
    }

    /// What the method asks for.
    fn check_method(&self) -> Result<(), Problem> {
        if self.method == Method::ScoreDistillation {
            return Err(Problem::new(
                "method = \"score-distillation\" needs the teacher's score at noised student \
                 clips, in the student's latent space; a black box hands out finished videos only \
                 and has no score. Fitting a score model to its clips first would be another \
                 method; use \"afd\"",
            ));
        }
        if self.kind == Kind::Pretrain && self.method != Method::Afd {
            return Err(Problem::new(
                "kind = \"pretrain\" is supervised flow matching from random weights and has no \
                 method; remove it",
            ));
        }
        if self.method == Method::ReverseChain && self.sampler.steps().iter().any(|&n| n < 2) {
            return Err(Problem::new(
                "method = \"reverse-chain\" needs at least 2 steps in \
                 sampler.denoising_step_list (and in denoising_step_list_first_chunk, if it is \
                 given): the last one has no density",
            ));
        }
        if self.method == Method::Offline && self.afd.old_policy == OldPolicy::StopGradient {
            return Err(Problem::new(
                "method = \"offline\" compares with the base student, so afd.old_policy must be \
                 \"lagging\"",
            ));
        }
        Ok(())
    }
}

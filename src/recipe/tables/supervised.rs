//! `[supervised]`: supervised flow matching (docs/method.md H.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SigmaSet;

/// Supervised flow matching (docs/method.md H.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedTable {
    /// Updates.
    #[schemars(range(max = 100_000_000))]
    pub steps: u64,
    /// Clips per update.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// Upper bound on how often each teacher clip may be a direct training target, on average:
    /// supervised updates (here and in AFD's supervised start) plus `afd.teacher_positives`. More
    /// teach a student few clips by heart; the discriminator goes on seeing them. AFD makes up for
    /// what falls away with alternations. 0 sets no limit; a teacher without an end needs none.
    #[schemars(range(max = 1_000_000))]
    pub passes: u64,
    /// Steps in which the student of the start makes the clips that it learns to make in few
    /// (`kind = "pretrain"` with `student.checkpoint`); the noise levels are then the sampler's. 0
    /// learns from teacher clips.
    #[schemars(range(max = 10_000))]
    pub trajectory_steps: usize,
    /// Noise levels: all of them (`shifted`, default), or only those that a few-step student visits
    /// (`sampler`, `unwarped`).
    pub sigmas: SigmaSet,
    /// Whether blocks attend to clean clips (teacher forcing) or to noisy ones (diffusion forcing).
    pub teacher_forcing: bool,
    /// Noise level of the clean half.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub context_noise: f32,
    /// Updates over which the learning rate rises from zero.
    #[schemars(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// Learning rate at the end, as a share of the peak; a half cosine leads there.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub final_rate: f64,
    /// Ceiling of the EMA's decay per update.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub ema_decay: f64,
}

impl Default for SupervisedTable {
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

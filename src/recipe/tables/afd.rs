//! `[afd]`: Adversarial Flow Distillation (docs/method.md G).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Settings};
use crate::advantage::{AdvantageForm, AdvantageScale, AdvantageSettings};
use crate::recipe::{Inputs, Problem};

/// Adversarial Flow Distillation (docs/method.md G).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AfdTable {
    /// Alternations after the warm-up.
    #[schemars(range(max = 100_000_000))]
    pub alternations: u64,
    /// Supervised updates on teacher clips before the warm-up, as `[supervised]` says (but for its
    /// `steps`); 0 goes without.
    #[schemars(range(max = 100_000_000))]
    pub supervised_rounds: u64,
    /// Most warm-up rounds, in which only the discriminator learns.
    #[schemars(range(max = 100_000_000))]
    pub warmup_steps: u64,
    /// The warm-up ends when the pair accuracy on fresh clips has reached this band. Inside a run,
    /// a discriminator above the band is not updated until the student has caught up if
    /// `pause_above_band` is set.
    #[schemars(inner(range(min = 0.5, max = 1.0)))]
    pub warmup_pair_accuracy: [f64; 2],
    /// Skip discriminator updates while fresh pair accuracy is above the band.
    pub pause_above_band: bool,
    /// Prompts per alternation (P).
    #[schemars(range(min = 1, max = 4096))]
    pub prompts_per_alternation: usize,
    /// Rollouts per prompt (K).
    #[schemars(range(min = 1, max = 4096))]
    pub rollouts_per_prompt: usize,
    /// Teacher clips per prompt and alternation (M). Of a prompt with fewer the same clip comes
    /// more than once, which is said before training.
    #[schemars(range(min = 1, max = 4096))]
    pub teacher_clips_per_prompt: usize,
    /// Teacher clips per prompt that the flow update learns from as well, with r = 1: pure AFD has
    /// none.
    #[schemars(range(max = 4096))]
    pub teacher_positives: usize,
    /// The part of the alternations in which it does, from and to.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub teacher_positives_span: [f64; 2],
    /// Whether teacher clips stand for another prompt of the batch: destroys the pairing, for an
    /// ablation only.
    pub shuffled_pairs: bool,
    /// Rounds of base rollouts that `method = "offline"` goes through again and again.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub offline_rounds: u64,
    /// Discriminator updates per alternation.
    #[schemars(range(max = 1000))]
    pub discriminator_steps: u64,
    /// Student updates per alternation, on the same rollouts with fresh noise.
    #[schemars(range(max = 1000))]
    pub flow_steps: u64,
    /// Strength beta of the implicit policies; smaller means a weaker trust region.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta: f64,
    /// Baseline of the advantage.
    pub advantage: AdvantageForm,
    /// Normaliser of the advantage.
    pub advantage_scale: AdvantageScale,
    /// Clip of the advantage in standard deviations; r = 1/2 + A / (2 clip).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub advantage_clip: f64,
    /// Groups whose scores have a smaller standard deviation than this get advantage 0.
    #[schemars(range(min = 0.0))]
    pub minimum_std: f64,
    /// Noise levels of the update.
    pub sigmas: SigmaSet,
    /// Form of the loss.
    pub loss: LossForm,
    /// What a block attends to during the update.
    pub context: Context,
    /// Whether that context is detached from the graph.
    pub detach_context: bool,
    /// What stands in for v_old.
    pub old_policy: OldPolicy,
    /// How fast the old policy follows.
    pub old_policy_schedule: OldPolicySchedule,
    /// Its decay per alternation (the ceiling of the ramp).
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub old_policy_decay: f64,
    /// Student learning rate of the first alternation, as a share of `optimizer.learning_rate`,
    /// which a supervised start has.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub first_rate: f64,
    /// Student learning rate of the last alternation, as a share of the first's; a half cosine
    /// leads there.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub final_rate: f64,
    /// Weight lambda of `|v_theta - v_ref|^2`; 0 keeps no reference.
    #[schemars(range(min = 0.0))]
    pub reference_weight: f64,
    /// Ceiling of the EMA's decay per alternation.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub ema_decay: f64,
}

impl Default for AfdTable {
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

/// Which noise levels an update trains (docs/method.md G.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SigmaSet {
    /// The sampler's own levels: the only states a few-step student visits (default).
    Sampler,
    /// The nominal list over 1000, unwarped (Astrolabe).
    Unwarped,
    /// Continuous: uniform, then shifted.
    Shifted,
}

/// Where the squared errors are taken and how they are weighted (docs/method.md F.1, F.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossForm {
    /// Clean-estimate space, each block's error divided by its own mean absolute value, times clip
    /// / beta (DiffusionNFT's code, the default).
    Adaptive,
    /// Clean-estimate space, plain mean (Astrolabe).
    Clean,
    /// Velocity space, plain mean (DiffusionNFT's paper).
    Velocity,
}

/// What the student's blocks attend to during the update (docs/method.md G.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Clean own rollout in parallel form (option 1, the default).
    OwnClean,
    /// All frames at one noise level under the block-causal mask (option 2).
    UniformNoise,
    /// Clean own rollout through the KV cache, one block after another: the numbers of `own-clean`,
    /// less memory (option 3).
    Cached,
}

/// What stands in for v_old in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OldPolicy {
    /// The lagging policy that the rollouts were drawn with (default): the trust region of
    /// docs/method.md F.1.
    Lagging,
    /// The student's own velocity, detached from the graph: no trust region.
    StopGradient,
}

/// How fast the old policy follows (docs/method.md F.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OldPolicySchedule {
    /// The same decay after every alternation.
    Constant,
    /// DiffusionNFT's type 1: min(0.001 step, decay).
    Ramp,
}

impl OldPolicySchedule {
    /// Decay after alternation `step` (counted from 1), given the recipe's `decay`.
    pub fn decay(self, step: u64, decay: f64) -> f64 {
        match self {
            Self::Constant => decay,
            Self::Ramp => (0.001 * step as f64).min(decay),
        }
    }
}

impl AfdTable {
    /// Rounds that the warm-up has ended after at the latest, those of a supervised start included.
    pub fn longest_warm_up(&self) -> u64 {
        self.supervised_rounds + self.warmup_steps
    }

    /// How scores become r.
    pub fn advantage_settings(&self) -> AdvantageSettings {
        AdvantageSettings {
            form: self.advantage,
            scale: self.advantage_scale,
            clip: self.advantage_clip,
            minimum_std: self.minimum_std,
        }
    }

    pub(super) fn check(&self, settings: &Settings, inputs: &Inputs<'_>) -> Result<(), Problem> {
        let fail = |problem: String| Err(Problem::new(problem));
        let [from, to] = self.teacher_positives_span;
        if from > to {
            return fail(format!(
                "afd.teacher_positives_span is [{from}, {to}], must be ascending within [0, 1]"
            ));
        }
        let [low, high] = self.warmup_pair_accuracy;
        if low > high {
            return fail(format!(
                "afd.warmup_pair_accuracy is [{low}, {high}], must be an ascending band within \
                 [0.5, 1]"
            ));
        }
        let (positives, teachers) = (self.teacher_positives, self.teacher_clips_per_prompt);
        if positives > teachers {
            return fail(format!(
                "afd.teacher_positives is {positives}, must be at most \
                 afd.teacher_clips_per_prompt ({teachers})"
            ));
        }
        let prompts = self.prompts_per_alternation;
        if self.shuffled_pairs && prompts < 2 {
            return fail(
                "afd.shuffled_pairs needs at least 2 prompts in afd.prompts_per_alternation"
                    .to_string(),
            );
        }
        if prompts > inputs.train_prompts.len() {
            return fail(format!(
                "afd.prompts_per_alternation ({prompts}) is more than the {} prompts of \
                 prompts.train",
                inputs.train_prompts.len()
            ));
        }
        if self.rollouts_per_prompt < 2 && self.advantage == AdvantageForm::Group {
            return fail(format!(
                "afd.rollouts_per_prompt is {}, afd.advantage = \"group\" needs at least 2 (4 or \
                 more is advised); with 1 use \"pair-centred\"",
                self.rollouts_per_prompt
            ));
        }
        if self.context == Context::Cached && !self.detach_context {
            return fail(
                "afd.context = \"cached\" frees each block's graph, so afd.detach_context must be \
                 true"
                    .to_string(),
            );
        }
        if settings.kind == Kind::Distill && self.warmup_steps == 0 && self.alternations == 0 {
            return fail(
                "afd.alternations and afd.warmup_steps are both 0, there is nothing to do"
                    .to_string(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_policys_decays_follow_the_published_schedules() {
        assert_eq!(OldPolicySchedule::Constant.decay(7, 0.9), 0.9);
        assert_eq!(OldPolicySchedule::Ramp.decay(100, 0.5), 0.1);
        assert_eq!(OldPolicySchedule::Ramp.decay(900, 0.5), 0.5);
    }
}

//! `[optimizer]` and `[discriminator.optimizer]`: AdamW with a global gradient norm limit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// AdamW with a global gradient norm limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerTable {
    /// Step size; the discriminator's may be 0, which freezes it.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// Decay of the first moment.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub beta_1: f32,
    /// Decay of the second moment.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub beta_2: f32,
    /// Added to the root of the second moment.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub epsilon: f32,
    /// Decoupled weight decay.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f32,
    /// Global gradient norm above which all gradients are scaled down.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: f64,
}

impl Default for OptimizerTable {
    fn default() -> Self {
        Self {
            learning_rate: 3e-4,
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            weight_decay: 1e-4,
            clip_norm: 1.0,
        }
    }
}

//! `[reverse_chain]`: reverse-chain reinforcement learning (docs/method.md H.5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reverse-chain reinforcement learning (docs/method.md H.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReverseChainTable {
    /// Share of fresh noise in the steps of a rollout, for students whose own sampler is
    /// deterministic; without fresh noise there is no density. A consistency sampler's is 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub fresh_noise: f64,
    /// Clip of the ratio of two densities, each the mean over a block's values.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_range: f64,
    /// Weight of the divergence from the base student; 0 keeps no reference.
    #[schemars(range(min = 0.0))]
    pub divergence_weight: f64,
}

impl Default for ReverseChainTable {
    fn default() -> Self {
        Self {
            fresh_noise: 0.5,
            clip_range: 1e-3,
            divergence_weight: 0.0,
        }
    }
}

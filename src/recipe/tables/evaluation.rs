//! `[evaluation]`: the final table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recipe::Problem;

/// The final table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationTable {
    /// Clips per held-out prompt, of each student and of the teacher; at least 4, or 0 to leave the
    /// table out. A teacher that has fewer gives each of its clips once.
    #[schemars(range(max = 100_000))]
    pub clips_per_prompt: u64,
    /// First sample of the teacher's evaluation clips; far from the samples that training draws. A
    /// folder's clips are counted round: of more than are asked for it says which are taken.
    #[schemars(range(max = 1_000_000_000_000_000_u64))]
    pub first_sample: u64,
    /// Clips generated at once.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// Updates of the freshly trained held-out discriminator; 0 leaves it out.
    #[schemars(range(max = 1_000_000))]
    pub holdout_steps: u64,
    /// Clips shown side by side in the preview.
    #[schemars(range(max = 1000))]
    pub preview_clips: usize,
}

impl Default for EvaluationTable {
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

impl EvaluationTable {
    /// Fewest clips per prompt that the table's statistics can be made of.
    const FEWEST: u64 = 4;

    pub(super) fn check(&self) -> Result<(), Problem> {
        let clips = self.clips_per_prompt;
        if clips == 0 || clips >= Self::FEWEST {
            return Ok(());
        }
        Err(Problem::new(format!(
            "evaluation.clips_per_prompt is {clips}, must be at least {}, or 0 to leave the table \
             out",
            Self::FEWEST
        )))
    }
}

//! `[data]`: what `afd data prepare` makes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `afd data prepare` makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// The directory that it fills, relative to the recipe: embeddings of the prompts, latents of
    /// the teacher's clips.
    pub path: PathBuf,
    /// Clips per file of latents.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 100_000))]
    pub clips_per_shard: usize,
}

fn eight() -> usize {
    8
}

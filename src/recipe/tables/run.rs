//! `[run]`: how a run is carried out.

use afd_models::precision::Precision;
use afd_models::student::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run is carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunTable {
    /// Parts that a batch is split into, one thread each, for CPU backends; leave 1 on a GPU.
    /// Changes the last bits of the results.
    #[schemars(range(min = 1, max = 1024))]
    pub shards: usize,
    /// Clips of a part that are rolled out, scored and learned from at once; 0 = all of them.
    /// Changes the last bits of the results.
    #[schemars(range(max = 1_000_000))]
    pub micro_batch: usize,
    /// Queries of a clip and head whose attention scores are held at once: bounds memory, changes
    /// the last bits of the results.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub attention_queries: usize,
    /// Hold the graph of one block of the student at a time and run the blocks twice: less memory,
    /// more time, the last bits of the results.
    pub recompute_blocks: bool,
    /// The type of the blocks' matrix products, of keys, values and frozen weights. Everything else
    /// is in f32 either way: tokens between the branches of a block, trained weights, patches,
    /// text, head, norms, softmax and losses.
    pub precision: Precision,
    /// Rounds between checkpoints.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub checkpoint_every: usize,
    /// Checkpoints kept.
    #[schemars(range(min = 1, max = 1000))]
    pub keep: usize,
}

impl Default for RunTable {
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

impl RunTable {
    /// The student's limits of memory and precision.
    pub fn limits(&self) -> Limits {
        Limits {
            attention_queries: self.attention_queries,
            recompute_blocks: self.recompute_blocks,
            precision: self.precision,
        }
    }
}

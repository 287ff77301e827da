//! Sizes of a umT5 encoder.

/// Sizes of an encoder; [`UmT5Config::xxl`] is the one that Wan was trained with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UmT5Config {
    /// Entries of the embedding table.
    pub vocabulary: usize,
    /// Width of an embedding (D).
    pub width: usize,
    /// Attention heads (H).
    pub heads: usize,
    /// Channels per head; all heads together need not be D wide.
    pub head_width: usize,
    /// Channels inside the feed-forward network.
    pub feed_forward_width: usize,
    /// Layers.
    pub layers: usize,
    /// Buckets of relative positions, a multiple of 4: half for the keys before a query, half for
    /// those after it.
    pub buckets: usize,
    /// Distance in tokens from which on all share the last bucket; more than a quarter of the
    /// buckets.
    pub max_distance: usize,
}

impl UmT5Config {
    /// Added to the mean square of a norm.
    pub const EPSILON: f64 = 1e-6;

    /// google/umt5-xxl's encoder, 5 680 910 336 parameters (docs/method.md D).
    pub fn xxl() -> Self {
        Self {
            vocabulary: 256_384,
            width: 4096,
            heads: 64,
            head_width: 64,
            feed_forward_width: 10_240,
            layers: 24,
            buckets: 32,
            max_distance: 128,
        }
    }

    /// Channels of all heads together.
    pub fn attention_width(&self) -> usize {
        self.heads * self.head_width
    }
}

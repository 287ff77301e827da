//! Sizes of a student.

use serde::{Deserialize, Serialize};

use crate::layers;
use crate::precision::Precision;

/// Sizes of the causal transformer. Wan2.1-T2V-1.3B is [`StudentConfig::wan_1_3b`]; the CPU student
/// is the same code with small numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// Token width D.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads; must divide `width`, and `width / heads` must be even.
    pub heads: usize,
    /// Hidden width of the feed-forward network.
    pub feed_forward_width: usize,
    /// Latent channels C.
    pub latent_channels: usize,
    /// Rows and columns of latent pixels per token; Wan: 2.
    pub patch: usize,
    /// Width of the text embeddings.
    pub text_width: usize,
    /// Width of the sinusoidal timestep embedding; even. Wan: 256.
    pub frequency_width: usize,
    /// Latent frames generated together: 3 for chunk-wise students, 1 for frame-wise ones.
    pub frames_per_block: usize,
    /// Attention window in latent frames, sink included; 0 = every earlier frame.
    pub window_frames: usize,
    /// First frames that stay visible when the window rolls on.
    pub sink_frames: usize,
}

/// What bounds the working memory of a pass. Results depend on it by rounding only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Queries of a clip and head whose attention scores are held at once, at least 1.
    pub attention_queries: usize,
    /// Whether a differentiated run holds the graph of one block at a time and runs the blocks
    /// twice (see [`super::segments`]).
    pub recompute_blocks: bool,
    /// The type of products of matrices and of frozen weights.
    pub precision: Precision,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attention_queries: 1024,
            recompute_blocks: false,
            precision: Precision::F32,
        }
    }
}

impl StudentConfig {
    /// Numerical floor of every normalisation.
    pub const EPSILON: f64 = layers::EPSILON;

    /// Wan2.1-T2V-1.3B as a chunk-wise student (docs/method.md B.1).
    pub fn wan_1_3b() -> Self {
        Self {
            width: 1536,
            layers: 30,
            heads: 12,
            feed_forward_width: 8960,
            latent_channels: 16,
            patch: 2,
            text_width: 4096,
            frequency_width: 256,
            frames_per_block: 3,
            window_frames: 0,
            sink_frames: 0,
        }
    }

    /// Wan2.1-T2V-14B as a chunk-wise student: 1,095 tensors, 14,288,491,584 parameters.
    pub fn wan_14b() -> Self {
        Self {
            width: 5120,
            layers: 40,
            heads: 40,
            feed_forward_width: 13_824,
            ..Self::wan_1_3b()
        }
    }

    /// Width of one attention head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Why these sizes cannot be built, if they cannot: the offending field, its value and what is
    /// needed.
    pub fn problem(&self) -> Option<String> {
        let positive = [
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("feed_forward_width", self.feed_forward_width),
            ("latent_channels", self.latent_channels),
            ("patch", self.patch),
            ("text_width", self.text_width),
            ("frames_per_block", self.frames_per_block),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("{field} is 0, must be at least 1"));
        }
        let limits = [
            ("width", self.width, 65_536),
            ("layers", self.layers, 1024),
            ("heads", self.heads, 1024),
            ("feed_forward_width", self.feed_forward_width, 262_144),
            ("latent_channels", self.latent_channels, 1 << 20),
            ("patch", self.patch, 64),
            ("text_width", self.text_width, 65_536),
            ("frequency_width", self.frequency_width, 65_536),
            ("frames_per_block", self.frames_per_block, 10_000),
            ("window_frames", self.window_frames, 10_000),
            ("sink_frames", self.sink_frames, 10_000),
        ];
        if let Some((field, value, most)) = limits.iter().find(|(_, value, most)| value > most) {
            return Some(format!("{field} is {value}, must be at most {most}"));
        }
        if !self.width.is_multiple_of(self.heads) || !self.head_width().is_multiple_of(2) {
            return Some(format!(
                "heads ({}) must divide width ({}) into an even head width",
                self.heads, self.width
            ));
        }
        if self.head_width() < 6 {
            return Some(format!(
                "head width is {}, the three rotary axes need at least 6",
                self.head_width()
            ));
        }
        if self.frequency_width < 2 || !self.frequency_width.is_multiple_of(2) {
            return Some(format!(
                "frequency_width is {}, must be even and at least 2",
                self.frequency_width
            ));
        }
        if self.window_frames > 0 && self.window_frames < self.sink_frames + self.frames_per_block {
            return Some(format!(
                "window_frames ({}) must hold sink_frames ({}) and one block of frames_per_block \
                    ({}), or be 0",
                self.window_frames, self.sink_frames, self.frames_per_block
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_too_small_for_one_block_is_named() {
        let config = StudentConfig {
            window_frames: 3,
            sink_frames: 1,
            ..StudentConfig::wan_1_3b()
        };
        assert!(
            config
                .problem()
                .is_some_and(|problem| problem.contains("window_frames (3)"))
        );
        assert_eq!(StudentConfig::wan_1_3b().problem(), None);
    }
}

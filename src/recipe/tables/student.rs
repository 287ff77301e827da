//! `[student]`: a file, or sizes for a fresh one.

use std::path::PathBuf;

use afd_models::lora::LoraConfig;
use afd_models::student::StudentConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TextTable;
use crate::recipe::Problem;

/// The student: a file, or sizes for a fresh one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudentTable {
    /// Weights to start from, relative to the recipe; brings its sizes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// Latent frames generated together: more than 1 is a chunk-wise student, 1 a frame-wise one.
    #[schemars(range(min = 1, max = 10_000))]
    pub frames_per_block: usize,
    /// Attention window in latent frames, sink included; 0 = everything.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub window_frames: usize,
    /// First latent frames that stay visible.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub sink_frames: usize,
    /// Which part of a training checkpoint to start from, such as `generator`; without it,
    /// `generator_ema` before `generator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Attention heads of a checkpoint that does not say; without it, 128 channels each as in every
    /// Wan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub heads: Option<usize>,
    /// Sizes of a fresh student.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<SizesTable>,
    /// Train low-rank factors beside the checkpoint's frozen weights; without it every weight is
    /// trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// `[student.sizes]`: sizes of a fresh student; see [`StudentConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizesTable {
    /// Token width.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1_024))]
    pub layers: usize,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1_024))]
    pub heads: usize,
    /// Hidden width of the feed-forward network.
    #[schemars(range(min = 1, max = 262_144))]
    pub feed_forward_width: usize,
    /// Latent rows and columns per token.
    #[schemars(range(min = 1, max = 64))]
    pub patch: usize,
    /// Width of the timestep embedding.
    #[schemars(range(min = 1, max = 65_536))]
    pub frequency_width: usize,
}

impl StudentTable {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let fail = |problem: String| Err(Problem::new(problem));
        if let Some(problem) = self.lora.as_ref().and_then(LoraConfig::problem) {
            return fail(format!("student.lora.{problem}"));
        }
        if self.checkpoint.is_some() {
            return Ok(());
        }
        if self.lora.is_some() {
            return fail(
                "student.lora adapts the weights of student.checkpoint, which is missing; name it, \
                 or train all weights"
                    .to_string(),
            );
        }
        if self.part.is_some() || self.heads.is_some() {
            return fail(
                "student.part and student.heads say how to read student.checkpoint, which is \
                 missing; name it, or remove them"
                    .to_string(),
            );
        }
        Ok(())
    }
}

/// Whether the student reads the embeddings that the text encoder writes.
pub(crate) fn reads_text(text: &TextTable, student: &StudentConfig) -> Result<(), Problem> {
    if student.text_width == text.width {
        return Ok(());
    }
    Err(Problem::new(format!(
        "text.width is {}, the student reads embeddings of {}",
        text.width, student.text_width
    )))
}

/// Whether the student takes the codec's latents; `channels` are the codec's.
pub(crate) fn reads_latents(channels: usize, student: &StudentConfig) -> Result<(), Problem> {
    if student.latent_channels == channels {
        return Ok(());
    }
    Err(Problem::new(format!(
        "[codec] gives {channels} latent channels, the student has {}",
        student.latent_channels
    )))
}

//! `[codec]`: pixels to latents.

use std::path::PathBuf;

use afd_models::precision::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pixels to latents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodecTable {
    /// The codec.
    pub kind: CodecKind,
    /// Pixels per latent row and column (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256), extend("unit" = "px"))]
    pub stride: Option<usize>,
    /// Whether a square of pixels shares one pair of colour differences: half the channels, lossy
    /// in colour only (`kind = "pixel"`).
    #[serde(default)]
    pub subsampled_chroma: bool,
    /// Mean of the pixels, whose values are in [-1, 1] (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub mean: Option<f32>,
    /// Standard deviation of the pixels (`kind = "pixel"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 1.0))]
    pub std: Option<f32>,
    /// Weights in any layout, relative to the recipe (`kind = "wan-vae"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// The type that it computes in (`kind = "wan-vae"`); the same for teacher and student.
    #[serde(default)]
    pub precision: Precision,
}

/// Codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CodecKind {
    /// Space-to-depth.
    Pixel,
    /// Wan's causal VAE.
    WanVae,
}

//! `[discriminator]`: the discriminator (docs/method.md E).

use afd_models::discriminator::{ConvConfig, DiscriminatorSpec, RegisterConfig};
use afd_models::lora::LoraConfig;
use afd_models::student::StudentConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OptimizerTable;
use crate::recipe::Problem;

/// The discriminator (docs/method.md E).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorTable {
    /// Which one.
    pub kind: DiscriminatorKind,
    /// What it is trained on: pairs, or clips on their own.
    pub loss: DiscriminatorLoss,
    /// Channels of each scale (`kind = "conv"`).
    #[schemars(inner(range(min = 1, max = 65_536)))]
    pub channels: Vec<usize>,
    /// Width of the feature that meets the prompt (`kind = "conv"`), or of the readers'
    /// feed-forward networks (`kind = "registers"`).
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Depths that are read, ascending (`kind = "registers"`).
    #[schemars(inner(range(max = 1023)))]
    pub layers: Vec<usize>,
    /// Train low-rank factors beside the frozen weights of the copy of the student (`kind =
    /// "registers"`); readers and head are trained either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Standard deviation of the noise added to both sides.
    #[schemars(range(min = 0.0), extend("unit" = "latent units"))]
    pub instance_noise: f32,
    /// Weight of the penalty on teacher clips.
    #[schemars(range(min = 0.0))]
    pub r1_weight: f64,
    /// Weight of the penalty on student clips.
    #[schemars(range(min = 0.0))]
    pub r2_weight: f64,
    /// Step of the finite differences.
    #[schemars(extend("exclusiveMinimum" = 0), extend("unit" = "latent units"))]
    pub penalty_size: f64,
    /// Fresh pair accuracy above which both penalties grow, and below which they shrink again to
    /// their weights, by 2 % an alternation; 1 leaves them alone. Keeps a discriminator that sees
    /// few teacher clips from learning them by heart.
    #[schemars(range(min = 0.5, max = 1.0))]
    pub penalty_target: f64,
    /// Weight of a second Bradley-Terry loss: teacher clips with their own prompt against the same
    /// clips with a mismatched prompt that is close to it. Teaches the discriminator to read the
    /// prompt even while artefacts alone tell the sides apart; 0 leaves it out.
    #[schemars(range(min = 0.0))]
    pub mismatch_weight: f64,
    /// Largest shift applied to both sides of an update.
    #[schemars(range(max = 8192), extend("unit" = "latent pixels"))]
    pub augment_shift: usize,
    /// Largest relative change of brightness, applied to both sides of an update.
    #[schemars(range(min = 0.0))]
    pub augment_brightness: f32,
    /// Its optimizer.
    pub optimizer: OptimizerTable,
}

impl Default for DiscriminatorTable {
    fn default() -> Self {
        Self {
            kind: DiscriminatorKind::Conv,
            loss: DiscriminatorLoss::BradleyTerry,
            channels: vec![32, 64, 64, 64],
            width: 64,
            layers: vec![],
            lora: None,
            instance_noise: 0.02,
            r1_weight: 0.01,
            r2_weight: 0.01,
            penalty_size: 0.05,
            penalty_target: 1.0,
            mismatch_weight: 0.0,
            augment_shift: 0,
            augment_brightness: 0.0,
            optimizer: OptimizerTable {
                learning_rate: 5e-4,
                beta_1: 0.5,
                beta_2: 0.99,
                weight_decay: 0.0,
                ..OptimizerTable::default()
            },
        }
    }
}

/// Discriminators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorKind {
    /// Multiscale 3-D convolutions.
    Conv,
    /// Register tokens on a copy of the student.
    Registers,
}

/// The adversarial loss (docs/method.md E.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorLoss {
    /// Pairs of the same prompt (default); for the student, the relativistic loss.
    BradleyTerry,
    /// Every clip on its own: `softplus(-s_T) + softplus(s_S)`.
    NonSaturating,
}

impl DiscriminatorTable {
    /// Whether one of the two gradient penalties is on.
    pub fn is_penalised(&self) -> bool {
        self.r1_weight > 0.0 || self.r2_weight > 0.0
    }

    /// The discriminator that it asks for, with its sizes.
    pub fn spec(&self) -> DiscriminatorSpec {
        match self.kind {
            DiscriminatorKind::Conv => DiscriminatorSpec::Conv(ConvConfig {
                channels: self.channels.clone(),
                width: self.width,
            }),
            DiscriminatorKind::Registers => DiscriminatorSpec::Registers {
                config: RegisterConfig {
                    layers: self.layers.clone(),
                    feed_forward_width: self.width,
                    sigma: 0.0,
                },
                lora: self.lora.clone(),
            },
        }
    }

    pub(super) fn check(&self, student: &StudentConfig) -> Result<(), Problem> {
        let fail = |problem: String| Err(Problem::new(problem));
        match self.kind {
            DiscriminatorKind::Conv => {
                if self.channels.len() < 2 {
                    return fail(format!(
                        "discriminator.channels is {:?}, needs at least 2 scales",
                        self.channels
                    ));
                }
                if self.lora.is_some() {
                    return fail(
                        "discriminator.lora adapts a copy of the student; it needs \
                         discriminator.kind = \"registers\""
                            .to_string(),
                    );
                }
            }
            DiscriminatorKind::Registers => {
                let layers = &self.layers;
                let ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
                let within = layers.iter().all(|layer| *layer < student.layers);
                if layers.is_empty() || !ascending || !within {
                    return fail(format!(
                        "discriminator.layers is {layers:?}, must be ascending numbers below the \
                         student's {} layers",
                        student.layers
                    ));
                }
            }
        }
        match self.lora.as_ref().and_then(LoraConfig::problem) {
            Some(problem) => fail(format!("discriminator.lora.{problem}")),
            None => Ok(()),
        }
    }
}

//! Sizes of a Wan VAE (docs/method.md C.1, C.4).

use serde::{Deserialize, Serialize};

/// Sizes of a [`WanVae`](super::WanVae) and how its latents are normalised. Wan 2.1's is
/// [`WanVaeConfig::wan_2_1`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WanVaeConfig {
    /// Channels at full resolution. Wan: 96.
    pub base_width: usize,
    /// Channels of each stage in base widths; every stage after the first halves rows and columns.
    /// Wan: 1, 2, 4, 4.
    pub multipliers: Vec<usize>,
    /// Latent channels C. Wan: 16.
    pub latent_channels: usize,
    /// Residual blocks in each stage of the encoder; the decoder's stages have one more. Wan: 2.
    pub residual_blocks: usize,
    /// Whether the step from a stage of the encoder to the next halves the frames too. Wan: no,
    /// yes, yes.
    pub halve_time: Vec<bool>,
    /// What is subtracted from each channel of the posterior mean.
    pub mean: Vec<f32>,
    /// What it is divided by afterwards, each > 0.
    pub std: Vec<f32>,
}

/// Why sizes describe no VAE.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("no VAE has these sizes: {0}")]
pub struct UnusableSizes(pub SizeProblem);

/// What is wrong with the sizes of a VAE.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SizeProblem {
    /// A size is zero.
    #[error("base_width, latent_channels, residual_blocks and multipliers must be at least 1")]
    Zero,
    /// The list of steps does not fit the list of stages.
    #[error("halve_time has {found} entries, expected one between each two of {stages} stages")]
    Steps {
        /// Entries of `halve_time`.
        found: usize,
        /// Stages.
        stages: usize,
    },
    /// The decoder cannot halve a stage's channels.
    #[error(
        "a stage has {width} channels, but the decoder halves the channels after each stage but \
            its last"
    )]
    OddWidth {
        /// Channels of the stage.
        width: usize,
    },
    /// The latents' statistics do not fit the channels.
    #[error("{name} must have one finite value for each of {channels} channels, found {values:?}")]
    Statistics {
        /// `mean` or `std`.
        name: &'static str,
        /// Latent channels.
        channels: usize,
        /// What was given.
        values: Vec<f32>,
    },
    /// A standard deviation that nothing can be divided by.
    #[error("a std is {std}, expected more than 0")]
    Std {
        /// The value.
        std: f32,
    },
}

impl WanVaeConfig {
    /// Wan 2.1's VAE: 8 x 8 pixels and 4 frames to a latent of 16 channels.
    pub fn wan_2_1() -> Self {
        Self {
            mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526,
                2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
            ],
            ..Self::sized(96, 16)
        }
    }

    /// Wan's structure with other widths; latents are the posterior mean as it is (mean 0, standard
    /// deviation 1).
    pub fn sized(base_width: usize, latent_channels: usize) -> Self {
        Self {
            base_width,
            multipliers: vec![1, 2, 4, 4],
            latent_channels,
            residual_blocks: 2,
            halve_time: vec![false, true, true],
            mean: vec![0.0; latent_channels],
            std: vec![1.0; latent_channels],
        }
    }

    /// Whether a VAE can have these sizes.
    ///
    /// # Errors
    /// [`SizeProblem`]: a size of zero, lists whose lengths do not fit each other, an odd width
    /// where the decoder halves it, or a standard deviation that is not a positive number.
    pub fn check(&self) -> Result<(), UnusableSizes> {
        let fail = |problem| Err(UnusableSizes(problem));
        let stages = self.multipliers.len();
        if [self.base_width, self.latent_channels, self.residual_blocks].contains(&0)
            || stages == 0
            || self.multipliers.contains(&0)
        {
            return fail(SizeProblem::Zero);
        }
        if self.halve_time.len() + 1 != stages {
            let found = self.halve_time.len();
            return fail(SizeProblem::Steps { found, stages });
        }
        if let Some(&width) = self.widths()[1..].iter().find(|width| **width % 2 == 1) {
            return fail(SizeProblem::OddWidth { width });
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.latent_channels || !values.iter().all(|value| value.is_finite())
            {
                return fail(SizeProblem::Statistics {
                    name,
                    channels: self.latent_channels,
                    values: values.clone(),
                });
            }
        }
        match self.std.iter().find(|std| **std <= 0.0) {
            Some(&std) => fail(SizeProblem::Std { std }),
            None => Ok(()),
        }
    }

    /// Channels of each stage of the encoder; the decoder goes through them from the last to the
    /// first.
    pub fn widths(&self) -> Vec<usize> {
        self.multipliers
            .iter()
            .map(|multiplier| multiplier * self.base_width)
            .collect()
    }

    /// Pixels per latent row and column. Wan: 8.
    pub fn stride(&self) -> usize {
        1 << self.halve_time.len()
    }

    /// Frames per latent frame after the first, which stands for one frame alone. Wan: 4.
    pub fn frame_stride(&self) -> usize {
        1 << self.halve_time.iter().filter(|halve| **halve).count()
    }

    /// Input channels of each residual block of the encoder's stage `stage`, first block first, and
    /// the channels of all their outputs.
    pub fn encoder_stage(&self, stage: usize) -> (Vec<usize>, usize) {
        let widths = self.widths();
        let input = if stage == 0 {
            self.base_width
        } else {
            widths[stage - 1]
        };
        (
            inputs(input, widths[stage], self.residual_blocks),
            widths[stage],
        )
    }

    /// The same for the decoder, whose stage 0 is the coarsest; each stage but the first gets half
    /// of the channels of the one before.
    pub fn decoder_stage(&self, stage: usize) -> (Vec<usize>, usize) {
        let widths: Vec<usize> = self.widths().into_iter().rev().collect();
        let input = if stage == 0 {
            widths[0]
        } else {
            widths[stage - 1] / 2
        };
        (
            inputs(input, widths[stage], self.residual_blocks + 1),
            widths[stage],
        )
    }

    /// Whether the step after the decoder's stage `stage` doubles rows and columns only, or frames
    /// too; `None` after the last.
    pub fn decoder_step(&self, stage: usize) -> Option<bool> {
        self.halve_time.iter().rev().nth(stage).copied()
    }
}

fn inputs(first: usize, others: usize, blocks: usize) -> Vec<usize> {
    std::iter::once(first)
        .chain(std::iter::repeat(others))
        .take(blocks)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wans_sizes_are_usable_and_what_is_wrong_with_others_is_said() {
        let wan = WanVaeConfig::wan_2_1();
        assert_eq!(
            (wan.check(), wan.stride(), wan.frame_stride()),
            (Ok(()), 8, 4)
        );
        let wrong = |change: &dyn Fn(&mut WanVaeConfig)| {
            let mut config = WanVaeConfig::sized(8, 4);
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        for (found, words) in [
            (
                wrong(&|config| config.residual_blocks = 0),
                "must be at least 1",
            ),
            (
                wrong(&|config| config.multipliers = vec![]),
                "must be at least 1",
            ),
            (
                wrong(&|config| config.halve_time = vec![true]),
                "halve_time has 1 entries",
            ),
            (
                wrong(&|config| (config.base_width, config.multipliers) = (7, vec![1; 4])),
                "a stage has 7 channels",
            ),
            (
                wrong(&|config| config.mean = vec![0.0; 3]),
                "mean must have one finite value for each of 4 channels",
            ),
            (wrong(&|config| config.std[1] = 0.0), "a std is 0"),
        ] {
            assert!(found.contains(words), "{found}");
        }
    }
}

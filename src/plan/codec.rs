//! Codecs and text encoders that are networks: what they hold and compute.

use afd_models::codec::wan_vae::WanVaeConfig;
use afd_models::precision::Precision;
use afd_models::text::umt5::UmT5Config;
use afd_models::weights::layout::Layout;
use afd_models::weights::{umt5, wan_vae};
use serde::Serialize;

/// A codec that is a network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CodecSizes {
    /// Its parameters.
    pub parameters: u64,
    /// Bytes of each.
    pub weight_bytes: u64,
    /// Bytes that it holds at most while a clip goes through it.
    pub working: u64,
    /// Floating-point operations of encoding a clip; a multiply-add is two, norms and activations
    /// are not counted.
    pub encoding: f64,
    /// The same of decoding one.
    pub decoding: f64,
}

impl CodecSizes {
    /// The Wan VAE on clips of `[frames, rows, columns]` pixels, one clip at a time through the
    /// streaming codec.
    ///
    /// Decoding takes more memory than encoding. Bytes per pixel and channel of the base width were
    /// measured (docs/results/wan-vae.md): 237 MiB in f32 and 168 MiB in bf16 for 96 x 160 pixels
    /// at base width 96.
    pub fn wan_vae(config: &WanVaeConfig, precision: Precision, clip: [usize; 3]) -> Self {
        let parameters = wan_vae::table(config, Layout::Wan)
            .shapes()
            .values()
            .map(|shape| shape.iter().product::<usize>() as u64)
            .sum();
        let per_value = match precision {
            Precision::F32 => 169,
            Precision::Bf16 => 120,
        };
        let [_, rows, columns] = clip;
        Self {
            parameters,
            weight_bytes: precision.bytes() as u64,
            working: per_value * (rows * columns * config.base_width) as u64,
            encoding: encoding(config, clip),
            decoding: decoding(config, clip),
        }
    }
}

/// Frames, rows and columns of activations.
#[derive(Clone, Copy)]
struct Extent {
    frames: usize,
    rows: usize,
    columns: usize,
}

impl Extent {
    fn frame(self) -> f64 {
        (self.rows * self.columns) as f64
    }

    /// A convolution of `taps` taps that gives as many positions.
    fn convolution(self, taps: usize, inputs: usize, outputs: usize) -> f64 {
        2.0 * self.frame() * (self.frames * taps * inputs * outputs) as f64
    }

    /// One stage's residual blocks: two 3x3x3 convolutions, and a 1x1x1 where the width changes.
    fn blocks(self, inputs: &[usize], width: usize) -> f64 {
        let block = |input: usize| {
            let shortcut = if input == width {
                0.0
            } else {
                self.convolution(1, input, width)
            };
            self.convolution(27, input, width) + self.convolution(27, width, width) + shortcut
        };
        inputs.iter().map(|input| block(*input)).sum()
    }

    /// Block, attention within each frame, block.
    fn middle(self, width: usize) -> f64 {
        let attention = self.convolution(4, width, width)
            + 4.0 * self.frame().powi(2) * (self.frames * width) as f64;
        self.blocks(&[width, width], width) + attention
    }

    fn frames_after_the_first(self) -> Self {
        Self {
            frames: self.frames - 1,
            ..self
        }
    }
}

fn encoding(config: &WanVaeConfig, [frames, rows, columns]: [usize; 3]) -> f64 {
    let mut at = Extent {
        frames,
        rows,
        columns,
    };
    let mut sum = at.convolution(27, 3, config.base_width);
    let mut last = config.base_width;
    for stage in 0..config.multipliers.len() {
        let (inputs, width) = config.encoder_stage(stage);
        sum += at.blocks(&inputs, width);
        if let Some(halves_time) = config.halve_time.get(stage) {
            at = Extent {
                rows: at.rows / 2,
                columns: at.columns / 2,
                ..at
            };
            sum += at.convolution(9, width, width);
            if *halves_time {
                at.frames = at.frames.div_ceil(2);
                sum += at.frames_after_the_first().convolution(3, width, width);
            }
        }
        last = width;
    }
    let twice = 2 * config.latent_channels;
    sum + at.middle(last) + at.convolution(27, last, twice) + at.convolution(1, twice, twice)
}

fn decoding(config: &WanVaeConfig, [frames, rows, columns]: [usize; 3]) -> f64 {
    let (stride, step) = (config.stride(), config.frame_stride());
    let mut at = Extent {
        frames: 1 + (frames - 1) / step,
        rows: rows / stride,
        columns: columns / stride,
    };
    let channels = config.latent_channels;
    let mut last = config.decoder_stage(0).1;
    let mut sum = at.convolution(1, channels, channels)
        + at.convolution(27, channels, last)
        + at.middle(last);
    for stage in 0..config.multipliers.len() {
        let (inputs, width) = config.decoder_stage(stage);
        sum += at.blocks(&inputs, width);
        if let Some(doubles_time) = config.decoder_step(stage) {
            if doubles_time {
                sum += at.frames_after_the_first().convolution(3, width, 2 * width);
                at.frames = 2 * at.frames - 1;
            }
            at = Extent {
                rows: 2 * at.rows,
                columns: 2 * at.columns,
                ..at
            };
            sum += at.convolution(9, width, width / 2);
        }
        last = width;
    }
    sum + at.convolution(27, last, 3)
}

/// A text encoder that is a network: only `afd data prepare`, and `afd generate` before the student
/// comes, hold it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TextEncoderSizes {
    /// Bytes of its weights.
    pub weights: u64,
    /// Floating-point operations of encoding one prompt of as many tokens as there are text
    /// embeddings; most prompts are shorter.
    pub encoding: f64,
}

impl TextEncoderSizes {
    /// umT5 on prompts of `tokens` tokens.
    pub fn umt5(config: &UmT5Config, precision: Precision, tokens: usize) -> Self {
        let parameters: usize = umt5::shapes(config)
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        let (attention, width) = (config.attention_width(), config.width);
        let per_token =
            4 * width * attention + 3 * width * config.feed_forward_width + 2 * attention * tokens;
        Self {
            weights: (parameters * precision.bytes()) as u64,
            encoding: 2.0 * (config.layers * tokens * per_token) as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/count-operations.py`: diffusers' and transformers' models of the full size, counted
    /// by PyTorch.
    #[test]
    fn operations_are_those_that_pytorch_counts() {
        let vae = CodecSizes::wan_vae(&WanVaeConfig::wan_2_1(), Precision::Bf16, [81, 480, 832]);
        assert_eq!(
            (vae.encoding, vae.decoding),
            (163_749_702_205_440.0, 275_352_205_639_680.0)
        );
        let umt5 =
            |tokens| TextEncoderSizes::umt5(&UmT5Config::xxl(), Precision::Bf16, tokens).encoding;
        assert_eq!(
            (umt5(64), umt5(512)),
            (594_316_099_584.0, 4_844_723_109_888.0)
        );
    }
}

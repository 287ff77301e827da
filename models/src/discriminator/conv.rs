//! The multiscale 3-D convolution discriminator (docs/method.md E.4, E.7).

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::Discriminator;
use super::sizes::GraphSizes;
use crate::kernels::{Affine, Kernels, Norm};
use crate::layers::{Projection, layer_norm, linear, linear_without_bias, rows};

/// Sizes of a [`ConvDiscriminator`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvConfig {
    /// Channels of each scale; every scale after the first halves time, rows and columns.
    pub channels: Vec<usize>,
    /// Width of the joint feature that meets the prompt.
    pub width: usize,
}

impl ConvConfig {
    /// Positions and channels of each scale for clips of the latent shape `[F, C, H, W]`; every
    /// scale after the first halves time, rows and columns.
    fn scales(&self, [mut frames, _, mut rows, mut columns]: [usize; 4]) -> Vec<(usize, usize)> {
        let mut scales = Vec::with_capacity(self.channels.len());
        for &channels in &self.channels {
            scales.push((frames * rows * columns, channels));
            (frames, rows, columns) = (frames.div_ceil(2), rows.div_ceil(2), columns.div_ceil(2));
        }
        scales
    }

    /// What a discriminator of these sizes takes for clips of the latent shape `[F, C, H, W]`.
    pub fn graph_sizes(&self, latents: [usize; 4], text_width: usize) -> GraphSizes {
        let linear = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
        let scales = self.scales(latents);
        let stem = latents[1] + 3;
        // 27 taps and a scale and shift per channel.
        let stages = self.channels.windows(2);
        let stages: usize = stages
            .map(|pair| 27 * pair[0] * pair[1] + 2 * pair[1])
            .sum();
        let coarsest = scales
            .last()
            .map_or(0, |(positions, channels)| positions * channels);
        let pooled: usize = self.channels.iter().sum();
        let parameters = linear(stem, self.channels[0])
            + stages
            + linear(pooled + coarsest, self.width)
            + linear(self.width, 1)
            + linear(text_width, self.width);
        let products: usize = scales
            .windows(2)
            .map(|pair| pair[1].0 * 27 * pair[0].1 * pair[1].1)
            .sum();
        // Unfolded taps twice, and four times each scale.
        let taps: usize = scales
            .windows(2)
            .map(|pair| 2 * pair[1].0 * 27 * pair[0].1)
            .sum();
        let outputs: usize = scales
            .iter()
            .map(|(positions, channels)| 4 * positions * channels)
            .sum();
        GraphSizes {
            parameters: parameters as u64,
            flops: 2.0 * (scales[0].0 * stem * scales[0].1 + products) as f64,
            values: (taps + outputs + scales[0].0 * stem) as u64,
        }
    }
}

/// A pyramid of strided 3x3x3 convolutions. Every scale is pooled over space and time; the pooled
/// features and the flattened coarsest scale meet the prompt in a projection `<phi(x), W
/// pool(text)>` (E.7) and give one scalar.
///
/// Constant coordinate channels tell a convolution where it is, because where a ball is and when is
/// what a physics teacher is about.
#[derive(Module, Debug)]
pub struct ConvDiscriminator<B: Backend> {
    /// 1x1x1: C + 3 coordinates to the first scale's channels.
    pub stem: Projection<B>,
    /// One strided 3x3x3 convolution per further scale.
    pub stages: Vec<Stage<B>>,
    /// Pooled features of all scales to phi.
    pub gather: Projection<B>,
    /// phi to a scalar that does not read the prompt.
    // Initial weights are drawn by field name and checkpoints are keyed by it: a new name would
    // change exact results.
    pub judge: Projection<B>,
    /// Mean text embedding, normalised, to the projection vector.
    pub prompt: Projection<B>,
}

/// A 3x3x3 convolution with stride 2 on every axis longer than one, written as unfold and one
/// matrix product.
///
/// Burn's ndarray `conv3d` is hundreds of times slower than a matrix product
/// (docs/architecture.md), so no native convolution is used.
#[derive(Module, Debug)]
pub struct Stage<B: Backend> {
    /// `27 * C_in -> C_out`, without bias: the group norm has its own.
    pub taps: Projection<B>,
    /// Scale of the group norm.
    pub norm: ChannelAffine<B>,
}

/// Learned scale and shift per channel.
#[derive(Module, Debug)]
pub struct ChannelAffine<B: Backend> {
    /// Scale `[C]`.
    pub gamma: burn::module::Param<Tensor<B, 1>>,
    /// Shift `[C]`.
    pub beta: burn::module::Param<Tensor<B, 1>>,
}

impl<B: Backend> ConvDiscriminator<B> {
    /// A discriminator for latents `[F, C, H, W]` = `clip` and text embeddings of `text_width`.
    pub fn new(
        config: &ConvConfig,
        clip: [usize; 4],
        text_width: usize,
        device: &B::Device,
    ) -> Self {
        let [mut frames, channels, mut rows, mut columns] = clip;
        let first = config.channels[0];
        let stage = |(input, output): (usize, usize)| Stage {
            taps: linear_without_bias(27 * input, output, device),
            norm: ChannelAffine {
                gamma: burn::module::Param::from_tensor(Tensor::ones([output], device)),
                beta: burn::module::Param::from_tensor(Tensor::zeros([output], device)),
            },
        };
        let pairs: Vec<(usize, usize)> = config
            .channels
            .windows(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        for _ in &pairs {
            (frames, rows, columns) = (halved(frames), halved(rows), halved(columns));
        }
        let coarsest = frames * rows * columns * config.channels.last().copied().unwrap_or(first);
        let pooled: usize = config.channels.iter().sum();
        Self {
            stem: linear(channels + 3, first, device),
            stages: pairs.into_iter().map(stage).collect(),
            gather: linear(pooled + coarsest, config.width, device),
            judge: linear(config.width, 1, device),
            prompt: linear(text_width, config.width, device),
        }
    }
}

impl<B: Kernels> Discriminator<B> for ConvDiscriminator<B> {
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        let device = clips.device();
        let [batch, frames, _, rows, columns] = clips.dims();
        // [B, F, C, H, W] -> [B, F, H, W, C]
        let clips = clips.permute([0, 1, 3, 4, 2]);
        let coordinates = coordinates::<B>(frames, rows, columns, &device)
            .expand([batch, frames, rows, columns, 3]);
        let mut x = leaky_relu(self.stem.forward(Tensor::cat(vec![clips, coordinates], 4)));
        let mut features = vec![pool(&x)];
        for stage in &self.stages {
            x = stage.forward(x);
            features.push(pool(&x));
        }
        let flat = x.dims()[1..].iter().product::<usize>();
        features.push(x.reshape([batch, flat]));
        let phi = leaky_relu(self.gather.forward(Tensor::cat(features, 1)));
        // Embeddings past the prompt's length are zero; normalised, a prompt speaks as loudly as
        // the clip whatever its length and L. (Without it the projection starts so small that the
        // scores hardly depend on the prompt within a few hundred updates.)
        let asked = self
            .prompt
            .forward(layer_norm(text.mean_dim(1).squeeze_dim::<2>(1), 1e-5));
        let width = phi.dims()[1] as f64;
        // [B, 1]
        self.judge.forward(phi.clone()) + (phi * asked).sum_dim(1) / width.sqrt()
    }
}

impl<B: Kernels> Stage<B> {
    /// `[B, F, H, W, C] -> [B, F', H', W', C']`.
    fn forward(&self, x: Tensor<B, 5>) -> Tensor<B, 5> {
        let x = self.taps.forward(B::unfold(x));
        let [batch, frames, rows, columns, channels] = x.dims();
        // Group norm with one group: over all positions and channels of a clip.
        let affine = Affine {
            scale: self.norm.gamma.val().unsqueeze(),
            shift: Some(self.norm.beta.val().unsqueeze()),
        };
        let normed = B::normalise(
            x.reshape([batch, frames * rows * columns * channels]),
            affine,
            Norm::layer(1e-5),
        );
        leaky_relu(normed.reshape([batch, frames, rows, columns, channels]))
    }
}

/// Length of an axis after a stride-2 convolution: axes of odd length are padded, axes of length
/// one are kept.
fn halved(length: usize) -> usize {
    length.div_ceil(2)
}

/// [`Kernels::leaky_relu`] of a tensor of any rank.
fn leaky_relu<B: Kernels, const N: usize>(x: Tensor<B, N>) -> Tensor<B, N> {
    let dims = x.dims();
    <B as Kernels>::leaky_relu(rows(x)).reshape(dims)
}

/// Mean over frames, rows and columns: `[B, F, H, W, C] -> [B, C]`.
fn pool<B: Backend>(x: &Tensor<B, 5>) -> Tensor<B, 2> {
    let [batch, frames, rows, columns, channels] = x.dims();
    x.clone()
        .reshape([batch, frames * rows * columns, channels])
        .mean_dim(1)
        .reshape([batch, channels])
}

/// Frame, row and column of every position, each in [-1, 1]: `[1, F, H, W, 3]`.
fn coordinates<B: Backend>(
    frames: usize,
    rows: usize,
    columns: usize,
    device: &B::Device,
) -> Tensor<B, 5> {
    let place = |index: usize, length: usize| (2 * index + 1) as f32 / length as f32 - 1.0;
    let mut values = Vec::with_capacity(frames * rows * columns * 3);
    for frame in 0..frames {
        for row in 0..rows {
            for column in 0..columns {
                values.extend([
                    place(frame, frames),
                    place(row, rows),
                    place(column, columns),
                ]);
            }
        }
    }
    Tensor::from_data(
        TensorData::new(values, [1, frames, rows, columns, 3]),
        device,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::noise::{Noise, Purpose};
    use burn::backend::Flex;

    fn random<const N: usize>(shape: [usize; N], index: u64) -> Tensor<Flex, N> {
        let values = Noise::new(3, Purpose::Evaluation, 0, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    #[test]
    fn scores_are_one_per_clip_and_read_the_prompt() {
        let config = ConvConfig {
            channels: vec![8, 16, 16],
            width: 16,
        };
        let device = Default::default();
        let discriminator = initialise(
            ConvDiscriminator::<Flex>::new(&config, [6, 12, 8, 8], 8, &device),
            1,
            "discriminator",
        );
        let clips = random([3, 6, 12, 8, 8], 4);
        let scores = discriminator.score(clips.clone(), random([3, 5, 8], 5));
        assert_eq!(scores.dims(), [3, 1]);
        let other = discriminator.score(clips, random([3, 5, 8], 6));
        assert!((scores - other).abs().max().into_scalar() > 1e-4);
    }
}

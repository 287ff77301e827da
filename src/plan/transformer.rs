//! Parameters, operations and keys and values of a transformer, from its sizes (method.md B.1, B.4, G.8).

use afd_models::discriminator::{ConvConfig, RegisterConfig};
use afd_models::student::{BlockLayout, StudentConfig, Visibility};
use afd_models::weights::wan;
use serde::Serialize;

/// Parameters of a transformer.
pub fn parameters(config: &StudentConfig) -> usize {
    wan::shapes(config).values().map(|shape| shape.iter().product::<usize>()).sum()
}

/// Parameters of one of its blocks.
pub fn block_parameters(config: &StudentConfig) -> usize {
    let without = StudentConfig { layers: 0, ..config.clone() };
    let one = StudentConfig { layers: 1, ..config.clone() };
    parameters(&one) - parameters(&without)
}

/// Parameters of LoRA factors of `rank` on the ten linear layers of every block: eight D x D, one D x H, one H x D.
pub fn lora_parameters(config: &StudentConfig, rank: usize) -> usize {
    config.layers * rank * (16 * config.width + 2 * (config.width + config.feed_forward_width))
}

/// Parameters of a register discriminator besides its backbone.
pub fn register_parameters(config: &RegisterConfig, width: usize) -> usize {
    let (count, hidden) = (config.layers.len(), config.feed_forward_width);
    let linear = |input: usize, output: usize| input * output + output;
    // Norm, attention with its two norms, feed-forward network.
    let reader = 2 * width + 4 * linear(width, width) + 2 * width + linear(width, hidden) + linear(hidden, width);
    count * width + width + count * reader + 2 * count * width + linear(count * width, width) + linear(width, 1)
}

/// Parameters of a convolution discriminator for latents `[F, C, H, W]`.
pub fn conv_parameters(config: &ConvConfig, latents: [usize; 4], text_width: usize) -> usize {
    let linear = |input: usize, output: usize| input * output + output;
    let scales = conv_scales(config, latents);
    let stages: usize = config.channels.windows(2).map(|pair| 27 * pair[0] * pair[1] + 2 * pair[1]).sum();
    let coarsest = scales.last().map_or(0, |(positions, channels)| positions * channels);
    let pooled: usize = config.channels.iter().sum();
    linear(latents[1] + 3, config.channels[0])
        + stages
        + linear(pooled + coarsest, config.width)
        + linear(config.width, 1)
        + linear(text_width, config.width)
}

/// Positions and channels of each scale of a convolution discriminator; every scale after the first halves time, rows and columns.
pub fn conv_scales(config: &ConvConfig, [mut frames, _, mut rows, mut columns]: [usize; 4]) -> Vec<(usize, usize)> {
    let mut scales = Vec::with_capacity(config.channels.len());
    for &channels in &config.channels {
        scales.push((frames * rows * columns, channels));
        (frames, rows, columns) = (frames.div_ceil(2), rows.div_ceil(2), columns.div_ceil(2));
    }
    scales
}

/// Values of a clip's keys and values in all layers, for `tokens` tokens.
pub fn cache_values(config: &StudentConfig, tokens: usize) -> u64 {
    2 * (config.layers * config.width * tokens) as u64
}

/// Floating-point operations; a multiply-add is two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Flops {
    /// Of linear layers: 2 per parameter and token, as in method.md G.8. Slightly too much, because it counts the text's side of cross-attention
    /// and the embeddings per token (13 % for Wan-1.3B), less the scores of cross-attention, which it leaves out (3 %).
    pub linear: f64,
    /// Of self-attention over what is visible: 4 D per query, key and layer.
    pub attention: f64,
}

impl Flops {
    /// Both.
    pub fn total(self) -> f64 {
        self.linear + self.attention
    }

    /// `times` of it.
    pub fn times(self, times: f64) -> Self {
        Self { linear: times * self.linear, attention: times * self.attention }
    }

    /// Both sums.
    pub fn plus(self, other: Self) -> Self {
        Self { linear: self.linear + other.linear, attention: self.attention + other.attention }
    }

    /// The backward pass of a forward one: twice the work, or once in linear layers whose weights are frozen.
    pub fn backward(self, weights_trained: bool) -> Self {
        Self { linear: self.linear * if weights_trained { 2.0 } else { 1.0 }, attention: 2.0 * self.attention }
    }
}

/// One clip's forward pass.
pub fn forward(config: &StudentConfig, tokens_per_frame: usize, visibility: &Visibility) -> Flops {
    let frames = |ranges: &[std::ops::Range<usize>]| ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
    let pairs: usize = visibility.views.iter().map(|view| view.queries.len() * (frames(&view.past) + frames(&view.own))).sum();
    let pairs = pairs as f64 * (tokens_per_frame as f64).powi(2);
    Flops {
        linear: 2.0 * parameters(config) as f64 * (visibility.own_frames * tokens_per_frame) as f64,
        attention: 4.0 * (config.width * config.layers) as f64 * pairs,
    }
}

/// One clip's rollout: `steps` forward passes per block and a clean one that commits it; of the last block only if `commit_last`.
pub fn rollout(config: &StudentConfig, tokens_per_frame: usize, layout: &BlockLayout, steps: usize, commit_last: bool) -> Flops {
    layout.blocks().fold(Flops::default(), |sum, block| {
        let past = layout.past_of(&block).iter().map(ExactSizeIterator::len).sum();
        let passes = steps + usize::from(commit_last || block.end < layout.frames);
        sum.plus(forward(config, tokens_per_frame, &Visibility::rollout(past, block.len())).times(passes as f64))
    })
}

#[cfg(test)]
mod tests {
    use afd_models::discriminator::{ConvDiscriminator, RegisterDiscriminator};
    use afd_models::student::Student;
    use burn::backend::NdArray;
    use burn::module::Module;

    use super::*;

    const FRAMES: usize = 21;
    const TOKENS_PER_FRAME: usize = 30 * 52;

    fn layout(frames_per_block: usize) -> BlockLayout {
        BlockLayout { frames: FRAMES, frames_per_block, window_frames: 0, sink_frames: 0 }
    }

    /// 1 TF.
    const TERA: f64 = 1e12;

    #[test]
    fn the_parameters_of_wan_are_those_of_its_files() {
        // method.md B.1; the 14B count is that of the shapes in Wan2.1-T2V-14B's own configuration.
        let small = StudentConfig::wan_1_3b();
        assert_eq!((wan::shapes(&small).len(), parameters(&small), block_parameters(&small)), (825, 1_418_996_800, 46_440_704));
        let large = StudentConfig::wan_14b();
        assert_eq!((wan::shapes(&large).len(), parameters(&large)), (1095, 14_288_491_584));
        assert_eq!(large.problem(), None);
    }

    #[test]
    fn counted_parameters_are_those_of_the_modules() {
        let config = StudentConfig { width: 24, layers: 3, heads: 2, feed_forward_width: 40, text_width: 8, ..StudentConfig::wan_1_3b() };
        let device = Default::default();
        assert_eq!(Student::<NdArray>::new(&config, &device).num_params(), parameters(&config));
        let registers = RegisterConfig { layers: vec![0, 2], feed_forward_width: 20, sigma: 0.0 };
        let module = RegisterDiscriminator::<NdArray>::new(&registers, &config, &device);
        assert_eq!(module.num_params(), parameters(&config) + register_parameters(&registers, 24));
        let conv = ConvConfig { channels: vec![8, 16, 12], width: 10 };
        let latents = [5, 16, 6, 10];
        let module = ConvDiscriminator::<NdArray>::new(&conv, latents, 8, &device);
        assert_eq!(module.num_params(), conv_parameters(&conv, latents, 8));
    }

    #[test]
    fn keys_and_values_of_a_clip_take_six_gigabytes_in_bf16() {
        // method.md B.4.
        let bytes = 2 * cache_values(&StudentConfig::wan_1_3b(), FRAMES * TOKENS_PER_FRAME);
        assert_eq!(bytes, 6_038_323_200);
    }

    #[test]
    fn operations_are_those_of_the_cost_model() {
        // method.md G.8, to the digits given there.
        let config = StudentConfig::wan_1_3b();
        let near = |found: f64, expected: f64, digits: f64| assert!((found / expected - 1.0).abs() < digits, "{found:e} {expected:e}");
        let whole = rollout(&config, TOKENS_PER_FRAME, &layout(3), 4, true);
        near(whole.linear, 465.0 * TERA, 2e-3);
        near(whole.attention, 565.0 * TERA, 2e-3);
        near(whole.total(), 1030.0 * TERA, 5e-3);
        near(rollout(&config, TOKENS_PER_FRAME, &layout(1), 4, true).total(), 980.0 * TERA, 5e-3);
        let causal = forward(&config, TOKENS_PER_FRAME, &Visibility::block_causal(&layout(3)));
        near(causal.total(), 206.0 * TERA, 3e-3);
        let forcing = causal.plus(forward(&config, TOKENS_PER_FRAME, &Visibility::teacher_forcing(&layout(3))));
        near(forcing.total(), 412.0 * TERA, 3e-3);
        near(forward(&config, TOKENS_PER_FRAME, &Visibility::bidirectional(FRAMES)).total(), 291.0 * TERA, 3e-3);
    }
}

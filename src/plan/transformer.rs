//! Parameters, operations and keys and values of a transformer, from its sizes (docs/method.md B.1,
//! B.4, G.8).

use afd_models::discriminator::RegisterConfig;
use afd_models::lora::LoraConfig;
use afd_models::student::{BlockLayout, StudentConfig, Visibility};
use afd_models::weights::wan;
use serde::Serialize;

/// Parameters of a transformer.
pub fn parameters(config: &StudentConfig) -> usize {
    wan::shapes(config)
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum()
}

/// Parameters of one of its blocks.
pub fn block_parameters(config: &StudentConfig) -> usize {
    let without = StudentConfig {
        layers: 0,
        ..config.clone()
    };
    let one = StudentConfig {
        layers: 1,
        ..config.clone()
    };
    parameters(&one) - parameters(&without)
}

/// Whether a layer of a block, under Wan's name, reads the text instead of the clip's tokens.
fn reads_text(layer: &str) -> bool {
    ["cross_attn.k", "cross_attn.v"].contains(&layer)
}

/// Inputs and outputs of a layer of a block, under Wan's name.
fn ends(config: &StudentConfig, layer: &str) -> usize {
    config.width
        + if layer.starts_with("ffn.") {
            config.feed_forward_width
        } else {
            config.width
        }
}

/// Parameters of a transformer's low-rank factors.
pub fn lora_parameters(config: &StudentConfig, lora: &LoraConfig) -> usize {
    config.layers
        * lora.rank
        * lora
            .layers()
            .into_iter()
            .map(|layer| ends(config, layer))
            .sum::<usize>()
}

/// Those of one block that a token meets.
fn lora_parameters_per_token(config: &StudentConfig, lora: &LoraConfig) -> usize {
    lora.rank
        * lora
            .layers()
            .into_iter()
            .filter(|layer| !reads_text(layer))
            .map(|layer| ends(config, layer))
            .sum::<usize>()
}

/// Values between the factors of one block: of a token, and of a text embedding.
pub fn lora_values(lora: Option<&LoraConfig>) -> [usize; 2] {
    let Some(lora) = lora else { return [0; 2] };
    let layers = lora.layers();
    let of_text = layers.iter().filter(|layer| reads_text(layer)).count();
    [lora.rank * (layers.len() - of_text), lora.rank * of_text]
}

/// Parameters of a register discriminator besides its backbone.
pub fn register_parameters(config: &RegisterConfig, width: usize) -> usize {
    let (count, hidden) = (config.layers.len(), config.feed_forward_width);
    let linear = |input: usize, output: usize| input * output + output;
    // Norm, attention with its two norms, feed-forward network.
    let reader = 2 * width
        + 4 * linear(width, width)
        + 2 * width
        + linear(width, hidden)
        + linear(hidden, width);
    count * width
        + width
        + count * reader
        + 2 * count * width
        + linear(count * width, width)
        + linear(width, 1)
}

/// Values of a clip's keys and values in all layers, for `tokens` tokens.
pub fn cache_values(config: &StudentConfig, tokens: usize) -> u64 {
    2 * (config.layers * config.width * tokens) as u64
}

/// Floating-point operations; a multiply-add is two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Flops {
    /// Of linear layers: 2 per parameter and token, as in docs/method.md G.8. Slightly too much,
    /// because it counts the text's side of cross-attention and the embeddings per token (13 % for
    /// Wan-1.3B), less the scores of cross-attention, which it leaves out (3 %).
    pub linear: f64,
    /// Of self-attention over what is visible: 4 D per query, key and layer.
    pub attention: f64,
    /// Of low-rank factors, but for those that read the text (0.2 %).
    pub factors: f64,
    /// Of the codec.
    pub codec: f64,
}

impl Flops {
    /// All of it.
    pub fn total(self) -> f64 {
        self.linear + self.attention + self.factors + self.codec
    }

    /// `times` of it.
    pub fn times(self, times: f64) -> Self {
        let Self {
            linear,
            attention,
            factors,
            codec,
        } = self;
        Self {
            linear: times * linear,
            attention: times * attention,
            factors: times * factors,
            codec: times * codec,
        }
    }

    /// Both sums.
    pub fn plus(self, other: Self) -> Self {
        Self {
            linear: self.linear + other.linear,
            attention: self.attention + other.attention,
            factors: self.factors + other.factors,
            codec: self.codec + other.codec,
        }
    }

    /// The backward pass of a forward one: twice the work, or once in linear layers whose weights
    /// are frozen. The codec has none.
    pub fn backward(self, weights_trained: bool) -> Self {
        let linear = self.linear * if weights_trained { 2.0 } else { 1.0 };
        Self {
            linear,
            attention: 2.0 * self.attention,
            factors: 2.0 * self.factors,
            codec: 0.0,
        }
    }
}

/// A transformer whose operations are counted.
#[derive(Debug, Clone, Copy)]
pub struct Computed<'a> {
    /// Its sizes.
    pub config: &'a StudentConfig,
    /// Its low-rank factors.
    pub lora: Option<&'a LoraConfig>,
    /// Tokens of a latent frame.
    pub tokens_per_frame: usize,
}

impl Computed<'_> {
    /// One clip's forward pass.
    pub fn forward(&self, visibility: &Visibility) -> Flops {
        let Self {
            config,
            lora,
            tokens_per_frame,
        } = *self;
        let frames = |ranges: &[std::ops::Range<usize>]| {
            ranges.iter().map(ExactSizeIterator::len).sum::<usize>()
        };
        let pairs: usize = visibility
            .views
            .iter()
            .map(|view| view.queries.len() * (frames(&view.past) + frames(&view.own)))
            .sum();
        let pairs = pairs as f64 * (tokens_per_frame as f64).powi(2);
        let tokens = (visibility.own_frames * tokens_per_frame) as f64;
        let factors = lora.map_or(0, |lora| {
            config.layers * lora_parameters_per_token(config, lora)
        });
        Flops {
            linear: 2.0 * parameters(config) as f64 * tokens,
            attention: 4.0 * (config.width * config.layers) as f64 * pairs,
            factors: 2.0 * factors as f64 * tokens,
            codec: 0.0,
        }
    }

    /// One clip's rollout: `steps` forward passes per block, of the first block and of the others,
    /// and a clean one that commits it; of the last block only if `commit_last`.
    pub fn rollout(&self, layout: &BlockLayout, steps: [f64; 2], commit_last: bool) -> Flops {
        layout.blocks().fold(Flops::default(), |sum, block| {
            let past = layout
                .past_of(&block)
                .iter()
                .map(ExactSizeIterator::len)
                .sum();
            let commits = commit_last || block.end < layout.frames;
            let passes = steps[usize::from(block.start > 0)] + f64::from(u8::from(commits));
            sum.plus(
                self.forward(&Visibility::rollout(past, block.len()))
                    .times(passes),
            )
        })
    }
}

#[cfg(test)]
mod tests;

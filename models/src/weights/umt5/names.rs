//! Wan's and Hugging Face's names of a umT5 encoder's tensors, their shapes, and the sizes that
//! they tell.

use std::collections::BTreeMap;

use crate::text::umt5::UmT5Config;
use crate::weights::check::Shapes;

/// Who named the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UmT5Layout {
    /// The original Wan repository.
    Wan,
    /// Hugging Face's `UMT5EncoderModel`; also the encoder of a `UMT5ForConditionalGeneration`.
    HuggingFace,
}

/// Wan's and Hugging Face's names outside the blocks.
pub(super) const OUTSIDE: [(&str, &str); 2] = [
    ("token_embedding.weight", "shared.weight"),
    ("norm.weight", "encoder.final_layer_norm.weight"),
];

/// Hugging Face's other name for the embeddings; a file may hold them twice.
pub(super) const TIED: &str = "encoder.embed_tokens.weight";

/// What a `UMT5ForConditionalGeneration` has beside its encoder.
pub(super) const DECODER: [&str; 2] = ["decoder.", "lm_head."];

/// The same inside `blocks.N.` and `encoder.block.N.`.
const INSIDE: [(&str, &str); 10] = [
    ("norm1.weight", "layer.0.layer_norm.weight"),
    ("attn.q.weight", "layer.0.SelfAttention.q.weight"),
    ("attn.k.weight", "layer.0.SelfAttention.k.weight"),
    ("attn.v.weight", "layer.0.SelfAttention.v.weight"),
    ("attn.o.weight", "layer.0.SelfAttention.o.weight"),
    (
        "pos_embedding.embedding.weight",
        "layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    ("norm2.weight", "layer.1.layer_norm.weight"),
    ("ffn.gate.0.weight", "layer.1.DenseReluDense.wi_0.weight"),
    ("ffn.fc1.weight", "layer.1.DenseReluDense.wi_1.weight"),
    ("ffn.fc2.weight", "layer.1.DenseReluDense.wo.weight"),
];

impl UmT5Layout {
    /// The layout's name for Wan's `name`; a name that the table lacks stays as it is.
    pub fn name(self, name: &str) -> String {
        let translated = match self {
            Self::Wan => None,
            Self::HuggingFace => match in_block(name, "blocks.") {
                Some((block, rest)) => INSIDE
                    .iter()
                    .find(|(wan, _)| *wan == rest)
                    .map(|(_, hugging)| format!("encoder.block.{block}.{hugging}")),
                None => OUTSIDE
                    .iter()
                    .find(|(wan, _)| *wan == name)
                    .map(|(_, hugging)| hugging.to_string()),
            },
        };
        translated.unwrap_or_else(|| name.to_string())
    }

    /// Wan's name for the layout's `name`; `None` for a name that the table lacks.
    pub fn wan_name(self, name: &str) -> Option<String> {
        let prefix = if self == Self::Wan {
            "blocks."
        } else {
            "encoder.block."
        };
        let own =
            |pair: &(&'static str, &'static str)| if self == Self::Wan { pair.0 } else { pair.1 };
        match in_block(name, prefix) {
            Some((block, rest)) => INSIDE
                .iter()
                .find(|pair| own(pair) == rest)
                .map(|(wan, _)| format!("blocks.{block}.{wan}")),
            None if self == Self::HuggingFace && name == TIED => Some(OUTSIDE[0].0.to_string()),
            None => OUTSIDE
                .iter()
                .find(|pair| own(pair) == name)
                .map(|(wan, _)| wan.to_string()),
        }
    }

    /// The word for it in commands and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::HuggingFace => "hugging face",
        }
    }
}

/// Number and rest of `{prefix}{number}.{rest}`.
fn in_block<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Wan's names and the shapes of all tensors of an encoder of these sizes.
pub fn shapes(config: &UmT5Config) -> Shapes {
    let (width, inner, hidden) = (
        config.width,
        config.attention_width(),
        config.feed_forward_width,
    );
    let mut shapes = Shapes::new();
    shapes.insert(
        "token_embedding.weight".into(),
        vec![config.vocabulary, width],
    );
    shapes.insert("norm.weight".into(), vec![width]);
    for block in 0..config.layers {
        for (name, shape) in [
            ("norm1", vec![width]),
            ("attn.q", vec![inner, width]),
            ("attn.k", vec![inner, width]),
            ("attn.v", vec![inner, width]),
            ("attn.o", vec![width, inner]),
            (
                "pos_embedding.embedding",
                vec![config.buckets, config.heads],
            ),
            ("norm2", vec![width]),
            ("ffn.gate.0", vec![hidden, width]),
            ("ffn.fc1", vec![hidden, width]),
            ("ffn.fc2", vec![width, hidden]),
        ] {
            shapes.insert(format!("blocks.{block}.{name}.weight"), shape);
        }
    }
    shapes
}

/// The sizes of an encoder with these tensors (Wan's names), as most of them say, so that single
/// odd ones can be named.
///
/// Shapes do not tell the largest distance: 128, as in every T5. `None` where too little is there
/// to tell.
pub fn sizes(found: &Shapes) -> Option<UmT5Config> {
    let ending = |ending: &str| {
        found
            .iter()
            .filter(|(name, _)| name.ends_with(ending))
            .map(|(_, shape)| &shape[..])
            .collect::<Vec<_>>()
    };
    let width = commonest(
        [".norm1.weight", ".norm2.weight"]
            .into_iter()
            .flat_map(ending)
            .flatten()
            .copied(),
    )?;
    let pair = |name: &str| {
        commonest(
            ending(name)
                .into_iter()
                .filter_map(|shape| <[usize; 2]>::try_from(shape).ok()),
        )
    };
    let [buckets, heads] = pair(".pos_embedding.embedding.weight")?;
    let [inner, _] = pair(".attn.q.weight")?;
    let [feed_forward_width, _] = pair(".ffn.gate.0.weight")?;
    let layers = found
        .keys()
        .filter_map(|name| Some(in_block(name, "blocks.")?.0))
        .max()?
        .checked_add(1)?;
    let usual = UmT5Config::xxl();
    // One witness only; where that is the odd one, the usual size stands in, so that the witness is
    // named.
    let vocabulary = match found.get("token_embedding.weight").map(|shape| &shape[..]) {
        Some(&[vocabulary, second]) if second == width => vocabulary,
        _ => usual.vocabulary,
    };
    // A file can claim any size; what no machine holds, or what has no whole buckets and heads, is
    // not an encoder.
    let sensible = [width, inner, heads, feed_forward_width, vocabulary]
        .iter()
        .all(|size| (1..1 << 20).contains(size));
    let whole = sensible
        && inner.is_multiple_of(heads)
        && buckets.is_multiple_of(4)
        && (4..4 * usual.max_distance).contains(&buckets);
    (whole && layers <= 1_000).then(|| UmT5Config {
        vocabulary,
        width,
        heads,
        head_width: inner / heads,
        feed_forward_width,
        layers,
        buckets,
        max_distance: usual.max_distance,
    })
}

fn commonest<T: Ord>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::<T, usize>::new();
    values
        .into_iter()
        .for_each(|value| *counts.entry(value).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(value, _)| value)
}

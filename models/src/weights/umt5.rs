//! umT5 encoders in files (method.md D): Wan's and Hugging Face's names, shapes, and an encoder out
//! of either.
//!
//! Names inside this crate are Wan's own (`models_t5_umt5-xxl-enc-bf16.pth`); weights keep
//! PyTorch's orientation, so nothing is transposed.

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use safetensors::tensor::Dtype;

use super::WeightsError;
use super::check::{Offered, Shapes, problems};
use super::file::WeightFile;
use crate::text::umt5::{UmT5Config, UmT5Encoder};

/// Who named the tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UmT5Layout {
    /// The original Wan repository.
    Wan,
    /// Hugging Face's `UMT5EncoderModel`; also the encoder of a `UMT5ForConditionalGeneration`.
    HuggingFace,
}

/// Wan's and Hugging Face's names outside the blocks.
const OUTSIDE: [(&str, &str); 2] = [
    ("token_embedding.weight", "shared.weight"),
    ("norm.weight", "encoder.final_layer_norm.weight"),
];

/// Hugging Face's other name for the embeddings; a file may hold them twice.
const TIED: &str = "encoder.embed_tokens.weight";

/// What a `UMT5ForConditionalGeneration` has beside its encoder.
const DECODER: [&str; 2] = ["decoder.", "lm_head."];

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

/// A umT5 encoder in a file: which tensors there are, under Wan's names.
pub struct UmT5File<'a> {
    file: &'a WeightFile,
    layout: UmT5Layout,
    offered: BTreeMap<String, Offered>,
    /// The second copy of the embeddings.
    tied: Option<Offered>,
    left_alone: usize,
}

impl<'a> UmT5File<'a> {
    /// Finds the encoder in `file`: recognises the layout by the majority of the names; a decoder
    /// is left alone.
    ///
    /// # Errors
    /// Two names that mean the same tensor, other than the two of the embeddings.
    pub fn find(file: &'a WeightFile) -> Result<Self, WeightsError> {
        let known = |layout: UmT5Layout| {
            file.entries()
                .keys()
                .filter(|name| layout.wan_name(name).is_some())
                .count()
        };
        let (wan, hugging) = (known(UmT5Layout::Wan), known(UmT5Layout::HuggingFace));
        let layout = if hugging > wan {
            UmT5Layout::HuggingFace
        } else {
            UmT5Layout::Wan
        };
        let mut found = Self {
            file,
            layout,
            offered: BTreeMap::new(),
            tied: None,
            left_alone: 0,
        };
        let twice = layout == UmT5Layout::HuggingFace && file.entries().contains_key(OUTSIDE[0].1);
        for (name, entry) in file.entries() {
            let offered = Offered {
                name: name.clone(),
                shape: entry.shape.clone(),
                dtype: entry.dtype,
            };
            if layout == UmT5Layout::HuggingFace
                && DECODER.iter().any(|prefix| name.starts_with(prefix))
            {
                found.left_alone += 1;
            } else if name == TIED && twice {
                found.tied = Some(offered);
            } else if let Some(other) = found.offered.insert(
                layout.wan_name(name).unwrap_or_else(|| name.clone()),
                offered,
            ) {
                return Err(found.mismatch(vec![format!(
                    "tensors {:?} and {name:?} are the same one",
                    other.name
                )]));
            }
        }
        Ok(found)
    }

    /// Who named the tensors.
    pub fn layout(&self) -> UmT5Layout {
        self.layout
    }

    /// How many tensors belong to a decoder and were left alone.
    pub fn left_alone(&self) -> usize {
        self.left_alone
    }

    /// Whether most of the names are an encoder's.
    pub fn is_recognised(&self) -> bool {
        let known = self
            .offered
            .keys()
            .filter(|name| UmT5Layout::Wan.wan_name(name).is_some())
            .count();
        2 * known > self.offered.len()
    }

    /// The sizes that most of the tensors agree on (see [`sizes`]).
    pub fn sizes(&self) -> Option<UmT5Config> {
        sizes(
            &self
                .offered
                .iter()
                .map(|(name, offered)| (name.clone(), offered.shape.clone()))
                .collect(),
        )
    }

    /// [`UmT5File::sizes`], or in words that the file holds no such encoder.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with what would have been expected.
    pub fn expected_sizes(&self) -> Result<UmT5Config, WeightsError> {
        self.sizes()
            .filter(|_| self.is_recognised())
            .ok_or_else(|| {
                let wanted = "its tensors are not a umT5 encoder's; expected Wan's names \
                    (\"blocks.0.attn.q.weight\") or Hugging Face's UMT5EncoderModel's \
                    (\"encoder.block.0.layer.0.SelfAttention.q.weight\")";
                self.mismatch(vec![wanted.to_string()])
            })
    }

    /// Every way in which the file is not an encoder of these sizes; none: it is one. Values are
    /// not compared here.
    pub fn problems(&self, config: &UmT5Config) -> Vec<String> {
        let needed = shapes(config);
        let mut found = problems(&needed, &self.offered, |name| self.layout.name(name));
        let embeddings = &needed["token_embedding.weight"];
        if let Some(tied) = self.tied.as_ref().filter(|tied| tied.shape != *embeddings) {
            found.push(format!(
                "tensor {:?} has shape {:?}, expected {embeddings:?} as \"shared.weight\"",
                tied.name, tied.shape
            ));
        }
        found
    }

    /// The encoder with these weights held as `dtype`, read tensor by tensor; what is stored in
    /// that type already is copied once, unchanged.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with all problems, before anything is read: names, shapes, two
    /// embedding tables that differ, a type that the backend does not compute in.
    pub fn load<B: Backend>(
        &self,
        config: &UmT5Config,
        dtype: FloatDType,
        device: &B::Device,
    ) -> Result<UmT5Encoder<B>, WeightsError> {
        let mut problems = self.problems(config);
        let dtype = DType::from(dtype);
        if !B::supports_dtype(device, dtype) {
            problems.push(format!(
                "the backend {} does not compute in {dtype:?}; ask for F32 or choose another \
                    backend",
                B::name(device)
            ));
        }
        if problems.is_empty() && !self.embeddings_agree()? {
            problems.push(format!(
                "tensors {:?} and {TIED:?} differ, but the encoder has one embedding table",
                OUTSIDE[0].1
            ));
        }
        if !problems.is_empty() {
            return Err(self.mismatch(problems));
        }
        UmT5Encoder::<B>::read(config, device, |name| self.read(&self.offered[name], dtype))
    }

    fn read(&self, offered: &Offered, wanted: DType) -> Result<TensorData, WeightsError> {
        let stored = match offered.dtype {
            Dtype::F32 => DType::F32,
            Dtype::BF16 => DType::BF16,
            Dtype::F16 => DType::F16,
            // Refused with the other problems, before any value is read.
            other => unreachable!("{:?} of type {other} is a problem", offered.name),
        };
        if stored == wanted && cfg!(target_endian = "little") {
            let bytes = self.file.with_bytes(&offered.name, <[u8]>::to_vec)?;
            return Ok(TensorData::from_bytes_vec(
                bytes,
                offered.shape.clone(),
                stored,
            ));
        }
        let values = self.file.read(&offered.name)?.values;
        Ok(TensorData::new(values, offered.shape.clone()).convert_dtype(wanted))
    }

    /// Whether the embeddings, if they are there twice, are twice the same.
    fn embeddings_agree(&self) -> Result<bool, WeightsError> {
        let Some(tied) = &self.tied else {
            return Ok(true);
        };
        let first = &self.offered["token_embedding.weight"];
        if first.dtype != tied.dtype {
            return Ok(false);
        }
        self.file.with_bytes(&first.name, |first| {
            self.file.with_bytes(&tied.name, |second| first == second)
        })?
    }

    fn mismatch(&self, problems: Vec<String>) -> WeightsError {
        WeightsError::Mismatch {
            origin: self.file.path().display().to_string(),
            problems,
        }
    }
}

#[cfg(test)]
mod tests;

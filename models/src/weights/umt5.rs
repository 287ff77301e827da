//! umT5 encoders in files (docs/method.md D): Wan's and Hugging Face's names, shapes, and an
//! encoder out of either.
//!
//! Names inside this crate are Wan's own (`models_t5_umt5-xxl-enc-bf16.pth`); weights keep
//! PyTorch's orientation, so nothing is transposed.

mod names;
mod open;

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use safetensors::tensor::Dtype;

use super::WeightsError;
use super::check::{Offered, problems};
use super::file::WeightFile;
use crate::text::umt5::{UmT5Config, UmT5Encoder};

use names::{DECODER, OUTSIDE, TIED};
pub use names::{UmT5Layout, shapes, sizes};
pub use open::UmT5Error;

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
            Dtype::F32 => Some(DType::F32),
            Dtype::BF16 => Some(DType::BF16),
            Dtype::F16 => Some(DType::F16),
            _ => None,
        };
        if stored == Some(wanted) && cfg!(target_endian = "little") {
            let bytes = self.file.with_finite_bytes(&offered.name, <[u8]>::to_vec)?;
            return Ok(TensorData::from_bytes_vec(
                bytes,
                offered.shape.clone(),
                wanted,
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

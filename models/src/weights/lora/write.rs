//! Low-rank factors as a file, under the names of their readers.

use safetensors::tensor::{Dtype, TensorView};

use super::{LoraFile, LoraLayout};
use crate::weights::WeightsError;
use crate::weights::float::from_f32;
use crate::weights::layout::Layout;

impl LoraFile {
    /// The file in `layout`, as safetensors: the same values, in the type that they were read in.
    ///
    /// # Errors
    /// [`WeightsError::Write`] for what the format cannot hold.
    pub fn to_bytes(&self, layout: LoraLayout) -> Result<Vec<u8>, WeightsError> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (layer, factors) in &self.layers {
            let name = match layout {
                LoraLayout::Wan => layer.clone(),
                LoraLayout::Comfyui => format!("diffusion_model.{layer}"),
                LoraLayout::Diffusers => {
                    let weight = Layout::Diffusers.name(&format!("{layer}.weight"));
                    format!("transformer.{}", weight.trim_end_matches(".weight"))
                }
            };
            let rank = self.config.rank as f64;
            let rest = if layout == LoraLayout::Diffusers {
                factors.alpha.map_or(1.0, |alpha| alpha / rank)
            } else {
                1.0
            };
            for (part, tensor, scale) in [
                ("lora_A", &factors.down, 1.0),
                ("lora_B", &factors.up, rest),
            ] {
                let Some(tensor) = tensor else {
                    unreachable!("both factors are there")
                };
                let bytes = from_f32(
                    tensor.values.iter().map(|value| {
                        if scale == 1.0 {
                            *value
                        } else {
                            (f64::from(*value) * scale) as f32
                        }
                    }),
                    self.dtype,
                );
                tensors.push((
                    format!("{name}.{part}.weight"),
                    self.dtype,
                    tensor.shape.clone(),
                    bytes,
                ));
            }
            if let (Some(alpha), false) = (factors.alpha, layout == LoraLayout::Diffusers) {
                tensors.push((
                    format!("{name}.alpha"),
                    Dtype::F32,
                    Vec::new(),
                    (alpha as f32).to_le_bytes().to_vec(),
                ));
            }
        }
        let unwritable = |reason: String| WeightsError::Write { reason };
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes)?,
            ))
        });
        let views = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| unwritable(error.to_string()))?;
        let metadata = [("format".to_string(), "pt".to_string())].into();
        safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(error.to_string()))
    }
}

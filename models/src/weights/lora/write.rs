//! Low-rank factors as a file, under the names of their readers.

use safetensors::tensor::{Dtype, TensorView};

use super::{LoraFile, LoraLayout};
use crate::weights::WeightsError;
use crate::weights::float::{from_f32, not_finite};
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
            // What its readers cannot be told goes into B.
            let (rest, alpha) = if layout == LoraLayout::Diffusers {
                (factors.scale(), None)
            } else {
                (1.0, Some(factors.alpha))
            };
            for (part, tensor, scale) in [
                ("lora_A", &factors.down, 1.0),
                ("lora_B", &factors.up, rest),
            ] {
                let name = format!("{name}.{part}.weight");
                let values = tensor.values.iter().map(|value| {
                    if scale == 1.0 {
                        *value
                    } else {
                        (f64::from(*value) * scale) as f32
                    }
                });
                let bytes = from_f32(values, self.dtype);
                if not_finite(&bytes, self.dtype).is_some() {
                    return Err(WeightsError::write(format!(
                        "tensor {name:?} is not finite in {} once its scale {scale} is in it",
                        self.dtype
                    )));
                }
                tensors.push((name, self.dtype, tensor.shape.clone(), bytes));
            }
            tensors.extend(alpha.map(|alpha| {
                (
                    format!("{name}.alpha"),
                    Dtype::F32,
                    Vec::new(),
                    (alpha as f32).to_le_bytes().to_vec(),
                )
            }));
        }
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes)?,
            ))
        });
        let views = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(WeightsError::write)?;
        let metadata = [("format".to_string(), "pt".to_string())].into();
        safetensors::serialize(views, Some(metadata)).map_err(WeightsError::write)
    }
}

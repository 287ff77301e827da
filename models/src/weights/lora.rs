//! Low-rank factors in a file: whose names they are under, out of a student, into a student, and
//! under other names again.

mod read;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use safetensors::tensor::Dtype;

use super::{HostTensor, Tensors, WeightsError, collect_where, fill_where, wan};
use crate::lora::{LoraConfig, is_factor};
use crate::student::{Student, StudentConfig};

/// Who is to read the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraLayout {
    /// Wan's names with `lora_A` and `lora_B`, and an `alpha` per layer: this program's own.
    Wan,
    /// The same below `diffusion_model.`.
    Comfyui,
    /// diffusers' names below `transformer.`; its readers take alpha to be the rank, so the rest of
    /// the scale is put into B.
    Diffusers,
}

/// Factors of one linear layer.
#[derive(Debug, Clone, PartialEq, Default)]
struct Factors {
    /// A, `[rank, input]`.
    down: Option<HostTensor>,
    /// B, `[output, rank]`.
    up: Option<HostTensor>,
    alpha: Option<f64>,
}

impl Factors {
    /// A and B.
    fn both(&self) -> Option<(&HostTensor, &HostTensor)> {
        Some((self.down.as_ref()?, self.up.as_ref()?))
    }
}

/// The factors of a transformer's layers, under Wan's names without `.weight`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFile {
    config: LoraConfig,
    layers: BTreeMap<String, Factors>,
    dtype: Dtype,
}

impl LoraFile {
    /// The factors of an adapted student, in f32.
    pub fn of<B: Backend>(student: &Student<B>, config: &LoraConfig) -> Self {
        Self::of_tensors(&collect_where(student, is_factor), config)
    }

    /// The factors that lie under a student's Burn paths in `tensors`, in f32.
    pub fn of_tensors(tensors: &Tensors, config: &LoraConfig) -> Self {
        let mut layers = BTreeMap::<String, Factors>::new();
        for (path, tensor) in tensors.iter().filter(|(path, _)| is_factor(path)) {
            let (layer, is_down) = layer_of(path);
            let factors = layers.entry(layer).or_default();
            factors.alpha = Some(config.alpha);
            *(if is_down {
                &mut factors.down
            } else {
                &mut factors.up
            }) = Some(wan::transposed(tensor));
        }
        Self {
            config: config.clone(),
            layers,
            dtype: Dtype::F32,
        }
    }

    /// Rank, alpha and targets, as far as the file tells: alpha is the rank where it is silent.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The number of layers with factors.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Every way in which the factors do not belong to a transformer of these sizes. They may leave
    /// layers of it out.
    pub fn problems(&self, student: &StudentConfig) -> Vec<String> {
        let shapes = wan::shapes(student);
        let problem = |(layer, factors): (&String, &Factors)| {
            let Some(shape) = shapes.get(&format!("{layer}.weight")) else {
                return Some(format!(
                    "the factors of {layer:?} are for a layer that the transformer of {} blocks \
                        does not have",
                    student.layers
                ));
            };
            let (down, up) = factors.both()?;
            let (output, input) = (shape[0], shape[1]);
            (down.shape[1] != input || up.shape[0] != output).then(|| {
                format!(
                    "the factors of {layer:?} are for a layer of {} x {}, it is {output} x {input}",
                    up.shape[0], down.shape[1]
                )
            })
        };
        self.layers.iter().filter_map(problem).collect()
    }

    /// Puts the factors into a student that was adapted as `config` says.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with every layer that is missing, unexpected or of another shape.
    pub fn apply<B: Backend>(
        &self,
        student: Student<B>,
        config: &LoraConfig,
        origin: &Path,
    ) -> Result<Student<B>, WeightsError> {
        let problems = self.misfits(student.config(), config);
        if !problems.is_empty() {
            return Err(WeightsError::Mismatch {
                origin: origin.display().to_string(),
                problems,
            });
        }
        fill_where(student, is_factor, |path| {
            let (layer, is_down) = layer_of(path);
            let factors = &self.layers[&layer];
            let found = if is_down { &factors.down } else { &factors.up };
            Ok(wan::transposed(found.as_ref().unwrap_or_else(|| {
                unreachable!("every factor was found above")
            })))
        })
    }

    /// Every way in which the factors are not those that `config` asks for.
    fn misfits(&self, student: &StudentConfig, config: &LoraConfig) -> Vec<String> {
        let needed = needed(student, config);
        let rank = config.rank;
        let mut problems = Vec::new();
        for (layer, [input, output]) in &needed {
            match self.layers.get(layer).and_then(Factors::both) {
                None => problems.push(format!("the factors of {layer:?} are missing")),
                Some((down, up)) if down.shape != [rank, *input] || up.shape != [*output, rank] => {
                    problems.push(format!(
                        "the factors of {layer:?} have shapes {:?} and {:?}, expected \
                            [{rank}, {input}] and [{output}, {rank}]",
                        down.shape, up.shape
                    ));
                }
                Some(_) => {}
            }
        }
        problems.extend(
            self.layers
                .keys()
                .filter(|layer| !needed.contains_key(*layer))
                .map(|layer| format!("the factors of {layer:?} are unexpected")),
        );
        if (self.config.scale() - config.scale()).abs() > 1e-6 * config.scale() {
            problems.push(format!(
                "alpha / rank is {}, expected {}",
                self.config.scale(),
                config.scale()
            ));
        }
        problems
    }

    /// Wan's tensor `name` with the product of its factors added in f32; `None` for one that has
    /// none.
    ///
    /// # Errors
    /// `read`'s.
    pub fn merged<B: Backend>(
        &self,
        name: &str,
        read: &dyn Fn() -> Result<HostTensor, WeightsError>,
        device: &B::Device,
    ) -> Result<Option<HostTensor>, WeightsError> {
        let factors = name
            .strip_suffix(".weight")
            .and_then(|layer| self.layers.get(layer));
        let Some((down, up)) = factors.and_then(Factors::both) else {
            return Ok(None);
        };
        let matrix = |tensor: &HostTensor| {
            Tensor::<B, 2>::from_data(
                TensorData::new(tensor.values.clone(), [tensor.shape[0], tensor.shape[1]]),
                device,
            )
        };
        let weight = read()?;
        // [output, rank] x [rank, input]
        let sum = matrix(&weight) + matrix(up).matmul(matrix(down)) * self.config.scale();
        Ok(Some(HostTensor {
            shape: weight.shape,
            values: sum.into_data().iter::<f32>().collect(),
        }))
    }
}

/// Wan's name of the layer that a factor's Burn path belongs to, and whether it is A.
fn layer_of(path: &str) -> (String, bool) {
    let (layer, part) = path.split_once(".lora.").unwrap_or((path, ""));
    let weight = wan::name_of(&format!("{layer}.weight"));
    (
        weight.trim_end_matches(".weight").to_string(),
        part == "down",
    )
}

/// Input and output of every layer that is adapted.
fn needed(student: &StudentConfig, config: &LoraConfig) -> BTreeMap<String, [usize; 2]> {
    let shapes = wan::shapes(student);
    let layers = config.layers();
    let of_block = |block: usize| {
        layers
            .iter()
            .map(move |layer| format!("blocks.{block}.{layer}"))
    };
    let sizes = |layer: String| {
        let shape = &shapes[&format!("{layer}.weight")];
        (layer, [shape[1], shape[0]])
    };
    (0..student.layers).flat_map(of_block).map(sizes).collect()
}

#[cfg(test)]
mod tests;

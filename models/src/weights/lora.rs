//! Low-rank factors in a file: whose names they are under, out of a student, into a student, and
//! under other names again.

mod adapter;
mod read;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use safetensors::tensor::Dtype;

use super::check::few;
use super::{HostTensor, Tensors, WeightsError, collect_where, fill_where, wan};
use crate::lora::{LoraConfig, is_factor};
use crate::student::{Student, StudentConfig};

pub use adapter::AlphaSource;

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
#[derive(Debug, Clone, PartialEq)]
struct Factors {
    /// A, `[rank, input]`.
    down: HostTensor,
    /// B, `[output, rank]`.
    up: HostTensor,
    /// The product counts `alpha / rank`.
    alpha: f64,
}

impl Factors {
    fn rank(&self) -> usize {
        self.down.shape[0]
    }

    /// What the product is multiplied by.
    fn scale(&self) -> f64 {
        self.alpha / self.rank() as f64
    }
}

/// The factors of a transformer's layers, under Wan's names without `.weight`. Each layer may have
/// a rank and a scale of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFile {
    layers: BTreeMap<String, Factors>,
    dtype: Dtype,
    alpha_source: AlphaSource,
}

impl LoraFile {
    /// The factors of an adapted student, in f32.
    pub fn of<B: Backend>(student: &Student<B>, config: &LoraConfig) -> Self {
        Self::of_tensors(&collect_where(student, is_factor), config)
    }

    /// The factors that lie under a student's Burn paths in `tensors`, in f32; a layer with one of
    /// the two has none.
    pub fn of_tensors(tensors: &Tensors, config: &LoraConfig) -> Self {
        let mut halves = BTreeMap::<String, [Option<HostTensor>; 2]>::new();
        for (path, tensor) in tensors.iter().filter(|(path, _)| is_factor(path)) {
            let (layer, is_down) = layer_of(path);
            let half = usize::from(!is_down);
            halves.entry(layer).or_default()[half] = Some(wan::transposed(tensor));
        }
        let whole = halves.into_iter().filter_map(|(layer, [down, up])| {
            let (down, up, alpha) = (down?, up?, config.alpha);
            Some((layer, Factors { down, up, alpha }))
        });
        Self {
            layers: whole.collect(),
            dtype: Dtype::F32,
            alpha_source: AlphaSource::Tensors,
        }
    }

    /// Rank, alpha and targets, where all layers share rank and scale.
    pub fn config(&self) -> Option<LoraConfig> {
        let first = self.layers.values().next()?;
        let shared = self
            .layers
            .values()
            .all(|factors| factors.rank() == first.rank() && same(factors.scale(), first.scale()));
        shared.then(|| LoraConfig {
            rank: first.rank(),
            alpha: first.alpha,
            targets: LoraConfig::targets_of(self.layers.keys().map(String::as_str)),
        })
    }

    /// Where the scale was found.
    pub fn alpha_source(&self) -> &AlphaSource {
        &self.alpha_source
    }

    /// Ranks, alphas and scales in words, and where they were found.
    pub fn summary(&self) -> String {
        let range = |of: &dyn Fn(&Factors) -> f64| {
            let values = || self.layers.values().map(of);
            let least = values().fold(f64::INFINITY, f64::min);
            let most = values().fold(f64::NEG_INFINITY, f64::max);
            if same(least, most) {
                format!("{least}")
            } else {
                format!("{least} to {most}")
            }
        };
        format!(
            "low-rank factors of {} layers, rank {}, alpha {} ({}): their products count {}",
            self.len(),
            range(&|factors| factors.rank() as f64),
            range(&|factors| factors.alpha),
            self.alpha_source,
            range(&Factors::scale)
        )
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
            let (output, input) = (shape[0], shape[1]);
            let of = [factors.up.shape[0], factors.down.shape[1]];
            (of != [output, input]).then(|| {
                format!(
                    "the factors of {layer:?} are for a layer of {} x {}, it is {output} x {input}",
                    of[0], of[1]
                )
            })
        };
        few(self.layers.iter().filter_map(problem).collect())
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
            Ok(wan::transposed(if is_down {
                &factors.down
            } else {
                &factors.up
            }))
        })
    }

    /// Every way in which the factors are not those that `config` asks for.
    fn misfits(&self, student: &StudentConfig, config: &LoraConfig) -> Vec<String> {
        let needed = needed(student, config);
        let rank = config.rank;
        let mut problems = Vec::new();
        for (layer, [input, output]) in &needed {
            let Some(Factors { down, up, .. }) = self.layers.get(layer) else {
                problems.push(format!("the factors of {layer:?} are missing"));
                continue;
            };
            if down.shape != [rank, *input] || up.shape != [*output, rank] {
                problems.push(format!(
                    "the factors of {layer:?} have shapes {:?} and {:?}, expected \
                        [{rank}, {input}] and [{output}, {rank}]",
                    down.shape, up.shape
                ));
            }
        }
        problems.extend(
            self.layers
                .keys()
                .filter(|layer| !needed.contains_key(*layer))
                .map(|layer| format!("the factors of {layer:?} are unexpected")),
        );
        problems.extend(
            self.layers
                .iter()
                .filter(|(_, factors)| !same(factors.scale(), config.scale()))
                .map(|(layer, factors)| {
                    let (found, expected) = (factors.scale(), config.scale());
                    format!("alpha / rank of {layer:?} is {found}, expected {expected}")
                }),
        );
        few(problems)
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
        let Some(factors) = factors else {
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
        let product = matrix(&factors.up).matmul(matrix(&factors.down));
        let sum = matrix(&weight) + product * factors.scale();
        Ok(Some(HostTensor {
            shape: weight.shape,
            values: sum.into_data().iter::<f32>().collect(),
        }))
    }
}

/// Whether two scales are the same but for rounding: alpha is in f32 in many files.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
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

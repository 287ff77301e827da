//! Weights between modules and safetensors files: every tensor is accounted for by name, shape and type, or the load is refused.

pub mod wan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// A named set of tensors on the host, sorted by name so that files are byte-identical for equal weights.
pub type Tensors = BTreeMap<String, HostTensor>;

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// Why weights could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read the weights {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong and what is expected.
        reason: String,
    },
    /// Names, shapes or types differ from what the model needs.
    #[error("{origin} does not fit this model: {}", problems.join("; "))]
    Mismatch {
        /// Where the tensors came from.
        origin: String,
        /// One entry per missing, unexpected or misshapen tensor.
        problems: Vec<String>,
    },
}

/// All float tensors of a module under their Burn paths.
pub fn collect<B: Backend, M: Module<B>>(module: &M) -> Tensors {
    let mut collector = Collector { path: Vec::new(), tensors: Tensors::new() };
    module.visit(&mut collector);
    collector.tensors
}

/// Puts `tensors` (Burn paths) into `module`; names and shapes must match exactly. `origin` names the source in errors.
pub fn apply<B: Backend, M: Module<B>>(module: M, tensors: Tensors, origin: &str) -> Result<M, WeightsError> {
    let needed = shapes(&module);
    let mut problems: Vec<String> = needed
        .iter()
        .filter_map(|(name, shape)| match tensors.get(name) {
            None => Some(format!("tensor {name:?} {shape:?} is missing")),
            Some(found) if found.shape != *shape => Some(format!("tensor {name:?} has shape {:?}, expected {shape:?}", found.shape)),
            Some(_) => None,
        })
        .collect();
    problems.extend(tensors.keys().filter(|name| !needed.contains_key(*name)).map(|name| format!("tensor {name:?} is unexpected")));
    if !problems.is_empty() {
        return Err(WeightsError::Mismatch { origin: origin.to_string(), problems });
    }
    Ok(module.map(&mut Applier { path: Vec::new(), tensors }))
}

/// Names and shapes of all float tensors of a module.
pub fn shapes<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut visitor = Shapes { path: Vec::new(), shapes: BTreeMap::new() };
    module.visit(&mut visitor);
    visitor.shapes
}

/// Serialises to the safetensors format (f32), names sorted.
pub fn to_bytes(tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape.clone(), tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    // The format's header keeps the caller's metadata; a single entry or none is deterministic, so several are joined into one JSON text.
    let header = (!metadata.is_empty())
        .then(|| serde_json::to_string(metadata).map(|text| [("afd".to_string(), text)].into()))
        .transpose()
        .map_err(|error| error.to_string())?;
    views.and_then(|views| safetensors::serialize(views, header)).map_err(|error| error.to_string())
}

/// Reads every tensor of a safetensors file (f32, or bf16 widened to f32) and its metadata.
pub fn read_file(path: &Path) -> Result<(Tensors, BTreeMap<String, String>), WeightsError> {
    let read_error = |reason: String| WeightsError::Read { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|error| read_error(error.to_string()))?;
    let not_safetensors = |error: &dyn std::fmt::Display| read_error(format!("{error}; expected a complete safetensors file"));
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| not_safetensors(&error))?;
    let metadata = match header.metadata().as_ref().and_then(|metadata| metadata.get("afd")) {
        Some(text) => serde_json::from_str(text).map_err(|error| not_safetensors(&error))?,
        None => BTreeMap::new(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| not_safetensors(&error))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let values = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::BF16 => {
                view.data().as_chunks::<2>().0.iter().map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)).collect()
            }
            other => return Err(read_error(format!("tensor {name:?} has type {other:?}, expected F32 or BF16"))),
        };
        tensors.insert(name, HostTensor { shape: view.shape().to_vec(), values });
    }
    Ok((tensors, metadata))
}

struct Collector {
    path: Vec<String>,
    tensors: Tensors,
}

impl<B: Backend> ModuleVisitor<B> for Collector {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let data = param.val().into_data().convert::<f32>();
        let tensor = HostTensor { shape: data.shape.to_vec(), values: data.iter::<f32>().collect() };
        self.tensors.insert(self.path.join("."), tensor);
    }
}

struct Shapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        self.shapes.insert(self.path.join("."), param.shape().to_vec());
    }
}

struct Applier {
    path: Vec<String>,
    tensors: Tensors,
}

impl<B: Backend> ModuleMapper<B> for Applier {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        // `apply` has checked that every name is there with this shape.
        match self.tensors.remove(&self.path.join(".")) {
            Some(found) => param.map(|tensor| {
                let data = TensorData::new(found.values, found.shape);
                Tensor::from_data(data, &tensor.device()).set_require_grad(tensor.is_require_grad())
            }),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::student::{Student, StudentConfig};
    use burn::backend::NdArray;

    fn tiny() -> StudentConfig {
        StudentConfig {
            width: 24,
            layers: 2,
            heads: 2,
            feed_forward_width: 32,
            latent_channels: 4,
            patch: 2,
            text_width: 8,
            frequency_width: 16,
            frames_per_block: 3,
            window_frames: 0,
            sink_frames: 0,
        }
    }

    #[test]
    fn a_student_survives_the_file_bit_for_bit_in_wan_layout() {
        let student = initialise(Student::<NdArray>::new(&tiny(), &Default::default()), 5, "student");
        let tensors = collect(&student);
        let wan = wan::to_wan(&tensors, tiny().patch);
        assert_eq!(wan["patch_embedding.weight"].shape, [24, 4, 1, 2, 2]);
        assert_eq!(wan["blocks.1.ffn.0.weight"].shape, [32, 24]);
        let directory = std::env::temp_dir().join(format!("afd-weights-{}", std::process::id()));
        std::fs::write(&directory, to_bytes(&wan, &BTreeMap::new()).unwrap()).unwrap();
        let (read, _) = read_file(&directory).unwrap();
        std::fs::remove_file(&directory).unwrap();
        let loaded = apply(Student::<NdArray>::new(&tiny(), &Default::default()), wan::from_wan(read).unwrap(), "file").unwrap();
        assert_eq!(collect(&loaded), tensors);
    }

    #[test]
    fn the_full_size_student_has_wans_tensors_and_parameters() {
        // method.md B.1: 825 tensors, 1 418 996 800 parameters. Lazily built: no weight is ever allocated.
        let mut config = StudentConfig::wan_1_3b();
        config.layers = 1;
        let shapes = shapes(&Student::<NdArray>::new(&config, &Default::default()));
        let count = |filter: &dyn Fn(&str) -> bool| -> (usize, usize) {
            let chosen: Vec<usize> = shapes.iter().filter(|(name, _)| filter(name)).map(|(_, shape)| shape.iter().product()).collect();
            (chosen.len(), chosen.iter().sum())
        };
        let (block_tensors, block_parameters) = count(&|name| name.starts_with("blocks."));
        let (other_tensors, other_parameters) = count(&|name| !name.starts_with("blocks."));
        assert_eq!((block_tensors, block_parameters), (27, 46_440_704));
        assert_eq!(other_tensors + 30 * block_tensors, 825);
        assert_eq!(other_parameters + 30 * block_parameters, 1_418_996_800);
    }

    #[test]
    fn missing_unexpected_and_misshapen_tensors_are_all_named() {
        let student = initialise(Student::<NdArray>::new(&tiny(), &Default::default()), 5, "student");
        let mut tensors = collect(&student);
        let moved = tensors.remove("head.output.bias").unwrap();
        tensors.insert("head.output.bia".to_string(), moved);
        tensors.get_mut("time_projection.bias").unwrap().shape = vec![1, 144];
        let error = apply(student, tensors, "file").unwrap_err().to_string();
        for part in ["\"head.output.bias\" [16] is missing", "\"head.output.bia\" is unexpected", "[1, 144], expected [144]"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

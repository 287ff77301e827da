//! Weights between modules and files: every tensor is accounted for by name, shape and type, or the
//! load is refused.

pub mod check;
mod error;
pub mod file;
mod float;
pub mod layout;
pub mod lora;
pub mod pickle;
pub mod table;
pub mod transformer;
pub mod umt5;
pub mod wan;
pub mod wan_vae;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::backend::AutodiffBackend;
use safetensors::tensor::{Dtype, TensorView};

pub use error::WeightsError;
pub use file::{Pickles, WeightFile};
pub use float::NotFinite;

/// Where this program's own metadata is in a safetensors header.
const METADATA_KEY: &str = "afd";

/// A named set of tensors on the host, sorted by name so that files are byte-identical for equal
/// weights.
pub type Tensors = BTreeMap<String, HostTensor>;

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

/// All float tensors of a module under their Burn paths.
pub fn collect<B: Backend, M: Module<B>>(module: &M) -> Tensors {
    collect_where(module, |_| true)
}

/// Those float tensors of a module whose Burn paths `wanted` accepts.
pub fn collect_where<B: Backend, M: Module<B>>(
    module: &M,
    wanted: impl Fn(&str) -> bool,
) -> Tensors {
    let mut collector = Collector {
        path: Vec::new(),
        wanted,
        tensors: Tensors::new(),
    };
    module.visit(&mut collector);
    collector.tensors
}

/// The gradients of all float tensors of a module that have one, under their Burn paths.
pub fn collect_gradients<B: AutodiffBackend, M: Module<B>>(
    gradients: &GradientsParams,
    module: &M,
) -> Tensors {
    let mut collector = GradientCollector {
        gradients,
        path: Vec::new(),
        tensors: Tensors::new(),
    };
    module.visit(&mut collector);
    collector.tensors
}

/// Puts `tensors` (Burn paths) into `module`; names and shapes must match exactly. `origin` names
/// the source in errors.
///
/// # Errors
/// [`WeightsError::Mismatch`] with every tensor that is missing, unexpected or misshapen.
pub fn apply<B: Backend, M: Module<B>>(
    module: M,
    tensors: Tensors,
    origin: &str,
) -> Result<M, WeightsError> {
    apply_where(module, |_| true, tensors, origin)
}

/// [`apply`] for those tensors of `module` whose Burn paths `wanted` accepts; the others stay as
/// they are.
///
/// # Errors
/// Those of [`apply`].
pub fn apply_where<B: Backend, M: Module<B>>(
    module: M,
    wanted: impl Fn(&str) -> bool,
    tensors: Tensors,
    origin: &str,
) -> Result<M, WeightsError> {
    let mut needed = shapes(&module);
    needed.retain(|name, _| wanted(name));
    let mut problems: Vec<String> = needed
        .iter()
        .filter_map(|(name, shape)| match tensors.get(name) {
            None => Some(format!("tensor {name:?} {shape:?} is missing")),
            Some(found) if found.shape != *shape => Some(format!(
                "tensor {name:?} has shape {:?}, expected {shape:?}",
                found.shape
            )),
            Some(_) => None,
        })
        .collect();
    problems.extend(
        tensors
            .keys()
            .filter(|name| !needed.contains_key(*name))
            .map(|name| format!("tensor {name:?} is unexpected")),
    );
    if !problems.is_empty() {
        return Err(WeightsError::Mismatch {
            origin: origin.to_string(),
            problems,
        });
    }
    let mut tensors = tensors;
    fill_where(module, wanted, |name| {
        tensors
            .remove(name)
            .ok_or_else(|| unreachable!("every name was found above"))
    })
}

/// Replaces every float tensor of `module` by what `read` gives for its Burn path, one at a time:
/// no more than one is held twice. `dtype` gives the type that it is held in.
///
/// # Errors
/// `read`'s first one; the module is lost with it. Shapes must be the module's own.
pub fn fill<B: Backend, M: Module<B>>(
    module: M,
    dtype: impl Fn(&str) -> DType,
    mut read: impl FnMut(&str) -> Result<HostTensor, WeightsError>,
) -> Result<M, WeightsError> {
    fill_some(module, |path| {
        Some(read(path).map(|tensor| (tensor, dtype(path))))
    })
}

/// [`fill`] in f32 for those tensors whose Burn paths `wanted` accepts; the others stay as they
/// are.
///
/// # Errors
/// Those of [`fill`].
pub fn fill_where<B: Backend, M: Module<B>>(
    module: M,
    wanted: impl Fn(&str) -> bool,
    mut read: impl FnMut(&str) -> Result<HostTensor, WeightsError>,
) -> Result<M, WeightsError> {
    fill_some(module, |path| {
        wanted(path).then(|| read(path).map(|tensor| (tensor, DType::F32)))
    })
}

fn fill_some<B: Backend, M: Module<B>>(
    module: M,
    read: impl FnMut(&str) -> Option<Read>,
) -> Result<M, WeightsError> {
    let mut applier = Applier {
        path: Vec::new(),
        read,
        failure: None,
    };
    let module = module.map(&mut applier);
    applier.failure.map_or(Ok(module), Err)
}

/// A tensor and the type that it is to be held in.
type Read = Result<(HostTensor, DType), WeightsError>;

/// Names and shapes of all float tensors of a module.
pub fn shapes<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut visitor = Shapes {
        path: Vec::new(),
        shapes: BTreeMap::new(),
    };
    module.visit(&mut visitor);
    visitor.shapes
}

/// Why tensors cannot be put into the safetensors format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A tensor's values do not fit its shape.
    #[error(transparent)]
    Tensors(#[from] safetensors::SafeTensorError),
    /// The metadata cannot be written.
    #[error(transparent)]
    Metadata(#[from] serde_json::Error),
}

/// Serialises to the safetensors format (f32), names sorted.
///
/// # Errors
/// [`FormatError`], such as for a tensor with more or fewer values than its shape has.
pub fn to_bytes(
    tensors: &Tensors,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FormatError> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            (
                name.clone(),
                tensor.shape.clone(),
                tensor
                    .values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            )
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| {
            Ok((
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), data)?,
            ))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    // The format's header keeps the caller's metadata; a single entry or none is deterministic, so
    // several are joined into one JSON text.
    let header = (!metadata.is_empty())
        .then(|| {
            serde_json::to_string(metadata).map(|text| [(METADATA_KEY.to_string(), text)].into())
        })
        .transpose()?;
    Ok(safetensors::serialize(views, header)?)
}

/// Every tensor of a file that this program wrote, and its metadata.
///
/// # Errors
/// [`WeightsError::Read`] for a file that is no safetensors file, tensors of another type than f64,
/// f32, bf16 and f16, and damaged metadata; [`WeightsError::NotFinite`].
pub fn read_file(path: &Path) -> Result<(Tensors, BTreeMap<String, String>), WeightsError> {
    let file = WeightFile::open(path, Pickles::Refused)?;
    let tensors = file
        .entries()
        .keys()
        .map(|name| Ok((name.clone(), file.read(name)?)))
        .collect::<Result<_, WeightsError>>()?;
    Ok((tensors, file.own_metadata()?))
}

struct Collector<W> {
    path: Vec<String>,
    wanted: W,
    tensors: Tensors,
}

impl<B: Backend, W: Fn(&str) -> bool> ModuleVisitor<B> for Collector<W> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let path = self.path.join(".");
        if (self.wanted)(&path) {
            let data = param.val().into_data().convert::<f32>();
            self.tensors.insert(
                path,
                HostTensor {
                    shape: data.shape.to_vec(),
                    values: data.iter::<f32>().collect(),
                },
            );
        }
    }
}

struct GradientCollector<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    tensors: Tensors,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientCollector<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        if let Some(gradient) = self.gradients.get::<B::InnerBackend, N>(param.id) {
            let data = gradient.into_data().convert::<f32>();
            let tensor = HostTensor {
                shape: data.shape.to_vec(),
                values: data.iter::<f32>().collect(),
            };
            self.tensors.insert(self.path.join("."), tensor);
        }
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
        self.shapes
            .insert(self.path.join("."), param.shape().to_vec());
    }
}

struct Applier<R> {
    path: Vec<String>,
    read: R,
    failure: Option<WeightsError>,
}

impl<B: Backend, R: FnMut(&str) -> Option<Read>> ModuleMapper<B> for Applier<R> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        if self.failure.is_some() {
            return param;
        }
        match (self.read)(&self.path.join(".")) {
            None => param,
            Some(Ok((found, dtype))) => param.map(|tensor| {
                let data = TensorData::new(found.values, found.shape);
                Tensor::<B, N>::from_data(data, &tensor.device())
                    .cast(dtype)
                    .detach()
                    .set_require_grad(tensor.is_require_grad())
            }),
            Some(Err(error)) => {
                self.failure = Some(error);
                param
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

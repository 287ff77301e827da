//! The number type that a transformer's tokens and frozen weights are held in.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

/// The type of what products of matrices read and make, of keys and values, and of frozen weights.
///
/// Tokens between the branches of a block, modulation, norms, the softmax, rotations and losses are
/// in f32 in either case, trained weights are held in f32, and so are the products that are too
/// small to be worth rounding: those of patches, timesteps and text, and the head's. They begin and
/// end every pass, where a rounding reaches everything.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the exponent of f32.
    Bf16,
}

impl Precision {
    /// The tensor type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        self.dtype().size()
    }

    /// The type of the parameter at a student's Burn path where it is frozen: projections in this
    /// precision, everything that bends the modulation or a norm in f32.
    pub fn frozen_dtype(self, path: &str) -> DType {
        let is_projection = path.ends_with(".weight") || path.ends_with(".bias");
        let is_timing = path.contains("time_embedding_in")
            || path.contains("time_embedding_out")
            || path.contains("time_projection");
        if is_projection && !is_timing {
            self.dtype()
        } else {
            DType::F32
        }
    }
}

/// `module` with every weight that is not differentiated cast to [`Precision::frozen_dtype`].
pub fn cast_frozen<B: Backend, M: Module<B>>(module: M, precision: Precision) -> M {
    if precision == Precision::F32 {
        module
    } else {
        module.map(&mut CastFrozen {
            precision,
            path: Vec::new(),
        })
    }
}

struct CastFrozen {
    precision: Precision,
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for CastFrozen {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        let dtype = self.precision.frozen_dtype(&self.path.join("."));
        param.map(|tensor| {
            if tensor.is_require_grad() {
                tensor
            } else {
                tensor.cast(dtype).detach()
            }
        })
    }
}

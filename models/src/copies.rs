//! Copies of a module whose parameters have an identity of their own, so that gradients of one
//! never reach the other.

use burn::module::{ModuleMapper, Param, ParamId};
use burn::prelude::*;
use burn::tensor::DType;

/// A copy in which every weight is differentiated, and held in f32 for it.
pub fn trained_copy<B: Backend, M: Module<B>>(of: M) -> M {
    of.map(&mut Copier {
        differentiated: true,
    })
}

/// A copy that is not differentiated; it shares the weights' memory until one of the two changes.
pub fn frozen_copy<B: Backend, M: Module<B>>(of: M) -> M {
    of.map(&mut Copier {
        differentiated: false,
    })
}

struct Copier {
    differentiated: bool,
}

impl<B: Backend> ModuleMapper<B> for Copier {
    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        let tensor = param.val().detach();
        let tensor = if self.differentiated {
            tensor.cast(DType::F32)
        } else {
            tensor
        };
        Param::initialized(ParamId::new(), tensor.set_require_grad(self.differentiated))
    }
}

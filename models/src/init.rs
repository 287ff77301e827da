//! Initial weights from a seed: every value is a pure function of (seed, tensor name), the same on
//! every backend.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

use crate::noise::{Noise, Purpose, key_of};

/// Sets every weight of `module` from `seed` (docs/method.md B.2, "Init from scratch").
///
/// Linear weights are Xavier-uniform, convolutions uniform with variance 1 / inputs, biases zero,
/// norm weights one, time and text embeddings N(0, 0.02), modulations N(0, 1)/sqrt(D), registers
/// N(0, 0.02), low-rank factors A uniform in +-1/sqrt(input) and B zero, as PEFT has them; the last
/// linear of a head (`output`) starts at zero so that a fresh student predicts zero velocity.
/// `scope` keeps equally named tensors of different modules apart.
pub fn initialise<B: Backend, M: Module<B>>(module: M, seed: u64, scope: &str) -> M {
    initialise_where(module, seed, scope, |_| true)
}

/// [`initialise`] for those weights whose paths (`scope` first) `wanted` accepts; the others stay
/// as they are.
pub fn initialise_where<B: Backend, M: Module<B>>(
    module: M,
    seed: u64,
    scope: &str,
    wanted: impl Fn(&str) -> bool,
) -> M {
    module.map(&mut Initialiser {
        seed,
        wanted,
        path: vec![scope.to_string()],
    })
}

struct Initialiser<W> {
    seed: u64,
    wanted: W,
    path: Vec<String>,
}

impl<B: Backend, W: Fn(&str) -> bool> ModuleMapper<B> for Initialiser<W> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        let name = self.path.join(".");
        if !(self.wanted)(&name) {
            return param;
        }
        let shape = param.shape().dims::<N>();
        let count = shape.iter().product();
        let mut noise = Noise::new(self.seed, Purpose::Weights, 0, key_of(&name));
        let last = self.path.last().map_or("", String::as_str);
        let parent = self.path.iter().rev().nth(1).map_or("", String::as_str);
        let values: Vec<f32> = match last {
            // Convolutions, `[C', kt, kh, kw, C]`: uniform with variance 1 / inputs, so that
            // outputs are about as large as inputs.
            "weight" if N == 5 => {
                let bound = (3.0 / (count / shape[0]) as f32).sqrt();
                (0..count).map(|_| noise.between(-bound, bound)).collect()
            }
            "weight" if parent == "output" => vec![0.0; count],
            "weight" if name.contains("time_embedding") || name.contains("text_embedding") => noise
                .normals(count)
                .into_iter()
                .map(|value| 0.02 * value)
                .collect(),
            "weight" if N == 2 => {
                let bound = (6.0 / (shape[0] + shape[1]) as f32).sqrt();
                (0..count).map(|_| noise.between(-bound, bound)).collect()
            }
            "down" if parent == "lora" => {
                let bound = (shape[0] as f32).sqrt().recip();
                (0..count).map(|_| noise.between(-bound, bound)).collect()
            }
            "modulation" => {
                let scale = 1.0 / (shape[N - 1] as f32).sqrt();
                noise
                    .normals(count)
                    .into_iter()
                    .map(|value| scale * value)
                    .collect()
            }
            "registers" => noise
                .normals(count)
                .into_iter()
                .map(|value| 0.02 * value)
                .collect(),
            "weight" | "gamma" => vec![1.0; count],
            _ => vec![0.0; count],
        };
        param.map(|tensor| {
            Tensor::from_data(TensorData::new(values, shape), &tensor.device())
                .set_require_grad(tensor.is_require_grad())
        })
    }
}

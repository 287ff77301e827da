//! Copies of the student that lag behind it: old policy, reference, EMA (docs/method.md F.5).

use std::any::Any;
use std::marker::PhantomData;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

/// `decay * lagging + (1 - decay) * leading`, weight by weight; the result is not differentiated.
///
/// A weight that is not differentiated in `leading` never moves: both share it, in memory too.
pub fn blend<B: AutodiffBackend, M: Module<B>>(lagging: M, leading: &M, decay: f64) -> M {
    let mut gather = Gather::<B> {
        weights: Vec::new(),
        backend: PhantomData,
    };
    leading.visit(&mut gather);
    gather.weights.reverse();
    lagging.map(&mut Blend {
        weights: gather.weights,
        decay,
    })
}

/// Decay of the EMA after its `step`-th update (counted from 1): min((1 + step) / (10 + step),
/// decay).
pub fn ema_decay(step: u64, decay: f64) -> f64 {
    ((1.0 + step as f64) / (10.0 + step as f64)).min(decay)
}

struct Gather<B: Backend> {
    weights: Vec<Leading>,
    backend: PhantomData<B>,
}

/// A weight of the inner backend, and whether it moves.
struct Leading {
    weight: Box<dyn Any>,
    moves: bool,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gather<B> {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let weight = param.val();
        self.weights.push(Leading {
            moves: weight.is_require_grad(),
            weight: Box::new(weight.inner()),
        });
    }
}

struct Blend {
    weights: Vec<Leading>,
    decay: f64,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Blend {
    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        let Leading { weight, moves } = self
            .weights
            .pop()
            .expect("both modules have the same structure");
        let leading = weight
            .downcast::<Tensor<B::InnerBackend, N>>()
            .expect("both modules have the same structure");
        let decay = self.decay;
        param.map(|lagging| {
            // Decay 0 must copy bit for bit, also when the lagging weights are not finite.
            let copies = decay == 0.0 || !moves;
            Tensor::from_inner(if copies {
                *leading
            } else {
                lagging.inner() * decay + *leading * (1.0 - decay)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_models::layers::{Projection, linear};
    use burn::backend::{Autodiff, Flex};

    #[test]
    fn blending_moves_every_weight_by_the_same_share() {
        type B = Autodiff<Flex>;
        let filled = |value: f32| {
            let mut layer = linear::<B>(2, 3, &Default::default());
            layer.weight = layer
                .weight
                .map(|weight| (weight * 0.0 + value).detach().require_grad());
            layer
        };
        let first =
            |layer: &Projection<B>| layer.weight.val().into_data().to_vec::<f32>().unwrap()[4];
        assert!((first(&blend(filled(1.0), &filled(5.0), 0.75)) - 2.0).abs() < 1e-6);
        // A frozen weight is the leading one at once, whatever the lagging copy held.
        assert_eq!(
            first(&blend(filled(1.0), &filled(5.0).no_grad(), 0.75)),
            5.0
        );
    }

    #[test]
    fn the_emas_decay_follows_the_published_schedule() {
        assert_eq!(ema_decay(1, 0.9), 2.0 / 11.0);
        assert_eq!(ema_decay(1000, 0.9), 0.9);
    }
}

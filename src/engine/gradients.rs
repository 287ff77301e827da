//! Gradients as a whole: global-norm clipping (Burn's own clips tensor by tensor) and the guard
//! against numbers that are not finite.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

/// A number that is not finite, found before it could reach a checkpoint.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{stage} {part}.{tensor} is not finite in round {round}; {}. What was saved before is intact. \
     Lower {}, then run again",
    stage.applied(),
    part.learning_rate()
)]
pub struct NonFinite {
    /// Where in the step it appeared.
    pub stage: Stage,
    /// The network of the step.
    pub part: Part,
    /// Name of the loss or tensor.
    pub tensor: String,
    /// Round in which it appeared.
    pub round: u64,
}

/// The networks that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The student.
    Student,
    /// The discriminator.
    Discriminator,
}

impl Part {
    /// The field of a recipe that sets its step size.
    fn learning_rate(self) -> &'static str {
        match self {
            Self::Student => "optimizer.learning_rate",
            Self::Discriminator => "discriminator.optimizer.learning_rate",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Student => "student",
            Self::Discriminator => "discriminator",
        })
    }
}

/// Parts of an optimizer step, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The loss, or something measured with it.
    Loss,
    /// A gradient.
    Gradient,
    /// A weight after the step.
    Weight,
}

impl Stage {
    fn applied(self) -> &'static str {
        match self {
            Self::Loss | Self::Gradient => "the step was not applied",
            Self::Weight => "the step was applied in memory and nothing of it is kept",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Loss => "the loss",
            Self::Gradient => "the gradient of",
            Self::Weight => "the weight",
        })
    }
}

/// The first tensor of a set that is not finite.
pub type Culprit = String;

/// Euclidean norm of all of a module's gradients, or the name of a gradient that is not finite.
pub fn norm<B: AutodiffBackend, M: Module<B>>(
    gradients: &GradientsParams,
    module: &M,
) -> Result<f64, Culprit> {
    let mut squares = Squares::<B> {
        gradients: Some(gradients),
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut squares);
    squares.total().map(f64::sqrt)
}

/// Names a trained weight that is not finite, if there is one.
pub fn check_weights<B: AutodiffBackend, M: Module<B>>(module: &M) -> Result<(), Culprit> {
    let mut squares = Squares::<B> {
        gradients: None,
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut squares);
    squares.total().map(|_| ())
}

/// Scales all gradients of `module` so that their global norm is at most `limit`; gives back the
/// norm that they had.
///
/// # Errors
/// The name of a gradient that is not finite.
pub fn clip<B: AutodiffBackend, M: Module<B>>(
    gradients: &mut GradientsParams,
    module: &M,
    limit: f64,
) -> Result<f64, Culprit> {
    let norm = norm::<B, M>(gradients, module)?;
    if norm > limit {
        module.visit(&mut Scale {
            gradients,
            factor: limit / norm,
        });
    }
    Ok(norm)
}

/// The sum of the parts' gradients times their shares; in order, so that the bits do not depend on
/// which part was ready first.
pub fn weighted_sum<B: AutodiffBackend, M: Module<B>>(
    parts: Vec<(GradientsParams, f64)>,
    module: &M,
) -> GradientsParams {
    let mut sum = WeightedSum {
        parts,
        sum: GradientsParams::new(),
    };
    module.visit(&mut sum);
    sum.sum
}

/// A copy of a module whose weights are leaves of a graph of their own (and keep their identity for
/// the optimizer).
pub fn with_own_graph<B: AutodiffBackend, M: Module<B>>(module: M) -> M {
    struct OwnGraph;
    impl<B: AutodiffBackend> ModuleMapper<B> for OwnGraph {
        fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
            param.map(|tensor| {
                let differentiated = tensor.is_require_grad();
                Tensor::from_inner(tensor.inner()).set_require_grad(differentiated)
            })
        }
    }
    module.map(&mut OwnGraph)
}

struct WeightedSum {
    parts: Vec<(GradientsParams, f64)>,
    sum: GradientsParams,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for WeightedSum {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let mut total: Option<Tensor<B::InnerBackend, N>> = None;
        for (gradients, share) in &mut self.parts {
            if let Some(gradient) = gradients.remove::<B::InnerBackend, N>(param.id) {
                let part = gradient * *share;
                total = Some(match total {
                    Some(total) => total + part,
                    None => part,
                });
            }
        }
        if let Some(total) = total {
            self.sum.register::<B::InnerBackend, N>(param.id, total);
        }
    }
}

struct Squares<'a, B: AutodiffBackend> {
    gradients: Option<&'a GradientsParams>,
    path: Vec<String>,
    found: Vec<(String, Tensor<B::InnerBackend, 1>)>,
}

impl<B: AutodiffBackend> Squares<'_, B> {
    /// The sum of squares, read back from the device once; an overflowing square counts as not
    /// finite.
    fn total(self) -> Result<f64, Culprit> {
        if self.found.is_empty() {
            return Ok(0.0);
        }
        let (names, squares): (Vec<String>, Vec<_>) = self.found.into_iter().unzip();
        let squares: Vec<f64> = Tensor::cat(squares, 0).into_data().iter::<f64>().collect();
        match names
            .into_iter()
            .zip(&squares)
            .find(|(_, square)| !square.is_finite())
        {
            Some((name, _)) => Err(name),
            None => Ok(squares.iter().sum()),
        }
    }
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Squares<'_, B> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<B::InnerBackend, N>(param.id),
            // What rests cannot have changed.
            None => Some(param.val())
                .filter(Tensor::is_require_grad)
                .map(Tensor::inner),
        };
        if let Some(tensor) = tensor {
            self.found
                .push((self.path.join("."), tensor.square().sum()));
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Scale<'_> {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        if let Some(gradient) = self.gradients.remove::<B::InnerBackend, N>(param.id) {
            self.gradients
                .register::<B::InnerBackend, N>(param.id, gradient * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_models::layers::{FeedForward, linear};
    use burn::backend::{Autodiff, Flex};

    type B = Autodiff<Flex>;

    fn module() -> FeedForward<B> {
        FeedForward {
            up: linear(2, 2, &Default::default()),
            down: linear(2, 1, &Default::default()),
        }
    }

    fn gradients(module: &FeedForward<B>, value: f32) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        let full = |shape: [usize; 2], value: f32| {
            Tensor::<Flex, 2>::full(shape, value, &Default::default())
        };
        gradients.register::<Flex, 2>(module.up.weight.id, full([2, 2], 3.0));
        gradients.register::<Flex, 2>(module.down.weight.id, full([2, 1], value));
        gradients
    }

    #[test]
    fn clipping_scales_all_tensors_by_one_factor() {
        let module = module();
        let mut gradients = gradients(&module, 4.0);
        // 4 * 9 + 2 * 16 = 68
        let before = clip::<B, _>(&mut gradients, &module, 1.0).unwrap();
        assert!((before - 68f64.sqrt()).abs() < 1e-6);
        assert!((norm::<B, _>(&gradients, &module).unwrap() - 1.0).abs() < 1e-6);
        let up = gradients
            .get::<Flex, 2>(module.up.weight.id)
            .unwrap()
            .into_data()
            .to_vec::<f32>()
            .unwrap()[0];
        assert!((up - 3.0 / 68f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_says_whether_the_step_was_applied_and_which_field_to_lower() {
        let said = |stage, part| {
            let tensor = "head.weight".to_string();
            NonFinite {
                stage,
                part,
                tensor,
                round: 3,
            }
            .to_string()
        };
        assert_eq!(
            said(Stage::Gradient, Part::Student),
            "the gradient of student.head.weight is not finite in round 3; the step was not \
             applied. What was saved before is intact. Lower optimizer.learning_rate, then run \
             again"
        );
        let weight = said(Stage::Weight, Part::Discriminator);
        assert!(weight.contains("the step was applied in memory and nothing of it is kept"));
        assert!(weight.contains("Lower discriminator.optimizer.learning_rate"));
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named() {
        let module = module();
        assert_eq!(
            norm::<B, _>(&gradients(&module, f32::NAN), &module),
            Err("down.weight".to_string())
        );
    }
}

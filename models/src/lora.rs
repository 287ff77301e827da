//! Low-rank adaptation ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)):
//! `x W + scale (x A) B` with W frozen and A, B trained.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

pub use crate::layers::Lora;
use crate::layers::{FeedForward, Projection};
use crate::student::Student;
use crate::student::attention::Attention;

/// Linear layers of a block that can be adapted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoraTarget {
    /// Query, key, value and output of the self-attention.
    SelfAttention,
    /// Query, key, value and output of the cross-attention.
    CrossAttention,
    /// Both layers of the feed-forward network.
    FeedForward,
}

/// Low-rank adaptation of a transformer's blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Width of the factors, at least 1. Astrolabe's students: 256.
    #[schemars(range(min = 1, max = 65_536))]
    pub rank: usize,
    /// The product of the factors counts `alpha / rank`; > 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// What is adapted in every block; all of it unless told.
    #[serde(default = "LoraConfig::all")]
    pub targets: Vec<LoraTarget>,
}

impl LoraConfig {
    /// Every linear layer of a block.
    pub fn all() -> Vec<LoraTarget> {
        vec![
            LoraTarget::SelfAttention,
            LoraTarget::CrossAttention,
            LoraTarget::FeedForward,
        ]
    }

    /// The targets that layers (under Wan's names, `blocks.N.` before those of
    /// [`LoraConfig::layers`]) belong to.
    pub fn targets_of<'a>(layers: impl Iterator<Item = &'a str> + Clone) -> Vec<LoraTarget> {
        let has = |target: &LoraTarget| {
            let inside = Self {
                rank: 1,
                alpha: 1.0,
                targets: vec![*target],
            }
            .layers();
            layers.clone().any(|name| {
                inside
                    .iter()
                    .any(|layer| name.ends_with(&format!(".{layer}")))
            })
        };
        Self::all().into_iter().filter(has).collect()
    }

    /// What the product of the factors is multiplied by.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// Why this cannot be used, if it cannot.
    pub fn problem(&self) -> Option<String> {
        if self.rank == 0 {
            return Some("rank is 0, must be at least 1".to_string());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Some(format!(
                "alpha is {}, must be a finite number above 0",
                self.alpha
            ));
        }
        self.targets.is_empty().then(|| {
            "targets is empty, name at least one of self-attention, cross-attention, feed-forward"
                .to_string()
        })
    }

    /// The layers of a block that are adapted, under Wan's names without `blocks.N.` and `.weight`.
    pub fn layers(&self) -> Vec<&'static str> {
        let names = |target: &LoraTarget| match target {
            LoraTarget::SelfAttention => {
                vec!["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"]
            }
            LoraTarget::CrossAttention => vec![
                "cross_attn.q",
                "cross_attn.k",
                "cross_attn.v",
                "cross_attn.o",
            ],
            LoraTarget::FeedForward => vec!["ffn.0", "ffn.2"],
        };
        let mut layers: Vec<_> = self.targets.iter().flat_map(names).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }
}

/// `student` with factors beside every layer that `config` names, unset: follow with
/// [`crate::init::initialise_where`] or load a file.
///
/// Everything else is frozen: only the factors are differentiated.
pub fn adapted<B: Backend>(student: Student<B>, config: &LoraConfig) -> Student<B> {
    with_factors(student, config).map(&mut OnlyFactors { path: Vec::new() })
}

fn with_factors<B: Backend>(mut student: Student<B>, config: &LoraConfig) -> Student<B> {
    let scale = config.scale();
    let add = |layer: &mut Projection<B>| {
        let [input, output] = layer.weight.shape().dims();
        let device = layer.weight.lazy_device();
        let zeros = |shape: [usize; 2]| burn::nn::Initializer::Zeros.init(shape, &device);
        layer.lora = Some(Lora {
            down: zeros([input, config.rank]),
            up: zeros([config.rank, output]),
            scale,
        });
    };
    let attention = |attention: &mut Attention<B>| {
        [
            &mut attention.q,
            &mut attention.k,
            &mut attention.v,
            &mut attention.o,
        ]
        .into_iter()
        .for_each(add);
    };
    let feed_forward =
        |ffn: &mut FeedForward<B>| [&mut ffn.up, &mut ffn.down].into_iter().for_each(add);
    for block in &mut student.blocks {
        for target in &config.targets {
            match target {
                LoraTarget::SelfAttention => attention(&mut block.self_attn),
                LoraTarget::CrossAttention => attention(&mut block.cross_attn),
                LoraTarget::FeedForward => feed_forward(&mut block.ffn),
            }
        }
    }
    student
}

/// `student` without factors: as it was before it was adapted.
pub fn without_factors<B: Backend>(student: Student<B>) -> Student<B> {
    each_layer(student, |layer| layer.lora = None)
}

fn each_layer<B: Backend>(
    mut student: Student<B>,
    mut change: impl FnMut(&mut Projection<B>),
) -> Student<B> {
    for block in &mut student.blocks {
        for attention in [&mut block.self_attn, &mut block.cross_attn] {
            [
                &mut attention.q,
                &mut attention.k,
                &mut attention.v,
                &mut attention.o,
            ]
            .into_iter()
            .for_each(&mut change);
        }
        [&mut block.ffn.up, &mut block.ffn.down]
            .into_iter()
            .for_each(&mut change);
    }
    student
}

/// Whether a Burn path is that of a low-rank factor.
pub fn is_factor(path: &str) -> bool {
    path.contains(".lora.")
}

struct OnlyFactors {
    path: Vec<String>,
}

impl<B: Backend> ModuleMapper<B> for OnlyFactors {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        param.set_require_grad(is_factor(&self.path.join(".")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::backend::{Autodiff, Flex, NdArray};
    use burn::optim::{GradientsAccumulator, GradientsParams};

    use super::*;
    use crate::copies::trained_copy;
    use crate::init::{initialise, initialise_where};
    use crate::kernels::Trainable;
    use crate::noise::{Noise, Purpose, key_of};
    use crate::student::segments::{Pass, Past, Segments, velocity};
    use crate::student::{Limits, StudentConfig, Visibility};
    use crate::weights::tests::tiny;
    use crate::weights::{HostTensor, collect, collect_gradients, fill_where};

    /// `student` with every product of factors added to its weight, computed in f32.
    pub(crate) fn merged<B: Backend>(student: Student<B>) -> Student<B> {
        each_layer(student, |layer| {
            if let Some(lora) = layer.lora.take() {
                let product = lora.down.val().matmul(lora.up.val()) * lora.scale;
                layer.weight = layer.weight.clone().map(|weight| {
                    let dtype = weight.dtype();
                    (weight.cast(product.dtype()) + product)
                        .cast(dtype)
                        .detach()
                });
            }
        })
    }

    fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
        let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// With `W' = W + scale A B` the chain rule gives the factors' gradients from those of a plain
    /// student whose weights are W'.
    fn factors_learn_by_the_chain_rule<B: Trainable>(recompute_blocks: bool) {
        let config = StudentConfig {
            frames_per_block: 1,
            ..tiny()
        };
        let lora = LoraConfig {
            rank: 3,
            alpha: 6.0,
            targets: LoraConfig::all(),
        };
        let mut base = initialise(
            Student::<B>::new(&config, &Default::default()),
            5,
            "student",
        );
        base.head.output.weight =
            Param::from_tensor(random(base.head.output.weight.dims(), 77) * 0.1);
        let student = initialise_where(adapted(base, &lora), 3, "factors", is_factor);
        let shapes = crate::weights::shapes(&student);
        let ends_up = |path: &str| path.ends_with(".lora.up");
        let student = fill_where(student, ends_up, |path| {
            let shape = shapes[path].clone();
            let values =
                Noise::new(4, Purpose::Weights, 0, key_of(path)).normals(shape.iter().product());
            Ok(HostTensor {
                shape,
                values: values.into_iter().map(|value| 0.1 * value).collect(),
            })
        });
        let student = student.unwrap().within(Limits {
            recompute_blocks,
            ..Limits::default()
        });

        let whole = trained_copy(merged(student.clone()));
        let pass = || Pass {
            latents: random([1, 3, 4, 4, 4], 2),
            timesteps: vec![700.0; 3],
            frames: (0..3).collect(),
            visibility: Visibility::block_causal(&student.layout(3)),
            past: Past::Nothing,
        };
        let loss = |velocity: Tensor<B, 5>| (velocity * random([1, 3, 4, 4, 4], 4)).sum();
        let mut gradients = loss(velocity(&whole, random([1, 3, 8], 1), &[pass()])).backward();
        let of_whole = collect_gradients(
            &GradientsParams::from_module::<B, _>(&mut gradients, &whole),
            &whole,
        );

        let mut sum = GradientsAccumulator::new();
        if recompute_blocks {
            let mut segments = Segments::new(&student, random([1, 3, 8], 1), vec![pass()]);
            for number in 0..Segments::graphs(&student) {
                let scalar = if number == 0 {
                    loss(segments.velocity(&student))
                } else {
                    segments.graph(&student, number)
                };
                let mut gradients = scalar.backward();
                segments.absorb(&mut gradients);
                sum.accumulate(
                    &student,
                    GradientsParams::from_module::<B, _>(&mut gradients, &student),
                );
            }
        } else {
            let mut gradients =
                loss(velocity(&student, random([1, 3, 8], 1), &[pass()])).backward();
            sum.accumulate(
                &student,
                GradientsParams::from_module::<B, _>(&mut gradients, &student),
            );
        }
        let found = collect_gradients(&sum.grads(), &student);
        // Two factors for each of the ten layers of both blocks, and nothing of what is frozen.
        assert_eq!(found.len(), 2 * 2 * 10, "{:?}", found.keys());

        let weights = collect(&student);
        let matrix = |tensor: &HostTensor| {
            let shape = [tensor.shape[0], tensor.shape[1]];
            Tensor::<B::InnerBackend, 2>::from_data(
                TensorData::new(tensor.values.clone(), shape),
                &Default::default(),
            )
        };
        for (name, gradient) in &found {
            let (layer, part) = name.split_once(".lora.").unwrap();
            let factor = |part: &str| matrix(&weights[&format!("{layer}.lora.{part}")]);
            let of_weight = matrix(&of_whole[&format!("{layer}.weight")]) * lora.scale();
            let expected = if part == "down" {
                of_weight.matmul(factor("up").transpose())
            } else {
                factor("down").transpose().matmul(of_weight)
            };
            let scale: f32 = expected.clone().abs().max().into_scalar().elem();
            let gap: f32 = (matrix(gradient) - expected)
                .abs()
                .max()
                .into_scalar()
                .elem();
            // f32 sums in another order, through two blocks there and back.
            assert!(
                scale > 1e-4 && gap < 1e-4 * scale,
                "{name}: {gap} of {scale}"
            );
        }
    }

    #[test]
    fn factors_get_the_gradients_of_the_chain_rule_in_one_graph_and_block_by_block() {
        for recompute_blocks in [false, true] {
            factors_learn_by_the_chain_rule::<Autodiff<NdArray>>(recompute_blocks);
            factors_learn_by_the_chain_rule::<Autodiff<Flex>>(recompute_blocks);
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        let good = LoraConfig {
            rank: 4,
            alpha: 4.0,
            targets: LoraConfig::all(),
        };
        assert_eq!(good.problem(), None);
        for (bad, word) in [
            (
                LoraConfig {
                    rank: 0,
                    ..good.clone()
                },
                "rank is 0",
            ),
            (
                LoraConfig {
                    alpha: f64::NAN,
                    ..good.clone()
                },
                "alpha is NaN",
            ),
            (
                LoraConfig {
                    targets: vec![],
                    ..good
                },
                "targets is empty",
            ),
        ] {
            assert!(bad.problem().unwrap().contains(word));
        }
    }
}

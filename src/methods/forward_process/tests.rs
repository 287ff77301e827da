use afd_models::init::initialise;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::{Limits, StudentConfig};
use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;

use super::*;
use crate::engine::step::Step;
use crate::engine::update::Update;
use crate::recipe::tables::LossForm;

/// Rounding of f32: the same sums, cut into other parts.
const TOLERANCE: f32 = 1e-5;

fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
    let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// Gradients of all weights that have one, by name.
struct Found<'a> {
    of: &'a GradientsParams,
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
}

impl<B: Trainable> ModuleVisitor<B> for Found<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        if let Some(gradient) = self.of.get::<B::InnerBackend, N>(param.id) {
            self.values
                .push((self.path.join("."), gradient.into_data().to_vec().unwrap()));
        }
    }
}

/// All gradients of one flow update on two clips of six frames.
fn gradients<B: Trainable>(
    config: &StudentConfig,
    context: Context,
    recompute_blocks: bool,
) -> Vec<(String, Vec<f32>)> {
    let limits = Limits {
        attention_queries: 5,
        recompute_blocks,
        ..Limits::default()
    };
    let mut student =
        initialise(Student::<B>::new(config, &Default::default()), 5, "student").within(limits);
    // The output starts at zero, where nothing behind it would have a gradient.
    student.head.output.weight =
        Param::from_tensor(random(student.head.output.weight.dims(), 77) * 0.1)
            .set_require_grad(true);
    let model: AfdModel<B> = AfdModel {
        old: None,
        reference: None,
        ema: student.clone(),
        student,
        discriminator: None,
    };
    let sigmas: Vec<f32> = (0..12)
        .map(|number| 0.95 - 0.07 * (number / config.frames_per_block) as f32)
        .collect();
    let clips = || random([2, 6, 4, 4, 4], 2);
    let update = FlowUpdate {
        clips: Noised {
            clean: clips(),
            noise: random([2, 6, 4, 4, 4], 3),
            sigmas: Tensor::from_data(
                TensorData::new(sigmas.clone(), [2, 6, 1, 1, 1]),
                &Default::default(),
            ),
        },
        sigmas,
        r: Tensor::from_data(
            TensorData::new(vec![0.8_f32, 0.3], [2, 1, 1, 1, 1]),
            &Default::default(),
        ),
        text: random([2, 3, 8], 1),
        old_velocity: Some(random([2, 6, 4, 4, 4], 4)),
        reference: Some((random([2, 6, 4, 4, 4], 5), 0.1)),
        context,
        detach_context: true,
        settings: ForwardProcessSettings {
            form: LossForm::Adaptive,
            beta: 0.5,
            advantage_clip: 1.0,
        },
    };
    let mut step = Step::new(model.clone(), Update::Student(Box::new(update)));
    for graph in 0..step.graphs() {
        let loss = step.forward(graph);
        step.backward(loss);
    }
    let output = step.finish();
    let mut found = Found {
        of: &output.grads,
        path: Vec::new(),
        values: Vec::new(),
    };
    model.student.visit(&mut found);
    found.values
}

fn through_the_cache_as_in_parallel<B: Trainable>(
    frames_per_block: usize,
    window_frames: usize,
    sink_frames: usize,
) {
    let config = StudentConfig {
        width: 24,
        layers: 2,
        heads: 2,
        feed_forward_width: 48,
        latent_channels: 4,
        patch: 2,
        text_width: 8,
        frequency_width: 16,
        frames_per_block,
        window_frames,
        sink_frames,
    };
    let expected = gradients::<B>(&config, Context::OwnClean, false);
    // 15 tensors outside the blocks and 27 in each.
    assert_eq!(expected.len(), 15 + 2 * 27);
    for (context, recompute_blocks) in [
        (Context::Cached, false),
        (Context::Cached, true),
        (Context::OwnClean, true),
    ] {
        let found = gradients::<B>(&config, context, recompute_blocks);
        assert_eq!(found.len(), expected.len());
        for ((name, expected), (found_name, found)) in expected.iter().zip(&found) {
            assert_eq!((name, expected.len()), (found_name, found.len()));
            let largest = expected
                .iter()
                .fold(1e-6_f32, |largest, value| largest.max(value.abs()));
            let gap = expected
                .iter()
                .zip(found)
                .fold(0.0_f32, |gap, (expected, found)| {
                    gap.max((expected - found).abs())
                });
            assert!(
                gap / largest < TOLERANCE,
                "{context:?}, blocks again: {recompute_blocks}: {name} is off by {}",
                gap / largest
            );
        }
    }
}

/// docs/method.md G.3, options 1 (its context cut off) and 3.
#[test]
fn gradients_through_the_cache_are_those_in_parallel() {
    through_the_cache_as_in_parallel::<Autodiff<NdArray>>(2, 0, 0);
    through_the_cache_as_in_parallel::<Autodiff<Flex>>(1, 3, 1);
}

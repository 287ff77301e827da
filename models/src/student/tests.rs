//! The transformer against itself (cached, uncached, masked) and against hand-made definitions.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;

use super::segments::{Pass, Past, Segments, velocity};
use super::transformer::Inputs;
use super::*;
use crate::init::initialise;
use crate::kernels::{Kernels, Trainable};
use crate::noise::{Noise, Purpose};

pub(super) fn config(
    frames_per_block: usize,
    window_frames: usize,
    sink_frames: usize,
) -> StudentConfig {
    StudentConfig {
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
    }
}

pub(super) fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
    let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// A student whose every weight is random, the zero-initialised output included.
pub(super) fn student<B: Kernels>(config: &StudentConfig) -> Student<B> {
    let mut student = initialise(Student::<B>::new(config, &Default::default()), 5, "student");
    student.head.output.weight =
        Param::from_tensor(random(student.head.output.weight.dims(), 77) * 0.1);
    student
}

pub(super) fn largest<B: Backend, const N: usize>(a: Tensor<B, N>, b: Tensor<B, N>) -> f32 {
    (a - b).abs().max().into_scalar().elem()
}

fn teacher_forcing_equals_sequential_cache<B: Kernels>(config: &StudentConfig) {
    let student = student::<B>(config);
    let layout = student.layout(6);
    let text = student.text_cache(random([2, 3, 8], 1));
    let (clean, noisy) = (
        random::<B, 5>([2, 6, 4, 4, 4], 2),
        random::<B, 5>([2, 6, 4, 4, 4], 3),
    );
    let timesteps: Vec<f32> = (0..2)
        .flat_map(|_| (0..6).map(|frame| 900.0 - 100.0 * (frame / config.frames_per_block) as f32))
        .collect();
    let frames: Vec<usize> = (0..6).collect();

    let causal = Visibility::block_causal(&layout);
    let clean_inputs = Inputs {
        timesteps: &[0.0; 12],
        frames: &frames,
        text: &text,
        past: None,
        visibility: &causal,
    };
    let (_, cache) = student.forward(clean.clone(), &clean_inputs);
    let forcing = Visibility::teacher_forcing(&layout);
    let inputs = Inputs {
        timesteps: &timesteps,
        frames: &frames,
        text: &text,
        past: Some(&cache),
        visibility: &forcing,
    };
    let (parallel, _) = student.forward(noisy.clone(), &inputs);

    let mut cache: Option<KvCache<B>> = None;
    let mut sequential = Vec::new();
    for block in layout.blocks() {
        let length = block.len();
        let numbers: Vec<usize> = block.clone().collect();
        let past = cache
            .take()
            .and_then(|cache| cache.keep(&layout.past_of(&block)));
        let visibility =
            Visibility::rollout(past.as_ref().map_or(0, |past| past.frames.len()), length);
        let times: Vec<f32> = (0..2)
            .flat_map(|sample| timesteps[sample * 6 + block.start..sample * 6 + block.end].to_vec())
            .collect();
        let at = |timesteps| Inputs {
            timesteps,
            frames: &numbers,
            text: &text,
            past: past.as_ref(),
            visibility: &visibility,
        };
        sequential.push(
            student
                .forward(noisy.clone().slice_dim(1, block.clone()), &at(&times))
                .0,
        );
        let zeros = vec![0.0; 2 * length];
        let (_, committed) = student.forward(clean.clone().slice_dim(1, block), &at(&zeros));
        cache = Some(match past {
            Some(past) => past.append(committed),
            None => committed,
        });
    }
    // f32 sums in another order: measured below 2e-6, velocities are of order one.
    assert!(largest(parallel, Tensor::cat(sequential, 1)) < 1e-5);
}

#[test]
fn teacher_forcing_on_own_rollouts_equals_the_sequential_cache() {
    for (frames_per_block, window, sink) in [(3, 0, 0), (1, 0, 0), (2, 4, 0), (1, 3, 1), (2, 2, 0)]
    {
        teacher_forcing_equals_sequential_cache::<NdArray>(&config(frames_per_block, window, sink));
        teacher_forcing_equals_sequential_cache::<Flex>(&config(frames_per_block, window, sink));
    }
}

#[test]
fn one_block_over_the_whole_clip_is_the_bidirectional_transformer() {
    let student = student::<NdArray>(&config(6, 0, 0));
    let text = student.text_cache(random([1, 3, 8], 1));
    let frames: Vec<usize> = (0..6).collect();
    let run = |visibility: &Visibility| {
        let inputs = Inputs {
            timesteps: &[500.0; 6],
            frames: &frames,
            text: &text,
            past: None,
            visibility,
        };
        student.forward(random([1, 6, 4, 4, 4], 2), &inputs).0
    };
    let causal = run(&Visibility::block_causal(&student.layout(6)));
    assert_eq!(largest(causal, run(&Visibility::bidirectional(6))), 0.0);
}

#[test]
fn patches_are_embedded_and_written_back_at_their_place() {
    // A student whose blocks, norms and modulation do nothing can be followed by hand: change one
    // latent pixel, and with attention switched off (o = 0) only the tokens of its patch and frame
    // may change.
    let mut student = student::<NdArray>(&config(3, 0, 0));
    for block in &mut student.blocks {
        block.self_attn.o.weight = block.self_attn.o.weight.clone().map(|weight| weight * 0.0);
    }
    let text = student.text_cache(random([1, 3, 8], 1));
    let visibility = Visibility::bidirectional(3);
    let inputs = Inputs {
        timesteps: &[500.0; 3],
        frames: &[0, 1, 2],
        text: &text,
        past: None,
        visibility: &visibility,
    };
    let latents = random::<NdArray, 5>([1, 3, 4, 4, 4], 2);
    let before = student.forward(latents.clone(), &inputs).0;
    let touched = latents.slice_assign(
        [0..1, 1..2, 2..3, 3..4, 0..1],
        Tensor::<NdArray, 5>::full([1, 1, 1, 1, 1], 9.0, &Default::default()),
    );
    let change = (student.forward(touched, &inputs).0 - before).abs();
    let inside = change
        .clone()
        .slice([0..1, 1..2, 0..4, 2..4, 0..2])
        .sum()
        .into_scalar();
    assert!(inside > 1e-3);
    assert!((change.sum().into_scalar() - inside).abs() < 1e-6);
}

/// Gradients of all weights of a teacher-forced loss: of the plain graph, and block by block.
fn segments_equal_the_plain_graph<B: Trainable>(tolerance: f32) {
    let student = student::<B>(&config(2, 0, 0));
    let (text, clean, noisy) = (
        random([2, 3, 8], 1),
        random([2, 6, 4, 4, 4], 2),
        random([2, 6, 4, 4, 4], 3),
    );
    let target = random::<B, 5>([2, 6, 4, 4, 4], 4);
    let timesteps: Vec<f32> = (0..12).map(|number| 990.0 - 70.0 * number as f32).collect();
    let frames: Vec<usize> = (0..6).collect();
    let (causal, forcing) = (
        Visibility::block_causal(&student.layout(6)),
        Visibility::teacher_forcing(&student.layout(6)),
    );
    let cache_of = |student: &Student<B::InnerBackend>| {
        let text = student.text_cache(text.clone());
        let inputs = Inputs {
            timesteps: &[0.0; 12],
            frames: &frames,
            text: &text,
            past: None,
            visibility: &causal,
        };
        student.forward(clean.clone(), &inputs).1
    };
    let pass = |latents: &Tensor<B::InnerBackend, 5>,
                timesteps: &[f32],
                visibility: &Visibility,
                past| Pass {
        latents: latents.clone(),
        timesteps: timesteps.to_vec(),
        frames: frames.clone(),
        visibility: visibility.clone(),
        past,
    };
    // A context that is differentiated, one that is constant, none.
    for passes in [
        vec![
            pass(&clean, &[0.0; 12], &causal, Past::Nothing),
            pass(&noisy, &timesteps, &forcing, Past::Of(0)),
        ],
        vec![pass(
            &noisy,
            &timesteps,
            &forcing,
            Past::Constant(cache_of(&student.valid())),
        )],
        vec![pass(&noisy, &timesteps, &causal, Past::Nothing)],
    ] {
        let loss = (velocity(&student, text.clone(), &passes) - target.clone())
            .square()
            .mean();
        let (expected_loss, mut gradients) = (loss.clone().into_data(), loss.backward());
        let expected = GradientsParams::from_module::<B, _>(&mut gradients, &student);
        let mut segments = Segments::new(&student, text.clone(), passes);
        let mut found = GradientsAccumulator::new();
        for number in 0..Segments::graphs(&student) {
            let scalar = match number {
                0 => {
                    let loss = (segments.velocity(&student) - target.clone())
                        .square()
                        .mean();
                    assert_eq!(loss.clone().into_data(), expected_loss);
                    loss
                }
                _ => segments.graph(&student, number),
            };
            let mut gradients = scalar.backward();
            segments.absorb(&mut gradients);
            found.accumulate(
                &student,
                GradientsParams::from_module::<B, _>(&mut gradients, &student),
            );
        }
        let mut compare = Compare {
            expected,
            found: found.grads(),
            tolerance,
            path: Vec::new(),
            compared: 0,
        };
        student.visit(&mut compare);
        // 15 tensors outside the blocks and 27 in each.
        assert_eq!(compare.compared, 15 + 2 * 27);
    }
}

struct Compare {
    expected: GradientsParams,
    found: GradientsParams,
    tolerance: f32,
    path: Vec<String>,
    compared: usize,
}

impl<B: Trainable> ModuleVisitor<B> for Compare {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let name = self.path.join(".");
        let of = |gradients: &GradientsParams| {
            gradients
                .get::<B::InnerBackend, N>(param.id)
                .unwrap_or_else(|| panic!("no gradient for {name}"))
        };
        let (expected, found) = (of(&self.expected), of(&self.found));
        let scale: f32 = expected.clone().abs().max().into_scalar().elem();
        let gap = largest(expected, found) / scale.max(1e-6);
        assert!(gap < self.tolerance, "{name}: {gap}");
        self.compared += 1;
    }
}

#[test]
fn gradients_block_by_block_equal_those_of_the_plain_graph() {
    // The same sums in the same order but for what several passes and blocks add up: rounding of
    // f32, relative to each tensor's largest.
    segments_equal_the_plain_graph::<Autodiff<NdArray>>(1e-5);
    segments_equal_the_plain_graph::<Autodiff<Flex>>(1e-5);
}

//! The two passes of a causal student over whole clips: the clean pass, whose keys and values are
//! the context, and the noisy pass, which predicts velocities (docs/method.md F.1, G.3, H.1).
//!
//! They come in two forms. [`clean_pass`] and [`noisy_pass`] describe runs that
//! [`segments`](super::segments) differentiates. [`prefill`] and [`velocities`] run the same at
//! once, without a graph.

use burn::prelude::*;

use super::cache::KvCache;
use super::segments::{Pass, Past};
use super::transformer::{Inputs, Student, TextCache};
use crate::causal::{BlockLayout, Visibility};
use crate::kernels::Kernels;

/// Timesteps from clean to pure noise, as Wan was trained: a student is told t = 1000 sigma
/// (docs/method.md A.1).
pub const NUM_TRAIN_TIMESTEPS: f32 = 1000.0;

/// The timestep of every noise level in `sigmas`, each in [0, 1], in order.
pub fn timesteps<'a>(sigmas: impl IntoIterator<Item = &'a f32>) -> Vec<f32> {
    sigmas
        .into_iter()
        .map(|sigma| NUM_TRAIN_TIMESTEPS * sigma)
        .collect()
}

/// The pass over the clean clips `[B, F, C, H, W]` that a [`noisy_pass`] attends to: block-causal,
/// at the noise level `sigma`, in [0, 1], everywhere.
pub fn clean_pass<B: Backend>(layout: &BlockLayout, clips: Tensor<B, 5>, sigma: f32) -> Pass<B> {
    let [batch, frames, ..] = clips.dims();
    Pass {
        latents: clips,
        timesteps: uniform(sigma, batch * frames),
        frames: (0..frames).collect(),
        visibility: Visibility::block_causal(layout),
        past: Past::Nothing,
    }
}

/// The pass over the noised clips `[B, F, C, H, W]`, all blocks in parallel.
///
/// `sigmas` holds the noise level, in [0, 1], of every (sample, frame), frame fastest: `B * F`
/// values. Blocks attend to earlier frames of `past`, which must hold all F frames: teacher
/// forcing. With [`Past::Nothing`] they attend to each other: diffusion forcing.
pub fn noisy_pass<B: Backend>(
    layout: &BlockLayout,
    clips: Tensor<B, 5>,
    sigmas: &[f32],
    past: Past<B>,
) -> Pass<B> {
    let visibility = match &past {
        Past::Nothing => Visibility::block_causal(layout),
        _ => Visibility::teacher_forcing(layout),
    };
    Pass {
        latents: clips,
        timesteps: timesteps(sigmas),
        frames: (0..layout.frames).collect(),
        visibility,
        past,
    }
}

/// Clean frames for a student to attend to, and which block attends to which of them.
#[derive(Debug, Clone)]
pub struct CleanContext<B: Backend> {
    cache: Option<KvCache<B>>,
    visibility: Visibility,
}

impl<B: Backend> CleanContext<B> {
    /// Teacher forcing for clips of `frames` latent frames, on a cache of their clean frames.
    /// Frames from the last block's start on may be missing from it, as no block attends to them.
    pub fn on(student: &Student<B>, frames: usize, cache: Option<KvCache<B>>) -> Self {
        let mut visibility = Visibility::teacher_forcing(&student.layout(frames));
        visibility.past_frames = cache.as_ref().map_or(0, |cache| cache.frames.len());
        Self { cache, visibility }
    }

    /// No clean frames for clips of `frames` latent frames: every noisy block attends to itself and
    /// to earlier noisy blocks.
    pub fn none(student: &Student<B>, frames: usize) -> Self {
        Self {
            cache: None,
            visibility: Visibility::block_causal(&student.layout(frames)),
        }
    }
}

/// Runs the clean pass of `student` over clips `[B, F, C, H, W]` at the noise level `sigma`, in
/// [0, 1]: the keys and values of every frame.
pub fn prefill<B: Kernels>(
    student: &Student<B>,
    clips: Tensor<B, 5>,
    sigma: f32,
    text: &TextCache<B>,
) -> KvCache<B> {
    let [batch, frames, ..] = clips.dims();
    let timesteps = uniform(sigma, batch * frames);
    let visibility = Visibility::block_causal(&student.layout(frames));
    whole_clips(student, clips, &timesteps, text, None, &visibility).1
}

/// Velocities `[B, F, C, H, W]` of `student` for noised clips `[B, F, C, H, W]`, all blocks in
/// parallel.
///
/// `sigmas` holds the noise level, in [0, 1], of every (sample, frame), frame fastest: `B * F`
/// values.
pub fn velocities<B: Kernels>(
    student: &Student<B>,
    noised: Tensor<B, 5>,
    sigmas: &[f32],
    text: &TextCache<B>,
    context: &CleanContext<B>,
) -> Tensor<B, 5> {
    whole_clips(
        student,
        noised,
        &timesteps(sigmas),
        text,
        context.cache.as_ref(),
        &context.visibility,
    )
    .0
}

/// The timesteps of `count` frames of the same noise level.
fn uniform(sigma: f32, count: usize) -> Vec<f32> {
    timesteps(std::iter::repeat_n(&sigma, count))
}

/// [`Student::forward`] on clips whose frames are numbered from 0.
fn whole_clips<B: Kernels>(
    student: &Student<B>,
    clips: Tensor<B, 5>,
    timesteps: &[f32],
    text: &TextCache<B>,
    past: Option<&KvCache<B>>,
    visibility: &Visibility,
) -> (Tensor<B, 5>, KvCache<B>) {
    let frames: Vec<usize> = (0..clips.dims()[1]).collect();
    let inputs = Inputs {
        timesteps,
        frames: &frames,
        text,
        past,
        visibility,
    };
    student.forward(clips, &inputs)
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex, NdArray};
    use burn::module::AutodiffModule;

    use super::super::segments::velocity;
    use super::super::tests::{config, largest, random, student};
    use super::*;
    use crate::kernels::Trainable;

    /// Two clips of five frames in blocks of two.
    const SHAPE: [usize; 5] = [2, 5, 4, 4, 4];
    const CONTEXT_SIGMA: f32 = 0.1;

    fn sigmas() -> Vec<f32> {
        (0..10).map(|index| 0.95 - 0.09 * index as f32).collect()
    }

    /// The velocities of noised clips by [`Student::forward`]: on clean frames, if there are any.
    fn by_hand<B: Kernels>(
        student: &Student<B>,
        text: &TextCache<B>,
        clean: Option<Tensor<B, 5>>,
        noised: Tensor<B, 5>,
    ) -> Tensor<B, 5> {
        let layout = student.layout(SHAPE[1]);
        let cache = clean.map(|clean| {
            let inputs = Inputs {
                timesteps: &[1000.0 * CONTEXT_SIGMA; 10],
                frames: &[0, 1, 2, 3, 4],
                text,
                past: None,
                visibility: &Visibility::block_causal(&layout),
            };
            student.forward(clean, &inputs).1
        });
        let visibility = match cache {
            Some(_) => Visibility::teacher_forcing(&layout),
            None => Visibility::block_causal(&layout),
        };
        let times: Vec<f32> = sigmas().iter().map(|sigma| 1000.0 * sigma).collect();
        let inputs = Inputs {
            timesteps: &times,
            frames: &[0, 1, 2, 3, 4],
            text,
            past: cache.as_ref(),
            visibility: &visibility,
        };
        student.forward(noised, &inputs).0
    }

    fn both_forms_equal_the_plain_forward<B: Trainable>() {
        for (window, sink) in [(0, 0), (3, 1)] {
            let student = student::<B>(&config(2, window, sink));
            let plain = student.valid();
            let (clean, noised) = (random(SHAPE, 2), random(SHAPE, 3));
            let rows = random([2, 3, 8], 1);
            let text = plain.text_cache(rows.clone());
            let same = |found: Tensor<B::InnerBackend, 5>, clean: Option<_>| {
                let expected = by_hand(&plain, &text, clean, noised.clone());
                assert_eq!(largest(found, expected), 0.0);
            };
            let differentiated =
                |passes: &[Pass<B::InnerBackend>]| velocity(&student, rows.clone(), passes).inner();
            let layout = student.layout(SHAPE[1]);
            let noisy = |past| noisy_pass(&layout, noised.clone(), &sigmas(), past);
            let run = |context| velocities(&plain, noised.clone(), &sigmas(), &text, &context);

            same(run(CleanContext::none(&plain, 5)), None);
            same(differentiated(&[noisy(Past::Nothing)]), None);

            let cache = prefill(&plain, clean.clone(), CONTEXT_SIGMA, &text);
            let pass = clean_pass(&layout, clean.clone(), CONTEXT_SIGMA);
            same(
                differentiated(&[pass, noisy(Past::Of(0))]),
                Some(clean.clone()),
            );
            same(
                differentiated(&[noisy(Past::Constant(cache.clone()))]),
                Some(clean.clone()),
            );
            // No block attends to the frames of the last block.
            let shorter = cache.clone().keep(std::slice::from_ref(&(0..4)));
            for cache in [Some(cache), shorter] {
                same(run(CleanContext::on(&plain, 5, cache)), Some(clean.clone()));
            }
        }
    }

    #[test]
    fn passes_differentiated_or_not_equal_the_plain_forward() {
        both_forms_equal_the_plain_forward::<Autodiff<NdArray>>();
        both_forms_equal_the_plain_forward::<Autodiff<Flex>>();
    }
}

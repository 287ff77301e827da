//! A student's own many-step clips and the states on the way to them, which teach it to make the
//! same clips in few steps.
//!
//! ODE initialisation (CausVid, arXiv 2412.07772; the second stage of Causal-Forcing,
//! docs/method.md B.6): from each of the few-step sampler's noise levels, the student learns to go
//! straight to where its many-step ODE ends. Noise and clip are paired, so that the clean estimate
//! at a high level is one clip and not the mean of many.

use std::collections::BTreeSet;
use std::ops::Range;

use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::Student;
use burn::prelude::*;

use crate::flow::path::{Noised, levels};
use crate::flow::trajectory::TrajectorySchedule;
use crate::rollout::{Generator, RolloutNoise};

/// Clips to learn from, each trajectory's one after another, and the noise level of every
/// (clip, frame), frame fastest.
///
/// `text` are the text embeddings `[B, L, text_width]` of the trajectories numbered `clips` of
/// `round`, and `shape` is the latent shape `[F, C, H, W]` of a clip. A trajectory's
/// clips show its blocks at levels of their own, so that each block is shown at each level
/// once; a first block with levels of its own is shown at as many of them, from a random one on.
pub fn examples<B: Kernels>(
    schedule: &TrajectorySchedule,
    student: &Student<B>,
    text: Tensor<B, 3>,
    shape: [usize; 4],
    [seed, round]: [u64; 2],
    clips: Range<u64>,
) -> (Noised<B>, Vec<f32>) {
    let device = text.device();
    let text = student.text_cache(text);
    let generator = Generator {
        student,
        text: &text,
        sampler: &schedule.sampler,
        shape,
        device: &device,
    };
    let made = generator.rollout_with_states(RolloutNoise::new(seed, round, clips.clone()));
    let (levels_visited, frames) = (schedule.levels(), shape[0]);
    let blocks: Vec<_> = student.layout(frames).blocks().collect();
    // The place among the many levels that each (clip, frame) is shown at.
    let mut shown = Vec::with_capacity(made.latents.dims()[0] * levels_visited * frames);
    for clip in clips {
        let mut draw = Noise::new(seed, Purpose::Sigma, round, clip);
        let places = |block: &Range<usize>| schedule.places(block.start == 0);
        let offsets: Vec<usize> = (blocks.iter())
            .map(|block| draw.below(places(block).len()))
            .collect();
        for copy in 0..levels_visited {
            let of_block = |(block, offset): (&Range<usize>, &usize)| {
                let places = places(block);
                vec![places[(copy + offset) % places.len()]; block.len()]
            };
            shown.extend(blocks.iter().zip(&offsets).flat_map(of_block));
        }
    }
    let batch = shown.len() / frames;
    // Every place that is shown, in the order of the levels.
    let all: BTreeSet<usize> = (schedule.places(true).iter())
        .chain(schedule.places(false))
        .copied()
        .collect();
    let state = (all.into_iter())
        .map(|place| {
            let here: Vec<f32> = shown
                .iter()
                .map(|shown| f32::from(u8::from(*shown == place)))
                .collect();
            repeated(made.states[place].clone(), levels_visited)
                * levels(&here, batch, frames, &device)
        })
        .reduce(|sum, more| sum + more)
        .unwrap_or_else(|| unreachable!("a checked sampler has levels"));
    let clean = repeated(made.latents, levels_visited);
    let sigmas: Vec<f32> = shown
        .iter()
        .map(|place| schedule.sampler.sigmas[*place])
        .collect();
    let sigma = levels(&sigmas, batch, frames, &device);
    // The noise that a straight path from the clip would have led to this state with.
    let noise = (state - clean.clone() * (-sigma.clone() + 1.0)) / sigma.clone();
    (
        Noised {
            clean,
            noise,
            sigmas: sigma,
        },
        sigmas,
    )
}

/// Each of the first dimension's rows `times` times in a row.
fn repeated<B: Backend>(clips: Tensor<B, 5>, times: usize) -> Tensor<B, 5> {
    let [batch, frames, channels, height, width] = clips.dims();
    // [B, F, C, H, W] -> [B, 1, F C H W] -> [B, times, F C H W] -> [B times, F, C, H, W]
    let rows = clips
        .reshape([batch, 1, frames * channels * height * width])
        .repeat_dim(1, times);
    rows.reshape([batch * times, frames, channels, height, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::path::clean_estimate;
    use crate::flow::sampler::Sampler;
    use crate::flow::schedule::few_step_sigmas;
    use afd_models::init::initialise;
    use afd_models::student::StudentConfig;
    use burn::backend::Flex;

    const SHAPE: [usize; 4] = [4, 1, 2, 2];

    fn student() -> Student<Flex> {
        let config = StudentConfig {
            width: 16,
            layers: 1,
            heads: 2,
            feed_forward_width: 16,
            latent_channels: 1,
            patch: 2,
            text_width: 4,
            frequency_width: 16,
            frames_per_block: 2,
            window_frames: 0,
            sink_frames: 0,
        };
        initialise(Student::new(&config, &Default::default()), 3, "student")
    }

    #[test]
    fn every_block_is_shown_once_at_every_level_on_the_way_to_its_clip() {
        let student = student();
        let schedule = TrajectorySchedule::new(&[1000.0, 500.0], None, 5.0, true, 4).unwrap();
        let rows = || Tensor::<Flex, 3>::ones([2, 1, 4], &Default::default());
        let (clips, sigmas) = examples(&schedule, &student, rows(), SHAPE, [7, 1], 5..7);
        // What the sampler itself goes through.
        let sampler = Sampler {
            fresh_noise: 0.0,
            sigmas: few_step_sigmas(&[1000.0, 750.0, 500.0, 250.0], 5.0, true),
            first_block: None,
        };
        let text = student.text_cache(rows());
        let generator = Generator {
            student: &student,
            text: &text,
            sampler: &sampler,
            shape: SHAPE,
            device: &Default::default(),
        };
        let made = generator.rollout_with_states(RolloutNoise::new(7, 1, 5..7));
        let state = clips.state();
        let close = |found: Tensor<Flex, 5>, expected: Tensor<Flex, 5>| {
            (found - expected).abs().max().into_scalar() < 1e-5
        };
        for trajectory in 0..2 {
            for block in 0..2 {
                let part = |tensor: &Tensor<Flex, 5>, row: usize| {
                    tensor
                        .clone()
                        .slice_dim(0, row..row + 1)
                        .slice_dim(1, 2 * block..2 * block + 2)
                };
                let mut seen = Vec::new();
                for copy in 0..2 {
                    let row = 2 * trajectory + copy;
                    let sigma = sigmas[row * 4 + 2 * block];
                    let place = sampler
                        .sigmas
                        .iter()
                        .position(|level| *level == sigma)
                        .unwrap();
                    seen.push(place);
                    assert!(close(
                        part(&state, row),
                        part(&made.states[place], trajectory)
                    ));
                    assert!(close(
                        part(&clips.clean, row),
                        part(&made.latents, trajectory)
                    ));
                }
                seen.sort_unstable();
                assert_eq!(seen, [0, 2]);
            }
        }
        // The velocity that is taught leads from the state straight to the clip.
        let taught = clips.noise.clone() - clips.clean.clone();
        assert!(close(
            clean_estimate(state, taught, &clips.sigmas),
            clips.clean.clone()
        ));
    }

    #[test]
    fn a_first_block_with_levels_of_its_own_is_shown_at_those() {
        let student = student();
        let first = [1000.0, 750.0, 500.0, 250.0];
        let schedule = TrajectorySchedule::new(&[1000.0], Some(&first), 5.0, true, 4).unwrap();
        let rows = Tensor::<Flex, 3>::ones([16, 1, 4], &Default::default());
        let (_, sigmas) = examples(&schedule, &student, rows, SHAPE, [7, 1], 0..16);
        let own = &schedule.sampler.sigmas;
        let mut seen: Vec<f32> = sigmas.chunks(4).map(|clip| clip[0]).collect();
        assert!(sigmas.chunks(4).all(|clip| clip[2..] == [1.0; 2]));
        seen.sort_by(|a, b| b.total_cmp(a));
        seen.dedup();
        assert_eq!(&seen, own);
    }
}

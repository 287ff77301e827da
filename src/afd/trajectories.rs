//! A student's own many-step clips and the states on the way to them, which teach it to make the
//! same clips in few steps.
//!
//! ODE initialisation (CausVid, arXiv 2412.07772; the second stage of Causal-Forcing, method.md
//! B.6): from each of the few-step sampler's noise levels, the student learns to go straight to
//! where its many-step ODE ends. Noise and clip are paired, so that the clean estimate at a high
//! level is one clip and not the mean of many.

use std::ops::Range;

use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::Student;
use burn::prelude::*;

use super::forward_process::Noised;
use crate::flow::path::levels;
use crate::flow::sampler::{Sampler, SamplerKind};
use crate::flow::schedule::few_step_sigmas;
use crate::recipe::settings::Sampler as SamplerSettings;
use crate::rollout::{Generator, RolloutNoise};

/// The many-step sampler, and which of its noise levels the few-step student visits.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectories {
    sampler: Sampler,
    /// Places of the few-step levels among the many.
    visited: Vec<usize>,
}

impl Trajectories {
    /// `steps` equal steps of the nominal time, warped as the few-step list is.
    ///
    /// # Errors
    /// A few-step level that the many steps miss.
    pub fn new(settings: &SamplerSettings, steps: usize) -> Result<Self, String> {
        let nominal: Vec<f64> = (1..=steps)
            .rev()
            .map(|step| 1000.0 * step as f64 / steps as f64)
            .collect();
        let place = |wanted: &f64| nominal.iter().position(|step| (step - wanted).abs() < 1e-6);
        let visited = settings.denoising_step_list.iter().map(|wanted| {
            place(wanted).ok_or_else(|| {
                format!(
                    "supervised.trajectory_steps is {steps}, whose steps of {} miss {wanted} of \
                        sampler.denoising_step_list",
                    1000.0 / steps as f64
                )
            })
        });
        let visited = visited.collect::<Result<_, _>>()?;
        let sigmas = few_step_sigmas(
            &nominal,
            settings.timestep_shift,
            settings.warp_denoising_step,
        );
        Ok(Self {
            sampler: Sampler {
                fresh_noise: SamplerKind::Ode.fresh_noise(),
                sigmas,
            },
            visited,
        })
    }

    /// Levels that the few-step student visits: every trajectory gives as many clips to learn from.
    pub fn levels(&self) -> usize {
        self.visited.len()
    }

    /// Clips to learn from, each trajectory's one after another, and the noise level of every
    /// (clip, frame), frame fastest.
    ///
    /// `rows` are the text rows of the trajectories numbered `clips` of `round`. A trajectory's
    /// clips show its blocks at levels of their own, so that each block is shown at each level
    /// once.
    pub fn examples<B: Kernels>(
        &self,
        student: &Student<B>,
        rows: Tensor<B, 3>,
        shape: [usize; 4],
        [seed, round]: [u64; 2],
        clips: Range<u64>,
    ) -> (Noised<B>, Vec<f32>) {
        let device = rows.device();
        let text = student.text_cache(rows);
        let generator = Generator {
            student,
            text: &text,
            sampler: &self.sampler,
            shape,
            device: &device,
        };
        let made = generator.rollout_with_states(RolloutNoise::new(seed, round, clips.clone()));
        let (levels_visited, frames) = (self.levels(), shape[0]);
        let blocks: Vec<_> = student.layout(frames).blocks().collect();
        // Which level each (clip, frame) is shown at.
        let mut shown = Vec::with_capacity(made.latents.dims()[0] * levels_visited * frames);
        for clip in clips {
            let mut draw = Noise::new(seed, Purpose::Sigma, round, clip);
            let offsets: Vec<usize> = blocks.iter().map(|_| draw.below(levels_visited)).collect();
            for copy in 0..levels_visited {
                let of_block = |(block, offset): (&Range<usize>, &usize)| {
                    vec![(copy + offset) % levels_visited; block.len()]
                };
                shown.extend(blocks.iter().zip(&offsets).flat_map(of_block));
            }
        }
        let batch = shown.len() / frames;
        let state = (self.visited.iter().enumerate())
            .map(|(level, place)| {
                let here: Vec<f32> = shown
                    .iter()
                    .map(|shown| f32::from(u8::from(*shown == level)))
                    .collect();
                repeated(made.states[*place].clone(), levels_visited)
                    * levels(&here, batch, frames, &device)
            })
            .reduce(|sum, more| sum + more)
            .unwrap_or_else(|| unreachable!("a checked sampler has levels"));
        let clean = repeated(made.latents, levels_visited);
        let sigmas: Vec<f32> = shown
            .iter()
            .map(|level| self.sampler.sigmas[self.visited[*level]])
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
    use afd_models::init::initialise;
    use afd_models::student::StudentConfig;
    use burn::backend::Flex;

    const SHAPE: [usize; 4] = [4, 1, 2, 2];

    fn settings(steps: &[f64]) -> SamplerSettings {
        SamplerSettings {
            kind: SamplerKind::Consistency,
            denoising_step_list: steps.to_vec(),
            timestep_shift: 5.0,
            warp_denoising_step: true,
        }
    }

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
    fn a_few_step_level_that_the_many_steps_miss_is_named() {
        assert!(Trajectories::new(&settings(&[1000.0, 500.0]), 16).is_ok());
        let problem = Trajectories::new(&settings(&[1000.0, 700.0]), 16).unwrap_err();
        assert!(
            problem.contains("700") && problem.contains("16"),
            "{problem}"
        );
    }

    #[test]
    fn every_block_is_shown_once_at_every_level_on_the_way_to_its_clip() {
        let student = student();
        let trajectories = Trajectories::new(&settings(&[1000.0, 500.0]), 4).unwrap();
        let rows = || Tensor::<Flex, 3>::ones([2, 1, 4], &Default::default());
        let (clips, sigmas) = trajectories.examples(&student, rows(), SHAPE, [7, 1], 5..7);
        // What the sampler itself goes through.
        let sampler = Sampler {
            fresh_noise: 0.0,
            sigmas: few_step_sigmas(&[1000.0, 750.0, 500.0, 250.0], 5.0, true),
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
}

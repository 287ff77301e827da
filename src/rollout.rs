//! The student on its own outputs, block by block, through the KV cache (docs/method.md B.4).

use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::transformer::Inputs;
use afd_models::student::{KvCache, Student, TextCache, Visibility};
use burn::prelude::*;

use crate::flow::sampler::Sampler;

/// Finished clips of a student and its KV cache of them.
#[derive(Debug, Clone)]
pub struct Rollout<B: Backend> {
    /// Clean latents `[B, F, C, H, W]`.
    pub latents: Tensor<B, 5>,
    /// Clean-context keys and values of every frame before the last block; `None` when the clip is
    /// one block long.
    pub cache: Option<KvCache<B>>,
    /// What the student was shown on the way to the clips, `[B, F, C, H, W]` per noise level; a
    /// block with fewer levels than others stays at its last. Empty unless asked for.
    pub states: Vec<Tensor<B, 5>>,
    /// Numbers of the clips within their step.
    pub clips: std::ops::Range<u64>,
}

/// One stream of noise per clip, so that a clip does not depend on the batch it is generated in.
pub struct RolloutNoise {
    streams: Vec<Noise>,
    clips: std::ops::Range<u64>,
}

impl RolloutNoise {
    /// Streams for the clips numbered `clips` of `step`.
    pub fn new(seed: u64, step: u64, clips: std::ops::Range<u64>) -> Self {
        Self {
            streams: clips
                .clone()
                .map(|clip| Noise::new(seed, Purpose::Rollout, step, clip))
                .collect(),
            clips,
        }
    }

    /// Streams that exist already, one per clip.
    pub fn of(streams: Vec<Noise>) -> Self {
        Self {
            clips: 0..streams.len() as u64,
            streams,
        }
    }

    /// Standard normal `[B, ..]`, the first dimension over clips.
    fn draw<B: Backend>(&mut self, frame_shape: [usize; 4], device: &B::Device) -> Tensor<B, 5> {
        let [frames, channels, height, width] = frame_shape;
        let count = frame_shape.iter().product();
        let values: Vec<f32> = self
            .streams
            .iter_mut()
            .flat_map(|stream| stream.normals(count))
            .collect();
        Tensor::from_data(
            TensorData::new(
                values,
                [self.streams.len(), frames, channels, height, width],
            ),
            device,
        )
    }
}

/// Hears of a block: its clean latents, and the states on the way to them.
type BlockFinished<'a, B> = dyn FnMut(&Tensor<B, 5>, &[Tensor<B, 5>]) + 'a;

/// What is kept of a block after the next ones have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All of them: the flow update reads the whole clip in parallel.
    Everything,
    /// Those that a later block still attends to: window and sink bound the cache.
    Visible,
}

/// Everything that decides what clips a student makes, but for their noise.
#[derive(Debug, Clone, Copy)]
pub struct Generator<'a, B: Kernels> {
    /// Who makes the clips.
    pub student: &'a Student<B>,
    /// One prompt per clip, read by that student.
    pub text: &'a TextCache<B>,
    /// The noise levels on the way to each block.
    pub sampler: &'a Sampler,
    /// Latent shape of a clip, `[F, C, H, W]`.
    pub shape: [usize; 4],
    /// Where the clips are made.
    pub device: &'a B::Device,
}

impl<B: Kernels> Generator<'_, B> {
    /// Clips to learn from, one per noise stream, with the whole KV cache of them.
    pub fn rollout(&self, noise: RolloutNoise) -> Rollout<B> {
        self.block_by_block(noise, None, Kept::Everything, &mut |_, _| {})
    }

    /// [`Generator::rollout`] that keeps the states on the way.
    pub fn rollout_with_states(&self, noise: RolloutNoise) -> Rollout<B> {
        let mut blocks = vec![Vec::new(); self.sampler.most_levels()];
        let mut made = self.block_by_block(noise, None, Kept::Everything, &mut |_, states| {
            let last = states.len() - 1;
            for (level, blocks) in blocks.iter_mut().enumerate() {
                blocks.push(states[level.min(last)].clone());
            }
        });
        made.states = blocks
            .into_iter()
            .map(|blocks| Tensor::cat(blocks, 1))
            .collect();
        made
    }

    /// The same clips to look at, clean latents `[B, F, C, H, W]`: what the window has passed is
    /// forgotten. Every block's `[B, frames of the block, C, H, W]` are shown to `finished` as soon
    /// as they are made.
    pub fn clips(
        &self,
        noise: RolloutNoise,
        finished: &mut dyn FnMut(&Tensor<B, 5>),
    ) -> Tensor<B, 5> {
        self.block_by_block(noise, None, Kept::Visible, &mut |clean, _| finished(clean))
            .latents
    }

    /// [`Generator::clips`] that go on from given first frames, latents `[B, frames, C, H, W]`;
    /// they must be whole blocks of the student.
    pub fn continuation(&self, noise: RolloutNoise, prefix: Tensor<B, 5>) -> Tensor<B, 5> {
        self.block_by_block(noise, Some(prefix), Kept::Visible, &mut |_, _| {})
            .latents
    }

    /// One pass over a block of every clip, its `frames` by their numbers, all at `timestep`.
    fn pass(
        &self,
        x: Tensor<B, 5>,
        timestep: f32,
        frames: &[usize],
        past: Option<&KvCache<B>>,
        visibility: &Visibility,
    ) -> (Tensor<B, 5>, KvCache<B>) {
        let timesteps = vec![timestep; x.dims()[0] * frames.len()];
        let inputs = Inputs {
            timesteps: &timesteps,
            frames,
            text: self.text,
            past,
            visibility,
        };
        self.student.forward(x, &inputs)
    }

    fn block_by_block(
        &self,
        mut noise: RolloutNoise,
        prefix: Option<Tensor<B, 5>>,
        kept: Kept,
        finished: &mut BlockFinished<B>,
    ) -> Rollout<B> {
        let Self {
            student,
            sampler,
            shape: [frames, channels, height, width],
            device,
            ..
        } = *self;
        let layout = student.layout(frames);
        let mut cache: Option<KvCache<B>> = None;
        let clips = noise.clips.clone();
        let mut blocks = Vec::new();
        for block in layout.blocks() {
            let numbers: Vec<usize> = block.clone().collect();
            // What the rolling window still shows.
            let past = cache
                .clone()
                .and_then(|cache| cache.keep(&layout.past_of(&block)));
            let visibility = Visibility::rollout(
                past.as_ref().map_or(0, |past| past.frames.len()),
                block.len(),
            );
            let forward =
                |x, timestep| self.pass(x, timestep, &numbers, past.as_ref(), &visibility);
            let clean = match prefix
                .as_ref()
                .filter(|prefix| block.end <= prefix.dims()[1])
            {
                Some(prefix) => prefix.clone().slice_dim(1, block.clone()),
                None => {
                    let block_shape = [block.len(), channels, height, width];
                    let start = noise.draw(block_shape, device);
                    let (clean, states) = sampler.of_block(block.start).denoise(
                        start,
                        |x, sigma| forward(x, 1000.0 * sigma).0,
                        || noise.draw(block_shape, device),
                    );
                    finished(&clean, &states);
                    clean
                }
            };
            if block.end < frames {
                // The clean pass at t = 0 commits the block; nothing attends to the last one.
                let committed = forward(clean.clone(), 0.0).1;
                // Appending copies layer by layer; nothing else may hold on to the old ones.
                drop(past);
                let all = match cache {
                    Some(cache) => cache.append(committed),
                    None => committed,
                };
                let next = block.end..(block.end + layout.frames_per_block).min(frames);
                cache = match kept {
                    Kept::Everything => Some(all),
                    Kept::Visible => all.keep(&layout.past_of(&next)),
                };
            }
            blocks.push(clean);
        }
        Rollout {
            latents: Tensor::cat(blocks, 1),
            cache,
            states: Vec::new(),
            clips,
        }
    }
}

#[cfg(test)]
mod tests;

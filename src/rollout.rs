//! The student on its own outputs, block by block, through the KV cache (method.md B.4).

use afd_models::noise::{Noise, Purpose};
use afd_models::student::transformer::Inputs;
use afd_models::student::{Memory, Student, TextMemory, Visibility};
use burn::prelude::*;

use crate::flow::sampler::Sampler;

/// Finished clips of a student and what it remembers of them.
#[derive(Debug, Clone)]
pub struct Rollout<B: Backend> {
    /// Clean latents `[B, F, C, H, W]`.
    pub latents: Tensor<B, 5>,
    /// Clean-context keys and values of every frame before the last block; `None` when the clip is one block long.
    pub memory: Option<Memory<B>>,
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
        Self { streams: clips.clone().map(|clip| Noise::new(seed, Purpose::Rollout, step, clip)).collect(), clips }
    }

    /// Streams that exist already, one per clip.
    pub fn of(streams: Vec<Noise>) -> Self {
        Self { clips: 0..streams.len() as u64, streams }
    }

    /// Standard normal `[B, ..]`, the first dimension over clips.
    fn draw<B: Backend>(&mut self, frame_shape: [usize; 4], device: &B::Device) -> Tensor<B, 5> {
        let [frames, channels, height, width] = frame_shape;
        let count = frame_shape.iter().product();
        let values: Vec<f32> = self.streams.iter_mut().flat_map(|stream| stream.normals(count)).collect();
        Tensor::from_data(TensorData::new(values, [self.streams.len(), frames, channels, height, width]), device)
    }
}

/// Generates clips of `[F, C, H, W]` = `shape`, one per noise stream, for prompts already read into `text`.
pub fn rollout<B: Backend>(
    student: &Student<B>,
    text: &TextMemory<B>,
    sampler: &Sampler,
    mut noise: RolloutNoise,
    shape: [usize; 4],
    device: &B::Device,
) -> Rollout<B> {
    let [frames, channels, height, width] = shape;
    let batch = noise.streams.len();
    let layout = student.layout(frames);
    let mut memory: Option<Memory<B>> = None;
    let clips = noise.clips.clone();
    let mut blocks = Vec::new();
    for block in layout.blocks() {
        let numbers: Vec<usize> = block.clone().collect();
        // What the rolling window still shows; the whole memory is kept because the flow update reads it in parallel.
        let past = memory.clone().map(|memory| memory.keep(&layout.past_of(&block)));
        let visibility = Visibility::rollout(past.as_ref().map_or(0, |past| past.frames.len()), block.len());
        let forward = |x: Tensor<B, 5>, timestep: f32| {
            let timesteps = vec![timestep; batch * block.len()];
            let inputs = Inputs { timesteps: &timesteps, frames: &numbers, text, past: past.as_ref(), visibility: &visibility };
            student.forward(x, &inputs)
        };
        let block_shape = [block.len(), channels, height, width];
        let start = noise.draw(block_shape, device);
        let clean = sampler.denoise(start, |x, sigma| forward(x, 1000.0 * sigma).0, || noise.draw(block_shape, device));
        if block.end < frames {
            // The clean pass at t = 0 commits the block; the last block is never looked back at.
            let committed = forward(clean.clone(), 0.0).1;
            memory = Some(match memory {
                Some(memory) => memory.append(committed),
                None => committed,
            });
        }
        blocks.push(clean);
    }
    Rollout { latents: Tensor::cat(blocks, 1), memory, clips }
}

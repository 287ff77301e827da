//! Clips from a student.

use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::student::Student;

use super::SessionError;
use crate::data::batch::Batches;
use crate::data::video::Clip;
use crate::flow::sampler::Sampler;
use crate::rollout::{Generator, RolloutNoise};

/// Generates the clips numbered `takes` of a prompt, `batch` at a time. A clip is a pure function of (weights, seed, prompt, take).
pub fn generate<B: Kernels>(
    student: &Student<B>,
    batches: &Batches<B>,
    sampler: &Sampler,
    request: &Request,
    device: &B::Device,
) -> Result<Vec<Clip>, SessionError> {
    let mut clips = Vec::new();
    let takes: Vec<u64> = (0..request.takes).collect();
    for takes in takes.chunks(request.batch.max(1)) {
        let rows = batches.text(&[request.prompt.to_string()], takes.len())?;
        let text = student.read_text(rows);
        let streams = takes.iter().map(|take| Noise::new(request.seed, Purpose::Evaluation, *take, key_of(request.prompt))).collect();
        let made = Generator { student, text: &text, sampler, shape: request.latent_shape, device }.rollout(RolloutNoise::of(streams));
        clips.extend(batches.decode_frames(made.latents, request.frames));
    }
    Ok(clips)
}

/// What to generate.
pub struct Request<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Clips, numbered from 0.
    pub takes: u64,
    /// Seed of their noise.
    pub seed: u64,
    /// Clips at once.
    pub batch: usize,
    /// Frames of a clip.
    pub frames: usize,
    /// Latent shape `[F, C, H, W]`.
    pub latent_shape: [usize; 4],
}

//! Clips from a student: in memory for evaluation, or written block by block as they are made.

use std::path::Path;

use afd_models::codec::Codec;
use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::student::Student;
use burn::prelude::*;

use super::SessionError;
use crate::data::batch::{BatchError, Batches};
use crate::data::coding::NotFinitePixels;
use crate::data::video::{Clip, ClipShape, to_byte};
use crate::data::video_io::VideoWriter;
use crate::flow::sampler::Sampler;
use crate::rollout::{Generator, RolloutNoise};

/// The noise of a clip, which is a pure function of (weights, seed, prompt, sample).
pub fn clip_noise(seed: u64, prompt: &str, sample: u64) -> Noise {
    Noise::new(seed, Purpose::Evaluation, sample, key_of(prompt))
}

/// Generates the clips numbered `samples` of a prompt, `batch` at a time.
pub fn generate<B: Kernels>(
    student: &Student<B>,
    batches: &Batches<B>,
    sampler: &Sampler,
    request: &Request,
    device: &B::Device,
) -> Result<Vec<Clip>, SessionError> {
    let mut clips = Vec::new();
    let samples: Vec<u64> = (0..request.samples).collect();
    for samples in samples.chunks(request.batch.max(1)) {
        let embeddings = batches.text(&[request.prompt.to_string()], samples.len())?;
        let text = student.text_cache(embeddings);
        let streams = samples
            .iter()
            .map(|sample| clip_noise(request.seed, request.prompt, *sample))
            .collect();
        let made = Generator {
            student,
            text: &text,
            sampler,
            shape: request.latent_shape,
            device,
        }
        .clips(RolloutNoise::of(streams), &mut |_| {});
        let name = |number: usize| format!("clip {} of {:?}", samples[number], request.prompt);
        clips.extend(batches.decode(made, request.frames, &name)?);
    }
    Ok(clips)
}

/// What to generate.
pub struct Request<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// Clips, numbered from 0.
    pub samples: u64,
    /// Seed of their noise.
    pub seed: u64,
    /// Clips of a micro-batch.
    pub batch: usize,
    /// Frames of a clip.
    pub frames: usize,
    /// Latent shape `[F, C, H, W]`.
    pub latent_shape: [usize; 4],
}

/// Single clips from noise to file, block by block.
pub struct Filming<'a, B: Kernels> {
    /// Who makes them.
    pub student: &'a Student<B>,
    /// Latents to pixels.
    pub codec: &'a dyn Codec<B>,
    /// The noise levels on the way to each block.
    pub sampler: &'a Sampler,
    /// Size and rate of the clips.
    pub clip: ClipShape,
    /// Latent shape `[F, C, H, W]`.
    pub latent_shape: [usize; 4],
    /// Where they are made.
    pub device: &'a B::Device,
}

impl<B: Kernels> Filming<'_, B> {
    /// Makes the clip of the prompt with these `embeddings`, `[1, L, text_width]`; the file appears
    /// when it is whole. `name` is what a message calls it.
    ///
    /// # Errors
    /// [`crate::data::video_io::VideoError`]; pixels that are not finite.
    pub fn write(
        &self,
        embeddings: Tensor<B, 3>,
        noise: Noise,
        path: &Path,
        name: &dyn Fn() -> String,
    ) -> Result<(), SessionError> {
        let Self {
            student,
            codec,
            sampler,
            clip,
            latent_shape,
            device,
        } = *self;
        let text = student.text_cache(embeddings);
        let mut writer = VideoWriter::create(
            path,
            clip.height as u32,
            clip.width as u32,
            clip.frames_per_second,
        )?;
        let mut decoder = codec.decoder();
        let generator = Generator {
            student,
            text: &text,
            sampler,
            shape: latent_shape,
            device,
        };
        let mut finite = Ok(());
        generator.clips(RolloutNoise::of(vec![noise]), &mut |block| {
            // A codec may clamp, which hides what is infinite.
            let latents: Vec<f32> = block.to_data().iter::<f32>().collect();
            // [1, T, 3, H, W] -> [T, H, W, 3]
            let pixels = decoder
                .push(block.clone())
                .permute([0, 1, 3, 4, 2])
                .into_data();
            let pixels: Vec<f32> = pixels.iter::<f32>().collect();
            if finite.is_ok() {
                finite = NotFinitePixels::check(&latents, name)
                    .and_then(|()| NotFinitePixels::check(&pixels, name));
            }
            let bytes: Vec<u8> = pixels.into_iter().map(to_byte).collect();
            writer.push(
                bytes
                    .chunks(clip.height * clip.width * 3)
                    .map(<[u8]>::to_vec)
                    .collect(),
            );
        });
        finite.map_err(BatchError::from)?;
        Ok(writer.finish()?)
    }
}

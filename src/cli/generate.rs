//! `afd generate`: one clip from a student.

use std::path::PathBuf;
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::text::TextEncoder;
use afd_models::text::words::WordVectors;
use burn::prelude::*;
use clap::Args;

use super::CliError;
use super::checkpoint::{Found, find};
use crate::data::batch::decode;
use crate::data::video_io::{VideoFormat, write_video};
use crate::flow::sampler::Sampler;
use crate::flow::schedule::few_step_sigmas;
use crate::rollout::{RolloutNoise, rollout};
use crate::session::SessionError;
use crate::session::build::finished_student;

/// One clip.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// A run directory, a checkpoint or its student directory.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The prompt.
    #[arg(long)]
    prompt: String,
    /// Seed of the clip's noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write it: .mp4 (needs ffmpeg), .gif, or a directory of PNG frames (.frames).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Generates the clip and writes it; an existing file is left alone.
pub fn run(args: &GenerateArgs) -> Result<ExitCode, CliError> {
    if args.out.exists() {
        return Err(CliError::Usage(format!("{} exists already; choose another --out", args.out.display())));
    }
    VideoFormat::of(&args.out).map_err(|error| CliError::Usage(error.to_string()))?;
    let found = find(&args.checkpoint)?;
    let encoder = WordVectors { length: found.card.text.length, width: found.card.text.width };
    let rows = encoder.encode(&args.prompt).map_err(CliError::Usage)?;
    afd_backends::dispatch(args.backend.as_deref(), GenerateJob { args, found: &found, rows })??;
    println!("{}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

struct GenerateJob<'a> {
    args: &'a GenerateArgs,
    found: &'a Found,
    rows: Vec<f32>,
}

impl Job for GenerateJob<'_> {
    type Output = Result<(), SessionError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let card = &self.found.card;
        let student = finished_student::<B::InnerBackend>(card, &self.found.directory, &device)?;
        let [length, width] = [card.text.length, card.text.width];
        let text = student.read_text(Tensor::from_data(TensorData::new(self.rows, [1, length, width]), &device));
        let settings = &card.sampler;
        let sigmas = few_step_sigmas(&settings.denoising_step_list, settings.timestep_shift, settings.warp_denoising_step);
        let sampler = Sampler { kind: settings.kind, sigmas };
        let noise = RolloutNoise::of(vec![Noise::new(self.args.seed, Purpose::Evaluation, 0, key_of(&self.args.prompt))]);
        let (clip, stride) = (card.clip, card.codec.stride);
        let shape = [clip.frames, card.student.latent_channels, clip.height / stride, clip.width / stride];
        let made = rollout(&student, &text, &sampler, noise, shape, &device);
        for clip in decode(&card.codec.build(), clip, made.latents) {
            write_video(&self.args.out, &clip.to_video())?;
        }
        Ok(())
    }
}

//! `afd generate`: clips from a student, written as they are made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_clips::prompts::read_prompts;
use afd_models::codec::Codec;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::noise::{Noise, Purpose, key_of};
use afd_models::student::Student;
use afd_models::weights::Pickles;
use burn::prelude::*;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::CliError;
use super::checkpoint::{Found, find};
use crate::data::codec::CodecPlan;
use crate::data::manifest;
use crate::data::text;
use crate::data::video::to_byte;
use crate::data::video_io::{VideoFormat, VideoWriter};
use crate::flow::sampler::Sampler;
use crate::flow::schedule::few_step_sigmas;
use crate::rollout::{Generator, RolloutNoise};
use crate::run::files::{FileError, StagedDirectory};
use crate::session::SessionError;
use crate::session::build::finished_student;

/// Clips of one prompt, or of a list.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["prompt", "prompts"])))]
#[command(group(clap::ArgGroup::new("where").required(true).args(["out", "out_dir"])))]
pub struct GenerateArgs {
    /// A run directory, a checkpoint or its student directory.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The prompt.
    #[arg(long)]
    prompt: Option<String>,
    /// A file of prompts: .txt with one a line, or .json as VBench has it.
    #[arg(long, value_name = "FILE", requires = "out_dir")]
    prompts: Option<PathBuf>,
    /// Clips of each prompt (with --out-dir).
    #[arg(long, default_value_t = 1, requires = "out_dir")]
    clips: u64,
    /// Seed of the clips' noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write one clip: .mp4 (needs ffmpeg), .gif, or a directory of PNG frames (.frames).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The directory to make for clips and a manifest.jsonl of their prompts, seeds and prompt hashes; it must not exist.
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// File format in --out-dir; mp4 needs ffmpeg.
    #[arg(long, value_enum, default_value_t = Format::Mp4)]
    format: Format,
    /// File names in --out-dir: as VBench expects them (`PROMPT-CLIP.mp4`), or by number (`00000-0.mp4`).
    #[arg(long, value_enum, default_value_t = Naming::Vbench)]
    naming: Naming,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// H.264 through ffmpeg.
    Mp4,
    /// Animated GIF, 256 colours a frame.
    Gif,
    /// Directories of PNG frames, exact.
    Frames,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Naming {
    /// The prompt itself, a hyphen and the clip's number.
    Vbench,
    /// The prompt's number in the list, a hyphen and the clip's number.
    Numbers,
}

/// One clip to make.
struct Wanted {
    prompt: usize,
    take: u64,
    path: PathBuf,
}

/// Generates the clips; existing files are left alone.
pub fn run(args: &GenerateArgs) -> Result<ExitCode, CliError> {
    let found = find(&args.checkpoint)?;
    let prompts = prompts(args)?;
    if let Some(out) = &args.out {
        if out.exists() {
            return Err(CliError::Usage(format!("{} exists already; choose another --out", out.display())));
        }
        VideoFormat::of(out).map_err(|error| CliError::Usage(error.to_string()))?;
        let wanted = vec![Wanted { prompt: 0, take: 0, path: out.clone() }];
        afd_backends::dispatch(args.backend.as_deref(), GenerateJob { seed: args.seed, found: &found, prompts: &prompts, wanted })??;
        println!("{}", out.display());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(directory) = &args.out_dir else { unreachable!("clap asks for --out or --out-dir") };
    let staged = StagedDirectory::new(directory).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut wanted = Vec::new();
    let mut lines = String::new();
    for (number, prompt) in prompts.iter().enumerate() {
        for take in 0..args.clips {
            let name = file_name(args, number, prompt, take)?;
            let hash = blake3::hash(prompt.as_bytes()).to_hex().to_string();
            let line = json!({ "prompt": prompt, "video": name, "take": take, "seed": args.seed, "prompt_blake3": hash });
            lines.push_str(&format!("{line}\n"));
            wanted.push(Wanted { prompt: number, take, path: staged.path().join(name) });
        }
    }
    afd_backends::dispatch(args.backend.as_deref(), GenerateJob { seed: args.seed, found: &found, prompts: &prompts, wanted })??;
    let path = staged.path().join(manifest::FILE_NAME);
    std::fs::write(&path, lines).map_err(|error| CliError::Failed(FileError::new("write", &path, error).to_string()))?;
    staged.commit().map_err(|error| CliError::Failed(error.to_string()))?;
    println!("{}", directory.join(manifest::FILE_NAME).display());
    Ok(ExitCode::SUCCESS)
}

/// The prompts asked for, each once.
fn prompts(args: &GenerateArgs) -> Result<Vec<String>, CliError> {
    if let Some(prompt) = &args.prompt {
        return Ok(vec![prompt.clone()]);
    }
    let Some(path) = &args.prompts else { unreachable!("clap asks for --prompt or --prompts") };
    let listed = read_prompts(path).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut prompts: Vec<String> = Vec::new();
    for prompt in &listed {
        if !prompts.iter().any(|known| known == prompt) {
            prompts.push(prompt.clone());
        }
    }
    if prompts.is_empty() {
        return Err(CliError::Usage(format!("{} has no prompts, expected one a line", path.display())));
    }
    Ok(prompts)
}

fn file_name(args: &GenerateArgs, number: usize, prompt: &str, take: u64) -> Result<String, CliError> {
    let ending = match args.format {
        Format::Mp4 => VideoFormat::Mp4,
        Format::Gif => VideoFormat::Gif,
        Format::Frames => VideoFormat::PngFrames,
    }
    .extension();
    let name = match args.naming {
        Naming::Numbers => format!("{number:05}-{take}.{ending}"),
        Naming::Vbench => format!("{prompt}-{take}.{ending}"),
    };
    // A file name ends at 255 bytes on common file systems, and staging adds some.
    if name.contains(['/', '\\', '\0']) || name.starts_with('.') || name.len() > 240 {
        return Err(CliError::Usage(format!("the prompt {prompt:?} cannot be a file name; use --naming numbers")));
    }
    Ok(name)
}

struct GenerateJob<'a> {
    seed: u64,
    found: &'a Found,
    prompts: &'a [String],
    wanted: Vec<Wanted>,
}

impl Job for GenerateJob<'_> {
    type Output = Result<(), SessionError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let card = &self.found.card;
        // The text encoder first, and gone before the student comes.
        let rows = text::encode::<B::InnerBackend>(&card.text, Pickles::Allowed, self.prompts, &device)?;
        let plan = CodecPlan::of(&card.codec, Pickles::Allowed).map_err(SessionError::Other)?;
        let codec = plan.load::<B::InnerBackend>(&device)?;
        let student = finished_student::<B::InnerBackend>(card, &self.found.directory, &device)?;
        let shape = plan.latent_shape(&card.clip).map_err(SessionError::Other)?;
        for wanted in &self.wanted {
            let noise = Noise::new(self.seed, Purpose::Evaluation, wanted.take, key_of(&self.prompts[wanted.prompt]));
            self.clip(&student, &*codec, &rows[wanted.prompt], noise, shape, &wanted.path, &device)?;
        }
        Ok(())
    }
}

impl GenerateJob<'_> {
    /// One clip, block by block from noise to the file.
    #[allow(clippy::too_many_arguments)]
    fn clip<B: Kernels>(
        &self,
        student: &Student<B>,
        codec: &dyn Codec<B>,
        rows: &[f32],
        noise: Noise,
        shape: [usize; 4],
        path: &Path,
        device: &B::Device,
    ) -> Result<(), SessionError> {
        let card = &self.found.card;
        let [length, width] = [card.text.length, card.text.width];
        let text = student.read_text(Tensor::from_data(TensorData::new(rows.to_vec(), [1, length, width]), device));
        let settings = &card.sampler;
        let sigmas = few_step_sigmas(&settings.denoising_step_list, settings.timestep_shift, settings.warp_denoising_step);
        let sampler = Sampler { fresh_noise: settings.kind.fresh_noise(), sigmas };
        let mut writer = VideoWriter::create(path, card.clip.height as u32, card.clip.width as u32, card.clip.frames_per_second)?;
        let mut decoder = codec.decoder();
        let generator = Generator { student, text: &text, sampler: &sampler, shape, device };
        generator.rollout_watched(RolloutNoise::of(vec![noise]), &mut |block, _| {
            // [1, T, 3, H, W] -> [T, H, W, 3]
            let pixels = decoder.push(block.clone()).permute([0, 1, 3, 4, 2]).into_data();
            let bytes: Vec<u8> = pixels.iter::<f32>().map(to_byte).collect();
            writer.push(bytes.chunks(card.clip.height * card.clip.width * 3).map(<[u8]>::to_vec).collect());
        });
        Ok(writer.finish()?)
    }
}

//! `afd generate`: clips from a student, written as they are made.

mod list;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::kernels::{Kernels, Trainable};
use afd_models::text::TextEncoder;
use burn::prelude::*;
use clap::Args;
use serde_json::{Map, Value, json};

use self::list::{Listed, Naming, Wanted, file_name, no_file_twice, prompts};
use super::CliError;
use super::bar::Bar;
use super::checkpoint::{Source, find};
use super::format::Format;
use crate::data::batch::BatchError;
use crate::data::manifest;
use crate::data::text;
use crate::data::video_io::VideoFormat;
use crate::out::{note, say};
use crate::recipe::tables::TextKind;
use crate::recipe::{Purpose, Recipe};
use crate::run::signals::{self, STOPPED};
use crate::session::SessionError;
use crate::session::generate::{Filming, clip_noise};
use crate::session::samples::{Made, SampleDirectory};

/// Clips of one prompt, or of a list.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["checkpoint", "recipe"])))]
#[command(group(clap::ArgGroup::new("what").required(true).args(["prompt", "prompts"])))]
#[command(group(clap::ArgGroup::new("where").required(true).args(["out", "out_dir"])))]
pub struct GenerateArgs {
    /// A run directory, a checkpoint or its student directory.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Instead of a trained student, the one that this recipe starts from: its student.checkpoint.
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// Override a field of that recipe.
    #[arg(
        long = "set",
        value_name = "FIELD=VALUE",
        conflicts_with = "checkpoint"
    )]
    overrides: Vec<String>,
    /// The prompt.
    #[arg(long)]
    prompt: Option<String>,
    /// A file of prompts: .txt with one a line, or .json as VBench has it.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    prompts: Option<PathBuf>,
    /// What to call the clips, line by line, where that is not the prompts: VBench's own prompts
    /// beside extended ones. Of equal names the first counts.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "out"])]
    names: Option<PathBuf>,
    /// Clips of each prompt (with --out-dir).
    #[arg(
        long,
        default_value_t = 1,
        conflicts_with = "out",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000)
    )]
    clips: u64,
    /// Seed of the clips' noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write one clip: .mp4 (needs ffmpeg), .gif, or a directory of PNG frames (.frames).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The directory for clips (in videos/) and a manifest.jsonl of their prompts, seeds and
    /// hashes: a new or empty one, or one where the same command was stopped.
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// File format in --out-dir; mp4 needs ffmpeg.
    #[arg(long, value_enum, default_value_t = Format::Mp4, conflicts_with = "out")]
    format: Format,
    /// File names in --out-dir: as VBench expects them (`PROMPT-CLIP.mp4`), as VBench-2.0 does (the
    /// same with the prompt's first 180 characters), or by number (`00000-0.mp4`).
    #[arg(long, value_enum, default_value_t = Naming::Vbench, conflicts_with = "out")]
    naming: Naming,
    /// Where umT5's embeddings of the prompts are kept [default: the data.path that the student was
    /// trained with if it is here, else --out-dir].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Generates the clips; existing ones are left alone.
pub fn run(args: &GenerateArgs) -> Result<ExitCode, CliError> {
    let source = match (&args.checkpoint, &args.recipe) {
        (Some(checkpoint), _) => Source::Trained(find(checkpoint)?),
        (None, Some(recipe)) => {
            let recipe = Recipe::load_for(Purpose::Sampling, recipe, &args.overrides)?;
            Source::base(recipe)?
        }
        (None, None) => unreachable!("clap asks for --checkpoint or --recipe"),
    };
    if args.data.is_some() && source.card().text.kind != TextKind::Umt5 {
        return Err(CliError::Usage(
            "--data is where umT5's embeddings are kept, and this student reads word vectors; \
             leave it out"
                .to_string(),
        ));
    }
    match (&args.out, &args.out_dir) {
        (Some(out), _) => one_clip(args, &source, out),
        (None, Some(directory)) => clips_of_a_list(args, &source, directory),
        (None, None) => unreachable!("clap asks for --out or --out-dir"),
    }
}

fn one_clip(args: &GenerateArgs, source: &Source, out: &Path) -> Result<ExitCode, CliError> {
    if let Ok(found) = out.symlink_metadata() {
        let out = out.display();
        return Err(CliError::Usage(if found.is_file() || found.is_dir() {
            format!("{out} exists already; choose another --out")
        } else {
            format!("{out} is no place for a clip, which is a new file; choose another --out")
        }));
    }
    let place = out.parent().filter(|place| !place.as_os_str().is_empty());
    if let Some(place) = place.filter(|place| !place.is_dir()) {
        return Err(CliError::Usage(format!(
            "{} is no directory; make it, or choose another --out",
            place.display()
        )));
    }
    can_be_written(VideoFormat::of(out)?, out, source)?;
    let Some(prompt) = &args.prompt else {
        unreachable!("clap asks for --out-dir beside --prompts")
    };
    check_words(source, [prompt])?;
    let temporary = tempfile::tempdir().map_err(|error| {
        CliError::Failed(format!("no temporary directory can be made: {error}"))
    })?;
    let wanted = vec![Wanted {
        of: Listed {
            prompt: prompt.clone(),
            name: None,
        },
        sample: 0,
        file: String::new(),
    }];
    let data = data(args, source, temporary.path());
    let job = GenerateJob {
        seed: args.seed,
        source,
        data,
        wanted,
        there: 0,
        to: To::File(out),
    };
    afd_backends::dispatch(args.backend.as_deref(), job)??;
    say!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}

fn clips_of_a_list(
    args: &GenerateArgs,
    source: &Source,
    directory: &Path,
) -> Result<ExitCode, CliError> {
    let format = args.format.video();
    can_be_written(format, directory, source)?;
    let prompts = match (&args.prompt, &args.prompts) {
        (Some(prompt), _) => vec![Listed {
            prompt: prompt.clone(),
            name: None,
        }],
        (None, Some(list)) => prompts(list, args.names.as_deref())?,
        (None, None) => unreachable!("clap asks for --prompt or --prompts"),
    };
    let mut wanted = Vec::new();
    for (number, of) in prompts.iter().enumerate() {
        for sample in 0..args.clips {
            wanted.push(Wanted {
                of: of.clone(),
                sample,
                file: file_name(args.naming, format, number, of.called(), sample)?,
            });
        }
    }
    let files: Vec<String> = wanted.iter().map(|wanted| wanted.file.clone()).collect();
    no_file_twice(&wanted)?;
    check_words(source, prompts.iter().map(|listed| &listed.prompt))?;
    let mut samples = SampleDirectory::open(directory, &settings(args, source, &prompts)?)?;
    wanted.retain(|wanted| !samples.has(&wanted.file));
    if !wanted.is_empty() {
        signals::install()?;
        let (data, there) = (data(args, source, directory), files.len() - wanted.len());
        let to = To::Directory(&mut samples, source.weights()?);
        let job = GenerateJob {
            seed: args.seed,
            source,
            data,
            wanted,
            there,
            to,
        };
        if !afd_backends::dispatch(args.backend.as_deref(), job)?? {
            note!("stopped; run the same command again to go on");
            return Ok(ExitCode::from(STOPPED));
        }
    }
    samples.finish(&files)?;
    say!("{}", directory.join(manifest::FILE_NAME).display());
    Ok(ExitCode::SUCCESS)
}

/// Refuses a format that this machine or the student's rate does not allow.
fn can_be_written(format: VideoFormat, path: &Path, source: &Source) -> Result<(), CliError> {
    format.require(path)?;
    let rate = source.card().clip.frames_per_second;
    format
        .require_rate(path, rate)
        .map_err(|error| CliError::Usage(format!("{error}; choose another format")))
}

/// Refuses prompts that word vectors cannot be made of; umT5 takes any.
fn check_words<'a>(
    source: &Source,
    prompts: impl IntoIterator<Item = &'a String>,
) -> Result<(), CliError> {
    let text = &source.card().text;
    if text.kind == TextKind::Umt5 {
        return Ok(());
    }
    let words = text::reader(text, None)?;
    prompts
        .into_iter()
        .try_for_each(|prompt| words.encode(prompt).map(drop))
        .map_err(|error| CliError::Usage(error.to_string()))
}

/// Where embeddings of prompts are read and kept.
fn data(args: &GenerateArgs, source: &Source, otherwise: &Path) -> PathBuf {
    let trained = source.card().data.clone().filter(|data| data.is_dir());
    args.data
        .clone()
        .or(trained)
        .unwrap_or_else(|| otherwise.to_path_buf())
}

/// Everything that decides what clips there will be, but for how many of each prompt.
fn settings(
    args: &GenerateArgs,
    source: &Source,
    prompts: &[Listed],
) -> Result<Map<String, Value>, SessionError> {
    let card = source.card();
    let (codec, _) = card.codec(source.pickles())?;
    let list = serde_json::to_vec(prompts)?;
    let Value::Object(settings) = json!({
        "checkpoint_blake3": source.weights()?,
        "student": card.student,
        "precision": card.precision,
        "sampler": card.sampler,
        "clip": card.clip,
        "codec": codec.identity()?,
        "text": text::identity(&card.text, source.pickles())?,
        "seed": args.seed,
        "format": args.format.video(),
        "naming": args.naming.word(),
        "prompts_blake3": blake3::hash(&list).to_hex().to_string(),
    }) else {
        unreachable!("an object was written")
    };
    Ok(settings)
}

/// Where clips go.
enum To<'a> {
    /// The one clip.
    File(&'a Path),
    /// A directory, and the hashes of the student's weights.
    Directory(&'a mut SampleDirectory, Vec<String>),
}

struct GenerateJob<'a> {
    seed: u64,
    source: &'a Source,
    data: PathBuf,
    wanted: Vec<Wanted>,
    /// Clips that were there before.
    there: usize,
    to: To<'a>,
}

impl Job for GenerateJob<'_> {
    /// Whether all clips were made; otherwise a signal came between.
    type Output = Result<bool, CliError>;

    fn run<B: Trainable>(mut self, _place: Place, device: B::Device) -> Self::Output {
        let card = self.source.card();
        // The text encoder first, and gone before the student comes.
        let prompts: Vec<String> = self
            .wanted
            .iter()
            .map(|wanted| wanted.of.prompt.clone())
            .collect();
        let embeddings = embeddings::<B::InnerBackend>(self.source, &self.data, prompts, &device)?;
        if signals::stop_requested() {
            return Ok(false);
        }
        let (codec, latent_shape) = card.codec(self.source.pickles())?;
        let codec = codec.load::<B::InnerBackend>(&device)?;
        let student = self.source.load::<B::InnerBackend>(&device)?;
        let filming = Filming {
            student: &student,
            codec: &*codec,
            sampler: &card.sampler.build(),
            clip: card.clip,
            latent_shape,
            device: &device,
        };
        let mut bar = Bar::new("clips");
        for (
            number,
            Wanted {
                of: Listed { prompt, name },
                sample,
                file,
            },
        ) in self.wanted.iter().enumerate()
        {
            if signals::stop_requested() {
                bar.end();
                return Ok(false);
            }
            let values = embeddings.encode(prompt).map_err(BatchError::Text)?;
            let text = Tensor::from_data(
                TensorData::new(values, [1, card.text.length, card.text.width]),
                &device,
            );
            let noise = clip_noise(self.seed, prompt, *sample);
            let called = || format!("clip {sample} of {prompt:?}");
            match &mut self.to {
                To::File(path) => filming.write(text, noise, path, &called)?,
                To::Directory(samples, weights) => {
                    filming.write(text, noise, &samples.staged(file), &called)?;
                    let name = name.as_deref();
                    samples.publish(
                        file,
                        Made {
                            prompt,
                            name,
                            sample: *sample,
                            seed: self.seed,
                            weights,
                        },
                    )?;
                    bar.show(self.there + number + 1, self.there + self.wanted.len());
                }
            }
        }
        bar.end();
        Ok(true)
    }
}

/// A reader of the prompts' embeddings, all of them there; umT5 is loaded for those that `data`
/// lacks, and holds no memory afterwards.
fn embeddings<B: Kernels>(
    source: &Source,
    data: &Path,
    mut prompts: Vec<String>,
    device: &B::Device,
) -> Result<Box<dyn TextEncoder>, CliError> {
    prompts.dedup();
    let text = &source.card().text;
    let mut bar = Bar::new("prompts");
    text::prepare::<B>(
        text,
        source.pickles(),
        data,
        &prompts,
        device,
        &mut |done, all| bar.show(done, all),
    )?;
    bar.end();
    let reader = text::reader(text, Some(data))?;
    let [length, width] = reader.shape();
    if [length, width] != [text.length, text.width] {
        return Err(CliError::Failed(format!(
            "the text encoder gives {length} embeddings of {width} for a prompt, the student reads \
                {} of {}",
            text.length, text.width
        )));
    }
    Ok(reader)
}

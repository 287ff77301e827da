//! `afd inspect`: what is in a weights file or a checkpoint, and whether a transformer in it is
//! complete.

use std::path::PathBuf;
use std::process::ExitCode;

use afd_models::weights::WeightFile;
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::umt5::UmT5File;
use afd_models::weights::wan_vae::WanVaeFile;
use clap::Args;

use super::{CliError, PickleArgs};
use crate::out::say;
use crate::run::manifest::Manifest;

/// What to look at.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .safetensors file, an index of shards (.safetensors.index.json), a directory with one of
    /// them, or a checkpoint directory.
    path: PathBuf,
    /// Which part of a training checkpoint to check: generator_ema, generator or critic [default:
    /// the first of these that is there].
    #[arg(long)]
    part: Option<String>,
    #[command(flatten)]
    pickles: PickleArgs,
}

/// Lists tensors and names what a transformer lacks, or verifies a checkpoint's files against its
/// manifest.
pub fn run(args: &InspectArgs) -> Result<ExitCode, CliError> {
    if args.path.join("MANIFEST.json").is_file() {
        let manifest = Manifest::verify(&args.path)?;
        say!(
            "checkpoint of round {}, every file as its manifest says",
            manifest.step
        );
        for (name, record) in &manifest.files {
            say!(
                "  {:>10} bytes  {}  {name}",
                record.bytes,
                &record.blake3[..16]
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    weights(args)
}

fn weights(args: &InspectArgs) -> Result<ExitCode, CliError> {
    let file = WeightFile::open(&args.path, args.pickles.allowed())?;
    for (name, entry) in file.entries() {
        say!("  {name} {} {:?}", entry.dtype, entry.shape);
    }
    let (parameters, bytes) = file
        .entries()
        .values()
        .fold((0, 0), |(count, bytes), entry| {
            (count + entry.count(), bytes + entry.bytes)
        });
    say!(
        "{} tensors, {parameters} parameters, {bytes} bytes",
        file.entries().len()
    );
    for (key, value) in file.metadata() {
        say!("{key}: {value}");
    }
    if LoraFile::is_recognised(&file) {
        let factors = LoraFile::open(&file)?;
        let config = factors.config();
        say!(
            "low-rank factors of {} layers, rank {}, alpha {}",
            factors.len(),
            config.rank,
            config.alpha
        );
        return Ok(ExitCode::SUCCESS);
    }
    let transformer = TransformerFile::find(&file, args.part.as_deref())?;
    let Some(config) = transformer.sizes().filter(|_| transformer.is_recognised()) else {
        return parts_of_wan(&file);
    };
    let found = transformer.found();
    let part = found.part.as_ref().map_or(String::new(), |part| {
        format!(", part {part} ({} tensors left alone)", found.left_alone)
    });
    say!(
        "a Wan transformer in the {} layout{part}: {} blocks of width {}, feed-forward {}, {} \
            latent channels",
        found.layout.word(),
        config.layers,
        config.width,
        config.feed_forward_width,
        config.latent_channels
    );
    verdict(
        &file,
        "transformer",
        found.names.len(),
        &transformer.problems(&config),
    )
}

/// Wan's VAE or its text encoder. Something else, such as an optimizer's state, is listed without a
/// verdict.
fn parts_of_wan(file: &WeightFile) -> Result<ExitCode, CliError> {
    let encoder = UmT5File::find(file)?;
    if let Some(config) = encoder.sizes().filter(|_| encoder.is_recognised()) {
        say!(
            "a umT5 encoder in the {} layout: {} layers of width {}, {} heads, feed-forward {}, {} \
                words",
            encoder.layout().word(),
            config.layers,
            config.width,
            config.heads,
            config.feed_forward_width,
            config.vocabulary
        );
        return verdict(
            file,
            "umT5 encoder",
            file.entries().len(),
            &encoder.problems(&config),
        );
    }
    let vae = WanVaeFile::find(file);
    if let Some(config) = vae.sizes() {
        let (layout, channels) = (vae.layout().word(), config.latent_channels);
        say!(
            "a Wan VAE in the {layout} layout: base width {}, {channels} latent channels",
            config.base_width
        );
        return verdict(
            file,
            "Wan VAE",
            file.entries().len(),
            &vae.problems(&config),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(
    file: &WeightFile,
    what: &str,
    tensors: usize,
    problems: &[String],
) -> Result<ExitCode, CliError> {
    if problems.is_empty() {
        say!("complete: all {tensors} tensors are there");
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::Failed(format!(
        "{} is not a complete {what}: {}",
        file.path().display(),
        problems.join("; ")
    )))
}

//! `afd inspect`: what is in a weights file or a checkpoint, and whether a transformer in it is
//! complete.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_models::weights::WeightFile;
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::umt5::UmT5File;
use afd_models::weights::wan_vae::WanVaeFile;
use clap::Args;

use super::{CliError, PickleArgs, checkpoint};
use crate::out::say;
use crate::run::manifest::Manifest;

/// What to look at.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .safetensors file, an index of shards (.safetensors.index.json), a directory with one of
    /// them, a run directory (its newest checkpoint) or a checkpoint.
    path: PathBuf,
    /// Which part of a training checkpoint to check: generator_ema, generator or critic [default:
    /// the first of these that is there].
    #[arg(long)]
    part: Option<String>,
    #[command(flatten)]
    pickles: PickleArgs,
}

/// Lists tensors, counts values that are not finite and names what a transformer lacks; of a
/// checkpoint, verifies the files against its manifest before.
pub fn run(args: &InspectArgs) -> Result<ExitCode, CliError> {
    let path = checkpoint::newest_of(&args.path)?;
    if !path.join("MANIFEST.json").is_file() {
        Manifest::verify_around(&std::path::absolute(&path).unwrap_or(path.clone()))?;
        return weights(args, &path);
    }
    let manifest = Manifest::verify(&path)?;
    say!(
        "checkpoint of round {}, every file as its manifest says",
        manifest.step
    );
    for (name, record) in &manifest.files {
        say!(
            "  {:>10} bytes  {}  {}",
            record.bytes,
            &record.blake3[..16],
            one_line(name)
        );
    }
    if path.join("student").is_dir() {
        return weights(args, &path.join("student"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Strangers' text on one line, without what a terminal would obey.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => line.push(letter),
            _ => line.extend(letter.escape_debug()),
        }
    }
    line
}

fn weights(args: &InspectArgs, path: &Path) -> Result<ExitCode, CliError> {
    let file = WeightFile::open(path, args.pickles.allowed())?;
    let mut odd = Vec::new();
    for (name, entry) in file.entries() {
        let found = file.not_finite(name)?;
        let count = found.map_or(0, |found| found.count);
        let words = if count > 0 {
            odd.push(format!("{name:?} ({count} of {})", entry.count()));
            format!("  {count} values are not finite")
        } else {
            String::new()
        };
        say!(
            "  {} {} {:?}{words}",
            one_line(name),
            entry.dtype,
            entry.shape
        );
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
        say!("{}: {}", one_line(key), one_line(value));
    }
    if file.entries().is_empty() {
        return Err(CliError::Failed(format!(
            "{} holds no tensor",
            file.path().display()
        )));
    }
    if let Some(first) = odd.first() {
        return Err(CliError::Failed(format!(
            "{} tensors of {} hold values that are not finite, the first is {first}; get the file \
                again, or take an earlier checkpoint",
            odd.len(),
            file.path().display()
        )));
    }
    if LoraFile::is_recognised(&file) {
        say!("{}", one_line(&LoraFile::open(&file)?.summary()));
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
    let heads = transformer.heads_source(&config).map_or(
        "heads that nothing tells (say how many with --heads or student.heads)".to_string(),
        |source| format!("{} heads ({source})", config.heads),
    );
    say!(
        "a Wan transformer in the {} layout{part}: {} blocks of width {}, {heads}, \
            feed-forward {}, {} latent channels",
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

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn names_and_metadata_cannot_steer_the_terminal() {
        assert_eq!(
            one_line("a\u{1b}[2J\r\nb\u{9b}\u{202e}c"),
            "a\\u{1b}[2J\\r\\nb\\u{9b}\\u{202e}c"
        );
        let plain = "{\"r\": 4, 'é': \"\\\\\"}";
        assert_eq!(one_line(plain), plain);
    }
}

//! `afd inspect`: what is in a weights file or a checkpoint.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_models::weights::read_file;
use clap::Args;

use super::CliError;
use crate::run::manifest::Manifest;

/// What to look at.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .safetensors file, or a checkpoint directory.
    path: PathBuf,
}

/// Prints tensors, or verifies a checkpoint's files against its manifest.
pub fn run(args: &InspectArgs) -> Result<ExitCode, CliError> {
    if args.path.is_dir() {
        let manifest = Manifest::verify(&args.path).map_err(|error| CliError::Failed(error.to_string()))?;
        println!("checkpoint of round {}, every file as its manifest says", manifest.step);
        for (name, record) in &manifest.files {
            println!("  {:>10} bytes  {}  {name}", record.bytes, &record.blake3[..16]);
        }
        return Ok(ExitCode::SUCCESS);
    }
    weights(&args.path)
}

fn weights(path: &Path) -> Result<ExitCode, CliError> {
    let (tensors, metadata) = read_file(path).map_err(|error| CliError::Failed(error.to_string()))?;
    for (name, tensor) in &tensors {
        println!("  {name} {:?}", tensor.shape);
    }
    let parameters: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
    println!("{} tensors, {parameters} parameters", tensors.len());
    for (key, value) in &metadata {
        println!("{key}: {value}");
    }
    Ok(ExitCode::SUCCESS)
}

//! `afd recipes`: what ships.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::CliError;

/// Where to look.
#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// The directory that holds the recipes.
    #[arg(default_value = "recipes")]
    directory: std::path::PathBuf,
}

/// Lists every recipe below the directory with the first line of its header comment.
pub fn run(args: &RecipesArgs) -> Result<ExitCode, CliError> {
    let mut found = Vec::new();
    collect(&args.directory, &mut found).map_err(|error| {
        CliError::Usage(format!(
            "cannot list {}: {error}; name the directory that holds recipes",
            args.directory.display()
        ))
    })?;
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "{} holds no .toml recipes",
            args.directory.display()
        )));
    }
    found.sort();
    for (path, about) in found {
        println!("{path}\n    {about}");
    }
    Ok(ExitCode::SUCCESS)
}

fn collect(directory: &Path, found: &mut Vec<(String, String)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = std::fs::read_to_string(&path)?;
            let about = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches('#')
                .trim();
            found.push((path.display().to_string(), about.to_string()));
        }
    }
    Ok(())
}

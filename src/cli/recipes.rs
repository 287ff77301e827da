//! `afd recipes`: what ships, and what a recipe's fields are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::CliError;
use crate::out::say;
use crate::recipe;

/// What to show.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RecipesArgs {
    #[command(subcommand)]
    verb: Option<RecipesVerb>,
    /// The directory that holds the recipes.
    #[arg(default_value = "recipes")]
    directory: PathBuf,
}

#[derive(Debug, Subcommand)]
enum RecipesVerb {
    /// Show every field of a recipe: type, unit, bound, default and meaning.
    Fields {
        /// A table, such as `afd` or `student.sizes`; without it, all of them.
        table: Option<String>,
    },
    /// Print the JSON Schema of recipes, with which editors complete and check TOML.
    Schema,
}

/// Shows fields or the schema, or lists every recipe below the directory with the first sentence of
/// its header comment.
pub fn run(args: &RecipesArgs) -> Result<ExitCode, CliError> {
    match &args.verb {
        Some(RecipesVerb::Fields { table }) => fields(table.as_deref()),
        Some(RecipesVerb::Schema) => {
            say!("{:#}", recipe::schema());
            Ok(ExitCode::SUCCESS)
        }
        None => list(&args.directory),
    }
}

fn fields(table: Option<&str>) -> Result<ExitCode, CliError> {
    let Some(text) = recipe::as_text(table) else {
        let known: Vec<String> = recipe::field_tables()
            .into_iter()
            .map(|table| table.path)
            .filter(|path| !path.is_empty())
            .collect();
        return Err(CliError::Usage(format!(
            "a recipe has no table [{}]; it has {}",
            table.unwrap_or_default(),
            known.join(", ")
        )));
    };
    say!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn list(directory: &Path) -> Result<ExitCode, CliError> {
    let mut found = Vec::new();
    collect(directory, &mut found).map_err(|error| {
        CliError::Usage(format!(
            "cannot list {}: {error}; name the directory that holds recipes",
            directory.display()
        ))
    })?;
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "{} holds no .toml recipes",
            directory.display()
        )));
    }
    found.sort();
    for (path, about) in found {
        say!("{path}\n    {about}");
    }
    Ok(ExitCode::SUCCESS)
}

fn collect(directory: &Path, found: &mut Vec<(String, String)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        if path.is_dir() {
            collect(&path, found)?;
        } else if is_toml {
            let text = std::fs::read_to_string(&path)?;
            // Benchmark plans are TOML too; a recipe says what kind it is.
            if toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("kind")) {
                found.push((path.display().to_string(), about(&text)));
            }
        }
    }
    Ok(())
}

/// The first sentence of a header comment.
fn about(text: &str) -> String {
    let header = text.lines().map_while(|line| line.strip_prefix('#'));
    let header = header.map(str::trim).collect::<Vec<_>>().join(" ");
    match header.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => header,
    }
}

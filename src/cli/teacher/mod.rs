//! `afd teacher`: the teacher's clips as files, recorded or bought.

mod fetch;
mod record;
mod status;

use std::path::Path;
use std::process::ExitCode;

use afd_api::adapter::{Adapter, BUILT_IN};
use clap::{Args, Subcommand};

use super::CliError;

use crate::out::say;

/// What to do with a teacher.
#[derive(Debug, Subcommand)]
pub enum TeacherVerb {
    /// Write the recipe's teacher clips into a clip store, ready for `teacher.kind = "folder"`;
    /// goes on where it was stopped.
    Record(record::RecordArgs),
    /// Have an API make the clips that the recipe needs and its store lacks; goes on where it was
    /// stopped, and never pays twice.
    Fetch(fetch::FetchArgs),
    /// Say how far a fetch is, what it has cost, and what will not come.
    Status(status::StatusArgs),
    /// List the API adapters that ship, or print one as a start for one's own.
    Adapters(AdaptersArgs),
}

/// Which adapter.
#[derive(Debug, Args)]
pub struct AdaptersArgs {
    /// Print this one.
    name: Option<String>,
}

/// Does it.
pub fn run(verb: &TeacherVerb) -> Result<ExitCode, CliError> {
    match verb {
        TeacherVerb::Record(args) => record::run(args),
        TeacherVerb::Fetch(args) => fetch::run(args),
        TeacherVerb::Status(args) => status::run(args),
        TeacherVerb::Adapters(args) => adapters(args),
    }
}

fn adapters(args: &AdaptersArgs) -> Result<ExitCode, CliError> {
    if let Some(name) = &args.name {
        let text = BUILT_IN
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, text)| *text);
        // The search for an unknown name says which ones there are.
        let known = text.map_or_else(
            || Adapter::find(name, Path::new("/nowhere")).map(|_| ""),
            Ok,
        )?;
        say!("{}", known.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    for (name, text) in BUILT_IN {
        let adapter = Adapter::parse(text).map_err(|error| CliError::Failed(error.to_string()))?;
        say!("{name:<10} {} (terms: {})", adapter.about, adapter.terms);
    }
    Ok(ExitCode::SUCCESS)
}

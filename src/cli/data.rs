//! `afd data check`: which clips of a folder cannot be used. `afd data prepare`: everything of a
//! recipe that is made once, before training.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_clips::check::{CheckError, Options, Report, check};
use afd_clips::layouts::Layout;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use clap::{Args, Subcommand};

use super::bar::Bar;
use super::{CliError, RecipeArgs};
use crate::out::{note, say};
use crate::plan::Plan;
use crate::plan::inputs::PlanInputs;
use crate::recipe::Recipe;
use crate::run::files::write_atomically;
use crate::run::signals::{self, STOPPED};
use crate::run::space;
use crate::session::SessionError;
use crate::session::prepare::{Done, prepare_latents, prepare_text};
use crate::session::quarantine::{QUARANTINE, settle_prepared};

/// What to do with a recipe's data.
#[derive(Debug, Subcommand)]
pub enum DataVerb {
    /// Encode the recipe's prompts and its teacher's clips into data.path; goes on where it was
    /// stopped.
    Prepare(PrepareArgs),
    /// Decode every clip of a folder and list those that cannot be used, and those that are
    /// suspicious; goes on where it was stopped.
    Check(CheckArgs),
}

/// A check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The folder: manifest.jsonl, metadata.csv or metadata.json, videos.txt and prompts.txt,
    /// videos with a .txt each, .tar shards (WebDataset) or .parquet files.
    path: PathBuf,
    /// Write the report as JSON too; an older report is replaced.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// jsonl, csv, json, lists, pairs, webdataset or parquet [default: by what the folder holds].
    #[arg(long, value_parser = layout)]
    layout: Option<Layout>,
    /// Check that videos are long enough for this recipe's clips too.
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// Where results are kept, so that a stopped check goes on and the next one is quick [default:
    /// PATH/.afd-check.jsonl].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// No layout has this name.
#[derive(Debug, thiserror::Error)]
#[error("expected one of {}", Layout::ALL.map(|layout| layout.to_string()).join(", "))]
struct UnknownLayout;

fn layout(text: &str) -> Result<Layout, UnknownLayout> {
    Layout::ALL
        .into_iter()
        .find(|layout| layout.to_string() == text)
        .ok_or(UnknownLayout)
}

/// A preparation.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Encode prompts only.
    #[arg(long)]
    text_only: bool,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Checks or prepares.
pub fn run(verb: &DataVerb) -> Result<ExitCode, CliError> {
    match verb {
        DataVerb::Prepare(args) => run_prepare(args),
        DataVerb::Check(args) => run_check(args),
    }
}

fn run_prepare(args: &PrepareArgs) -> Result<ExitCode, CliError> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let Some(data) = recipe.data().map(Path::to_path_buf) else {
        return Err(CliError::Usage(format!(
            "{} has no data.path; name the directory to prepare into",
            args.recipe.recipe.display()
        )));
    };
    signals::install()?;
    if !args.text_only {
        let disk = Plan::new(PlanInputs::of(&recipe, "flex"), None).whole.disk;
        space::require(&data, disk.latents, "the latents", "name another data.path")?;
        let mut bar = Bar::new("clips looked at");
        let settled = settle_prepared(&mut recipe, &data, &mut |done, _| {
            bar.count(done);
            !signals::stop_requested()
        });
        bar.end();
        if let Ok(Some(quarantine)) = &settled
            && !quarantine.unused.is_empty()
        {
            say!("not used  {}", quarantine.unused);
        }
        match settled {
            Err(SessionError::Check(CheckError::Stopped)) => return Ok(stopped()),
            Err(error) => return Err(error.into()),
            Ok(Some(quarantine)) if !quarantine.clips.is_empty() => say!(
                "left out  {} clips and {} prompts, see {}",
                quarantine.clips.len(),
                quarantine.prompts,
                data.join(QUARANTINE).display()
            ),
            Ok(_) => {}
        }
    }
    Ok(afd_backends::dispatch(
        args.backend.as_deref(),
        PrepareJob {
            recipe: &recipe,
            text_only: args.text_only,
        },
    )??)
}

fn stopped() -> ExitCode {
    note!("stopped; run the same command again to go on");
    ExitCode::from(STOPPED)
}

fn run_check(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let recipe = args
        .recipe
        .as_deref()
        .map(|recipe| Recipe::load(recipe, &[]))
        .transpose()?;
    let asked = args.layout.or_else(|| {
        recipe
            .as_ref()
            .and_then(|recipe| recipe.settings.teacher.layout)
    });
    let layout = asked.map_or_else(|| Layout::detect(&args.path), Ok)?;
    let mut clips = 0;
    layout.list(&args.path, &mut |_| {
        clips += 1;
        true
    })?;
    signals::install()?;
    let journal = args.journal.clone().or_else(|| default_journal(&args.path));
    if journal.is_none() {
        note!(
            "{} cannot be written to: nothing is kept for the next time; --journal FILE names \
                another place",
            args.path.display()
        );
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let shape = recipe.as_ref().map(|recipe| recipe.settings.clip);
    let mut bar = Bar::new("clips");
    let checked = check(
        &args.path,
        &Options {
            layout,
            shape,
            journal: journal.as_deref(),
            threads,
        },
        &|_| true,
        &mut |done, _| {
            bar.show(done as usize, clips.max(done as usize));
            !signals::stop_requested()
        },
    );
    bar.end();
    let report = match checked {
        Err(CheckError::Stopped) => return Ok(stopped()),
        checked => checked?,
    };
    print(&report);
    if let Some(path) = &args.json {
        write_atomically(path, &serde_json::to_vec_pretty(&report)?)?;
    }
    match report.problems.len() {
        0 => Ok(ExitCode::SUCCESS),
        bad => Err(CliError::Failed(format!(
            "{bad} of {} clips in {} cannot be used",
            report.clips,
            args.path.display()
        ))),
    }
}

/// In the folder itself, where it can be written to: hidden names are no clips.
fn default_journal(path: &Path) -> Option<PathBuf> {
    let journal = path.join(".afd-check.jsonl");
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&journal);
    opened.ok().map(|_| journal)
}

fn print(report: &Report) {
    for problem in &report.problems {
        say!("bad         {}: {}", problem.file, problem.problem);
    }
    for flagged in &report.flags {
        say!(
            "{:<11} {}: {}",
            flagged.flag.to_string(),
            flagged.file,
            flagged.detail
        );
    }
    for (kind, unused) in report.unused.kinds() {
        let more = match unused.count > unused.first.len() as u64 {
            true => ", ...",
            false => "",
        };
        let first = unused.first.join(", ");
        say!("not used    {} {kind}: {first}{more}", unused.count);
    }
    say!("layout      {}", report.layout);
    say!(
        "clips       {} can be used, {} cannot; {} warnings",
        report.good(),
        report.problems.len(),
        report.flags.len()
    );
}

struct PrepareJob<'a> {
    recipe: &'a Recipe,
    text_only: bool,
}

impl Job for PrepareJob<'_> {
    type Output = Result<ExitCode, SessionError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let mut bar = Bar::new("prompts");
        let text = prepare_text::<B::InnerBackend>(self.recipe, &device, &mut |done, all| {
            bar.show(done, all)
        })?;
        bar.end();
        match text {
            Some(text) => say!(
                "prompts   {} encoded, {} were there",
                text.written,
                text.kept
            ),
            None => say!("prompts   word vectors need no preparation"),
        }
        if self.text_only {
            return Ok(ExitCode::SUCCESS);
        }
        let mut bar = Bar::new("clips");
        let Done {
            written,
            kept,
            unused,
            finished,
        } = prepare_latents::<B::InnerBackend>(self.recipe, &device, &mut |done, all| {
            bar.show(done, all)
        })?;
        bar.end();
        say!("clips     {written} encoded, {kept} were there");
        if unused > 0 {
            say!(
                "unused    {unused} latents of clips that are gone, were replaced, or are not \
                    trained on; remove the directory and prepare again to be rid of them"
            );
        }
        if !finished {
            return Ok(stopped());
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! `afd bench`: methods against each other, in resumable pieces.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::CliError;
use crate::bench::gather::gather;
use crate::bench::lanes::lanes;
use crate::bench::places::Places;
use crate::bench::plan::{CheckedPlan, PlannedRun};
use crate::bench::runner::{Runner, forget, found};
use crate::out::{note, say};
use crate::run::signals::{self, STOPPED};

/// A benchmark.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The benchmark (TOML).
    benchmark: PathBuf,
    /// Where its directory is made.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Runs at once [default: one per GPU, each on its own; without a GPU one per core of the
    /// machine, one thread each].
    #[arg(long, value_name = "N", conflicts_with_all = ["dry_run", "report_only"],
        value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Stop after this many minutes with everything saved; the same command goes on.
    #[arg(long, value_name = "N", conflicts_with_all = ["dry_run", "report_only"],
        value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    minutes: Option<u64>,
    /// Only runs whose name holds this, such as `afd.chunk`; may be given several times.
    #[arg(long, value_name = "TEXT", conflicts_with = "report_only")]
    only: Vec<String>,
    /// Make these runs anew (with --only).
    #[arg(long, requires = "only", conflicts_with = "dry_run")]
    again: bool,
    /// List the runs and what is there of them.
    #[arg(long)]
    dry_run: bool,
    /// Write the report of what is there, make nothing.
    #[arg(long, conflicts_with = "dry_run")]
    report_only: bool,
    /// Compare the others with this method instead of the benchmark's own `reference`; the report
    /// goes to a directory of its own.
    #[arg(long, value_name = "METHOD", conflicts_with = "dry_run")]
    reference: Option<String>,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long, conflicts_with_all = ["dry_run", "report_only"])]
    backend: Option<String>,
}

/// Makes what is missing, then the report.
pub fn run(args: &BenchArgs) -> Result<ExitCode, CliError> {
    if !(args.dry_run || args.report_only) {
        signals::install()?;
    }
    let checked = CheckedPlan::read(&args.benchmark)?;
    let checked = args
        .reference
        .iter()
        .try_fold(checked, |checked, method| checked.against(method))?;
    let places = Places::new(args.runs.join(&checked.plan.name));
    let asked =
        |id: &str| args.only.is_empty() || args.only.iter().any(|text| id.contains(text.as_str()));
    let runs: Vec<_> = checked
        .runs
        .iter()
        .filter(|run| asked(&run.id()))
        .cloned()
        .collect();
    if runs.is_empty() {
        return Err(CliError::Usage(format!(
            "no run's name holds {:?}; --dry-run lists them",
            args.only
        )));
    }
    if args.dry_run {
        return list(&places, &runs);
    }
    let code = match args.report_only {
        true => ExitCode::SUCCESS,
        false => make(args, &places, &runs)?,
    };
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now())
        .to_string()
        .chars()
        .take(10)
        .collect();
    let command = format!("afd bench {}", args.benchmark.display());
    let benchmark = gather(&checked, &places, today, command)?;
    let report = places.report(args.reference.as_deref());
    let written = benchmark.write(&report, places.root())?;
    written
        .missing_previews
        .iter()
        .for_each(|problem| note!("not shown: {problem}"));
    say!("report    {}", written.html.display());
    say!("table     {}", written.markdown.display());
    Ok(code)
}

/// The runs, and what is there of each.
fn list(places: &Places, runs: &[PlannedRun]) -> Result<ExitCode, CliError> {
    for run in runs {
        let state = if found(places, run)?.is_some() {
            "done"
        } else if places.failure(run).exists() {
            "failed"
        } else if places.run(run).exists() {
            "begun"
        } else {
            "-"
        };
        say!("{:<60} {state}", run.id());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes and measures what is missing.
fn make(args: &BenchArgs, places: &Places, runs: &[PlannedRun]) -> Result<ExitCode, CliError> {
    if args.again {
        runs.iter().try_for_each(|run| forget(places, run))?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = afd_backends::list();
    let runner = Runner {
        program: std::env::current_exe()?,
        places: places.clone(),
        lanes: lanes(
            args.backend.as_deref(),
            args.jobs.map(usize::from),
            cores,
            &found,
        ),
        limit: args
            .minutes
            .map(|minutes| Duration::from_secs(60 * minutes)),
    };
    let progress = runner.run(runs)?;
    say!(
        "{} of {} runs made and measured, {} failed",
        progress.done,
        progress.total,
        progress.failed
    );
    Ok(match (progress.done == progress.total, progress.failed) {
        (true, _) => ExitCode::SUCCESS,
        (false, 0) => ExitCode::from(STOPPED),
        (false, _) => ExitCode::FAILURE,
    })
}

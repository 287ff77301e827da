//! `afd distill` and `afd pretrain`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use afd_backends::{Job, Place};
use afd_clips::check::CheckError;
use afd_models::kernels::Trainable;
use afd_models::student::Student;
use clap::Args;

use super::bar::Bar;
use super::{CliError, RecipeArgs};
use crate::data::batch::{BatchError, Batches};
use crate::engine::rounds::Ending;
use crate::eval::report::{Report, read_metrics, write_html};
use crate::eval::table::comparison_table;
use crate::out::say;
use crate::recipe::Recipe;
use crate::recipe::tables::Kind;
use crate::run::directory::{Environment, RunDirectory};
use crate::run::signals::{self, STOPPED};
use crate::session::quarantine::{self, QUARANTINE, Quarantine};
use crate::session::{SessionError, build, evaluate, journal, train};
use crate::teacher::TeacherError;

/// A training run.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Name of the run directory [default: the recipe's name].
    #[arg(long)]
    name: Option<String>,
    /// Where run directories are made.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Continue the run of this name from its newest checkpoint, bit for bit.
    #[arg(long)]
    resume: bool,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Runs a recipe of `kind` to its end.
pub fn run(args: &TrainArgs, kind: Kind) -> Result<ExitCode, CliError> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| recipe.settings.name.clone());
    if args.resume {
        // The run's own snapshot decides; what is on the command line must agree with it.
        let snapshot = args.runs.join(&name).join("recipe.resolved.toml");
        if !snapshot.is_file() {
            return Err(CliError::Usage(format!(
                "there is no run {} to resume; leave out --resume to start it",
                args.runs.join(&name).display()
            )));
        }
        let asked = recipe.resolved()?;
        recipe = Recipe::load(&snapshot, &[])?;
        if recipe.resolved()? != asked {
            return Err(CliError::Usage(format!(
                "the recipe {} differs from {}, which the run was started with; resume with the \
                    same recipe and --set, or start another --name",
                args.recipe.recipe.display(),
                snapshot.display()
            )));
        }
    }
    if recipe.settings.kind != kind {
        return Err(CliError::Usage(format!(
            "{} has kind = {:?}, this verb runs {kind:?} recipes; use `afd {}`",
            args.recipe.recipe.display(),
            recipe.settings.kind,
            if kind == Kind::Distill {
                "pretrain"
            } else {
                "distill"
            }
        )));
    }
    signals::install()?;
    let quarantine = match settle(
        &mut recipe,
        args.resume.then(|| args.runs.join(&name)).as_deref(),
    ) {
        Err(SessionError::Check(CheckError::Stopped)) => return Ok(ExitCode::from(STOPPED)),
        settled => settled?,
    };
    if let Some(quarantine) = quarantine
        .as_ref()
        .filter(|quarantine| !quarantine.clips.is_empty())
    {
        eprintln!(
            "left out {} clips and {} prompts, see {QUARANTINE} in the run",
            quarantine.clips.len(),
            quarantine.prompts
        );
    }
    let job = TrainJob {
        recipe: &recipe,
        quarantine,
        runs: &args.runs,
        name: &name,
        resume: args.resume,
    };
    Ok(afd_backends::dispatch(args.backend.as_deref(), job)??)
}

/// Which clips of a folder the run goes without: as when it was started, as when its data was
/// prepared, or as found now.
fn settle(recipe: &mut Recipe, resumed: Option<&Path>) -> Result<Option<Quarantine>, SessionError> {
    if let Some(run) = resumed
        && let Some(quarantine) = quarantine::apply(recipe, run)?
    {
        return Ok(Some(quarantine));
    }
    if let Some(data) = recipe.data().map(Path::to_path_buf) {
        return quarantine::apply(recipe, &data);
    }
    let mut bar = Bar::new("clips looked at");
    let settled = quarantine::settle(recipe, None, &mut |done, _| {
        bar.count(done);
        !signals::stop_requested()
    });
    bar.end();
    if let Ok(Some(quarantine)) = &settled
        && !quarantine.unused.is_empty()
    {
        eprintln!("not used of the folder: {}", quarantine.unused);
    }
    settled
}

struct TrainJob<'a> {
    recipe: &'a Recipe,
    quarantine: Option<Quarantine>,
    runs: &'a Path,
    name: &'a str,
    resume: bool,
}

impl Job for TrainJob<'_> {
    type Output = Result<ExitCode, SessionError>;

    fn run<B: Trainable>(self, place: Place, device: B::Device) -> Self::Output {
        let started = Instant::now();
        let recipe = self.recipe;
        // Everything that can be refused is refused before a directory is made. Training reads the
        // weights for itself: they are not held twice.
        let batches = Arc::new(Batches::new(recipe, &device)?);
        batches.check_prepared(recipe)?;
        drop(build::base_student::<B::InnerBackend>(recipe, &device)?);
        let run = self.directory(&place)?;
        let trained = train::train::<B>(recipe, &run, &batches, &device)?;
        if trained.ending == Ending::Stopped {
            eprintln!(
                "stopped after round {}, state saved; continue with --resume",
                trained.state.round
            );
            return Ok(ExitCode::from(STOPPED));
        }
        if signals::stop_requested() {
            return Ok(ExitCode::from(STOPPED));
        }
        let compares = recipe.settings.evaluation.clips_per_prompt > 0;
        if compares {
            let student = &trained.model.ema;
            if !self.compare::<B>(&run, &batches, student, &place, &device, started)? {
                return Ok(ExitCode::from(STOPPED));
            }
        }
        let checkpoint = run.checkpoints(1).path_of(trained.state.round);
        say!("run       {}", run.path().display());
        say!("student   {}", checkpoint.join("student").display());
        if compares {
            say!("preview   {}", run.samples().join("held-out.gif").display());
            say!("report    {}", run.path().join("report.html").display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl TrainJob<'_> {
    /// The run's directory, made or opened again.
    fn directory(&self, place: &Place) -> Result<RunDirectory, SessionError> {
        let recipe = self.recipe;
        let environment = Environment::current(place.backend, &place.device, recipe.settings.seed);
        if self.resume {
            let run = RunDirectory::open(&self.runs.join(self.name))?;
            run.record_resume(&environment)?;
            return Ok(run);
        }
        let run = RunDirectory::create(self.runs, self.name, &recipe.resolved()?, &environment)?;
        if let Some(quarantine) = &self.quarantine {
            quarantine.write(run.path())?;
        }
        Ok(run)
    }

    /// Compares the trained student, and the base that it came from, with the teacher: prints the
    /// table, writes preview and report. `false` where a signal came between.
    fn compare<B: Trainable>(
        &self,
        run: &RunDirectory,
        batches: &Batches<B::InnerBackend>,
        trained: &Student<B::InnerBackend>,
        place: &Place,
        device: &B::Device,
        started: Instant,
    ) -> Result<bool, SessionError> {
        let recipe = self.recipe;
        let (names, base) = match recipe.settings.kind {
            Kind::Distill => (
                vec!["teacher", "base", "distilled"],
                Some(build::base_student::<B::InnerBackend>(recipe, device)?),
            ),
            Kind::Pretrain => (vec!["teacher", "pretrained"], None),
        };
        let students: Vec<_> = base.iter().chain([trained]).collect();
        let trained_on = batches.queries();
        let clips = match evaluate::held_out_clips::<B>(recipe, batches, &students, device) {
            Err(SessionError::Batch(BatchError::Teacher(TeacherError::Stopped))) => {
                return Ok(false);
            }
            clips => clips?,
        };
        let scores = evaluate::scores::<B>(recipe, batches, &clips, device)?;
        let shown = recipe.settings.evaluation.preview_clips;
        let preview = evaluate::write_preview(&run.samples(), &names, &clips, shown)?;
        let rows: Vec<(&str, _)> = names.iter().copied().zip(&scores).collect();
        say!("{}", comparison_table(&rows));
        let report = Report {
            title: format!("{} ({:?})", recipe.settings.name, recipe.settings.kind),
            run: run.path().display().to_string(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            seed: recipe.settings.seed,
            commit: option_env!("AFD_COMMIT").map(str::to_string),
            backend: place.device.clone(),
            wall_seconds: started.elapsed().as_secs_f64(),
            teacher_queries: journal::cost(run)?.teacher_queries + batches.queries() - trained_on,
            scores: names
                .iter()
                .map(|name| (*name).to_string())
                .zip(scores.iter().cloned())
                .collect(),
            notes: Vec::new(),
        };
        let metrics = read_metrics(&run.metrics_path())?;
        report.write_json(&run.path().join("report.json"))?;
        write_html(
            &run.path().join("report.html"),
            &report,
            &metrics,
            &[("Held-out prompts".to_string(), preview)],
        )?;
        Ok(true)
    }
}

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
use crate::out::{note, say};
use crate::plan::Plan;
use crate::plan::inputs::PlanInputs;
use crate::recipe::Recipe;
use crate::recipe::tables::{Kind, TeacherKind};
use crate::run::directory::{Environment, RunDirectory};
use crate::run::signals::{self, STOPPED};
use crate::run::space;
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
            "{} has kind = \"{found}\" and `afd {asked}` runs kind = \"{asked}\"; use \
                `afd {found}`",
            args.recipe.recipe.display(),
            found = recipe.settings.kind.word(),
            asked = kind.word(),
        )));
    }
    if !args.resume {
        RunDirectory::new_place(&args.runs, &name)?;
    }
    enough_space(&recipe, &args.runs.join(&name))?;
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
        note!(
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

/// Whether the checkpoints that are kept, and the next one, will fit on the disk.
fn enough_space(recipe: &Recipe, run: &Path) -> Result<(), CliError> {
    // What a checkpoint holds does not depend on who computes.
    let disk = Plan::new(PlanInputs::of(recipe, "flex"), None).whole.disk;
    let advice = "choose another --runs, or a smaller run.keep";
    let checkpoints = run.join("checkpoints");
    Ok(space::require(
        &checkpoints,
        disk.checkpoints,
        "the checkpoints",
        advice,
    )?)
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
            note!(
                "stopped after round {}, state saved; continue with --resume",
                trained.state.round
            );
            return Ok(ExitCode::from(STOPPED));
        }
        let evaluation = &recipe.settings.evaluation;
        let compares = evaluation.clips_per_prompt > 0;
        if compares {
            let student = &trained.model.ema;
            if !self.compare::<B>(&run, &batches, student, &place, &device, started)? {
                return Ok(ExitCode::from(STOPPED));
            }
        }
        let checkpoint = run.checkpoints(1).path_of(trained.state.round);
        say!("run       {}", run.path().display());
        say!("student   {}", checkpoint.join("student").display());
        if compares && evaluation.preview_clips > 0 {
            say!("preview   {}", run.samples().join("held-out.gif").display());
        }
        if compares {
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
        // An API's clips are paid for: a request in hand is seen to its end.
        if recipe.settings.teacher.kind != TeacherKind::Api {
            signals::leave_at_once();
        }
        note!("trained, state saved; comparing with the teacher, which --resume can make again");
        let clips = match evaluate::held_out_clips::<B>(recipe, batches, &students, device) {
            Err(SessionError::Batch(BatchError::Teacher(TeacherError::Stopped))) => {
                return Ok(false);
            }
            clips => clips?,
        };
        signals::leave_at_once();
        let scores = evaluate::scores::<B>(recipe, batches, &clips, device)?;
        let report = Report {
            title: format!("{} ({})", recipe.settings.name, recipe.settings.kind.word()),
            run: run.path().display().to_string(),
            command: command_line(),
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
        // The numbers first: what is drawn after them may fail.
        report.write_json(&run.path().join("report.json"))?;
        let rows: Vec<(&str, _)> = names.iter().copied().zip(&scores).collect();
        say!("{}", comparison_table(&rows));
        let metrics = read_metrics(&run.metrics_path())?;
        let shown = recipe.settings.evaluation.preview_clips;
        let preview = evaluate::write_preview(&run.samples(), &names, &clips, shown);
        let titled = |preview: &Vec<u8>| ("Held-out prompts".to_string(), preview.clone());
        let pictures: Vec<_> = preview
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .map(titled)
            .into_iter()
            .collect();
        write_html(
            &run.path().join("report.html"),
            &report,
            &metrics,
            &pictures,
        )?;
        preview?;
        Ok(true)
    }
}

/// The command line of this process, for people: an argument that is not UTF-8 is shown as far as
/// it goes.
fn command_line() -> String {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    arguments.collect::<Vec<_>>().join(" ")
}

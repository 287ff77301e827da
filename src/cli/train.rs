//! `afd distill` and `afd pretrain`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use afd_backends::{Job, Place};
use afd_clips::check::CheckError;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::Student;
use clap::Args;

use super::CliError;
use super::bar::Bar;
use super::resume::{self, Repeated};
use crate::bench::gather::shell;
use crate::data::batch::{BatchError, Batches};
use crate::engine::rounds::Ending;
use crate::eval::estimate::Summary;
use crate::eval::report::{Report, read_metrics, write_html};
use crate::eval::table::comparison_table;
use crate::out::{note, say};
use crate::plan::Plan;
use crate::plan::inputs::PlanInputs;
use crate::recipe::Recipe;
use crate::recipe::schedule::Schedule;
use crate::recipe::tables::{Kind, TeacherKind};
use crate::run::directory::{Environment, RunDirectory};
use crate::run::signals::{self, STOPPED};
use crate::run::space;
use crate::session::clock::WallClock;
use crate::session::inputs::RunInputs;
use crate::session::quarantine::{self, QUARANTINE, Quarantine};
use crate::session::{SessionError, build, evaluate, journal, remarks, train};
use crate::teacher::TeacherError;

/// A training run.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The recipe (TOML); not needed with --resume RUN.
    #[arg(required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// Override a field, such as `--set afd.beta=0.5`; may be given several times.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    overrides: Vec<String>,
    /// Name of the run directory [default: the recipe's name].
    #[arg(long)]
    name: Option<String>,
    /// Where run directories are made [default: runs].
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Continue this run from its newest checkpoint, bit for bit: `--resume runs/mine` and nothing
    /// else; without a directory, the run that recipe, --name and --runs mean.
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Runs a recipe of `kind` to its end.
pub fn run(args: &TrainArgs, kind: Kind) -> Result<ExitCode, CliError> {
    let repeated = Repeated {
        recipe: args.recipe.as_deref(),
        overrides: &args.overrides,
        name: args.name.as_deref(),
        runs: args.runs.as_deref(),
    };
    let resumed = match &args.resume {
        Some(named) => Some(resume::directory(named.as_deref(), &repeated)?),
        None => None,
    };
    // The run's own snapshot decides; what is on the command line must agree with it.
    let mut recipe = match (&resumed, &args.recipe) {
        (Some(run), _) => resume::recipe(run, &repeated)?,
        (None, Some(recipe)) => Recipe::load(recipe, &args.overrides)?,
        (None, None) => unreachable!("clap asks for the recipe"),
    };
    if recipe.settings.kind != kind {
        return Err(CliError::Usage(format!(
            "{} has kind = \"{found}\" and `afd {asked}` runs kind = \"{asked}\"; use \
                `afd {found}`",
            recipe.path.display(),
            found = recipe.settings.kind.word(),
            asked = kind.word(),
        )));
    }
    let runs = args.runs.as_deref().unwrap_or(Path::new(resume::RUNS));
    let name = args.name.as_deref().unwrap_or(&recipe.settings.name);
    if resumed.is_none() {
        RunDirectory::new_place(runs, name)?;
    }
    enough_space(&recipe, resumed.as_deref().unwrap_or(&runs.join(name)))?;
    signals::install()?;
    let quarantine = match settle(&mut recipe, resumed.as_deref()) {
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
    let runs = args.runs.as_deref().unwrap_or(Path::new(resume::RUNS));
    let name = args.name.as_deref().unwrap_or(&recipe.settings.name);
    let job = TrainJob {
        recipe: &recipe,
        quarantine,
        runs,
        name,
        resumed: resumed.as_deref(),
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
    /// The run that goes on.
    resumed: Option<&'a Path>,
}

impl Job for TrainJob<'_> {
    type Output = Result<ExitCode, SessionError>;

    fn run<B: Trainable>(self, place: Place, device: B::Device) -> Self::Output {
        let mut clock = WallClock::start();
        let recipe = self.recipe;
        // Everything that can be refused is refused before a directory is made. Training reads the
        // weights for itself: they are not held twice.
        let batches = Arc::new(Batches::new(recipe, &device)?);
        batches.check_prepared(recipe)?;
        drop(build::base_student::<B::InnerBackend>(recipe, &device)?);
        let run = self.directory(&place, &batches)?;
        if self.resumed.is_some() {
            clock = clock.going_on(&run)?;
        }
        for remark in remarks::before_training(recipe, &batches) {
            note!("{remark}");
        }
        let trained = train::train::<B>(recipe, &run, &batches, &device)?;
        RunInputs::add_made(recipe, &batches, run.path())?;
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
            if !self.compare::<B>(&run, &batches, student, &place, &device, &clock)? {
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
    /// The run's directory, made or opened again; what it stands on is written, or compared.
    fn directory<B: Kernels>(
        &self,
        place: &Place,
        batches: &Batches<B>,
    ) -> Result<RunDirectory, SessionError> {
        let recipe = self.recipe;
        let environment = Environment::current(place.backend, &place.device, recipe.settings.seed);
        let Some(path) = self.resumed else {
            let inputs = RunInputs::of(recipe, batches, None)?;
            let resolved = recipe.resolved()?;
            let run = RunDirectory::create(self.runs, self.name, &resolved, &environment)?;
            if let Some(quarantine) = &self.quarantine {
                quarantine.write(run.path())?;
            }
            inputs.write(run.path())?;
            say_schedule(recipe, &inputs.schedule());
            return Ok(run);
        };
        let run = RunDirectory::open(path)?;
        let earlier = RunInputs::read(path)?;
        let latest = run.checkpoints(1).latest()?;
        if let (None, Some((_, checkpoint))) = (&earlier, &latest)
            && journal::has_inputs(checkpoint)?
        {
            return Err(RunInputs::gone(path).into());
        }
        let inputs = RunInputs::of(recipe, batches, earlier.as_ref())?;
        match &earlier {
            Some(earlier) => inputs.go_on(earlier, recipe, path)?,
            None if latest.is_some() => note!(
                "{} does not say what it began with (a version of afd before this one began it); \
                    weights and clips are taken for the same",
                path.display()
            ),
            None => {}
        }
        inputs.write(path)?;
        say_schedule(recipe, &inputs.schedule());
        if let Some([began, now]) = run.other_arithmetic(&environment)? {
            note!(
                "the run began with {began} and goes on with {now}: its numbers will not be those \
                    of an uninterrupted run to the last bit"
            );
        }
        run.record_resume(&environment)?;
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
        clock: &WallClock,
    ) -> Result<bool, SessionError> {
        let recipe = self.recipe;
        let (names, base) = match recipe.settings.kind {
            Kind::Distill => (
                vec!["teacher", "base", "distilled"],
                Some(build::base_student::<B::InnerBackend>(recipe, device)?),
            ),
            Kind::Pretrain => (vec!["teacher", "pretrained"], None),
        };
        // Both take the steps that the run trained: the base shows what training changed.
        let sampler = &recipe.settings.sampler;
        let students: Vec<_> = base
            .iter()
            .chain([trained])
            .map(|student| (student, sampler))
            .collect();
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
        let columns = evaluate::scores::<B>(recipe, batches, &names, &clips, device)?;
        let notes = remarks::beside_table(recipe, &recipe.train_prompts, &clips);
        let table = comparison_table(&columns);
        let report = Report {
            title: format!("{} ({})", name_of(run.path()), recipe.settings.kind.word()),
            run: run.path().display().to_string(),
            command: shell(run.first_command()?.get(1..).unwrap_or_default()),
            seed: recipe.settings.seed,
            commit: option_env!("AFD_COMMIT").map(str::to_string),
            backend: place.device.clone(),
            wall_seconds: clock.seconds(),
            teacher_queries: journal::cost(run)?.teacher_queries + batches.queries() - trained_on,
            scores: Vec::new(),
            columns: Vec::new(),
            summary: Summary::default(),
            notes,
        }
        .with_columns(columns);
        // The numbers first: what is drawn after them may fail.
        report.write_json(&run.path().join("report.json"))?;
        say!("{table}");
        report.notes.iter().for_each(|note| say!("{note}\n"));
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

/// Says how many rounds of what there will be, and why they are not those of the recipe.
fn say_schedule(recipe: &Recipe, schedule: &Schedule) {
    let (passes, asked) = (
        recipe.settings.supervised.passes,
        Schedule::of(&recipe.settings),
    );
    say!("schedule  {schedule}");
    if *schedule != asked {
        say!(
            "          instead of {asked}: the teacher has few clips, and supervised.passes = \
                {passes} is how often each may be a direct target"
        );
    }
}

/// The run's own name.
fn name_of(run: &Path) -> String {
    run.file_name()
        .map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

//! `afd measure`: everything that is known about the physics world, asked of a student.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use clap::Args;

use super::checkpoint::find;
use super::{CliError, RecipeArgs};
use crate::data::batch::Batches;
use crate::out::say;
use crate::recipe::{Purpose, Recipe};
use crate::run::checkpoints::Checkpoints;
use crate::run::directory::RunDirectory;
use crate::run::files::AtPath;
use crate::session::build::{base_student, finished_student};
use crate::session::journal;
use crate::session::measure::{self, Measured, Subject};
use crate::session::remarks;
use crate::session::state::weights_of_run;

/// A measurement.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Measure the student of this run [default: the recipe's base student].
    #[arg(long, value_name = "DIR", conflicts_with = "teacher")]
    run: Option<PathBuf>,
    /// Measure other samples of the teacher: what a perfect student would score.
    #[arg(long)]
    teacher: bool,
    /// Where measured.json and the clips' GIFs go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Measures, and prints every number.
pub fn run(args: &MeasureArgs) -> Result<ExitCode, CliError> {
    let mut recipe = Recipe::load_for(
        Purpose::Evaluation,
        &args.recipe.recipe,
        &args.recipe.overrides,
    )?;
    let mut frames_per_block = recipe.student.frames_per_block;
    if let Some(run) = &args.run {
        let found = find(run)?;
        found.fits(&recipe, "run")?;
        frames_per_block = found.card.student.frames_per_block;
        // The base and every point of the learning curve too: they are compared with it.
        recipe.settings.sampler = found.sampler(&recipe, &args.recipe.overrides, "run")?;
    }
    measure::check(&recipe, frames_per_block)?;
    if args.out.join(measure::FILE).exists() {
        return Err(CliError::Usage(format!(
            "{} holds measurements already; choose another --out",
            args.out.display()
        )));
    }
    fs::create_dir_all(&args.out).at("create", &args.out)?;
    let job = MeasureJob {
        recipe: &recipe,
        run: args.run.as_deref(),
        teacher: args.teacher,
        out: &args.out,
    };
    let measured = afd_backends::dispatch(args.backend.as_deref(), job)??;
    for (name, value) in &measured.values {
        let shown = value.map_or("-".to_string(), |value| format!("{value:.4}"));
        let rests_on = measured
            .estimates
            .get(name)
            .map_or(String::new(), |estimate| {
                let [teacher, own] = estimate.clips;
                let ends = estimate.interval.map_or(String::new(), |[low, high]| {
                    format!("{low:.4} to {high:.4}, ")
                });
                format!("  ({ends}n {teacher}+{own})")
            });
        say!("{name:<40} {shown:>10}{rests_on}");
    }
    say!(
        "in brackets: the 95 % interval over prompts, and n, the clips of the teacher and of the \
            subject"
    );
    for remark in remarks::of_prompts(&recipe, &recipe.train_prompts) {
        say!("{remark}");
    }
    Ok(ExitCode::SUCCESS)
}

struct MeasureJob<'a> {
    recipe: &'a Recipe,
    run: Option<&'a Path>,
    teacher: bool,
    out: &'a Path,
}

impl Job for MeasureJob<'_> {
    type Output = Result<Measured, CliError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let batches = Batches::new(self.recipe, &device)?;
        let base = base_student::<B::InnerBackend>(self.recipe, &device)?;
        let load = |path: &Path| {
            // The run was found before: what it lacks now is no fault of the request.
            let found = find(path).map_err(|error| CliError::Failed(error.to_string()))?;
            let student =
                finished_student::<B::InnerBackend>(&found.card, &found.directory, &device)?;
            Ok::<_, CliError>(student)
        };
        let trained = self.run.map(load).transpose()?;
        let mut history = Vec::new();
        if let Some(run) = self.run {
            let passes = journal::student_passes(&RunDirectory::open(run)?)?;
            let checkpoints = Checkpoints::new(run, usize::MAX);
            history.push((0.0, base.clone()));
            for step in checkpoints.steps()? {
                // The first step after the last one whose cost is known has that cost.
                let spent = passes
                    .range(..=step)
                    .next_back()
                    .map_or(0, |(_, passes)| *passes);
                if spent > 0 {
                    history.push((spent as f64, load(&checkpoints.path_of(step))?));
                }
            }
        }
        let subject = match &trained {
            _ if self.teacher => Subject::Teacher,
            Some(student) => Subject::Student(student, history),
            None => Subject::Student(&base, Vec::new()),
        };
        let mut measured =
            measure::measure::<B>(self.recipe, &batches, &base, &subject, self.out, &device)?;
        if let Some(run) = self.run {
            measured.student = weights_of_run(run)?;
        }
        measure::write(self.out, &measured)?;
        Ok(measured)
    }
}

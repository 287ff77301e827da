//! `afd eval`: a student, or two, against fresh samples of the teacher on held-out prompts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use clap::Args;

use super::CliError;
use super::checkpoint::{Found, find, recipe_of, snapshot_of};
use crate::data::batch::Batches;
use crate::eval::estimate::{Column, Summary};
use crate::eval::table::{METRICS, Scores, comparison_table, mean_scores};
use crate::out::say;
use crate::recipe::Recipe;
use crate::recipe::tables::SamplerTable;
use crate::session::build::finished_student;
use crate::session::quarantine::{self, QUARANTINE};
use crate::session::{SessionError, evaluate, remarks};

/// An evaluation.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The student: a run directory, a checkpoint or its student directory.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Another student to compare with.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// The recipe that names teacher and prompts [default: the snapshot of the checkpoint's run].
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// Override a field of that recipe, such as `--set evaluation.clips_per_prompt=64`. Each
    /// student is sampled as it was trained, unless a field of `sampler` is set here.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    overrides: Vec<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Evaluates and prints.
pub fn run(args: &EvalArgs) -> Result<ExitCode, CliError> {
    let found = find(&args.checkpoint)?;
    let against = args.against.as_deref().map(find).transpose()?;
    let mut recipe = recipe_of(&args.checkpoint, args.recipe.as_deref(), &args.overrides)?;
    // The clips that training went without are left out here too; those of another folder are
    // looked at now.
    let mut places: Vec<PathBuf> = recipe.data().map(Path::to_path_buf).into_iter().collect();
    places.extend(args.checkpoint.ancestors().take(4).map(Path::to_path_buf));
    match places
        .into_iter()
        .find(|place| place.join(QUARANTINE).is_file())
    {
        Some(place) => quarantine::apply(&mut recipe, &place)?,
        None => quarantine::settle(&mut recipe, None, &mut |_, _| true)?,
    };
    let mut named = vec![("checkpoint", &found)];
    if let Some(against) = &against {
        named.insert(0, ("against", against));
    }
    for (name, found) in &named {
        found.fits(&recipe, name)?;
    }
    if recipe.settings.evaluation.clips_per_prompt == 0 {
        return Err(CliError::Usage(format!(
            "{} leaves the table out (evaluation.clips_per_prompt = 0); ask for at least 4 clips \
                with --set evaluation.clips_per_prompt=4",
            recipe.path.display()
        )));
    }
    let trained = trained_prompts(&recipe, args)?;
    let names: Vec<&str> = std::iter::once("teacher")
        .chain(named.iter().map(|(name, _)| *name))
        .collect();
    let students: Vec<&Found> = named.iter().map(|(_, found)| *found).collect();
    let samplers = named
        .iter()
        .map(|(name, found)| found.sampler(&recipe, &args.overrides, name))
        .collect::<Result<_, _>>()?;
    let (columns, notes) = afd_backends::dispatch(
        args.backend.as_deref(),
        EvalJob {
            recipe: &recipe,
            students,
            samplers,
            names: &names,
            trained: &trained,
        },
    )??;
    if args.json {
        let mut object = serde_json::Map::new();
        for column in &columns {
            let means = serde_json::to_value(mean_scores(&column.prompts))?;
            object.insert(column.name.clone(), means);
        }
        let summary = serde_json::to_value(Summary::of(&METRICS, &columns))?;
        object.insert("summary".to_string(), summary);
        object.insert("notes".to_string(), notes.into());
        say!("{}", serde_json::Value::Object(object));
    } else {
        say!("{}", comparison_table(&columns));
        notes.iter().for_each(|note| say!("{note}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The prompts that the students were trained on: those of the recipe, and of the runs that they
/// lie in.
fn trained_prompts(recipe: &Recipe, args: &EvalArgs) -> Result<Vec<String>, CliError> {
    let mut prompts = recipe.train_prompts.clone();
    for student in std::iter::once(&args.checkpoint).chain(&args.against) {
        // A run whose inputs are gone can still be evaluated; its prompts are in the snapshot.
        if let Some(path) = snapshot_of(student)?
            && let Ok(own) = Recipe::load(&path, &[])
        {
            prompts.extend(own.train_prompts);
        }
    }
    Ok(prompts)
}

struct EvalJob<'a> {
    recipe: &'a Recipe,
    students: Vec<&'a Found>,
    /// Theirs.
    samplers: Vec<SamplerTable>,
    /// The columns'.
    names: &'a [&'a str],
    /// Prompts that they were trained on.
    trained: &'a [String],
}

impl Job for EvalJob<'_> {
    type Output = Result<(Vec<Column<Scores>>, Vec<String>), SessionError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let batches = Batches::new(self.recipe, &device)?;
        let load = |found: &&Found| {
            finished_student::<B::InnerBackend>(&found.card, &found.directory, &device)
        };
        let students = self
            .students
            .iter()
            .map(load)
            .collect::<Result<Vec<_>, _>>()?;
        let clips = evaluate::held_out_clips::<B>(
            self.recipe,
            &batches,
            &students.iter().zip(&self.samplers).collect::<Vec<_>>(),
            &device,
        )?;
        let columns = evaluate::scores::<B>(self.recipe, &batches, self.names, &clips, &device)?;
        let notes = remarks::beside_table(self.recipe, self.trained, &clips);
        Ok((columns, notes))
    }
}

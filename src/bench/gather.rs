//! From runs on disk to the report's input.

use std::fs;
use std::path::Path;

use afd_report::{Benchmark, Better, Cost, Curve, Metric, Preview, Run, State};

use super::BenchError;
use super::places::Places;
use super::plan::{CheckedPlan, PlannedRun, Trainee};
use super::runner::{found, train_command, wall_seconds};
use crate::eval::metric::Better as Direction;
use crate::eval::physics::PHYSICS_METRICS;
use crate::eval::report::Report;
use crate::eval::table::METRICS;
use crate::recipe::Recipe;
use crate::run::directory::RunDirectory;
use crate::run::files::AtPath;
use crate::session::journal;
use crate::session::measure::{DRIFT, LEARNING, Measured, PERMANENCE_DRIFT, TRAINED_DISCRIMINATOR};

/// Everything that is there, and what is missing by name.
pub fn gather(
    checked: &CheckedPlan,
    places: &Places,
    created: String,
    command: String,
) -> Result<Benchmark, BenchError> {
    let plan = &checked.plan;
    let runs = checked
        .runs
        .iter()
        .map(|run| one(run, places))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Benchmark {
        name: plan.name.clone(),
        title: plan.title.clone(),
        summary: plan.summary.clone(),
        created,
        commit: option_env!("AFD_COMMIT").map(str::to_string),
        machine: machine(),
        command,
        wall_seconds: wall_seconds(places),
        budget: plan.budget.clone(),
        reference: plan.reference.clone(),
        methods: checked.methods.clone(),
        families: checked.families(),
        regimes: checked.regimes(),
        regime_title: plan.regime_title.clone(),
        seeds: plan.seeds.clone(),
        metrics: metrics(&plan.main_metrics),
        curves: curves(),
        runs,
    })
}

fn one(planned: &PlannedRun, places: &Places) -> Result<Run, BenchError> {
    let directory = places.run(planned);
    let mut run = Run {
        method: planned.trainee.name().to_string(),
        family: planned.family.clone(),
        regime: planned.regime.clone(),
        seed: Some(planned.seed),
        state: State::Done,
        directory: directory.display().to_string(),
        command: shell(&train_command(planned, &places.runs())),
        commit: None,
        values: Default::default(),
        cost: Cost::default(),
        curves: Default::default(),
        previews: Vec::new(),
    };
    let Some(Measured {
        values,
        curves,
        previews,
        ..
    }) = found(places, planned)?
    else {
        let reason = fs::read_to_string(places.failure(planned));
        run.state = reason.map_or_else(
            |_| State::Missing("not made yet".to_string()),
            State::Failed,
        );
        return Ok(run);
    };
    run.values = values;
    run.curves = curves;
    let relative = |file: &String| format!("measured/{}/{file}", planned.id());
    run.previews = previews
        .iter()
        .map(|(label, file)| Preview {
            label: label.clone(),
            path: relative(file),
        })
        .collect();
    match planned.trainee {
        Trainee::Method(_) => {
            (run.cost, run.commit) = cost(&directory, planned)?;
        }
        _ => {
            run.directory = places.measured(planned).display().to_string();
            run.command = format!("afd measure {} (control)", planned.recipe.display());
        }
    }
    Ok(run)
}

fn cost(directory: &Path, planned: &PlannedRun) -> Result<(Cost, Option<String>), BenchError> {
    let run = RunDirectory::open(directory)?;
    let spent = journal::cost(&run)?;
    let path = directory.join("report.json");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let report: Report =
        serde_json::from_str(&text).map_err(|source| BenchError::Damaged { path, source })?;
    let recipe = Recipe::load(&planned.recipe, &planned.set)?;
    let samples = recipe.settings.teacher.samples_per_prompt;
    let distinct = if samples == 0 {
        u64::MAX
    } else {
        samples * recipe.train_prompts.len() as u64
    };
    let cost = Cost {
        student_forward_backward: spent.student_passes,
        student_rollouts: spent.rollouts,
        discriminator_forward_backward: spent.discriminator_passes,
        // Fresh samples differ each time; a few are asked for again and again.
        teacher_clips: spent.teacher_queries.min(distinct),
        wall_seconds: journal::seconds(&run)?,
    };
    Ok((cost, report.commit))
}

fn metrics(main: &[String]) -> Vec<Metric> {
    let better = |direction| match direction {
        Direction::Lower => Better::Lower,
        Direction::Higher => Better::Higher,
        Direction::LikeTeacher => Better::Teacher,
    };
    let metric = |name: &str, title: &str, unit: &str, direction| Metric {
        name: name.to_string(),
        title: title.to_string(),
        unit: unit.to_string(),
        better: better(direction),
        about: String::new(),
        main: main.iter().any(|main| main == name),
    };
    let mut all: Vec<Metric> = METRICS
        .iter()
        .map(|of| metric(of.name, of.title, of.unit, of.better))
        .collect();
    all.push(metric(
        TRAINED_DISCRIMINATOR,
        "trained discriminator's pair accuracy",
        "share",
        Direction::Lower,
    ));
    all.extend(
        PHYSICS_METRICS
            .iter()
            .map(|of| metric(of.name, of.title, of.unit, of.better)),
    );
    all
}

fn curves() -> Vec<Curve> {
    let curve = |name: &str, title: &str, x: &str, y: &str, about: &str| Curve {
        name: name.into(),
        title: title.into(),
        x_title: x.into(),
        y_title: y.into(),
        about: about.into(),
    };
    vec![
        curve(
            LEARNING,
            "Learning",
            "clips forward and backward through the student",
            "trajectory energy distance, px",
            "The student's EMA at every checkpoint, 8 clips per held-out prompt.",
        ),
        curve(
            DRIFT,
            "Drift: where bodies are",
            "frames from the start of the rollout",
            "trajectory energy distance, px",
            "Windows of the trained length in clips of four times that length; x is the window's \
                last frame.",
        ),
        curve(
            PERMANENCE_DRIFT,
            "Drift: whether bodies are there",
            "frames from the start of the rollout",
            "object permanence, share",
            "The same windows.",
        ),
    ]
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} cores, {} {}",
        cores,
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// A command line that a shell reads back as these words.
pub fn shell(arguments: &[String]) -> String {
    let plain = |word: &String| {
        word.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_=./,:".contains(letter))
    };
    let quoted = |word: &String| {
        if plain(word) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    std::iter::once("afd".to_string())
        .chain(arguments.iter().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_quoted_where_a_shell_would_read_more_into_them() {
        let words = [
            "distill",
            "a/b.toml",
            "--set",
            "afd.teacher_positives_span=[0.5, 1]",
            "it's",
        ]
        .map(String::from);
        assert_eq!(
            shell(&words),
            "afd distill a/b.toml --set 'afd.teacher_positives_span=[0.5, 1]' 'it'\\''s'"
        );
    }
}

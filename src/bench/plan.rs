//! What a benchmark compares: TOML in, checked recipes of every run out.

mod check;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afd_report::{Method as ReportMethod, Named, Role};
use serde::Deserialize;

use crate::recipe::{Recipe, document};
use crate::run::files::FileError;
use crate::session::measure;

pub use check::{PlanError, PlanProblem};
pub use runs::{PlannedRun, Trainee};

/// A benchmark file: methods x families x regimes x seeds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchPlan {
    /// Name of its directory below `runs/`.
    pub name: String,
    /// The report's headline.
    pub title: String,
    /// What a reader should know first, a paragraph each.
    #[serde(default)]
    pub summary: Vec<String>,
    /// What every method may spend, in words.
    pub budget: String,
    /// The method that the others are compared with.
    pub reference: String,
    /// Seeds of every method.
    pub seeds: Vec<u64>,
    /// Recipe fields of every run, as after `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// More of them for measuring, which wants more clips than the table that training ends with.
    #[serde(default)]
    pub measure_set: Vec<String>,
    /// What the regimes differ in.
    pub regime_title: String,
    /// Names of the metrics of the main table.
    pub main_metrics: Vec<String>,
    /// Kinds of students.
    pub families: Vec<Family>,
    /// Circumstances.
    pub regimes: Vec<Regime>,
    /// What is compared.
    pub methods: Vec<MethodPlan>,
}

/// A kind of student.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Its recipe, relative to the benchmark file.
    pub recipe: PathBuf,
    /// Recipe fields of its runs.
    #[serde(default)]
    pub set: Vec<String>,
}

/// A circumstance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regime {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Recipe fields of its runs.
    #[serde(default)]
    pub set: Vec<String>,
}

/// A way to train.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodPlan {
    /// Name.
    pub name: String,
    /// Title; short.
    pub title: String,
    /// One sentence about it.
    #[serde(default)]
    pub about: String,
    /// The set of ablations it belongs to; without one, the main comparison.
    #[serde(default)]
    pub group: Option<String>,
    /// Recipe fields of its runs.
    #[serde(default)]
    pub set: Vec<String>,
    /// Only these families, if any are named.
    #[serde(default)]
    pub families: Vec<String>,
    /// Only these regimes, if any are named.
    #[serde(default)]
    pub regimes: Vec<String>,
    /// Only these seeds, if any are named.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Whether its recipe must be refused: it is shown with the reason.
    #[serde(default)]
    pub refused: bool,
}

/// A benchmark whose recipes have been read.
#[derive(Debug, Clone)]
pub struct CheckedPlan {
    /// The file.
    pub path: PathBuf,
    /// Its contents.
    pub plan: BenchPlan,
    /// Every run, in the order in which they are made: after each seed the table is complete for
    /// the seeds so far.
    pub runs: Vec<PlannedRun>,
    /// Methods as the report shows them.
    pub methods: Vec<ReportMethod>,
}

/// Whether the text is that of a recipe, which has a kind and no methods.
fn is_recipe(text: &str) -> bool {
    text.parse::<toml::Table>()
        .is_ok_and(|table| table.contains_key("kind") && !table.contains_key("methods"))
}

impl CheckedPlan {
    /// Reads a benchmark file and every recipe that it asks for.
    ///
    /// # Errors
    /// [`PlanError`]: the first thing that cannot work.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| FileError::new("read", path, error))?;
        let plan: BenchPlan =
            document::parse(&text, path, &[]).map_err(|error| match is_recipe(&text) {
                true => PlanError::Recipe(path.to_path_buf()),
                false => PlanError::Document(error),
            })?;
        let fail = |problem: PlanProblem| PlanError::Value {
            path: path.to_path_buf(),
            problem,
        };
        plan.check().map_err(&fail)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut methods = vec![
            control(
                "teacher",
                "teacher (control)",
                "Other samples of the teacher: what a perfect student would score.",
                Role::Teacher,
            ),
            control("base", "base", "The student before training.", Role::Base),
        ];
        let mut runs = plan.runs(directory);
        let mut reasons = BTreeMap::new();
        for run in &mut runs {
            let refused = plan
                .methods
                .iter()
                .any(|method| method.refused && method.name == run.trainee.name());
            match (Recipe::load(&run.recipe, &run.set), refused) {
                (Ok(_), false) => run.recipe_hash = measured_recipe(run).map_err(&fail)?,
                (Err(error), false) => {
                    return Err(fail(PlanProblem::Recipe {
                        run: run.id(),
                        error: Box::new(error),
                    }));
                }
                (Err(error), true) => {
                    reasons.insert(run.trainee.name().to_string(), error.to_string());
                }
                (Ok(_), true) => return Err(fail(PlanProblem::Works(run.id()))),
            }
        }
        runs.retain(|run| !reasons.contains_key(run.trainee.name()));
        methods.extend(plan.methods.iter().map(|method| ReportMethod {
            name: method.name.clone(),
            title: method.title.clone(),
            about: method.about.clone(),
            role: Role::Method,
            group: method.group.clone(),
            refused: reasons.get(&method.name).cloned(),
        }));
        Ok(Self {
            path: path.to_path_buf(),
            plan,
            runs,
            methods,
        })
    }

    /// The same with the other methods compared with `method`.
    ///
    /// # Errors
    /// [`PlanError::Value`] where there is no such method.
    pub fn against(mut self, method: &str) -> Result<Self, PlanError> {
        self.plan.reference = method.to_string();
        self.plan.check().map_err(|problem| PlanError::Value {
            path: self.path.clone(),
            problem,
        })?;
        Ok(self)
    }

    /// Families as the report shows them.
    pub fn families(&self) -> Vec<Named> {
        self.plan
            .families
            .iter()
            .map(|family| Named {
                name: family.name.clone(),
                title: family.title.clone(),
            })
            .collect()
    }

    /// Regimes as the report shows them.
    pub fn regimes(&self) -> Vec<Named> {
        self.plan
            .regimes
            .iter()
            .map(|regime| Named {
                name: regime.name.clone(),
                title: regime.title.clone(),
            })
            .collect()
    }
}

/// The hash of the recipe that a run is measured with, which must be one that can be measured.
fn measured_recipe(run: &PlannedRun) -> Result<String, PlanProblem> {
    let refused = |error| PlanProblem::Recipe {
        run: run.id(),
        error: Box::new(error),
    };
    let set = [&run.set[..], &run.measure_set].concat();
    let recipe = Recipe::load(&run.recipe, &set).map_err(refused)?;
    measure::check(&recipe, recipe.student.frames_per_block).map_err(|error| {
        PlanProblem::Measure {
            run: run.id(),
            error,
        }
    })?;
    measure::fingerprint(&recipe).map_err(refused)
}

fn control(name: &str, title: &str, about: &str, role: Role) -> ReportMethod {
    ReportMethod {
        name: name.into(),
        title: title.into(),
        about: about.into(),
        role,
        group: None,
        refused: None,
    }
}

#[cfg(test)]
mod tests;

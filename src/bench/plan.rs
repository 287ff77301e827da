//! What a benchmark compares: TOML in, checked recipes of every run out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afd_report::{Method as ReportMethod, Named, Role};
use serde::Deserialize;

use crate::exit::ExitStatus;
use crate::recipe::{Recipe, RecipeError};
use crate::run::files::FileError;
use crate::session::measure::{self, MeasureError};

/// A benchmark file: methods x families x regimes x seeds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
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

/// Why a benchmark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TOML.
    #[error("{}: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A value that cannot work.
    #[error("{}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What was found, what is needed.
        problem: PlanProblem,
    },
}

/// What is wrong with a benchmark's values.
#[derive(Debug, thiserror::Error)]
pub enum PlanProblem {
    /// A list is empty.
    #[error("[[{0}]] is missing, expected at least one")]
    Missing(&'static str),
    /// A name that cannot be part of a directory's.
    #[error("{kind}: the name {name:?} must be letters, digits and '-'")]
    Name {
        /// The list.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Two of the same name.
    #[error("{kind}: the name {name:?} stands there twice")]
    Twice {
        /// The list.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No seed.
    #[error("seeds is empty, expected at least one")]
    NoSeeds,
    /// A method with the name of a control.
    #[error("methods: {0:?} is a control that every benchmark has, choose another name")]
    Control(String),
    /// A method of a family or regime that is not there.
    #[error("methods.{method}: there is no family or regime {name:?}")]
    Unknown {
        /// The method.
        method: String,
        /// The family or regime.
        name: String,
    },
    /// A method with a seed that is not the benchmark's.
    #[error("methods.{method}: seed {seed} is not among the benchmark's {seeds:?}")]
    Seed {
        /// The method.
        method: String,
        /// Its seed.
        seed: u64,
        /// Those of the benchmark.
        seeds: Vec<u64>,
    },
    /// No method to compare with.
    #[error("reference is {0:?}, which is none of [[methods]]")]
    Reference(String),
    /// The recipe of a run is refused.
    #[error("{run}: {error}")]
    Recipe {
        /// The run.
        run: String,
        /// Why.
        error: Box<RecipeError>,
    },
    /// A run cannot be measured.
    #[error("{run}: {error}")]
    Measure {
        /// The run.
        run: String,
        /// Why.
        error: MeasureError,
    },
    /// The recipe of a method works that must be refused; holds the run.
    #[error("refused = true, but the recipe of {0} works")]
    Works(String),
}

/// Any problem of a benchmark file: nothing was begun.
impl ExitStatus for PlanError {
    fn is_request(&self) -> bool {
        true
    }
}

/// Who trains, or stands in for a trained student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trainee {
    /// A method of the plan.
    Method(String),
    /// Nobody: the base student.
    Base,
    /// Nobody: the teacher's own samples.
    Teacher,
}

impl Trainee {
    /// The name of its row.
    pub fn name(&self) -> &str {
        match self {
            Self::Method(name) => name,
            Self::Base => "base",
            Self::Teacher => "teacher",
        }
    }
}

/// One run to make and measure.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Who trains.
    pub trainee: Trainee,
    /// Family.
    pub family: String,
    /// Regime; `None`: the same in all.
    pub regime: Option<String>,
    /// Seed.
    pub seed: u64,
    /// The family's recipe.
    pub recipe: PathBuf,
    /// Every override, in order.
    pub set: Vec<String>,
    /// More of them for measuring.
    pub measure_set: Vec<String>,
    /// Hash of the recipe that it is measured with.
    pub recipe_hash: String,
}

impl PlannedRun {
    /// A name for directories.
    pub fn id(&self) -> String {
        let regime = self.regime.as_deref().unwrap_or("any");
        format!(
            "{}.{}.{regime}.s{}",
            self.trainee.name(),
            self.family,
            self.seed
        )
    }
}

/// A benchmark whose recipes have been read.
#[derive(Debug, Clone)]
pub struct CheckedPlan {
    /// The file.
    pub path: PathBuf,
    /// Its contents.
    pub plan: Plan,
    /// Every run, in the order in which they are made: after each seed the table is complete for
    /// the seeds so far.
    pub runs: Vec<PlannedRun>,
    /// Methods as the report shows them.
    pub methods: Vec<ReportMethod>,
}

impl CheckedPlan {
    /// Reads a benchmark file and every recipe that it asks for.
    ///
    /// # Errors
    /// [`PlanError`]: the first thing that cannot work.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| FileError::new("read", path, error))?;
        let plan: Plan = toml::from_str(&text).map_err(|error| PlanError::Toml {
            path: path.to_path_buf(),
            reason: error.to_string().trim().replace('\n', " "),
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
    measure::check(&recipe).map_err(|error| PlanProblem::Measure {
        run: run.id(),
        error,
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

impl Plan {
    fn check(&self) -> Result<(), PlanProblem> {
        let names = |kind: &'static str, names: Vec<&String>| -> Result<(), PlanProblem> {
            if names.is_empty() {
                return Err(PlanProblem::Missing(kind));
            }
            for (index, name) in names.iter().enumerate() {
                let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
                if name.is_empty() || !name.chars().all(plain) {
                    let name = (*name).clone();
                    return Err(PlanProblem::Name { kind, name });
                }
                if names[..index].contains(name) {
                    let name = (*name).clone();
                    return Err(PlanProblem::Twice { kind, name });
                }
            }
            Ok(())
        };
        names(
            "families",
            self.families.iter().map(|family| &family.name).collect(),
        )?;
        names(
            "regimes",
            self.regimes.iter().map(|regime| &regime.name).collect(),
        )?;
        names(
            "methods",
            self.methods.iter().map(|method| &method.name).collect(),
        )?;
        names("name", vec![&self.name])?;
        if self.seeds.is_empty() {
            return Err(PlanProblem::NoSeeds);
        }
        for method in &self.methods {
            if ["base", "teacher"].contains(&method.name.as_str()) {
                return Err(PlanProblem::Control(method.name.clone()));
            }
            let known_family =
                |name: &&String| !self.families.iter().any(|family| family.name == **name);
            let known_regime =
                |name: &&String| !self.regimes.iter().any(|regime| regime.name == **name);
            let unknown = method
                .families
                .iter()
                .find(known_family)
                .or(method.regimes.iter().find(known_regime));
            if let Some(unknown) = unknown {
                return Err(PlanProblem::Unknown {
                    method: method.name.clone(),
                    name: unknown.clone(),
                });
            }
            if let Some(seed) = method.seeds.iter().find(|seed| !self.seeds.contains(seed)) {
                return Err(PlanProblem::Seed {
                    method: method.name.clone(),
                    seed: *seed,
                    seeds: self.seeds.clone(),
                });
            }
        }
        if !self
            .methods
            .iter()
            .any(|method| method.name == self.reference)
        {
            return Err(PlanProblem::Reference(self.reference.clone()));
        }
        Ok(())
    }

    fn runs(&self, directory: &Path) -> Vec<PlannedRun> {
        let mut runs = Vec::new();
        for seed in &self.seeds {
            for family in &self.families {
                let planned = |trainee, regime: Option<&Regime>, of_method: &[String]| {
                    let empty = Vec::new();
                    let of_regime = regime.map_or(&empty, |regime| &regime.set);
                    let mut set: Vec<String> = [&self.set, &family.set, of_regime]
                        .into_iter()
                        .flatten()
                        .cloned()
                        .collect();
                    set.extend(of_method.iter().cloned());
                    set.push(format!("seed={seed}"));
                    let recipe = directory.join(&family.recipe);
                    PlannedRun {
                        trainee,
                        family: family.name.clone(),
                        regime: regime.map(|regime| regime.name.clone()),
                        seed: *seed,
                        recipe,
                        set,
                        measure_set: self.measure_set.clone(),
                        recipe_hash: String::new(),
                    }
                };
                runs.extend(
                    [Trainee::Teacher, Trainee::Base].map(|trainee| planned(trainee, None, &[])),
                );
                for regime in &self.regimes {
                    let asked =
                        |names: &[String], name: &String| names.is_empty() || names.contains(name);
                    let here = self.methods.iter().filter(|method| {
                        asked(&method.families, &family.name)
                            && asked(&method.regimes, &regime.name)
                            && (method.seeds.is_empty() || method.seeds.contains(seed))
                    });
                    runs.extend(here.map(|method| {
                        planned(
                            Trainee::Method(method.name.clone()),
                            Some(regime),
                            &method.set,
                        )
                    }));
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CheckedPlan, PlanError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("benchmark.toml");
        let recipe =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        std::fs::write(&path, text.replace("RECIPE", &recipe.display().to_string())).unwrap();
        CheckedPlan::read(&path)
    }

    const PLAN: &str = r#"
name = "small"
title = "Small"
budget = "none"
reference = "afd"
seeds = [3, 4]
set = ["evaluation.clips_per_prompt=4"]
regime_title = "teacher clips"
main_metrics = ["trajectory_energy_distance"]
[[families]]
name = "chunk"
title = "chunk-wise"
recipe = "RECIPE"
[[regimes]]
name = "fresh"
title = "fresh"
[[regimes]]
name = "few"
title = "few"
set = ["teacher.samples_per_prompt=1"]
[[methods]]
name = "afd"
title = "AFD"
[[methods]]
name = "sft"
title = "SFT"
regimes = ["few"]
seeds = [4]
set = ["method=supervised", "evaluation.clips_per_prompt=8"]
[[methods]]
name = "scores"
title = "score distillation"
set = ["method=score-distillation"]
refused = true
"#;

    #[test]
    fn runs_come_seed_by_seed_with_controls_once_per_family_and_refused_methods_left_out() {
        let checked = read(PLAN).unwrap();
        let ids: Vec<String> = checked.runs.iter().map(PlannedRun::id).collect();
        let seed = |seed: u64| {
            [
                format!("teacher.chunk.any.s{seed}"),
                format!("base.chunk.any.s{seed}"),
                format!("afd.chunk.fresh.s{seed}"),
                format!("afd.chunk.few.s{seed}"),
            ]
        };
        let expected = [
            &seed(3)[..],
            &seed(4)[..],
            &["sft.chunk.few.s4".to_string()],
        ]
        .concat();
        assert_eq!(ids, expected);
        assert!(
            checked.methods[4]
                .refused
                .as_ref()
                .is_some_and(|reason| reason.contains("has no score"))
        );
        // The more particular comes later and wins.
        let sft = Recipe::load(&checked.runs[8].recipe, &checked.runs[8].set)
            .unwrap()
            .settings;
        assert_eq!(
            (
                sft.evaluation.clips_per_prompt,
                sft.teacher.samples_per_prompt,
                sft.seed
            ),
            (8, 1, 4)
        );
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (from, to, expected) in [
            (
                "reference = \"afd\"",
                "reference = \"adf\"",
                "none of [[methods]]",
            ),
            (
                "regimes = [\"few\"]",
                "regimes = [\"fewer\"]",
                "there is no family or regime \"fewer\"",
            ),
            (
                "seeds = [4]\nset",
                "seeds = [5]\nset",
                "seed 5 is not among",
            ),
            ("name = \"sft\"", "name = \"base\"", "is a control"),
            ("refused = true", "refused = false", "has no score"),
            (
                "\"method=supervised\"",
                "\"method=suprvised\"",
                "supervised",
            ),
            ("budget = \"none\"", "budgett = \"none\"", "budgett"),
        ] {
            let error = read(&PLAN.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}

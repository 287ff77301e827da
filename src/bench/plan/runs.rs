//! The runs that a benchmark asks for.

use std::path::{Path, PathBuf};

use super::{BenchPlan, Regime};

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

impl BenchPlan {
    /// Every run, seed by seed; `directory` is where the benchmark file lies.
    pub(super) fn runs(&self, directory: &Path) -> Vec<PlannedRun> {
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

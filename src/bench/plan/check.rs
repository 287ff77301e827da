//! What can be wrong with a benchmark file.

use std::path::PathBuf;

use super::BenchPlan;
use crate::exit::ExitStatus;
use crate::recipe::RecipeError;
use crate::recipe::document::DocumentError;
use crate::run::files::FileError;
use crate::session::measure::MeasureError;

/// Why a benchmark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The TOML.
    #[error(transparent)]
    Document(DocumentError),
    /// A recipe instead; holds the file.
    #[error(
        "{} is a recipe; `afd distill` or `afd pretrain` takes it, `afd bench` takes a benchmark \
            plan, such as those in recipes/evidence",
        .0.display()
    )]
    Recipe(PathBuf),
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

impl BenchPlan {
    /// Names, seeds and references.
    pub(super) fn check(&self) -> Result<(), PlanProblem> {
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
}

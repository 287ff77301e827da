//! Which run `--resume` means, and whether what is repeated on the command line agrees with it.

use std::path::{Path, PathBuf};

use super::CliError;
use crate::recipe::Recipe;
use crate::run::directory::RECIPE_NAME;

/// What the command line says besides `--resume`.
pub struct Repeated<'a> {
    /// The recipe.
    pub recipe: Option<&'a Path>,
    /// `--set`.
    pub overrides: &'a [String],
    /// `--name`.
    pub name: Option<&'a str>,
    /// `--runs`.
    pub runs: Option<&'a Path>,
}

/// Where runs are made unless `--runs` says otherwise.
pub const RUNS: &str = "runs";

/// The directory of the run that `--resume` or `--resume RUN` means.
pub fn directory(named: Option<&Path>, repeated: &Repeated) -> Result<PathBuf, CliError> {
    let Some(run) = named else {
        let Some(recipe) = repeated.recipe else {
            return Err(CliError::Usage(
                "--resume needs the run to go on with, such as --resume runs/mine".to_string(),
            ));
        };
        let recipe = Recipe::load(recipe, repeated.overrides)?;
        let name = repeated.name.unwrap_or(&recipe.settings.name);
        return Ok(repeated.runs.unwrap_or(Path::new(RUNS)).join(name));
    };
    let agrees = repeated
        .name
        .is_none_or(|name| run.file_name().is_some_and(|found| found == name));
    if !agrees {
        return Err(CliError::Usage(format!(
            "--name is {}, --resume names {}; leave --name out",
            repeated.name.unwrap_or_default(),
            run.display()
        )));
    }
    if let Some(runs) = repeated.runs {
        let absolute = |path: &Path| std::path::absolute(path).ok();
        if absolute(run).as_deref().and_then(Path::parent) != absolute(runs).as_deref() {
            return Err(CliError::Usage(format!(
                "--runs is {}, --resume names {}; leave --runs out",
                runs.display(),
                run.display()
            )));
        }
    }
    Ok(run.to_path_buf())
}

/// The recipe that a run was started with; a recipe and `--set` that are given again must agree
/// with it.
pub fn recipe(run: &Path, repeated: &Repeated) -> Result<Recipe, CliError> {
    let snapshot = run.join(RECIPE_NAME);
    if !snapshot.is_file() {
        return Err(CliError::Usage(format!(
            "there is no run {} to resume; check the name, or leave out --resume to start it",
            run.display()
        )));
    }
    let recipe = Recipe::load(&snapshot, &[])?;
    let asked = Recipe::load(repeated.recipe.unwrap_or(&snapshot), repeated.overrides)?;
    let differences = recipe.differences(&asked)?;
    if differences.is_empty() {
        return Ok(recipe);
    }
    Err(CliError::Usage(format!(
        "the run {run} was started with another recipe: {}; go on with `--resume {run}` and \
            nothing else, or start another --name",
        differences.join("; "),
        run = run.display(),
    )))
}

//! `afd validate`: everything that can be checked without a device.

use std::process::ExitCode;

use super::{CliError, RecipeArgs};
use crate::out::say;
use crate::recipe::Recipe;
use crate::recipe::tables::TeacherKind;
use crate::session::remarks;

/// Checks the recipe, its files and its teacher, and says what it would train.
pub fn run(args: &RecipeArgs) -> Result<ExitCode, CliError> {
    let recipe = Recipe::load(&args.recipe, &args.overrides)?;
    // An API's settings were checked with the recipe; nobody is asked, and no store is opened, to
    // validate.
    if recipe.settings.teacher.kind != TeacherKind::Api {
        recipe.teacher()?;
    }
    let [frames, channels, rows, columns] = recipe.latent_shape;
    let student = &recipe.student;
    say!("{} is valid", args.recipe.display());
    say!(
        "  prompts   {} to train on, {} held out",
        recipe.train_prompts.len(),
        recipe.held_out_prompts.len()
    );
    say!("  latents   {frames} frames x {channels} channels x {rows} x {columns}");
    say!(
        "  student   width {}, {} layers, {} frames per block",
        student.width,
        student.layers,
        student.frames_per_block
    );
    for remark in remarks::of_prompts(&recipe, &recipe.train_prompts) {
        say!("  note      {remark}");
    }
    Ok(ExitCode::SUCCESS)
}

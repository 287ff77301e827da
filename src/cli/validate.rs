//! `afd validate`: everything that can be checked without a device.

use std::process::ExitCode;

use super::{CliError, RecipeArgs};
use crate::recipe::Recipe;

/// Checks the recipe, its files and its teacher, and says what it would train.
pub fn run(args: &RecipeArgs) -> Result<ExitCode, CliError> {
    let recipe = Recipe::load(&args.recipe, &args.overrides)?;
    recipe.teacher()?;
    let [frames, channels, rows, columns] = recipe.latent_shape;
    let student = &recipe.student;
    println!("{} is valid", args.recipe.display());
    println!("  prompts   {} to train on, {} held out", recipe.train_prompts.len(), recipe.held_out_prompts.len());
    println!("  latents   {frames} frames x {channels} channels x {rows} x {columns}");
    println!("  student   width {}, {} layers, {} frames per block", student.width, student.layers, student.frames_per_block);
    Ok(ExitCode::SUCCESS)
}

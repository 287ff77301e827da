//! `afd data prepare`: everything of a recipe that is made once, before training.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use afd_backends::{Job, Place};
use afd_models::kernels::Trainable;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{CliError, RecipeArgs, STOPPED};
use crate::recipe::Recipe;
use crate::run::signals;
use crate::session::SessionError;
use crate::session::prepare::{Done, prepare_latents, prepare_text};

/// What to do with a recipe's data.
#[derive(Debug, Subcommand)]
pub enum DataVerb {
    /// Encode the recipe's prompts and its teacher's clips into data.path; goes on where it was stopped.
    Prepare(PrepareArgs),
}

/// A preparation.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Encode prompts only.
    #[arg(long)]
    text_only: bool,
    /// cuda:N, wgpu:N, flex or ndarray [default: the best one compiled in and present].
    #[arg(long)]
    backend: Option<String>,
}

/// Prepares.
pub fn run(verb: &DataVerb) -> Result<ExitCode, CliError> {
    let DataVerb::Prepare(args) = verb;
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    if recipe.data().is_none() {
        return Err(CliError::Usage(format!("{} has no data.path; name the directory to prepare into", args.recipe.recipe.display())));
    }
    signals::install().map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(afd_backends::dispatch(args.backend.as_deref(), PrepareJob { recipe: &recipe, text_only: args.text_only })??)
}

struct PrepareJob<'a> {
    recipe: &'a Recipe,
    text_only: bool,
}

impl Job for PrepareJob<'_> {
    type Output = Result<ExitCode, SessionError>;

    fn run<B: Trainable>(self, _place: Place, device: B::Device) -> Self::Output {
        let mut bar = Bar::new("prompts");
        let text = prepare_text::<B::InnerBackend>(self.recipe, &device, &mut |done, all| bar.show(done, all))?;
        bar.end();
        match text {
            Some(text) => println!("prompts   {} encoded, {} were there", text.written, text.kept),
            None => println!("prompts   word vectors need no preparation"),
        }
        if self.text_only {
            return Ok(ExitCode::SUCCESS);
        }
        let mut bar = Bar::new("clips");
        let Done { written, kept, finished } =
            prepare_latents::<B::InnerBackend>(self.recipe, &device, &mut |done, all| bar.show(done, all))?;
        bar.end();
        println!("clips     {written} encoded, {kept} were there");
        if !finished {
            eprintln!("stopped; run the same command again to go on");
            return Ok(ExitCode::from(STOPPED));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A progress bar on a terminal, a line now and then elsewhere.
struct Bar {
    what: &'static str,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Bar {
    fn new(what: &'static str) -> Self {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(0).with_style(style).with_message(what));
        Self { what, bar, said: Instant::now() }
    }

    fn show(&mut self, done: usize, all: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(all as u64);
                bar.set_position(done as u64);
            }
            None if done == all || self.said.elapsed().as_secs() >= 10 => {
                eprintln!("{} {done} of {all}", self.what);
                self.said = Instant::now();
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

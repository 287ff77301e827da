//! A discriminator of one's own, from outside the crate: one score per block of frames.
//!
//! `cargo run --release --example own_discriminator -- DIRECTORY` trains three rounds on the
//! built-in world and writes a run below DIRECTORY. Everything follows from the scores' shape `[B,
//! blocks]`: pairs are compared block by block, and every block has an optimality r of its own. No
//! TOML is read, and nothing of the library was changed for it (docs/adding-a-method.md).

mod small_world;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afd::advantage::{PerScore, optimality_per_score};
use afd::data::batch::Batches;
use afd::engine::rounds::RoundState;
use afd::recipe::{Recipe, tables::Kind};
use afd::run::directory::{Environment, RunDirectory};
use afd::session::generate::{Request, generate};
use afd::session::{build, train};
use afd_models::discriminator::Discriminator;
use afd_models::init::initialise;
use afd_models::kernels::Kernels;
use burn::backend::{Autodiff, Flex};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

/// Width of the features of a block.
const WIDTH: usize = 16;
/// Clips of the teacher and of the student that are scored after training.
const SHOWN: usize = 4;

/// Reads every block of frames on its own.
#[derive(Module, Debug)]
pub struct BlockDiscriminator<B: Backend> {
    /// Latents of a block to features.
    read: Linear<B>,
    /// Mean text embedding to weights of the features.
    prompt: Linear<B>,
    /// Features to a score that does not read the prompt.
    score: Linear<B>,
    #[module(skip)]
    frames_per_block: usize,
}

impl<B: Backend> BlockDiscriminator<B> {
    /// Unset weights for the clips of `recipe`.
    fn new(recipe: &Recipe, device: &B::Device) -> Self {
        let [_, channels, height, width] = recipe.latent_shape;
        let frames_per_block = recipe.student.frames_per_block;
        let values = frames_per_block * channels * height * width;
        Self {
            read: LinearConfig::new(values, WIDTH).init(device),
            prompt: LinearConfig::new(recipe.student.text_width, WIDTH).init(device),
            score: LinearConfig::new(WIDTH, 1).init(device),
            frames_per_block,
        }
    }
}

/// All that the library asks of a discriminator.
impl<B: Kernels> Discriminator<B> for BlockDiscriminator<B> {
    fn score(&self, clips: Tensor<B, 5>, text: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, frames, channels, height, width] = clips.dims();
        let blocks = frames / self.frames_per_block;
        let values = self.frames_per_block * channels * height * width;
        // [B, F, C, H, W] -> [B, blocks, values of a block] -> [B, blocks, WIDTH]
        let features = relu(self.read.forward(clips.reshape([batch, blocks, values])));
        // [B, L, text_width] -> [B, 1, WIDTH]
        let asked = self.prompt.forward(text.mean_dim(1));
        let scores = self.score.forward(features.clone()) + (features * asked).sum_dim(2);
        // [B, blocks, 1] -> [B, blocks]
        scores.reshape([batch, blocks])
    }
}

/// What came of it.
pub struct Outcome {
    /// The run's directory.
    pub run: PathBuf,
    /// Where training ended.
    pub state: RoundState,
    /// Optimality of new clips of the student for a prompt, `[1][SHOWN][blocks]`.
    pub r: PerScore,
}

/// Trains three rounds, one of warm-up and two alternations; the run is written below `directory`.
///
/// # Errors
/// Files that cannot be written.
pub fn train_and_score(directory: &Path) -> Result<Outcome, Box<dyn Error>> {
    let settings = small_world::settings(Kind::Distill, "own-discriminator");
    let recipe = Recipe::from_settings(settings, Path::new("own_discriminator"))?;
    let device = Default::default();
    let batches = Arc::new(Batches::new(&recipe, &device)?);
    let seed = recipe.settings.seed;
    let model = build::model_with::<Autodiff<Flex>, _>(&recipe, &device, |_student| {
        let unset = BlockDiscriminator::new(&recipe, &device);
        initialise(unset, seed, "discriminator")
    })?;
    let environment = Environment::current("flex", "CPU", seed);
    let name = &recipe.settings.name;
    let run = RunDirectory::create(directory, name, &recipe.resolved()?, &environment)?;
    let trained = train::train_model(&recipe, &run, &batches, &device, model)?;

    // New clips of the trained student, scored by the trained discriminator.
    let prompt = recipe.train_prompts[0].clone();
    let request = Request {
        prompt: &prompt,
        samples: SHOWN as u64,
        seed,
        batch: SHOWN,
        frames: recipe.settings.clip.frames,
        latent_shape: recipe.latent_shape,
    };
    let sampler = recipe.settings.sampler.build();
    let student = &trained.model.ema;
    let made = generate(student, &batches, &sampler, &request, &device)?;
    let of_teacher = batches.teacher_clips(&prompt, 0..SHOWN as u64)?;
    let phi = trained
        .model
        .discriminator
        .ok_or("AFD trains a discriminator")?;
    let text = batches.text(std::slice::from_ref(&prompt), SHOWN)?;
    let scores = |clips| {
        let scores = phi.score(batches.encode(clips), text.clone());
        let blocks = scores.dims()[1];
        let scores: Vec<f64> = scores.into_data().iter().collect();
        vec![scores.chunks(blocks).map(<[f64]>::to_vec).collect()]
    };
    let advantage = recipe.settings.afd.advantage_settings();
    Ok(Outcome {
        run: run.path().to_path_buf(),
        state: trained.state,
        r: optimality_per_score(&scores(&made), &scores(&of_teacher), &advantage),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .ok_or("usage: own_discriminator DIRECTORY")?;
    let Outcome { run, state, r } = train_and_score(Path::new(&directory))?;
    println!("{} rounds, written to {}", state.round, run.display());
    for line in std::fs::read_to_string(run.join("metrics.jsonl"))?.lines() {
        let metrics: serde_json::Value = serde_json::from_str(line)?;
        let value = |name: &str| {
            metrics[name]
                .as_f64()
                .map_or("-".into(), |x| format!("{x:.3}"))
        };
        println!(
            "round {}: discriminator loss {}, flow loss {}, pair accuracy {}",
            metrics["step"],
            value("discriminator_loss"),
            value("flow_loss"),
            value("pair_accuracy")
        );
    }
    for (clip, r) in r[0].iter().enumerate() {
        println!("clip {clip}: r of its blocks {r:.3?}");
    }
    Ok(())
}

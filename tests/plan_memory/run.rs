//! A whole run as the recipes for Wan do it, at a size where a process can count its memory: bf16,
//! low-rank factors on student and discriminator, R1 and R2, old policy and reference, blocks run
//! again, one clip at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use afd::data::batch::Batches;
use afd::plan::Plan;
use afd::plan::inputs::PlanInputs;
use afd::recipe::Recipe;
use afd::run::directory::{Environment, RunDirectory};
use afd::session::train::train;
use afd_models::student::StudentConfig;
use afd_models::weights::{HostTensor, to_bytes, wan};
use burn::backend::{Autodiff, Flex};

use crate::MEMORY;

const RECIPE: &str = r#"
kind = "distill"
name = "planned"
[clip]
frames = 9
height = 16
width = 16
frames_per_second = 6.0
[codec]
kind = "pixel"
stride = 1
mean = -0.6
std = 0.4
[text]
kind = "words"
length = 12
width = 16
[student]
checkpoint = "student.safetensors"
frames_per_block = 3
heads = 2
[student.lora]
rank = 16
alpha = 16.0
[teacher]
kind = "world"
samples_per_prompt = 1
[prompts]
train = ["a small red ball is dropped on earth"]
held_out = ["a small blue ball is dropped on jupiter"]
[sampler]
kind = "consistency"
denoising_step_list = [1000, 500]
timestep_shift = 5.0
warp_denoising_step = true
[afd]
alternations = 1
flow_steps = 2 # the optimizer's moments are there in the second one
warmup_steps = 0
prompts_per_alternation = 1
rollouts_per_prompt = 2
teacher_clips_per_prompt = 1
reference_weight = 1e-4
[discriminator]
kind = "registers"
layers = [0, 2]
width = 128
instance_noise = 0.02
r1_weight = 0.01
r2_weight = 0.01
[discriminator.lora]
rank = 8
alpha = 8.0
[run]
precision = "bf16"
recompute_blocks = true
micro_batch = 1
attention_queries = 64
"#;

/// Planned and measured peak of the run, bytes.
pub fn planned_and_measured() -> [u64; 2] {
    let place = tempfile::tempdir().unwrap();
    let path = recipe(place.path());
    let recipe = Recipe::load(&path, &[]).unwrap();
    let planned = Plan::new(PlanInputs::of(&recipe, "flex"), None).peak;
    let environment = Environment::current("flex", "flex", 0);
    let run = RunDirectory::create(
        place.path(),
        "run",
        &recipe.resolved().unwrap(),
        &environment,
    )
    .unwrap();
    let device = Default::default();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let batches = Arc::new(Batches::new(&recipe, &device).unwrap());
    train::<Autodiff<Flex>>(&recipe, &run, &batches, &device).unwrap();
    [planned, (MEMORY.peak_usage() - before) as u64]
}

/// The recipe and the student that it starts from, in `place`.
fn recipe(place: &Path) -> PathBuf {
    let config = StudentConfig {
        width: 64,
        layers: 3,
        heads: 2,
        feed_forward_width: 512,
        latent_channels: 3,
        patch: 2,
        text_width: 16,
        frequency_width: 32,
        ..StudentConfig::wan_1_3b()
    };
    let weights = wan::shapes(&config).into_iter().map(|(name, shape)| {
        let values = vec![0.01; shape.iter().product()];
        (name, HostTensor { shape, values })
    });
    fs::write(
        place.join("student.safetensors"),
        to_bytes(&weights.collect(), &Default::default()).unwrap(),
    )
    .unwrap();
    let path = place.join("recipe.toml");
    fs::write(&path, RECIPE).unwrap();
    path
}

//! Adversarial Flow Distillation on one page: the golden recipe, in plain Burn.
//!
//! `cargo run --release --example afd_in_one_page` prints one JSON line per round, with the keys of
//! a run's `metrics.jsonl`. A test holds every line to `afd distill tests/golden/recipe.toml`
//! within 1e-4. [`distill`] is the algorithm box of docs/method.md G.2; what it calls follows in
//! the order of the box. Numbers such as G.4 are headings of docs/method.md.
//!
//! Networks, prompts, teacher clips, codec and random numbers are the library's. Left out: resume,
//! threads, micro-batches, evaluation, other methods, and other forms of each part.
//! P prompts, K rollouts and M teacher clips a prompt; B clips, F frames, C channels, H x W.

use std::{collections::BTreeMap, error::Error, path::Path};

use afd::advantage::{mean, population_std};
use afd::data::batch::Batches;
use afd::noise::{Noise, Purpose};
use afd::recipe::Recipe;
use afd_models::discriminator::{ConvConfig, ConvDiscriminator, Discriminator};
use afd_models::init::initialise;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::passes::{CleanContext, prefill, velocities};
use afd_models::student::{KvCache, Student, Visibility, transformer::Inputs};
use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::tensor::{activation::softplus, backend::AutodiffBackend};
use serde_json::{Value, json};

/// Where clips, prompts and sizes of the student come from; the constants below are its too.
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/recipe.toml");
const SEED: u64 = 3;
const P: usize = 2;
const K: usize = 4;
const M: usize = 2;
/// Latents of a clip, `[F, C, H, W]`.
const SHAPE: [usize; 4] = [6, 12, 4, 4];
const F: usize = SHAPE[0];
const FRAMES_PER_BLOCK: usize = 2;
/// The few-step list 1000, 500 after shift 5 (A.3); the update has the same noise levels (G.5).
const SIGMAS: [f32; 2] = [1.0, 5.0 * 0.5 / (1.0 + 4.0 * 0.5)];
const WARM_UP_ROUNDS: u64 = 3;
const WARM_UP_ACCURACY: f64 = 0.85;
const ALTERNATIONS: u64 = 20;
const ADVANTAGE_CLIP: f64 = 2.0;
const BETA: f64 = 1.0;
const REFERENCE_WEIGHT: f64 = 1e-3;
const OLD_POLICY_DECAY: f64 = 0.9;
const EMA_DECAY: f64 = 0.9;
const LEARNING_RATE: f64 = 1e-3;
const CLIP_NORM: f64 = 1.0;
const INSTANCE_NOISE: f64 = 0.02;
const AUGMENT_SHIFT: usize = 1;
const AUGMENT_BRIGHTNESS: f32 = 0.1;
const PENALTY_SIZE: f64 = 0.05;
const R1_WEIGHT: f64 = 0.01;
const R2_WEIGHT: f64 = 0.01;

/// What a round measured, by name.
type Metrics = BTreeMap<&'static str, f64>;

fn main() -> Result<(), Box<dyn Error>> {
    distill::<Autodiff<Flex>>(&Default::default(), |line| println!("{line}")).map(drop)
}

/// Distills the built-in world into a fresh student; `log` hears one line per round. Gives back the
/// EMA of the student, which is what one evaluates.
pub fn distill<B: Trainable>(
    device: &B::Device,
    mut log: impl FnMut(Value),
) -> Result<Student<B>, Box<dyn Error>> {
    // INPUT: prompts and a black box; theta = theta_old = theta_ref; discriminator phi.
    let recipe = Recipe::load(Path::new(RECIPE), &[])?;
    let data = Batches::<B>::new(&recipe, device)?;
    let mut student = initialise(Student::new(&recipe.student, device), SEED, "student");
    let reference = student.clone().no_grad();
    let (mut old, mut ema) = (reference.clone(), reference.clone());
    let (channels, width) = (vec![8, 8, 8], 8);
    let pyramid = ConvConfig { channels, width };
    let phi = ConvDiscriminator::new(&pyramid, SHAPE, recipe.student.text_width, device);
    let mut phi = initialise(phi, SEED, "discriminator");
    let (mut student_adamw, mut phi_adamw) = (adamw(0.9).init(), adamw(0.5).init());

    let (mut round, mut warm_up, mut running) = (0, None, None);
    while warm_up.is_none_or(|rounds| round < rounds + ALTERNATIONS) {
        let mut metrics = Metrics::new();
        // 1 ROLLOUT: the same prompts to the teacher and, by the old policy, to the student.
        let prompts = data.prompts_of(round, P)?;
        let text = data.text(&prompts, K)?;
        let teacher = data.teacher_latents(&prompts, round, M)?;
        let rollouts = roll_out(&old, text.clone(), round);

        // 2 SCORE finished clips, with phi as it is before its update. Teacher clips were 8-bit
        // video and went through the codec, so rollouts do too: else phi sees rounding (E.7).
        let both = Tensor::cat(vec![teacher, data.round_trip(rollouts.clone())], 0);
        let texts = Tensor::cat(vec![data.text(&prompts, M)?, text.clone()], 0);
        let scores = phi.score(both.clone(), texts.clone()).detach();
        let accuracy = pair_accuracy(gaps(scores.clone()));
        running = Some(running.map_or(accuracy, |average: f64| (average + accuracy) * 0.5));

        // 3 ADVANTAGE, as the optimality r in [0, 1].
        let scores = host(sides(scores)[1].clone());
        let r: Vec<f64> = scores.chunks(K).flat_map(optimality).collect();

        // 4 D STEP on the same pairs.
        let loss = discriminator_loss(&phi, both, texts, round, &mut metrics);
        let norm = metrics.entry("discriminator_gradient_norm").or_default();
        phi = descend(&mut phi_adamw, phi, loss, norm);

        // 5 G STEP: the forward process on the student's own clips.
        if let Some(rounds) = warm_up {
            let policies = [&student, &old, &reference];
            let loss = flow_loss(policies, rollouts, &r, text, round, &mut metrics);
            let norm = metrics.entry("student_gradient_norm").or_default();
            student = descend(&mut student_adamw, student, loss, norm);

            // 6 OLD, EMA (F.5).
            let step = (round - rounds + 1) as f64;
            old = blend(old, &student, OLD_POLICY_DECAY);
            ema = blend(ema, &student, ((1.0 + step) / (10.0 + step)).min(EMA_DECAY));
        }

        // 7 MONITOR
        round += 1;
        let spreads: Vec<f64> = scores.chunks(K).map(population_std).collect();
        metrics.insert("fresh_pair_accuracy", accuracy);
        metrics.insert("score_std", mean(&spreads));
        metrics.insert("mean_r", mean(&r));
        metrics.insert("r_std", population_std(&r));
        let mut line = json!(metrics);
        line["step"] = json!(round);
        line["phase"] = json!(warm_up.map_or("warm-up", |_| "alternation"));
        log(line);
        // The student is frozen until phi tells the sides apart, or the warm-up's time is up.
        let over = running >= Some(WARM_UP_ACCURACY) || round >= WARM_UP_ROUNDS;
        warm_up = warm_up.or(over.then_some(round));
    }
    Ok(ema)
}

/// 1 ROLLOUT (B.4): clips `[P * K, F, C, H, W]` of a policy, block by block through its KV cache.
fn roll_out<B: Kernels>(policy: &Student<B>, text: Tensor<B, 3>, round: u64) -> Tensor<B, 5> {
    let (device, text) = (text.device(), policy.text_cache(text));
    // A stream per clip: a clip does not depend on the batch that it is made in.
    let mut streams = streams(Purpose::Rollout, round, 0, P * K);
    let (mut blocks, mut cache) = (Vec::new(), None::<KvCache<B>>);
    for block in policy.layout(F).blocks() {
        let frames: Vec<usize> = block.clone().collect();
        // A block attends to itself and to all that the cache holds.
        let visibility = Visibility::rollout(block.start, block.len());
        let forward = |x: Tensor<B, 5>, sigma: f32| {
            let inputs = Inputs {
                timesteps: &vec![1000.0 * sigma; P * K * block.len()],
                frames: &frames,
                text: &text,
                past: cache.as_ref(),
                visibility: &visibility,
            };
            policy.forward(x, &inputs)
        };
        let mut noise = || normals(&mut streams, 1, block.len(), &device);
        let mut x = noise();
        for (step, sigma) in SIGMAS.into_iter().enumerate() {
            // The clean estimate, noised again to the next level (A.4).
            let clean = x.clone() - forward(x, sigma).0 * sigma;
            x = match SIGMAS.get(step + 1) {
                Some(&next) => clean * (1.0 - next) + noise() * next,
                None => clean,
            };
        }
        if block.end < F {
            // A pass at t = 0 commits the clean block; nothing attends to the last one.
            let own = forward(x.clone(), 0.0).1;
            let longer = cache.map(|cache| cache.append(own.clone()));
            cache = longer.or(Some(own));
        }
        blocks.push(x);
    }
    Tensor::cat(blocks, 1)
}

/// The teacher clips' and the rollouts' of values `[P * (M + K), 1]`: `[P, M]` and `[P, K]`.
fn sides<B: Backend>(both: Tensor<B, 2>) -> [Tensor<B, 2>; 2] {
    let teacher = both.clone().slice_dim(0, 0..P * M).reshape([P, M]);
    let student = both.slice_dim(0, P * M..P * (M + K)).reshape([P, K]);
    [teacher, student]
}

/// `s_T - s_S` of every pair of a prompt, `[P, M, K]`, of scores `[P * (M + K), 1]`.
fn gaps<B: Backend>(scores: Tensor<B, 2>) -> Tensor<B, 3> {
    let [teacher, student] = sides(scores);
    teacher.unsqueeze_dim::<3>(2) - student.unsqueeze_dim::<3>(1)
}

/// Share of pairs in which the teacher's clip scores higher.
fn pair_accuracy<B: Backend>(gaps: Tensor<B, 3>) -> f64 {
    host(gaps).iter().filter(|gap| **gap > 0.0).count() as f64 / (P * M * K) as f64
}

/// 3 ADVANTAGE (F.2, G.4): r of one prompt's rollouts by their scores. Its mean is one half: else
/// the student is pulled to, or pushed from, all of its own clips (F.1 i).
fn optimality(scores: &[f64]) -> Vec<f64> {
    let (centre, std) = (mean(scores), population_std(scores) + 1e-4);
    let clipped = |s: &f64| ((s - centre) / std).clamp(-ADVANTAGE_CLIP, ADVANTAGE_CLIP);
    let clipped: Vec<f64> = scores.iter().map(clipped).collect();
    // Clipping moved the mean: centre again, and shrink what that takes over the clip.
    let advantages = clipped.iter().map(|a| a - mean(&clipped));
    let larger = |most: f64, a: f64| most.max(a.abs());
    let most = advantages.clone().fold(ADVANTAGE_CLIP, larger);
    advantages.map(|a| 0.5 + a / (2.0 * most)).collect()
}

/// 4 D STEP (E.5): Bradley-Terry on all pairs of a prompt, with penalties R1 and R2. `clips` are
/// the teacher's and then the rollouts, `text` their prompts.
fn discriminator_loss<B: Kernels>(
    phi: &ConvDiscriminator<B>,
    clips: Tensor<B, 5>,
    text: Tensor<B, 3>,
    round: u64,
    metrics: &mut Metrics,
) -> Tensor<B, 1> {
    // A stream per prompt and side. Both sides are augmented alike, in one batch: nothing but
    // content may tell them apart (E.7).
    let noise = |(side, count): (u64, usize)| {
        let mut streams = streams(Purpose::InstanceNoise, round, side << 32, P);
        normals(&mut streams, count, F, &text.device()) * INSTANCE_NOISE
    };
    let clips = augmented(clips, round) + Tensor::cat([(0, M), (1, K)].map(noise).into(), 0);
    let mut streams = streams(Purpose::Penalty, round, 2 << 32, P);
    let direction = [M, K].map(|count| normals(&mut streams, count, F, &text.device()));
    let moved = clips.clone() + Tensor::cat(direction.into(), 0) * PENALTY_SIZE;
    let scores = phi.score(clips, text.clone());
    let slopes = (phi.score(moved, text) - scores.clone()) / PENALTY_SIZE;

    let gaps = gaps(scores);
    let loss = softplus(-gaps.clone(), 1.0).mean();
    let [r1, r2] = sides(slopes.square()).map(|squares| squares.mean());
    metrics.insert("discriminator_loss", loss.clone().into_scalar().elem());
    metrics.insert("r1", r1.clone().into_scalar().elem());
    metrics.insert("r2", r2.clone().into_scalar().elem());
    metrics.insert("score_gap", gaps.clone().mean().into_scalar().elem());
    metrics.insert("pair_accuracy", pair_accuracy(gaps));
    loss + (r1 * R1_WEIGHT + r2 * R2_WEIGHT) * 0.5
}

/// Clips moved by whole latent pixels and made brighter or darker, all by the same; what moves in
/// is the mean colour, 0.
fn augmented<B: Backend>(clips: Tensor<B, 5>, round: u64) -> Tensor<B, 5> {
    let mut draw = Noise::new(SEED, Purpose::Augmentation, round, 0);
    // Where the moved clips begin in the padded ones.
    let [row, column] = [0; 2].map(|_| 2 * AUGMENT_SHIFT - draw.below(2 * AUGMENT_SHIFT + 1));
    let brightness = 1.0 + AUGMENT_BRIGHTNESS * draw.between(-1.0, 1.0);
    let padded = clips.pad([(AUGMENT_SHIFT, AUGMENT_SHIFT); 2], 0.0);
    let rows = padded.slice_dim(3, row..row + SHAPE[2]);
    rows.slice_dim(4, column..column + SHAPE[3]) * brightness
}

/// 5 G STEP (F.1, F.3, G.3, G.6): the student's loss on its noised rollouts. `policies` are theta,
/// theta_old and theta_ref.
fn flow_loss<B: Kernels>(
    policies: [&Student<B>; 3],
    clips: Tensor<B, 5>,
    r: &[f64],
    text: Tensor<B, 3>,
    round: u64,
    metrics: &mut Metrics,
) -> Tensor<B, 1> {
    let (device, blocks) = (clips.device(), F / FRAMES_PER_BLOCK);
    // The forward process: every block of every clip has a noise level and noise of its own.
    let mut sigmas = Vec::new();
    for mut stream in streams(Purpose::Sigma, round, 0, P * K) {
        let level = |_| [SIGMAS[stream.below(SIGMAS.len())]; FRAMES_PER_BLOCK];
        sigmas.extend((0..blocks).flat_map(level));
    }
    let sigma = Tensor::<B, 1>::from_floats(&sigmas[..], &device).reshape([P * K, F, 1, 1, 1]);
    let mut streams = streams(Purpose::ForwardProcess, round, 0, P * K);
    let noise = normals(&mut streams, 1, F, &device);
    let noisy = clips.clone() + (noise - clips.clone()) * sigma.clone();

    // A noisy block attends to itself and to clean earlier blocks, as in a rollout; the clean pass
    // is detached from the graph (G.3).
    let [velocity, old, reference] = policies.map(|policy| {
        let frozen = policy.clone().no_grad();
        let frozen_text = frozen.text_cache(text.clone());
        let cache = prefill(&frozen, clips.clone(), 0.0, &frozen_text);
        let context = CleanContext::on(policy, F, Some(cache));
        let text = policy.text_cache(text.clone());
        velocities(policy, noisy.clone(), &sigmas, &text, &context)
    });

    // Squared error of an implicit policy's clean estimate, over the mean error of its block (F.3).
    let error = |velocity: Tensor<B, 5>| {
        let error = noisy.clone() - velocity * sigma.clone() - clips.clone();
        // [B, F, C, H, W] -> [B, blocks, values of a block] -> [B, blocks, 1] -> [B, F, 1, 1, 1]
        let values = SHAPE.iter().product::<usize>() / blocks;
        let size = error.clone().detach().abs();
        let size = size.reshape([P * K, blocks, values]).mean_dim(2);
        let size = size.repeat_dim(2, FRAMES_PER_BLOCK).clamp_min(1e-5);
        error.square() / size.reshape([P * K, F, 1, 1, 1])
    };
    // v+ = v_old + beta (v_theta - v_old) and v- = v_old - beta (v_theta - v_old)
    let step = (velocity.clone() - old.clone()) * BETA;
    let (positive, negative) = (old.clone() + step.clone(), old.clone() - step);
    let r = Tensor::<B, 1>::from_floats(r, &device).reshape([P * K, 1, 1, 1, 1]);
    let both = r.clone() * error(positive) + (-r + 1.0) * error(negative);
    let loss = both.mean() * (ADVANTAGE_CLIP / BETA);
    let prior = (velocity.clone() - reference).square().mean();
    let shift = (velocity - old).square().mean();
    metrics.insert("flow_loss", loss.clone().into_scalar().elem());
    metrics.insert("policy_shift", shift.into_scalar().elem());
    metrics.insert("prior", prior.clone().into_scalar().elem());
    loss + prior * REFERENCE_WEIGHT
}

/// AdamW. Its large epsilon keeps rounding noise of tiny gradients from becoming full steps.
fn adamw(beta_1: f32) -> AdamWConfig {
    let adamw = AdamWConfig::new().with_beta_1(beta_1).with_beta_2(0.99);
    adamw.with_epsilon(1e-2).with_weight_decay(1e-4)
}

/// One AdamW step, with gradients that are scaled down together where their global norm is above
/// the limit; `norm` becomes what they had.
fn descend<B: Trainable, N: AutodiffModule<B>>(
    adamw: &mut impl Optimizer<N, B>,
    module: N,
    loss: Tensor<B, 1>,
    norm: &mut f64,
) -> N {
    let gradients = GradientsParams::from_grads(loss.backward(), &module);
    let mut scaled = Scaled(gradients, 1.0, 0.0);
    module.visit(&mut scaled);
    *norm = scaled.2.sqrt();
    scaled.1 = (CLIP_NORM / *norm).min(1.0);
    module.visit(&mut scaled);
    adamw.step(LEARNING_RATE, module, scaled.0)
}

/// Multiplies gradients with a factor, and adds up the squares that they had.
struct Scaled(GradientsParams, f64, f64);

impl<B: AutodiffBackend> ModuleVisitor<B> for Scaled {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        if let Some(gradient) = self.0.remove::<B::InnerBackend, N>(param.id) {
            self.2 += gradient.clone().square().sum().into_scalar().elem::<f64>();
            self.0.register(param.id, gradient * self.1);
        }
    }
}

/// 6 OLD, EMA (F.5): `decay * lagging + (1 - decay) * leading`, weight by weight.
fn blend<B: Backend, N: Module<B>>(lagging: N, leading: &N, decay: f64) -> N {
    let mut weights = Weights(Vec::new(), decay);
    leading.visit(&mut weights);
    weights.0.reverse();
    lagging.map(&mut weights)
}

/// Leading weights that have not been blended in yet, flattened, the next one last; and the decay.
struct Weights<B: Backend>(Vec<Tensor<B, 1>>, f64);

impl<B: Backend> ModuleVisitor<B> for Weights<B> {
    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        self.0.push(param.val().detach().flatten(0, N - 1));
    }
}

impl<B: Backend> ModuleMapper<B> for Weights<B> {
    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        let (leading, decay) = (self.0.pop(), self.1);
        let leading = leading.expect("both modules have the same weights");
        param.map(|weight| leading.reshape(weight.shape()) * (1.0 - decay) + weight * decay)
    }
}

/// Streams of random numbers: each is a pure function of seed, purpose, round and number.
fn streams(purpose: Purpose, round: u64, first: u64, count: usize) -> Vec<Noise> {
    let stream = |number| Noise::new(SEED, purpose, round, first + number);
    (0..count as u64).map(stream).collect()
}

/// Standard normal clips, `count` from every stream: `[streams * count, frames, C, H, W]`.
fn normals<B: Backend>(
    streams: &mut [Noise],
    count: usize,
    frames: usize,
    device: &B::Device,
) -> Tensor<B, 5> {
    let [_, channels, height, width] = SHAPE;
    let shape = [streams.len() * count, frames, channels, height, width];
    let values = count * frames * channels * height * width;
    let values: Vec<f32> = streams.iter_mut().flat_map(|s| s.normals(values)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values of a tensor.
fn host<B: Backend, const N: usize>(tensor: Tensor<B, N>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

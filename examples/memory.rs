//! Peak memory and time of a forward and backward pass, plain and as this crate does it. One
//! measurement per process: the peak is the process's.
//!
//! `scripts/memory-table.sh` makes the table of docs/results/memory.md:
//!
//! ```text
//! cargo run --release --example memory -- attention|transformer|registers plain|ours TOKENS
//! ```

use std::process::ExitCode;
use std::time::Instant;

use afd_models::discriminator::pieces::{Pieces, ScoreBatch};
use afd_models::discriminator::{Discriminator, RegisterConfig, RegisterDiscriminator};
use afd_models::init::initialise;
use afd_models::kernels::{Attention, Kernels};
use afd_models::noise::{Noise, Purpose};
use afd_models::student::segments::{Pass, Past, Segments, velocity};
use afd_models::student::{BlockLayout, Limits, Student, StudentConfig, Visibility};
use burn::backend::{Autodiff, Flex};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::softplus;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

type B = Autodiff<Flex>;

/// Tokens of a latent frame: 32 x 32 pixels in patches of 2.
const TOKENS_PER_FRAME: usize = 256;
const WIDTH: usize = 128;
const HEADS: usize = 2;

fn random<const N: usize>(shape: [usize; N], index: u64) -> Tensor<Flex, N> {
    let values = Noise::new(1, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn layout(tokens: usize) -> BlockLayout {
    BlockLayout {
        frames: tokens / TOKENS_PER_FRAME,
        frames_per_block: 1,
        window_frames: 0,
        sink_frames: 0,
    }
}

/// Self-attention of one clip under the block-causal mask, gradients for queries, keys and values.
fn attend(tokens: usize, plain: bool) {
    let [queries, keys, values] = [0, 1, 2]
        .map(|index| Tensor::<B, 3>::from_inner(random([1, tokens, WIDTH], index)).require_grad());
    let visibility = Visibility::block_causal(&layout(tokens));
    let output = if plain {
        let split = |x: &Tensor<B, 3>| {
            x.clone()
                .reshape([1, tokens, HEADS, WIDTH / HEADS])
                .swap_dims(1, 2)
        };
        let block = |token: usize| token / TOKENS_PER_FRAME;
        let hidden: Vec<bool> = (0..tokens * tokens)
            .map(|place| block(place % tokens) > block(place / tokens))
            .collect();
        let mask = Tensor::<B, 4, Bool>::from_data(
            TensorData::new(hidden, [1, 1, tokens, tokens]),
            &Default::default(),
        );
        attention(
            split(&queries),
            split(&keys),
            split(&values),
            Some(mask),
            None,
            AttentionModuleOptions::default(),
        )
        .swap_dims(1, 2)
        .reshape([1, tokens, WIDTH])
    } else {
        let (queries, keys, values) = (queries.clone(), keys.clone(), values.clone());
        B::attend(
            Attention {
                queries,
                keys,
                values,
                past: None,
                heads: HEADS,
                query_chunk: Limits::default().attention_queries,
            },
            &visibility,
        )
    };
    let gradients = output.square().sum().backward();
    for leaf in [queries, keys, values] {
        assert!(leaf.grad(&gradients).is_some());
    }
}

/// A student of 8 blocks.
fn sizes() -> StudentConfig {
    StudentConfig {
        width: WIDTH,
        layers: 8,
        heads: HEADS,
        feed_forward_width: 4 * WIDTH,
        latent_channels: 4,
        patch: 2,
        text_width: 16,
        frequency_width: 64,
        frames_per_block: 1,
        window_frames: 0,
        sink_frames: 0,
    }
}

/// Velocity of a student, gradients for all weights; plain: one graph (with our attention), ours:
/// block by block.
fn transformer(tokens: usize, plain: bool) {
    let student = initialise(
        Student::<B>::new(&sizes(), &Default::default()),
        1,
        "student",
    );
    let layout = layout(tokens);
    let pass = Pass {
        latents: random([1, layout.frames, 4, 32, 32], 0),
        timesteps: vec![500.0; layout.frames],
        frames: (0..layout.frames).collect(),
        visibility: Visibility::block_causal(&layout),
        past: Past::Nothing,
    };
    let text = random([1, 8, 16], 1);
    if plain {
        let mut gradients = velocity(&student, text, &[pass]).square().mean().backward();
        GradientsParams::from_module::<B, _>(&mut gradients, &student);
        return;
    }
    let mut segments = Segments::new(&student, text, vec![pass]);
    let mut kept = Vec::new();
    for number in 0..Segments::graphs(&student) {
        let scalar = if number == 0 {
            segments.velocity(&student).square().mean()
        } else {
            segments.graph(&student, number)
        };
        let mut gradients = scalar.backward();
        segments.absorb(&mut gradients);
        kept.push(GradientsParams::from_module::<B, _>(
            &mut gradients,
            &student,
        ));
    }
}

/// A Bradley-Terry loss of one teacher clip and one rollout, scored by registers after the fourth
/// and the last of 8 blocks, gradients for all weights; plain: one graph (with our attention),
/// ours: one clip and one block at a time.
fn registers(tokens: usize, plain: bool) {
    let limits = Limits {
        recompute_blocks: !plain,
        ..Limits::default()
    };
    let config = RegisterConfig {
        layers: vec![3, 7],
        feed_forward_width: 4 * WIDTH,
        sigma: 0.0,
    };
    let mut discriminator = initialise(
        RegisterDiscriminator::<B>::new(&config, &sizes(), &Default::default()),
        1,
        "discriminator",
    );
    discriminator.backbone = discriminator.backbone.within(limits);
    let frames = tokens / TOKENS_PER_FRAME;
    let batch = ScoreBatch {
        clips: random([2, frames, 4, 32, 32], 0),
        text: random([2, 8, 16], 1),
    };
    let loss = |scores: &Tensor<B, 2>| {
        softplus(
            scores.clone().slice_dim(0, 1..2) - scores.clone().slice_dim(0, 0..1),
            1.0,
        )
        .mean()
    };
    if plain {
        let scores = discriminator.score(
            Tensor::from_inner(batch.clips),
            Tensor::from_inner(batch.text),
        );
        let mut gradients = loss(&scores).backward();
        GradientsParams::from_module::<B, _>(&mut gradients, &discriminator);
        return;
    }
    let mut pieces = Pieces::new(&discriminator, vec![batch]);
    let mut kept = GradientsAccumulator::new();
    for number in 0..Pieces::graphs(&discriminator, 2) {
        let scalar = if number == 0 {
            loss(&pieces.scores()[0])
        } else {
            pieces.graph(&discriminator, number)
        };
        let mut gradients = scalar.backward();
        pieces.absorb(&mut gradients);
        kept.accumulate(
            &discriminator,
            GradientsParams::from_module::<B, _>(&mut gradients, &discriminator),
        );
    }
}

/// A line of /proc/self/status in MiB.
fn status(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        / 1024.0
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let request = match &words[..] {
        [what, how, tokens] => tokens
            .parse()
            .ok()
            .filter(|tokens| tokens % TOKENS_PER_FRAME == 0 && *tokens > 0)
            .map(|tokens| (what, how, tokens)),
        _ => None,
    };
    let (work, how, tokens): (fn(usize, bool), _, _) = match request {
        Some((what, how, tokens))
            if what == "attention" && ["plain", "ours"].contains(&how.as_str()) =>
        {
            (attend, how, tokens)
        }
        Some((what, how, tokens))
            if what == "transformer" && ["plain", "ours"].contains(&how.as_str()) =>
        {
            (transformer, how, tokens)
        }
        Some((what, how, tokens))
            if what == "registers" && ["plain", "ours"].contains(&how.as_str()) =>
        {
            (registers, how, tokens)
        }
        _ => {
            eprintln!(
                "usage: memory attention|transformer|registers plain|ours TOKENS (a multiple of \
                    {TOKENS_PER_FRAME})"
            );
            return ExitCode::from(2);
        }
    };
    let before = status("VmRSS");
    let begin = Instant::now();
    work(tokens, how == "plain");
    println!(
        "{:.1} MiB {:.0} ms",
        status("VmHWM") - before,
        begin.elapsed().as_secs_f64() * 1000.0
    );
    ExitCode::SUCCESS
}

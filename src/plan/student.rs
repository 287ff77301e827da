//! The student's updates: what they hold and compute.

use afd_models::student::Visibility;

use super::activations::{self, Peak, Run};
use super::inputs::{PlanInputs, Pretrain, Trajectories};
use super::phase::{Part, Phase, Rounds, part};
use super::transformer::{Computed, Flops, cache_values};
use super::weights::Weights;

/// The student's run over `clips` clips, with its factors.
pub(super) fn run<'a>(inputs: &'a PlanInputs, clips: usize, visibility: &'a Visibility) -> Run<'a> {
    Run {
        config: &inputs.student,
        f32_values: (4 / inputs.activation_bytes as u64).max(1),
        lora: inputs.student_lora.as_ref(),
        clips,
        tokens_per_frame: inputs.tokens_per_frame(),
        visibility,
        passes: 1,
        text_length: inputs.text_length,
        attention_queries: inputs.attention_queries,
        kernels: inputs.kernels,
        trained: true,
    }
}

/// A student's update on `clips` clips with its gradients. The peak is at the top of the backward
/// pass, or at its bottom, where less is kept and the gradients of all blocks exist.
pub(super) fn update(inputs: &PlanInputs, weights: &Weights, run: &Run, clips: usize) -> Vec<Part> {
    let depth = inputs.student.layers;
    let Peak {
        boundaries,
        graphs,
        backward,
    } = if inputs.recompute_blocks {
        activations::block_by_block(run, depth)
    } else {
        activations::plain(run, depth)
    };
    let shrinks = if inputs.recompute_blocks {
        (depth as u64 - 1) * run.boundary()
    } else {
        (depth as u64 - 1) * run.block()
    };
    let bytes = inputs.activation_bytes as u64;
    let of_block = weights.block_gradients;
    let others = (depth as u64 - 1) * of_block;
    let at_top = shrinks * bytes > others;
    let (boundaries, graphs) = match (at_top, inputs.recompute_blocks) {
        (true, _) => (boundaries, graphs),
        (false, true) => (boundaries - shrinks, graphs),
        (false, false) => (boundaries, graphs - shrinks),
    };
    vec![
        part(
            if inputs.recompute_blocks {
                "graph of one block"
            } else {
                "graph of all blocks"
            },
            graphs * bytes,
        ),
        part("tokens between blocks", boundaries * bytes),
        part("backward pass of a block", backward * bytes),
        part(
            "student's gradients",
            if at_top { of_block } else { of_block + others },
        ),
        gradients_before(weights, run, clips),
    ]
}

/// Gradients that wait while micro-batches of `clips` clips follow each other.
pub(super) fn gradients_before(weights: &Weights, run: &Run, clips: usize) -> Part {
    let bytes = if run.clips < clips {
        weights.student_gradients
    } else {
        0
    };
    part("gradients of the clips before", bytes)
}

/// The student with its factors.
pub(super) fn student(inputs: &PlanInputs) -> Computed<'_> {
    Computed {
        config: &inputs.student,
        lora: inputs.student_lora.as_ref(),
        tokens_per_frame: inputs.tokens_per_frame(),
    }
}

/// An update's operations, given those of its forward pass.
pub(super) fn update_flops(inputs: &PlanInputs, forward: Flops) -> Flops {
    let again = if inputs.recompute_blocks {
        forward
    } else {
        Flops::default()
    };
    forward
        .plus(forward.backward(inputs.student_lora.is_none()))
        .plus(again)
}

/// Flow matching on teacher clips, or on the student's own trajectories.
pub(super) fn supervised(inputs: &PlanInputs, weights: &Weights, pretrain: &Pretrain) -> Phase {
    let Pretrain {
        batch,
        micro_batch,
        teacher_forcing,
        ..
    } = *pretrain;
    let layout = inputs.layout();
    let causal = Visibility::block_causal(&layout);
    let visibility = if teacher_forcing {
        Visibility::teacher_forcing(&layout)
    } else {
        causal.clone()
    };
    let run = Run {
        passes: if teacher_forcing { 2 } else { 1 },
        ..run(inputs, micro_batch, &visibility)
    };
    let student = student(inputs);
    let mut flops = student.forward(&visibility);
    if teacher_forcing {
        flops = flops.plus(student.forward(&causal));
    }
    let mut parts = update(inputs, weights, &run, batch);
    // Clips, context, noise and state, in f32.
    parts.push(part(
        "latents and noise",
        4 * 4 * (batch * inputs.latent_values()) as u64,
    ));
    Phase {
        rounds: Rounds::Later,
        name: "supervised update".into(),
        parts,
        flops: update_flops(inputs, flops).times(batch as f64),
    }
}

/// The many-step clips of a student that learns from its own, `batch` clips in all: each
/// trajectory is shown at every level of the few-step sampler.
pub(super) fn trajectories(inputs: &PlanInputs, batch: usize, of: &Trajectories) -> Phase {
    let layout = inputs.layout();
    let block = layout.frames_per_block.min(layout.frames);
    let visibility = Visibility::rollout(layout.frames - block, block);
    let run = run(inputs, of.at_once, &visibility);
    let bytes = inputs.activation_bytes as u64;
    let cache = |frames: usize| {
        let tokens = of.at_once * frames * inputs.tokens_per_frame();
        cache_values(&inputs.student, tokens) * bytes
    };
    let latents = inputs.latent_values();
    let parts = vec![
        part(
            "keys and values of the rollouts",
            cache(layout.frames + layout.window_frames.min(layout.frames)),
        ),
        part(
            "keys and values of the prompts",
            cache_values(&inputs.student, of.at_once * inputs.text_length) * bytes,
        ),
        part(
            "forward pass of a block",
            (run.forward() + run.outside()) * bytes,
        ),
        // By blocks, and joined.
        part(
            "states on the way",
            4 * 2 * (of.at_once * of.steps * latents) as u64,
        ),
        // Clips and noise, by parts and joined.
        part("latents and noise", 4 * 4 * (batch * latents) as u64),
    ];
    let flops = student(inputs).rollout(&layout, [of.steps as f64; 2], false);
    Phase {
        rounds: Rounds::Later,
        name: "trajectories".into(),
        parts,
        flops: flops.times((batch / of.levels) as f64),
    }
}

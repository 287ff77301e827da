//! The rollouts of a part, in micro-batches.

use std::ops::Range;

use afd_models::kernels::Kernels;
use afd_models::student::Student;
use burn::prelude::*;

use super::setup::Setup;
use crate::engine::shards::micro_batches;
use crate::flow::sampler::Sampler;
use crate::rollout::{Generator, Rollout, RolloutNoise};
use crate::run::signals;

/// Rollouts of the clips numbered `clips` of `round` for their text embeddings `[B, L,
/// text_width]`. The policy's KV cache of them is kept if all are made at once, the states on the
/// way if `states`. `None` where a signal asked for a stop before all were made: nothing depends on
/// those that were.
pub fn rollouts<B: Kernels>(
    setup: &Setup<B>,
    policy: &Student<B>,
    text: &Tensor<B, 3>,
    sampler: &Sampler,
    round: u64,
    clips: Range<u64>,
    states: bool,
) -> Option<Rollout<B>> {
    let micro_batches = micro_batches(text.dims()[0], setup.micro_batch);
    let whole = micro_batches.len() == 1;
    let make = |batch: Range<usize>| {
        let numbers = clips.start + batch.start as u64..clips.start + batch.end as u64;
        let noise = RolloutNoise::new(setup.seed, round, numbers);
        let text = policy.text_cache(text.clone().slice_dim(0, batch));
        let generator = Generator {
            student: policy,
            text: &text,
            sampler,
            shape: setup.shape,
            device: &setup.device,
        };
        let mut made = if states {
            generator.rollout_with_states(noise)
        } else {
            generator.rollout(noise)
        };
        made.cache = made.cache.filter(|_| whole);
        made
    };
    let unless_stopped = |batch| (!signals::stop_requested()).then(|| make(batch));
    let made = micro_batches.into_iter().map(unless_stopped);
    let mut made = made.collect::<Option<Vec<_>>>()?;
    if whole {
        return made.pop();
    }
    let level = |level: usize| {
        let states = made.iter().map(|made| made.states[level].clone());
        Tensor::cat(states.collect(), 0)
    };
    let states = (0..made[0].states.len()).map(level).collect();
    let latents = made.into_iter().map(|made| made.latents).collect();
    Some(Rollout {
        latents: Tensor::cat(latents, 0),
        cache: None,
        states,
        clips,
    })
}

//! AFD's student update: DiffusionNFT's forward process on the student's own noised rollouts
//! (docs/method.md F, G.3).

pub mod loss;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::passes::{
    CleanContext, clean_pass, noisy_pass, prefill, timesteps, velocities,
};
use afd_models::student::segments::{Pass, Past};
use afd_models::student::{BlockLayout, KvCache, Student, Visibility};
use burn::prelude::*;

use super::feedback::ScoredPart;
use super::samples::{OldContext, Samples};
use super::setup::Setup;
use super::update::{MicroBatch, Policies, RolloutUpdate};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::rounds::RoundError;
use crate::engine::update::{RunLoss, StudentUpdate, scalar};
use crate::flow::path::{Noised, levels};
use crate::flow::sampler::Sampler;
use crate::flow::schedule::{TrainedLevels, draw_block_sigmas};
use crate::recipe::tables::{AfdTable, Context, OldPolicy};
use loss::{ForwardProcessSettings, loss};

/// Name of the loss in the log.
pub const LOSS: &str = "flow_loss";

/// AFD's student update on rollouts, and on teacher clips with r = 1 where the recipe asks for
/// them.
pub struct ForwardProcess<B: Trainable> {
    setup: Arc<Setup<B::InnerBackend>>,
}

impl<B: Trainable> ForwardProcess<B> {
    /// The update of the run that `setup` describes.
    pub fn new(setup: Arc<Setup<B::InnerBackend>>) -> Self {
        Self { setup }
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> RolloutUpdate<B, D> for ForwardProcess<B> {
    fn sampler(&self, _round: u64) -> Sampler {
        self.setup.sampler.clone()
    }

    fn micro_batches(
        &self,
        part: &ScoredPart<B::InnerBackend>,
        r: &[Vec<Vec<f64>>],
        progress: f64,
        policies: &Policies<'_, B>,
    ) -> Result<Vec<Box<dyn MicroBatch<B, D>>>, RoundError> {
        let positives = teacher_positives(&self.setup.afd, progress);
        let samples = Samples::rollouts(part, r).with_teacher_clips(part, positives);
        let micro_batches = samples.micro_batches(&self.setup);
        let compares = self.setup.afd.old_policy == OldPolicy::Lagging;
        // What the old policy reads of the clips is held from one update to the next only if they
        // stay together.
        let holds = compares && micro_batches.len() == 1;
        let boxed = |(_, samples): (Range<usize>, Samples<_>)| -> Box<dyn MicroBatch<B, D>> {
            let old = holds.then(|| OldContext::of(&self.setup, policies.old, &samples));
            Box::new(FlowBatch {
                setup: self.setup.clone(),
                samples,
                old,
            })
        };
        Ok(micro_batches.into_iter().map(boxed).collect())
    }
}

/// Teacher clips per prompt that are learned from when `progress` of the alternations are done.
fn teacher_positives(afd: &AfdTable, progress: f64) -> usize {
    let [from, to] = afd.teacher_positives_span;
    if (from..to).contains(&progress) {
        afd.teacher_positives
    } else {
        0
    }
}

/// Clips of a part, and what the old policy reads of them.
struct FlowBatch<B: Backend> {
    setup: Arc<Setup<B>>,
    samples: Samples<B>,
    old: Option<OldContext<B>>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> MicroBatch<B, D> for FlowBatch<B::InnerBackend> {
    fn clips(&self) -> usize {
        self.samples.clips.len()
    }

    /// Fresh noise levels and noise, and the velocities that the loss compares the student's with.
    fn update(
        &self,
        [round, step]: [u64; 2],
        policies: &Policies<'_, B>,
    ) -> Box<dyn StudentUpdate<B, D>> {
        let Self {
            setup,
            samples,
            old,
        } = self;
        let (clips, sigmas) = noised(setup, samples, round, step);
        let frames = setup.shape[0];
        let context = |student: &Student<_>, cache| {
            if setup.has_clean_context() {
                CleanContext::on(student, frames, cache)
            } else {
                CleanContext::none(student, frames)
            }
        };
        let old_velocity = (setup.afd.old_policy == OldPolicy::Lagging).then(|| {
            let read = || OldContext::of(setup, policies.old, samples);
            let OldContext { text, cache } = old.clone().unwrap_or_else(read);
            let context = context(policies.old, cache);
            velocities(policies.old, clips.state(), &sigmas, &text, &context)
        });
        let reference = policies.reference.map(|reference| {
            let text = reference.text_cache(samples.text.clone());
            let cache = setup
                .has_clean_context()
                .then(|| prefill(reference, samples.latents.clone(), 0.0, &text));
            let context = context(reference, cache);
            let velocity = velocities(reference, clips.state(), &sigmas, &text, &context);
            (velocity, setup.afd.reference_weight)
        });
        Box::new(FlowUpdate {
            clips,
            sigmas,
            r: samples.per_clip(setup, |r| r),
            text: samples.text.clone(),
            old_velocity,
            reference,
            context: setup.afd.context,
            detach_context: setup.afd.detach_context,
            settings: ForwardProcessSettings {
                form: setup.afd.loss,
                beta: setup.afd.beta,
                advantage_clip: setup.afd.advantage_clip,
            },
        })
    }
}

/// The forward process: every block of every clip gets a noise level and noise of its own, from a
/// stream per clip. Also gives the level of every (clip, frame), frame fastest.
fn noised<B: Backend>(
    setup: &Setup<B>,
    samples: &Samples<B>,
    round: u64,
    step: u64,
) -> (Noised<B>, Vec<f32>) {
    let dims = samples.latents.dims();
    let [batch, frames, ..] = dims;
    // Frames at one level have no first block.
    let whole = TrainedLevels {
        first_block: None,
        ..setup.sigmas.clone()
    };
    let (trained, per_block) = if setup.has_clean_context() {
        (&setup.sigmas, setup.frames_per_block)
    } else {
        (&whole, frames)
    };
    let mut sigmas = Vec::with_capacity(batch * frames);
    let mut noise = Vec::with_capacity(dims.iter().product());
    for clip in &samples.clips {
        let stream = |purpose| Noise::new(setup.seed, purpose, round, step << 32 | clip);
        let mut draw = stream(Purpose::Sigma);
        sigmas.extend(draw_block_sigmas(
            trained,
            setup.shift,
            frames,
            per_block,
            &mut draw,
        ));
        noise.extend(stream(Purpose::ForwardProcess).normals(setup.values_per_clip()));
    }
    let clips = Noised {
        clean: samples.latents.clone(),
        noise: Tensor::from_data(TensorData::new(noise, dims), &setup.device),
        sigmas: levels(&sigmas, batch, frames, &setup.device),
    };
    (clips, sigmas)
}

/// Rollouts, their noise and how the loss reads them.
#[derive(Debug, Clone)]
pub struct FlowUpdate<B: Backend> {
    /// Noised rollouts.
    pub clips: Noised<B>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// Optimality r, `[B, 1, 1, 1, 1]`, or `[B, F, 1, 1, 1]` where blocks have scores of their own.
    pub r: Tensor<B, 5>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// The old policy's velocity `[B, F, C, H, W]`, or `None` to use the student's own, detached
    /// from the graph.
    pub old_velocity: Option<Tensor<B, 5>>,
    /// The reference's velocity `[B, F, C, H, W]` and its weight.
    pub reference: Option<(Tensor<B, 5>, f64)>,
    /// The context.
    pub context: Context,
    /// Whether the clean context is detached from the graph.
    pub detach_context: bool,
    /// The loss.
    pub settings: ForwardProcessSettings,
}

impl<B: Backend> FlowUpdate<B> {
    fn frames(&self) -> usize {
        self.clips.clean.dims()[1]
    }

    /// The frames of run `run`: all, or, through the KV cache (option 3), those of one block.
    fn frames_of(&self, layout: &BlockLayout, run: usize) -> Range<usize> {
        if self.context != Context::Cached {
            return 0..layout.frames;
        }
        let start = run * layout.frames_per_block;
        start..(start + layout.frames_per_block).min(layout.frames)
    }
}

/// The pass over the frames of one block, which attend to the window of the cache before it.
fn block_pass<B: Backend>(
    layout: &BlockLayout,
    update: &FlowUpdate<B>,
    block: Range<usize>,
    cache: &KvCache<B>,
) -> Pass<B> {
    let past = cache.clone().keep(&layout.past_of(&block));
    let past_frames = past.as_ref().map_or(0, |past| past.frames.len());
    let clips = update.sigmas.chunks(layout.frames);
    let sigmas: Vec<f32> = clips
        .flat_map(|clip| clip[block.clone()].to_vec())
        .collect();
    Pass {
        latents: update.clips.state().slice_dim(1, block.clone()),
        timesteps: timesteps(&sigmas),
        frames: block.clone().collect(),
        visibility: Visibility::rollout(past_frames, block.len()),
        past: past.map_or(Past::Nothing, Past::Constant),
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> StudentUpdate<B, D> for FlowUpdate<B::InnerBackend> {
    fn text(&self) -> &Tensor<B::InnerBackend, 3> {
        &self.text
    }

    fn frozen_context(&self) -> Option<&Tensor<B::InnerBackend, 5>> {
        let frozen = match self.context {
            Context::Cached => true,
            Context::OwnClean => self.detach_context,
            Context::UniformNoise => false,
        };
        frozen.then_some(&self.clips.clean)
    }

    fn runs(&self, student: &Student<B>) -> usize {
        match self.context {
            Context::Cached => student.layout(self.frames()).blocks().count(),
            _ => 1,
        }
    }

    fn passes(
        &self,
        student: &Student<B>,
        cache: Option<&KvCache<B::InnerBackend>>,
        run: usize,
    ) -> Vec<Pass<B::InnerBackend>> {
        let layout = student.layout(self.frames());
        let noisy = |past| noisy_pass(&layout, self.clips.state(), &self.sigmas, past);
        match (self.context, cache) {
            (Context::Cached, Some(cache)) => {
                let block = self.frames_of(&layout, run);
                vec![block_pass(&layout, self, block, cache)]
            }
            (Context::UniformNoise, _) => vec![noisy(Past::Nothing)],
            (_, Some(cache)) => vec![noisy(Past::Constant(cache.clone()))],
            (_, None) => vec![
                clean_pass(&layout, self.clips.clean.clone(), 0.0),
                noisy(Past::Of(0)),
            ],
        }
    }

    fn loss(&self, velocity: Tensor<B, 5>, model: &AfdModel<B, D>, run: usize) -> RunLoss<B> {
        let layout = model.student.layout(self.frames());
        let range = self.frames_of(&layout, run);
        let cut = |tensor: &Tensor<B::InnerBackend, 5>| {
            // An r per clip belongs to all of its frames.
            let whole = range.len() == layout.frames || tensor.dims()[1] == 1;
            Tensor::<B, 5>::from_inner(if whole {
                tensor.clone()
            } else {
                tensor.clone().slice_dim(1, range.clone())
            })
        };
        let old = match &self.old_velocity {
            Some(old) => cut(old),
            None => velocity.clone().detach(),
        };
        let part = Noised {
            clean: cut(&self.clips.clean),
            noise: cut(&self.clips.noise),
            sigmas: cut(&self.clips.sigmas),
        };
        let blocks = BlockLayout {
            frames: range.len(),
            ..layout
        };
        let moved = (velocity.clone() - old.clone()).square().mean();
        let r = cut(&self.r);
        let mut value = loss(velocity.clone(), old, &part, r, &blocks, &self.settings);
        let mut scalars = vec![
            (LOSS, scalar(&value)),
            ("policy_shift", scalar(&moved)),
            ("prior", 0.0),
        ];
        if let Some((reference, weight)) = &self.reference {
            let prior = (velocity - cut(reference)).square().mean();
            scalars[2].1 = scalar(&prior);
            value = value + prior * *weight;
        }
        RunLoss {
            value,
            share: range.len() as f64 / layout.frames as f64,
            scalars,
        }
    }
}

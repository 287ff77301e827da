//! One optimizer step's losses and gradients: the discriminator's, the forward-process update's, supervised flow matching's.

use std::ops::Range;

use afd_models::discriminator::Discriminator;
use afd_models::kernels::Trainable;
use afd_models::student::transformer::Inputs;
use afd_models::student::{BlockLayout, Memory, Visibility};
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::train::TrainOutput;

use super::bradley_terry;
use super::forward_process::{self, Noised};
use super::model::{AfdModel, Context, DiscriminatorWork, FlowWork, Lookback, Outcome, SupervisedWork, Work, remember, velocities};

/// A step in the making: one or more graphs, each built by [`Step::forward`] and then consumed by [`Step::backward`].
///
/// The two are apart because the parts of a batch (see [`super::shards`]) must not build graphs while others are walked backwards: burn-autodiff
/// 0.21 ends a backward pass by freeing what looks unused in *every* graph of the process, and a node whose consumer another thread has not
/// registered yet looks unused. The gradient that should have passed through it is then silently missing.
pub struct Step<B: Trainable> {
    model: AfdModel<B>,
    work: Work<B>,
    /// Keys and values of the clean rollout, for [`Context::Cached`].
    memory: Option<Memory<B::InnerBackend>>,
    gradients: GradientsAccumulator<AfdModel<B>>,
    item: Outcome,
}

impl<B: Trainable> Step<B> {
    /// The step of `model` that `work` asks for.
    pub fn new(model: AfdModel<B>, work: Work<B>) -> Self {
        let memory = match &work {
            Work::Flow(work) if work.context == Context::Cached => Some(clean_memory(&model, work)),
            _ => None,
        };
        Self { model, work, memory, gradients: GradientsAccumulator::new(), item: Outcome::default() }
    }

    /// How many graphs the step has: one, or one per block when blocks look back through a cache.
    pub fn graphs(&self) -> usize {
        match &self.work {
            Work::Flow(work) if work.context == Context::Cached => self.model.student.layout(work.clips.clean.dims()[1]).blocks().count(),
            _ => 1,
        }
    }

    /// Builds graph number `graph` and returns its loss, scaled so that the losses of all graphs add up to the step's.
    pub fn forward(&mut self, graph: usize) -> Tensor<B, 1> {
        let (loss, share, scalars) = match &self.work {
            Work::Discriminator(work) => {
                let (loss, scalars) = discriminator_loss(&self.model, work.clone());
                (loss, 1.0, scalars)
            }
            Work::Supervised(work) => {
                let (loss, scalars) = supervised_loss(&self.model, work.clone());
                (loss, 1.0, scalars)
            }
            Work::Flow(work) => match &self.memory {
                None => {
                    let (loss, scalars) = flow_loss(&self.model, work);
                    (loss, 1.0, scalars)
                }
                Some(memory) => cached_flow_loss(&self.model, work, memory, graph),
            },
        };
        self.item.add(scalars, share);
        if share == 1.0 { loss } else { loss * share }
    }

    /// Consumes a graph and keeps its gradients.
    pub fn backward(&mut self, loss: Tensor<B, 1>) {
        let mut gradients = loss.backward();
        let gradients = match (&self.work, &self.model.discriminator) {
            (Work::Discriminator(_), Some(discriminator)) => GradientsParams::from_module::<B, _>(&mut gradients, discriminator),
            _ => GradientsParams::from_module::<B, _>(&mut gradients, &self.model.student),
        };
        self.gradients.accumulate(&self.model, gradients);
    }

    /// Gradients and measurements of all graphs.
    pub fn finish(mut self) -> TrainOutput<Outcome> {
        TrainOutput { grads: self.gradients.grads(), item: self.item }
    }
}

type Scalars = Vec<(&'static str, f64)>;

/// Bradley-Terry on all pairs, with the penalties.
fn discriminator_loss<B: Trainable>(model: &AfdModel<B>, work: DiscriminatorWork<B::InnerBackend>) -> (Tensor<B, 1>, Scalars) {
    let Some(discriminator) = &model.discriminator else { unreachable!("a method without a discriminator asks for no discriminator step") };
    let (teachers, students) = (work.teacher.dims()[0], work.student.dims()[0]);
    // One batch for both sides: nothing but the clips may differ between them.
    let clips = Tensor::<B, 5>::from_inner(Tensor::cat(vec![work.teacher.clone(), work.student], 0));
    let text = Tensor::<B, 3>::from_inner(Tensor::cat(vec![work.teacher_text, work.student_text], 0));
    let scores = discriminator.score(clips.clone(), text.clone());
    let per_prompt = |range: Range<usize>| {
        let count = range.len() / work.prompts;
        scores.clone().slice([range]).reshape([work.prompts, count])
    };
    let (teacher, student) = (per_prompt(0..teachers), per_prompt(teachers..teachers + students));
    let mut loss = bradley_terry::loss(teacher.clone(), student.clone());
    let mut scalars = vec![("discriminator_loss", scalar(&loss))];
    if let Some(penalty) = work.penalty {
        // Both penalties in one forward: the mean over each side is taken afterwards.
        let moved = discriminator.score(clips + Tensor::from_inner(penalty.direction) * penalty.size, text);
        let squares = bradley_terry::squared_slopes(scores, moved, penalty.size);
        let (r1, r2) = (squares.clone().slice_dim(0, 0..teachers).mean(), squares.slice_dim(0, teachers..teachers + students).mean());
        scalars.extend([("r1", scalar(&r1)), ("r2", scalar(&r2))]);
        loss = loss + (r1 * penalty.r1 + r2 * penalty.r2) * 0.5;
    }
    if let Some((text, weight)) = work.mistaken {
        // Pairs of one clip under two prompts: what does not depend on the prompt cancels.
        let wrong = discriminator.score(Tensor::from_inner(work.teacher), Tensor::from_inner(text)).reshape([teachers, 1]);
        let right = teacher.clone().reshape([teachers, 1]);
        let mismatch = bradley_terry::loss(right.clone(), wrong.clone());
        let (accuracy, _) = bradley_terry::pair_accuracy(right.inner(), wrong.inner());
        scalars.extend([("mismatch_loss", scalar(&mismatch)), ("prompt_accuracy", accuracy)]);
        loss = loss + mismatch * weight;
    }
    let (accuracy, gap) = bradley_terry::pair_accuracy(teacher.inner(), student.inner());
    scalars.extend([("pair_accuracy", accuracy), ("score_gap", gap)]);
    (loss, scalars)
}

/// The forward-process update with all blocks in parallel (method.md F.1, G.3 options 1 and 2).
fn flow_loss<B: Trainable>(model: &AfdModel<B>, work: &FlowWork<B::InnerBackend>) -> (Tensor<B, 1>, Scalars) {
    let student = &model.student;
    let frames = work.clips.clean.dims()[1];
    let text = student.read_text(Tensor::from_inner(work.text.clone()));
    let lookback = match work.context {
        Context::UniformNoise => Lookback::none(student, frames),
        _ if work.detach_context => Lookback::on(student, frames, Some(lift(clean_memory(model, work)))),
        _ => Lookback::on(student, frames, Some(remember(student, Tensor::from_inner(work.clips.clean.clone()), 0.0, &text))),
    };
    let velocity = velocities(student, Tensor::from_inner(work.clips.state()), &work.sigmas, &text, &lookback);
    loss_of_frames(model, work, velocity, 0..frames)
}

/// The same for one block that looks back through the cache (option 3): loss, its share of the whole, measurements.
fn cached_flow_loss<B: Trainable>(
    model: &AfdModel<B>,
    work: &FlowWork<B::InnerBackend>,
    memory: &Memory<B::InnerBackend>,
    graph: usize,
) -> (Tensor<B, 1>, f64, Scalars) {
    let student = &model.student;
    let [batch, frames, ..] = work.clips.clean.dims();
    let layout = student.layout(frames);
    let start = graph * layout.frames_per_block;
    let block = start..(start + layout.frames_per_block).min(frames);
    let past = memory.clone().keep(&layout.past_of(&block)).map(lift);
    let text = student.read_text(Tensor::from_inner(work.text.clone()));
    let visibility = Visibility::rollout(past.as_ref().map_or(0, |past| past.frames.len()), block.len());
    let numbers: Vec<usize> = block.clone().collect();
    let timesteps: Vec<f32> = (0..batch)
        .flat_map(|sample| work.sigmas[sample * frames + block.start..sample * frames + block.end].iter())
        .map(|sigma| 1000.0 * sigma)
        .collect();
    let inputs = Inputs { timesteps: &timesteps, frames: &numbers, text: &text, past: past.as_ref(), visibility: &visibility };
    let noised = Tensor::from_inner(work.clips.state().slice_dim(1, block.clone()));
    let velocity = student.forward(noised, &inputs).0;
    let (loss, scalars) = loss_of_frames(model, work, velocity, block.clone());
    (loss, block.len() as f64 / frames as f64, scalars)
}

/// The loss of velocities for the frames `range` of the clips.
fn loss_of_frames<B: Trainable>(
    model: &AfdModel<B>,
    work: &FlowWork<B::InnerBackend>,
    velocity: Tensor<B, 5>,
    range: Range<usize>,
) -> (Tensor<B, 1>, Scalars) {
    let layout = model.student.layout(work.clips.clean.dims()[1]);
    let cut = |tensor: &Tensor<B::InnerBackend, 5>| {
        let part = if range.len() == layout.frames { tensor.clone() } else { tensor.clone().slice_dim(1, range.clone()) };
        Tensor::<B, 5>::from_inner(part)
    };
    let old = work.old_velocity.as_ref().map_or_else(|| velocity.clone().detach(), cut);
    let part = Noised { clean: cut(&work.clips.clean), noise: cut(&work.clips.noise), sigmas: cut(&work.clips.sigmas) };
    let blocks = BlockLayout { frames: range.len(), ..layout };
    let moved = (velocity.clone() - old.clone()).square().mean();
    let r = Tensor::from_inner(work.r.clone());
    let mut loss = forward_process::loss(velocity.clone(), old, &part, r, &blocks, &work.settings);
    let mut scalars = vec![("flow_loss", scalar(&loss)), ("policy_shift", scalar(&moved)), ("prior", 0.0)];
    if let Some((reference, weight)) = &work.reference {
        let prior = (velocity - cut(reference)).square().mean();
        scalars[2].1 = scalar(&prior);
        loss = loss + prior * *weight;
    }
    (loss, scalars)
}

/// Teacher- or diffusion-forced flow matching (method.md H.1).
fn supervised_loss<B: Trainable>(model: &AfdModel<B>, work: SupervisedWork<B::InnerBackend>) -> (Tensor<B, 1>, Scalars) {
    let student = &model.student;
    let frames = work.clips.clean.dims()[1];
    let text = student.read_text(Tensor::from_inner(work.text));
    let lookback = match work.context {
        Some(context) => {
            let memory = remember(student, Tensor::from_inner(context), work.context_sigma, &text);
            Lookback::on(student, frames, Some(memory))
        }
        None => Lookback::none(student, frames),
    };
    let velocity = velocities(student, Tensor::from_inner(work.clips.state()), &work.sigmas, &text, &lookback);
    let target = Tensor::<B, 5>::from_inner(work.clips.noise - work.clips.clean);
    let loss = (velocity - target).square().mean();
    let scalars = vec![("supervised_loss", scalar(&loss))];
    (loss, scalars)
}

/// Keys and values of the clean rollout, without a graph.
fn clean_memory<B: Trainable>(model: &AfdModel<B>, work: &FlowWork<B::InnerBackend>) -> Memory<B::InnerBackend> {
    let student = model.student.valid();
    let text = student.read_text(work.text.clone());
    remember(&student, work.clips.clean.clone(), 0.0, &text)
}

/// A memory computed without a graph, as constants of one.
fn lift<B: Trainable>(memory: Memory<B::InnerBackend>) -> Memory<B> {
    let layers = memory.layers.into_iter().map(|(keys, values)| (Tensor::from_inner(keys), Tensor::from_inner(values))).collect();
    Memory { layers, frames: memory.frames, tokens_per_frame: memory.tokens_per_frame }
}

fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().into_scalar().elem()
}

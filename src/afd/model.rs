//! The composite that burn-train's learner trains: student, discriminator and the student's lagging copies.

use afd_models::discriminator::{AnyDiscriminator, Discriminator};
use afd_models::student::transformer::Inputs;
use afd_models::student::{Memory, Student, TextMemory, Visibility};
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::bradley_terry;
use super::forward_process::{self, ForwardProcessSettings, Noised};

/// Everything that is trained or follows what is trained. A method leaves out the parts it has no use for.
#[derive(Module, Debug)]
pub struct AfdModel<B: Backend> {
    /// The student theta.
    pub student: Student<B>,
    /// The policy that rollouts are drawn with.
    pub old: Option<Student<B>>,
    /// The student as it was at the start.
    pub reference: Option<Student<B>>,
    /// The average of the student that is evaluated and exported.
    pub evaluation: Student<B>,
    /// The prompt-paired discriminator phi.
    pub discriminator: Option<AnyDiscriminator<B>>,
}

/// One optimizer step's worth of work.
pub enum Work<B: AutodiffBackend> {
    /// Teacher clips against rollouts.
    Discriminator(DiscriminatorWork<B::InnerBackend>),
    /// The forward-process update on rollouts.
    Flow(Box<FlowWork<B::InnerBackend>>),
    /// Supervised flow matching on teacher clips.
    Supervised(SupervisedWork<B::InnerBackend>),
}

/// Clips of P prompts, M from the teacher and K from the student each, prompt-major.
#[derive(Debug, Clone)]
pub struct DiscriminatorWork<B: Backend> {
    /// `[P * M, F, C, H, W]`.
    pub teacher: Tensor<B, 5>,
    /// `[P * K, F, C, H, W]`.
    pub student: Tensor<B, 5>,
    /// Text rows of the teacher's clips, `[P * M, L, text_width]`.
    pub teacher_text: Tensor<B, 3>,
    /// Text rows of the student's clips, `[P * K, L, text_width]`.
    pub student_text: Tensor<B, 3>,
    /// P.
    pub prompts: usize,
    /// Directions of the penalties, of the teacher's and the student's clips in one batch; `None` without penalties.
    pub penalty: Option<Penalty<B>>,
}

/// The finite-difference penalties R1 (teacher clips) and R2 (student clips).
#[derive(Debug, Clone)]
pub struct Penalty<B: Backend> {
    /// Standard normal, `[P * (M + K), F, C, H, W]`.
    pub direction: Tensor<B, 5>,
    /// Step size along the direction.
    pub size: f64,
    /// Weight of R1.
    pub r1: f64,
    /// Weight of R2.
    pub r2: f64,
}

/// What the student's blocks look back at during the update (method.md G.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Clean own rollout in parallel form (option 1, the default).
    OwnClean,
    /// All frames at one noise level under the block-causal mask (option 2).
    UniformNoise,
    /// Clean own rollout through the cache, one block after another: the numbers of `own-clean`, less memory (option 3).
    Cached,
}

/// Rollouts, their noise and how the loss reads them.
#[derive(Debug, Clone)]
pub struct FlowWork<B: Backend> {
    /// Noised rollouts.
    pub clips: Noised<B>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// Optimality r, `[B, 1, 1, 1, 1]`.
    pub r: Tensor<B, 5>,
    /// Text rows `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// The old policy's velocity, or `None` to use the student's own, cut off from the graph.
    pub old_velocity: Option<Tensor<B, 5>>,
    /// The reference's velocity and its weight.
    pub reference: Option<(Tensor<B, 5>, f64)>,
    /// The context.
    pub context: Context,
    /// Whether the clean context is cut off from the graph.
    pub detach_context: bool,
    /// The loss.
    pub settings: ForwardProcessSettings,
}

/// Teacher clips for supervised flow matching.
#[derive(Debug, Clone)]
pub struct SupervisedWork<B: Backend> {
    /// Noised teacher clips.
    pub clips: Noised<B>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// What the clean half shows: the clips, slightly noised so that a student forgives its own errors; `None` for diffusion forcing.
    pub context: Option<Tensor<B, 5>>,
    /// Noise level of the clean half.
    pub context_sigma: f32,
    /// Text rows `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
}

/// Scalars that a step measured, by name.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Name and value; the first is the loss.
    pub scalars: Vec<(&'static str, f64)>,
}

impl ItemLazy for Outcome {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

/// Clean frames for a student to look back at, and who looks at what.
pub struct Lookback<B: Backend> {
    memory: Option<Memory<B>>,
    visibility: Visibility,
}

impl<B: Backend> Lookback<B> {
    /// Teacher forcing on a memory of the clip's clean frames (those after the last block's start may be missing).
    pub fn on(student: &Student<B>, frames: usize, memory: Option<Memory<B>>) -> Self {
        let mut visibility = Visibility::teacher_forcing(&student.layout(frames));
        visibility.past_frames = memory.as_ref().map_or(0, |memory| memory.frames.len());
        Self { memory, visibility }
    }

    /// No clean frames: every noisy block looks at earlier noisy blocks.
    pub fn none(student: &Student<B>, frames: usize) -> Self {
        Self { memory: None, visibility: Visibility::block_causal(&student.layout(frames)) }
    }
}

/// The clean pass of `student` over `clips` at noise level `sigma`: keys and values of every frame.
pub fn remember<B: Backend>(student: &Student<B>, clips: Tensor<B, 5>, sigma: f32, text: &TextMemory<B>) -> Memory<B> {
    let [batch, frames, _, _, _] = clips.dims();
    let timesteps = vec![1000.0 * sigma; batch * frames];
    let numbers: Vec<usize> = (0..frames).collect();
    let visibility = Visibility::block_causal(&student.layout(frames));
    student.forward(clips, &Inputs { timesteps: &timesteps, frames: &numbers, text, past: None, visibility: &visibility }).1
}

/// Velocities `[B, F, C, H, W]` of `student` for noised clips, all blocks in parallel.
pub fn velocities<B: Backend>(
    student: &Student<B>,
    noised: Tensor<B, 5>,
    sigmas: &[f32],
    text: &TextMemory<B>,
    lookback: &Lookback<B>,
) -> Tensor<B, 5> {
    let frames = noised.dims()[1];
    let timesteps: Vec<f32> = sigmas.iter().map(|sigma| 1000.0 * sigma).collect();
    let numbers: Vec<usize> = (0..frames).collect();
    let inputs = Inputs { timesteps: &timesteps, frames: &numbers, text, past: lookback.memory.as_ref(), visibility: &lookback.visibility };
    student.forward(noised, &inputs).0
}

impl<B: AutodiffBackend> AfdModel<B> {
    fn discriminator_step(&self, discriminator: &AnyDiscriminator<B>, work: DiscriminatorWork<B::InnerBackend>) -> TrainOutput<Outcome> {
        let (teachers, students) = (work.teacher.dims()[0], work.student.dims()[0]);
        // One batch for both sides: nothing but the clips may differ between them.
        let clips = Tensor::<B, 5>::from_inner(Tensor::cat(vec![work.teacher, work.student], 0));
        let text = Tensor::<B, 3>::from_inner(Tensor::cat(vec![work.teacher_text, work.student_text], 0));
        let scores = discriminator.score(clips.clone(), text.clone());
        let per_prompt = |range: std::ops::Range<usize>| {
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
        let (accuracy, gap) = bradley_terry::pair_accuracy(teacher.inner(), student.inner());
        scalars.extend([("pair_accuracy", accuracy), ("score_gap", gap)]);
        let mut gradients = loss.backward();
        TrainOutput { grads: GradientsParams::from_module::<B, _>(&mut gradients, discriminator), item: Outcome { scalars } }
    }

    fn flow_step(&self, work: FlowWork<B::InnerBackend>) -> TrainOutput<Outcome> {
        let frames = work.clips.clean.dims()[1];
        let layout = self.student.layout(frames);
        let clips = Noised {
            clean: Tensor::<B, 5>::from_inner(work.clips.clean.clone()),
            noise: Tensor::from_inner(work.clips.noise.clone()),
            sigmas: Tensor::from_inner(work.clips.sigmas.clone()),
        };
        let r = Tensor::<B, 5>::from_inner(work.r.clone());
        let text_rows = Tensor::<B, 3>::from_inner(work.text.clone());
        let loss_of = |velocity: Tensor<B, 5>, frames: std::ops::Range<usize>| {
            let cut = |tensor: Tensor<B, 5>| if frames.len() == layout.frames { tensor } else { tensor.slice_dim(1, frames.clone()) };
            let old = work.old_velocity.clone().map_or_else(|| velocity.clone().detach(), |old| cut(Tensor::from_inner(old)));
            let part = Noised { clean: cut(clips.clean.clone()), noise: cut(clips.noise.clone()), sigmas: cut(clips.sigmas.clone()) };
            let blocks = afd_models::student::BlockLayout { frames: frames.len(), ..layout };
            let moved = (velocity.clone() - old.clone()).square().mean();
            let mut loss = forward_process::loss(velocity.clone(), old, &part, r.clone(), &blocks, &work.settings);
            let mut scalars = [scalar(&loss), scalar(&moved), 0.0];
            if let Some((reference, weight)) = &work.reference {
                let prior = (velocity - cut(Tensor::from_inner(reference.clone()))).square().mean();
                scalars[2] = scalar(&prior);
                loss = loss + prior * *weight;
            }
            (loss, scalars)
        };

        let mut accumulator = GradientsAccumulator::new();
        let mut totals = [0.0; 3];
        let mut accumulate = |(loss, scalars): (Tensor<B, 1>, [f64; 3]), share: f64| {
            totals.iter_mut().zip(scalars).for_each(|(total, value)| *total += share * value);
            let mut gradients = (loss * share).backward();
            accumulator.accumulate(self, GradientsParams::from_module::<B, _>(&mut gradients, &self.student));
        };
        match work.context {
            Context::Cached => {
                let inner = self.student.valid();
                let inner_text = inner.read_text(work.text.clone());
                let memory = remember(&inner, work.clips.clean.clone(), 0.0, &inner_text);
                let batch = clips.clean.dims()[0];
                for block in layout.blocks() {
                    // A graph per block: it is freed before the next one is built.
                    let past = lift(memory.clone().keep(&layout.past_of(&block)));
                    let text = self.student.read_text(text_rows.clone());
                    let visibility = Visibility::rollout(past.frames.len(), block.len());
                    let numbers: Vec<usize> = block.clone().collect();
                    let timesteps: Vec<f32> = (0..batch)
                        .flat_map(|sample| work.sigmas[sample * frames + block.start..sample * frames + block.end].iter())
                        .map(|sigma| 1000.0 * sigma)
                        .collect();
                    let past = (!past.frames.is_empty()).then_some(&past);
                    let inputs = Inputs { timesteps: &timesteps, frames: &numbers, text: &text, past, visibility: &visibility };
                    let noised = clips.state().slice_dim(1, block.clone());
                    let velocity = self.student.forward(noised, &inputs).0;
                    accumulate(loss_of(velocity, block.clone()), block.len() as f64 / frames as f64);
                }
            }
            Context::OwnClean | Context::UniformNoise => {
                let text = self.student.read_text(text_rows);
                let lookback = match work.context {
                    Context::UniformNoise => Lookback::none(&self.student, frames),
                    _ if work.detach_context => {
                        let inner = self.student.valid();
                        let inner_text = inner.read_text(work.text.clone());
                        let memory = remember(&inner, work.clips.clean.clone(), 0.0, &inner_text);
                        Lookback::on(&self.student, frames, Some(lift(memory)))
                    }
                    _ => Lookback::on(&self.student, frames, Some(remember(&self.student, clips.clean.clone(), 0.0, &text))),
                };
                let velocity = velocities(&self.student, clips.state(), &work.sigmas, &text, &lookback);
                accumulate(loss_of(velocity, 0..frames), 1.0);
            }
        }
        let [loss, moved, prior] = totals;
        let item = Outcome { scalars: vec![("flow_loss", loss), ("policy_shift", moved), ("prior", prior)] };
        TrainOutput { grads: accumulator.grads(), item }
    }

    fn supervised_step(&self, work: SupervisedWork<B::InnerBackend>) -> TrainOutput<Outcome> {
        let frames = work.clips.clean.dims()[1];
        let text = self.student.read_text(Tensor::from_inner(work.text));
        let lookback = match work.context {
            Some(context) => {
                let memory = remember(&self.student, Tensor::from_inner(context), work.context_sigma, &text);
                Lookback::on(&self.student, frames, Some(memory))
            }
            None => Lookback::none(&self.student, frames),
        };
        let velocity = velocities(&self.student, Tensor::from_inner(work.clips.state()), &work.sigmas, &text, &lookback);
        let target = Tensor::<B, 5>::from_inner(work.clips.noise - work.clips.clean);
        let loss = (velocity - target).square().mean();
        let item = Outcome { scalars: vec![("supervised_loss", scalar(&loss))] };
        let mut gradients = loss.backward();
        TrainOutput { grads: GradientsParams::from_module::<B, _>(&mut gradients, &self.student), item }
    }
}

/// A memory computed without a graph, as constants of one.
fn lift<B: AutodiffBackend>(memory: Memory<B::InnerBackend>) -> Memory<B> {
    let layers = memory.layers.into_iter().map(|(keys, values)| (Tensor::from_inner(keys), Tensor::from_inner(values))).collect();
    Memory { layers, frames: memory.frames, tokens_per_frame: memory.tokens_per_frame }
}

fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().into_scalar().elem()
}

impl<B: AutodiffBackend> TrainStep for AfdModel<B> {
    type Input = Work<B>;
    type Output = Outcome;

    fn step(&self, work: Work<B>) -> TrainOutput<Outcome> {
        match (work, &self.discriminator) {
            (Work::Discriminator(work), Some(discriminator)) => self.discriminator_step(discriminator, work),
            (Work::Flow(work), _) => self.flow_step(*work),
            (Work::Supervised(work), _) => self.supervised_step(work),
            (Work::Discriminator(_), None) => unreachable!("a method without a discriminator asks for no discriminator step"),
        }
    }
}

/// The learner asks for a validation step; held-out evaluation happens on finished clips instead (see [`crate::eval`]).
impl<B: Backend> InferenceStep for AfdModel<B> {
    type Input = ();
    type Output = Outcome;

    fn step(&self, _nothing: ()) -> Outcome {
        Outcome::default()
    }
}

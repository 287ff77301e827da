//! The composite that burn-train's learner trains: student, discriminator and the student's lagging
//! copies.

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::transformer::Inputs;
use afd_models::student::{KvCache, Student, TextCache, Visibility};
use burn::prelude::*;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::bradley_terry::DiscriminatorLoss;
use super::direct::DirectWork;
use super::forward_process::{ForwardProcessSettings, Noised};
use super::reverse_chain::ReverseChainWork;
use super::step::Step;

/// Everything that is trained or follows what is trained. A method leaves out the parts it has no
/// use for.
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
pub enum Work<B: Trainable> {
    /// Teacher clips against rollouts.
    Discriminator(DiscriminatorWork<B::InnerBackend>),
    /// The forward-process update on rollouts.
    Flow(Box<FlowWork<B::InnerBackend>>),
    /// Supervised flow matching on teacher clips.
    Supervised(SupervisedWork<B::InnerBackend>),
    /// The discriminator's gradient through the student's last step.
    Direct(Box<DirectWork<B::InnerBackend>>),
    /// A policy-gradient update on steps of the sampler's chain.
    ReverseChain(Box<ReverseChainWork<B::InnerBackend>>),
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
    /// Text rows of other prompts for the teacher's clips, `[P * M, L, text_width]`, and the weight
    /// of telling them from the right ones.
    pub mismatched: Option<(Tensor<B, 3>, f64)>,
    /// P.
    pub prompts: usize,
    /// The game.
    pub loss: DiscriminatorLoss,
    /// Directions of the penalties, of the teacher's and the student's clips in one batch; `None`
    /// without penalties.
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
    /// Clean own rollout through the cache, one block after another: the numbers of `own-clean`,
    /// less memory (option 3).
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
    /// What the clean half shows: the clips, slightly noised so that a student forgives its own
    /// errors; `None` for diffusion forcing.
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

impl Outcome {
    /// Adds a part's scalars, weighted by its share of the whole.
    pub fn add(&mut self, scalars: Vec<(&'static str, f64)>, share: f64) {
        for (name, value) in scalars {
            match self.scalars.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += share * value,
                None => self.scalars.push((name, share * value)),
            }
        }
    }
}

impl ItemLazy for Outcome {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

/// Clean frames for a student to look back at, and who looks at what.
pub struct CleanContext<B: Backend> {
    cache: Option<KvCache<B>>,
    visibility: Visibility,
}

impl<B: Backend> CleanContext<B> {
    /// Teacher forcing on a memory of the clip's clean frames (those after the last block's start
    /// may be missing).
    pub fn on(student: &Student<B>, frames: usize, cache: Option<KvCache<B>>) -> Self {
        let mut visibility = Visibility::teacher_forcing(&student.layout(frames));
        visibility.past_frames = cache.as_ref().map_or(0, |cache| cache.frames.len());
        Self { cache, visibility }
    }

    /// No clean frames: every noisy block looks at earlier noisy blocks.
    pub fn none(student: &Student<B>, frames: usize) -> Self {
        Self {
            cache: None,
            visibility: Visibility::block_causal(&student.layout(frames)),
        }
    }
}

/// The clean pass of `student` over `clips` at noise level `sigma`: keys and values of every frame.
pub fn prefill<B: Kernels>(
    student: &Student<B>,
    clips: Tensor<B, 5>,
    sigma: f32,
    text: &TextCache<B>,
) -> KvCache<B> {
    let [batch, frames, _, _, _] = clips.dims();
    let timesteps = vec![1000.0 * sigma; batch * frames];
    let numbers: Vec<usize> = (0..frames).collect();
    let visibility = Visibility::block_causal(&student.layout(frames));
    student
        .forward(
            clips,
            &Inputs {
                timesteps: &timesteps,
                frames: &numbers,
                text,
                past: None,
                visibility: &visibility,
            },
        )
        .1
}

/// Velocities `[B, F, C, H, W]` of `student` for noised clips, all blocks in parallel.
pub fn velocities<B: Kernels>(
    student: &Student<B>,
    noised: Tensor<B, 5>,
    sigmas: &[f32],
    text: &TextCache<B>,
    context: &CleanContext<B>,
) -> Tensor<B, 5> {
    let frames = noised.dims()[1];
    let timesteps: Vec<f32> = sigmas.iter().map(|sigma| 1000.0 * sigma).collect();
    let numbers: Vec<usize> = (0..frames).collect();
    let inputs = Inputs {
        timesteps: &timesteps,
        frames: &numbers,
        text,
        past: context.cache.as_ref(),
        visibility: &context.visibility,
    };
    student.forward(noised, &inputs).0
}

impl<B: Trainable> TrainStep for AfdModel<B> {
    type Input = Work<B>;
    type Output = Outcome;

    fn step(&self, work: Work<B>) -> TrainOutput<Outcome> {
        let mut step = Step::new(self.clone(), work);
        for graph in 0..step.graphs() {
            let loss = step.forward(graph);
            step.backward(loss);
        }
        step.finish()
    }
}

/// The learner asks for a validation step; held-out evaluation happens on finished clips instead
/// (see [`crate::eval`]).
impl<B: Kernels> InferenceStep for AfdModel<B> {
    type Input = ();
    type Output = Outcome;

    fn step(&self, _nothing: ()) -> Outcome {
        Outcome::default()
    }
}

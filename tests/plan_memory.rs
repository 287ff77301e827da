//! `afd plan`'s formulas against measured peaks of the same steps that training takes, at sizes where a process can count its memory.
//!
//! `cargo test --workspace --test plan_memory -- --nocapture` prints the table of docs/results/plan.md.

use afd::afd::bradley_terry::DiscriminatorLoss;
use afd::afd::forward_process::{ForwardProcessSettings, LossForm, Noised};
use afd::afd::model::{AfdModel, Context, DiscriminatorWork, FlowWork, SupervisedWork, Work};
use afd::flow::sampler::Sampler;
use afd::plan::Plan;
use afd::plan::inputs::{DiscriminatorSizes, Distill, KernelSet, Method, PlanInputs, Pretrain};
use afd::rollout::{Generator, RolloutNoise};
use afd_models::discriminator::{AnyDiscriminator, RegisterConfig, RegisterDiscriminator};
use afd_models::init::initialise;
use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use afd_models::student::{Limits, Student, StudentConfig};
use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{AutodiffModule, Module};
use burn::prelude::*;
use burn::train::TrainStep;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const TEXT_ROWS: usize = 8;
const QUERIES: usize = 64;

fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
    let values = Noise::new(1, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

/// A small problem: 8 x 8 tokens a frame.
#[derive(Clone, Copy)]
struct Size {
    width: usize,
    hidden: usize,
    layers: usize,
    frames: usize,
    frames_per_block: usize,
    recompute: bool,
}

impl Size {
    fn config(&self) -> StudentConfig {
        StudentConfig {
            width: self.width,
            layers: self.layers,
            heads: 2,
            feed_forward_width: self.hidden,
            latent_channels: 4,
            patch: 2,
            text_width: 16,
            frequency_width: 32,
            frames_per_block: self.frames_per_block,
            window_frames: 0,
            sink_frames: 0,
        }
    }

    fn latents(&self) -> [usize; 4] {
        [self.frames, 4, 16, 16]
    }

    fn clips<B: Backend>(&self, count: usize, index: u64) -> Tensor<B, 5> {
        let [frames, channels, rows, columns] = self.latents();
        random([count, frames, channels, rows, columns], index)
    }

    fn registers(&self) -> RegisterConfig {
        RegisterConfig { layers: vec![0, self.layers - 1], feed_forward_width: 2 * self.width, sigma: 0.0 }
    }

    fn inputs(&self, method: Method, kernels: KernelSet) -> PlanInputs {
        PlanInputs {
            student: self.config(),
            latents: self.latents(),
            codec: None,
            pixels: 0,
            text_rows: TEXT_ROWS,
            prompts: 1,
            takes_per_prompt: 0,
            method,
            student_lora: None,
            weight_bytes: 4,
            activation_bytes: 4,
            recompute_blocks: self.recompute,
            attention_queries: QUERIES,
            shards: 1,
            clips_at_once: 1,
            memories_kept: 1,
            kernels,
        }
    }

    /// One prompt, one rollout, one teacher clip.
    fn distill(&self) -> Method {
        Method::Distill(Distill {
            prompts: 1,
            rollouts: 1,
            teacher_clips: 1,
            teacher_positives: 0,
            sampler_steps: 2,
            supervised_start: None,
            discriminator_steps: 1,
            flow_steps: 1,
            context: Context::OwnClean,
            detach_context: true,
            lagging_old: false,
            reference: false,
            penalised: false,
            mistaken: false,
            discriminator: DiscriminatorSizes::Registers(self.registers()),
            discriminator_lora: None,
        })
    }

    fn model<B: Trainable>(&self) -> AfdModel<B> {
        let device = Default::default();
        let limits = Limits { attention_queries: QUERIES, recompute_blocks: self.recompute, ..Limits::default() };
        let student = || initialise(Student::<B>::new(&self.config(), &device), 1, "student").within(limits);
        let mut judge = initialise(RegisterDiscriminator::<B>::new(&self.registers(), &self.config(), &device), 1, "discriminator");
        judge.backbone = judge.backbone.within(limits);
        let discriminator = Some(AnyDiscriminator::Registers(judge));
        AfdModel { student: student(), old: None, reference: None, evaluation: student().no_grad(), discriminator }
    }

    fn noised<B: Backend>(&self) -> Noised<B> {
        Noised {
            clean: self.clips(1, 1),
            noise: self.clips(1, 2),
            sigmas: Tensor::full([1, self.frames, 1, 1, 1], 0.5, &Default::default()),
        }
    }

    /// Peak bytes of one phase above what was held before.
    fn measured<B: Trainable>(&self, what: What) -> u64 {
        let model = self.model::<B>();
        let text = random::<B::InnerBackend, 3>([1, TEXT_ROWS, 16], 3);
        let sigmas = vec![0.5; self.frames];
        let work = match what {
            What::Supervised { forcing } => Some(Work::Supervised(SupervisedWork {
                clips: self.noised(),
                sigmas,
                context: forcing.then(|| self.clips(1, 4)),
                context_sigma: 0.0,
                text: text.clone(),
            })),
            What::Flow => Some(Work::Flow(Box::new(FlowWork {
                clips: self.noised(),
                sigmas,
                r: Tensor::full([1, 1, 1, 1, 1], 0.7, &Default::default()),
                text: text.clone(),
                old_velocity: None,
                reference: None,
                context: Context::OwnClean,
                detach_context: true,
                settings: ForwardProcessSettings { form: LossForm::Clean, beta: 1.0, advantage_clip: 1.0 },
            }))),
            What::Discriminator => Some(Work::Discriminator(DiscriminatorWork {
                teacher: self.clips(1, 1),
                student: self.clips(1, 2),
                teacher_text: text.clone(),
                student_text: text.clone(),
                mistaken: None,
                prompts: 1,
                loss: DiscriminatorLoss::BradleyTerry,
                penalty: None,
            })),
            What::Rollout => None,
        };
        let plain = model.student.valid();
        let read = plain.read_text(text);
        let sampler = Sampler { fresh_noise: 1.0, sigmas: vec![1.0, 0.5] };
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        match work {
            Some(work) => drop(model.step(work)),
            None => {
                let generator =
                    Generator { student: &plain, text: &read, sampler: &sampler, shape: self.latents(), device: &Default::default() };
                drop(generator.rollout(RolloutNoise::new(1, 0, 0..1)));
            }
        }
        (MEMORY.peak_usage() - before) as u64
    }

    /// What the plan says of the same.
    fn planned(&self, what: What, kernels: KernelSet) -> u64 {
        let method = match what {
            What::Supervised { forcing } => Method::Pretrain(Pretrain { batch: 1, clips_at_once: 1, teacher_forcing: forcing }),
            _ => self.distill(),
        };
        let phase = match what {
            What::Supervised { .. } => "supervised update",
            What::Flow => "flow update",
            What::Discriminator => "discriminator update",
            What::Rollout => "rollout",
        };
        // What a round holds from before the phase is not part of the measurement.
        let before: &[&str] = match what {
            What::Rollout => &["keys and values of the prompts"],
            _ => &["keys and values of the rollouts", "keys and values of the prompts", "latents and noise"],
        };
        let plan = Plan::new(self.inputs(method, kernels), None);
        let phase = plan.phases.iter().find(|found| found.name == phase).unwrap();
        phase.parts.iter().filter(|part| !before.contains(&&*part.what)).map(|part| part.bytes).sum()
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Rollout,
    Discriminator,
    Flow,
    Supervised { forcing: bool },
}

/// Planned over measured of every phase.
fn compare<B: Trainable>(backend: &str, size: Size, [low, high]: [f64; 2]) {
    let mut wrong = Vec::new();
    for what in [What::Rollout, What::Discriminator, What::Flow, What::Supervised { forcing: true }, What::Supervised { forcing: false }] {
        let (planned, measured) = (size.planned(what, KernelSet::of(backend)), size.measured::<B>(what));
        let ratio = planned as f64 / measured as f64;
        let Size { width, hidden, layers, frames, .. } = size;
        let how = if size.recompute { "block by block" } else { "one graph" };
        let row = format!(
            "| {backend} | {what:?} | {how} | {width} | {hidden} | {layers} | {} | {planned} | {measured} | {ratio:.2} |",
            64 * frames
        );
        println!("{row}");
        if !(low..=high).contains(&ratio) {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "outside {low}..{high}: {wrong:#?}");
}

const SMALL: Size = Size { width: 64, hidden: 128, layers: 4, frames: 8, frames_per_block: 2, recompute: false };

fn sizes() -> [Size; 4] {
    let wide = Size { hidden: 512, layers: 3, frames: 12, frames_per_block: 3, ..SMALL };
    [SMALL, Size { recompute: true, ..SMALL }, wide, Size { recompute: true, ..wide }]
}

/// One test, because the counter is the process's.
#[test]
fn planned_memory_is_what_steps_take() {
    for size in sizes() {
        compare::<Autodiff<Flex>>("flex", size, [0.8, 1.3]);
    }
    for size in [SMALL, Size { recompute: true, ..SMALL }] {
        compare::<Autodiff<NdArray>>("ndarray", size, [0.8, 1.3]);
    }
}

//! A small problem, the steps that training samples on it, and what the plan says of the same.

use afd::engine::model::AfdModel;
use afd::engine::update::Update;
use afd::flow::path::{Noised, levels};
use afd::flow::sampler::Sampler;
use afd::methods::direct_adversarial::DirectUpdate;
use afd::methods::feedback::{PairUpdate, Penalty};
use afd::methods::forward_process::FlowUpdate;
use afd::methods::forward_process::loss::ForwardProcessSettings;
use afd::methods::supervised::SupervisedUpdate;
use afd::plan::Plan;
use afd::plan::inputs::{
    DiscriminatorSizes, Distill, KernelSet, PlanInputs, PlannedMethod, PlannedUpdate, Pretrain,
    Schedule,
};
use afd::recipe::tables::{Context, DiscriminatorLoss, LossForm};
use afd::rollout::{Generator, RolloutNoise};
use afd_models::copies::frozen_copy;
use afd_models::discriminator::{
    AnyDiscriminator, Discriminator, RegisterConfig, RegisterDiscriminator,
};
use afd_models::init::{initialise, initialise_where};
use afd_models::kernels::Trainable;
use afd_models::lora::{LoraConfig, adapted, is_factor, without_factors};
use afd_models::noise::{Noise, Purpose};
use afd_models::precision::{Precision, cast_frozen};
use afd_models::student::passes::{CleanContext, prefill, velocities};
use afd_models::student::{Limits, Student, StudentConfig};
use burn::module::AutodiffModule;
use burn::prelude::*;
use burn::train::TrainStep;

use crate::MEMORY;

const TEXT_ROWS: usize = 8;
const QUERIES: usize = 64;

/// A step of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Rollout,
    Scores,
    Discriminator,
    Velocities,
    Flow,
    ThroughDiscriminator,
    TeacherForcing,
    DiffusionForcing,
}

impl Step {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Scores => "scores",
            Self::Discriminator => "register discriminator",
            Self::Velocities => "velocities of old policy and reference",
            Self::Flow => "flow update",
            Self::ThroughDiscriminator => "update through the discriminator",
            Self::TeacherForcing => "supervised, teacher forcing",
            Self::DiffusionForcing => "supervised, diffusion forcing",
        }
    }

    /// As the plan calls the phase.
    fn phase(self) -> &'static str {
        match self {
            Self::Discriminator => "discriminator update",
            Self::TeacherForcing | Self::DiffusionForcing => "supervised update",
            same => same.name(),
        }
    }

    /// Parts of the phase that are there before the step, and so not measured with it.
    fn held_before(self) -> &'static [&'static str] {
        match self {
            Self::Rollout => &["keys and values of the prompts"],
            // Old policy and reference read the text for themselves.
            Self::Velocities => &[
                "keys and values of the rollouts",
                "latents and noise",
                "text embeddings",
            ],
            _ => &[
                "keys and values of the rollouts",
                "keys and values of the prompts",
                "latents and noise",
                "text embeddings",
            ],
        }
    }
}

/// 8 x 8 tokens a frame, one prompt with one rollout and one teacher clip.
#[derive(Clone, Copy)]
pub struct Problem {
    pub width: usize,
    pub hidden: usize,
    pub layers: usize,
    pub frames: usize,
    pub frames_per_block: usize,
    pub recompute: bool,
    pub precision: Precision,
    /// Rank of the student's factors, and of those of the discriminator's backbone.
    pub lora: Option<[usize; 2]>,
    pub penalised: bool,
}

impl Problem {
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
        RegisterConfig {
            layers: vec![0, self.layers - 1],
            feed_forward_width: 2 * self.width,
            sigma: 0.0,
        }
    }

    fn inputs(&self, method: PlannedMethod, kernels: KernelSet) -> PlanInputs {
        let bytes = self.precision.bytes();
        PlanInputs {
            student: self.config(),
            latents: self.latents(),
            codec: None,
            pixels: 0,
            text_length: TEXT_ROWS,
            prompts: 1,
            held_out: 0,
            samples_per_prompt: 0,
            method,
            text_encoder: None,
            student_lora: self.lora.map(|[rank, _]| factors(rank)),
            weight_bytes: if self.lora.is_some() { bytes } else { 4 },
            activation_bytes: bytes,
            recompute_blocks: self.recompute,
            attention_queries: QUERIES,
            shards: 1,
            micro_batch: 1,
            caches_kept: 0,
            kernels,
            schedule: Schedule::default(),
        }
    }

    fn distill(&self, update: PlannedUpdate) -> PlannedMethod {
        PlannedMethod::Distill(Distill {
            prompts: 1,
            rollouts: 1,
            teacher_clips: 1,
            teacher_positives: 0,
            sampler_steps: [2.0; 2],
            states: 0,
            update,
            frozen_after_warm_up: false,
            supervised_start: None,
            discriminator_steps: 1,
            flow_steps: 1,
            context: Context::OwnClean,
            detach_context: true,
            lagging_old: true,
            reference: true,
            penalised: self.penalised,
            mismatched: false,
            discriminator: DiscriminatorSizes::Registers(self.registers()),
            discriminator_lora: self.lora.map(|[_, rank]| factors(rank)),
        })
    }

    /// Built as training builds it (`src/session/build.rs`).
    fn model<B: Trainable>(&self) -> AfdModel<B> {
        let device = Default::default();
        let limits = Limits {
            attention_queries: QUERIES,
            recompute_blocks: self.recompute,
            precision: self.precision,
        };
        let with_factors = |student, rank| {
            cast_frozen(
                initialise_where(adapted(student, &factors(rank)), 1, "factors", is_factor),
                self.precision,
            )
            .within(limits)
        };
        let base =
            initialise(Student::<B>::new(&self.config(), &device), 1, "student").within(limits);
        let (student, backbone) = match self.lora {
            Some([rank, of_backbone]) => {
                let student = with_factors(base, rank);
                let backbone =
                    with_factors(frozen_copy(without_factors(student.clone())), of_backbone);
                (student, backbone)
            }
            None => (base.clone(), initialise(base, 1, "backbone")),
        };
        let discriminator = RegisterDiscriminator::around(&self.registers(), backbone, &device);
        let fresh = |path: &str| !path.contains(".backbone.");
        let discriminator = Some(AnyDiscriminator::Registers(initialise_where(
            discriminator,
            1,
            "discriminator",
            fresh,
        )));
        let reference = Some(cast_frozen(
            without_factors(frozen_copy(student.clone())),
            self.precision,
        ));
        AfdModel {
            old: Some(frozen_copy(student.clone())),
            reference,
            ema: frozen_copy(student.clone()),
            student,
            discriminator,
        }
    }

    fn noised<B: Backend>(&self) -> Noised<B> {
        Noised {
            clean: self.clips(1, 1),
            noise: self.clips(1, 2),
            sigmas: Tensor::full([1, self.frames, 1, 1, 1], 0.5, &Default::default()),
        }
    }

    /// What an update learns from; `None` of a step without one.
    fn update<B: Trainable>(
        &self,
        step: Step,
        text: &Tensor<B::InnerBackend, 3>,
    ) -> Option<Update<B, AnyDiscriminator<B>>> {
        let (sigmas, text) = (vec![0.5; self.frames], text.clone());
        Some(match step {
            Step::Rollout | Step::Scores | Step::Velocities => return None,
            Step::TeacherForcing | Step::DiffusionForcing => {
                Update::Student(Box::new(SupervisedUpdate {
                    clips: self.noised(),
                    sigmas,
                    context: (step == Step::TeacherForcing).then(|| self.clips(1, 4)),
                    text,
                }))
            }
            Step::Flow => Update::Student(Box::new(FlowUpdate {
                clips: self.noised(),
                sigmas,
                r: Tensor::full([1, 1, 1, 1, 1], 0.7, &Default::default()),
                text,
                old_velocity: Some(self.clips(1, 5)),
                reference: Some((self.clips(1, 6), 1e-4)),
                context: Context::OwnClean,
                detach_context: true,
                settings: ForwardProcessSettings {
                    form: LossForm::Adaptive,
                    beta: 1.0,
                    advantage_clip: 1.0,
                },
            })),
            Step::ThroughDiscriminator => Update::Student(Box::new(DirectUpdate {
                clean: self.clips(1, 1),
                states: self.clips(1, 2),
                levels: levels(&sigmas, 1, self.frames, &Default::default()),
                sigmas,
                text,
                teacher_scores: random([1, 1], 8),
                shown: Some(self.clips(1, 4)),
                noise: Some(self.clips(1, 5)),
                loss: DiscriminatorLoss::BradleyTerry,
            })),
            Step::Discriminator => Update::Discriminator(Box::new(PairUpdate {
                teacher: self.clips(1, 1),
                student: self.clips(1, 2),
                teacher_text: text.clone(),
                student_text: text,
                mismatched: None,
                prompts: 1,
                loss: DiscriminatorLoss::BradleyTerry,
                penalty: self.penalised.then(|| Penalty {
                    direction: self.clips(2, 7),
                    size: 0.01,
                    r1: 0.01,
                    r2: 0.01,
                }),
            })),
        })
    }

    /// Peak bytes of a step above what was held before.
    pub fn measured<B: Trainable>(&self, step: Step) -> u64 {
        let model = self.model::<B>();
        let text = random::<B::InnerBackend, 3>([1, TEXT_ROWS, 16], 3);
        let update = self.update::<B>(step, &text);
        let (student, device) = (model.student.valid(), Default::default());
        let discriminator = model.discriminator.as_ref().unwrap().valid();
        let read = student.text_cache(text.clone());
        let sampler = Sampler {
            fresh_noise: 1.0,
            sigmas: vec![1.0, 0.5],
            first_block: None,
        };
        let generator = Generator {
            student: &student,
            text: &read,
            sampler: &sampler,
            shape: self.latents(),
            device: &device,
        };
        let (noised, sigmas) = (self.noised::<B::InnerBackend>(), vec![0.5; self.frames]);
        settle::<B>();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        match (step, update) {
            (_, Some(update)) => drop(model.step(update)),
            (Step::Scores, _) => drop(discriminator.score_within_limits(noised.clean, text)),
            (Step::Velocities, _) => {
                for policy in [&model.old, &model.reference] {
                    let policy = policy.as_ref().unwrap().valid();
                    let text = policy.text_cache(text.clone());
                    let cache = Some(prefill(&policy, noised.clean.clone(), 0.0, &text));
                    drop(velocities(
                        &policy,
                        noised.state(),
                        &sigmas,
                        &text,
                        &CleanContext::on(&policy, self.frames, cache),
                    ));
                }
            }
            _ => drop(generator.rollout(RolloutNoise::new(1, 0, 0..1))),
        }
        (MEMORY.peak_usage() - before) as u64
    }

    /// What the plan says of the same.
    pub fn planned(&self, step: Step, kernels: KernelSet) -> u64 {
        let method = match step {
            Step::TeacherForcing | Step::DiffusionForcing => PlannedMethod::Pretrain(Pretrain {
                batch: 1,
                micro_batch: 1,
                teacher_forcing: step == Step::TeacherForcing,
                trajectories: None,
            }),
            Step::ThroughDiscriminator => self.distill(PlannedUpdate::ThroughDiscriminator),
            _ => self.distill(PlannedUpdate::ForwardProcess),
        };
        let plan = Plan::new(self.inputs(method, kernels), None);
        let phase = plan
            .phases
            .iter()
            .find(|found| found.name == step.phase())
            .unwrap();
        phase
            .parts
            .iter()
            .filter(|part| !step.held_before().contains(&&*part.what))
            .map(|part| part.bytes)
            .sum()
    }
}

/// Burn frees what building a model left behind at the end of the next backward pass: let that be
/// another one than the measured.
fn settle<B: Trainable>() {
    Tensor::<B, 1>::ones([1], &Default::default())
        .require_grad()
        .sum()
        .backward();
}

fn factors(rank: usize) -> LoraConfig {
    LoraConfig {
        rank,
        alpha: rank as f64,
        targets: LoraConfig::all(),
    }
}

fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
    let values = Noise::new(1, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

//! How a recipe becomes the sizes of a plan.

use afd_clips::layouts::Layout as FolderLayout;
use afd_models::discriminator::DiscriminatorSpec;
use afd_models::text::umt5::UmT5Config;

use super::{
    DiscriminatorSizes, Distill, KernelSet, PlanInputs, PlannedMethod, PlannedUpdate, Pretrain,
    Schedule, Trajectories,
};
use crate::methods;
use crate::plan::codec::{CodecSizes, TextEncoderSizes};
use crate::recipe::Recipe;
use crate::recipe::codec::CodecPlan;
use crate::recipe::tables::{Context, Method, OldPolicy, Settings, TextKind};

impl PlanInputs {
    /// What `recipe` does on a backend, by its name.
    pub fn of(recipe: &Recipe, backend: &str) -> Self {
        let samples_per_prompt = samples_per_prompt(recipe);
        let training_clips = (samples_per_prompt > 0)
            .then_some((samples_per_prompt * recipe.train_prompts.len()) as u64);
        let settings = &recipe.settings.clone().within_passes(training_clips);
        let method = PlannedMethod::of(recipe, settings);
        let clips = method.clips();
        let micro_batch = micro_batch(settings, clips);
        let clip = settings.clip;
        Self {
            student: recipe.student.clone(),
            latents: recipe.latent_shape,
            // Prepared latents are read instead of pixels.
            pixels: if recipe.data().is_some() {
                0
            } else {
                clip.frames * clip.height * clip.width * 3
            },
            text_length: settings.text.length,
            prompts: recipe.train_prompts.len(),
            held_out: recipe.held_out_prompts.len(),
            samples_per_prompt,
            method,
            codec: match &recipe.codec {
                CodecPlan::Pixel(_) => None,
                CodecPlan::WanVae {
                    config, precision, ..
                } => Some(CodecSizes::wan_vae(
                    config,
                    *precision,
                    [clip.frames, clip.height, clip.width],
                )),
            },
            // Its weights are not opened for this: Wan's students were all trained with the same
            // one.
            text_encoder: (settings.text.kind == TextKind::Umt5).then(|| {
                TextEncoderSizes::umt5(
                    &UmT5Config::xxl(),
                    settings.text.precision,
                    settings.text.length,
                )
            }),
            student_lora: settings.student.lora.clone(),
            weight_bytes: if settings.student.lora.is_some() {
                settings.run.precision.bytes()
            } else {
                4
            },
            activation_bytes: settings.run.precision.bytes(),
            recompute_blocks: settings.run.recompute_blocks,
            attention_queries: settings.run.attention_queries,
            shards: settings.run.shards,
            micro_batch,
            caches_kept: if micro_batch < clips { 0 } else { clips },
            kernels: KernelSet::of(backend, settings.run.precision),
            schedule: Schedule::of(settings),
        }
    }
}

impl PlannedMethod {
    /// What each method's update reads is what `src/methods` has it read.
    ///
    /// `settings` are the recipe's with the schedule that runs.
    fn of(recipe: &Recipe, settings: &Settings) -> Self {
        let batch = settings.supervised.batch;
        let supervised = Pretrain {
            batch,
            micro_batch: micro_batch(settings, batch),
            teacher_forcing: settings.supervised.teacher_forcing,
            trajectories: recipe.trajectories.as_ref().map(|of| Trajectories {
                steps: settings.supervised.trajectory_steps,
                levels: of.levels(),
                at_once: micro_batch(settings, batch / of.levels()),
            }),
        };
        if settings.is_supervised() {
            return Self::Pretrain(supervised);
        }
        let (afd, discriminator) = (&settings.afd, &settings.discriminator);
        let method = methods::entry(settings);
        let update = match settings.method {
            Method::DirectAdversarial => PlannedUpdate::ThroughDiscriminator,
            Method::ReverseChain => PlannedUpdate::ReverseChain,
            _ => PlannedUpdate::ForwardProcess,
        };
        let forward_process = update == PlannedUpdate::ForwardProcess;
        let steps = settings.sampler.steps();
        Self::Distill(Distill {
            prompts: afd.prompts_per_alternation,
            rollouts: afd.rollouts_per_prompt,
            teacher_clips: afd.teacher_clips_per_prompt,
            teacher_positives: if forward_process {
                afd.teacher_positives
            } else {
                0
            },
            sampler_steps: steps.map(|steps| match update {
                // Each is as likely to be the last.
                PlannedUpdate::ThroughDiscriminator => (steps + 1) as f64 / 2.0,
                _ => steps as f64,
            }),
            states: if forward_process {
                0
            } else {
                steps[0].max(steps[1])
            },
            update,
            frozen_after_warm_up: method.variant.frozen_after_warm_up,
            supervised_start: (afd.supervised_rounds > 0).then_some(supervised),
            discriminator_steps: afd.discriminator_steps,
            flow_steps: afd.flow_steps,
            context: if forward_process {
                afd.context
            } else {
                Context::OwnClean
            },
            detach_context: !forward_process || afd.detach_context,
            lagging_old: match update {
                PlannedUpdate::ForwardProcess => afd.old_policy == OldPolicy::Lagging,
                PlannedUpdate::ThroughDiscriminator => false,
                PlannedUpdate::ReverseChain => true,
            },
            reference: (method.reference_weight)(settings) > 0.0,
            penalised: discriminator.r1_weight > 0.0 || discriminator.r2_weight > 0.0,
            mismatched: discriminator.mismatch_weight > 0.0,
            discriminator: DiscriminatorSizes::of(recipe),
            discriminator_lora: discriminator.lora.clone(),
        })
    }
}

impl DiscriminatorSizes {
    /// The sizes of the recipe's discriminator.
    fn of(recipe: &Recipe) -> Self {
        let spec = recipe.settings.discriminator.spec();
        match (
            spec.graph_sizes(recipe.latent_shape, recipe.student.text_width),
            spec,
        ) {
            (Some(sizes), _) => Self::Graph(sizes),
            (None, DiscriminatorSpec::Registers { config, .. }) => Self::Registers(config),
            (None, _) => unreachable!("all others tell their sizes"),
        }
    }
}

impl Schedule {
    fn of(settings: &Settings) -> Self {
        let (afd, checkpoints) = (&settings.afd, settings.run.keep as u64);
        match settings.is_supervised() {
            true => Self {
                start: 0,
                warm_up: 0,
                rounds: settings.supervised.steps,
                checkpoints,
            },
            false => Self {
                start: afd.supervised_rounds,
                warm_up: afd.warmup_steps,
                rounds: afd.alternations,
                checkpoints,
            },
        }
    }
}

/// Clips of a micro-batch, of `clips`; every part of a batch is cut by itself.
fn micro_batch(settings: &Settings, clips: usize) -> usize {
    match settings.run.micro_batch {
        0 => clips,
        limit => clips.min(limit * settings.run.shards),
    }
}

/// As the recipe says; or, where it leaves that to a folder whose clips are prepared, as many as
/// the folder lists, if it is there already.
fn samples_per_prompt(recipe: &Recipe) -> usize {
    let teacher = &recipe.settings.teacher;
    if teacher.samples_per_prompt > 0 || recipe.data().is_none() {
        return teacher.samples_per_prompt as usize;
    }
    let mut clips = 0usize;
    if let Some(path) = &teacher.path {
        let layout = teacher
            .layout
            .map_or_else(|| FolderLayout::detect(path), Ok);
        // A folder that is not there yet, or cannot be read, is planned as one clip per prompt.
        let _ = layout.and_then(|layout| {
            layout.list(path, &mut |listed| {
                clips += usize::from(listed.is_ok());
                true
            })
        });
    }
    clips.div_ceil(recipe.train_prompts.len()).max(1)
}

//! A training run from a recipe, started or resumed.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex};

use afd_models::kernels::Trainable;
use burn::train::{Learner, SupervisedTraining, TrainingStrategy};

use super::SessionError;
use super::build;
use super::journal::RunJournal;
use super::state::{StudentCard, read_training_state};
use crate::afd::alternation::Alternation;
use crate::afd::model::AfdModel;
use crate::afd::optimizer::AfdOptimizer;
use crate::afd::progress::{Gauge, NoItems, NoMetricFiles, PlainLines};
use crate::afd::shards::Shards;
use crate::afd::strategy::{Ending, Method, RoundState, Rounds, SHOWN, ending};
use crate::afd::supervised::Supervised;
use crate::afd::supervised_start::SupervisedStart;
use crate::data::batch::{Asked, Batches};
use crate::recipe::Recipe;
use crate::recipe::settings::Method as MethodKind;
use crate::run::directory::RunDirectory;

/// A training run that has ended.
pub struct Trained<B: Trainable> {
    /// The weights at the end, not differentiated.
    pub model: AfdModel<B::InnerBackend>,
    /// How it ended.
    pub ending: Ending,
    /// Where it ended.
    pub state: RoundState,
}

/// Trains from the run's newest checkpoint, or from the start if it has none.
pub fn train<B: Trainable>(
    recipe: &Recipe,
    run: &RunDirectory,
    batches: &Arc<Batches<B::InnerBackend>>,
    device: &B::Device,
) -> Result<Trained<B>, SessionError> {
    let mut recipe = recipe.clone();
    recipe.settings = recipe.settings.within_passes(batches.training_clips());
    let (recipe, settings) = (&recipe, &recipe.settings);
    let optimizer = AfdOptimizer::<B>::new(&settings.optimizer, &settings.discriminator.optimizer);
    let mut model = build::model::<B>(recipe, device)?;
    let mut state = RoundState::default();
    let checkpoints = run.checkpoints(settings.run.keep);
    if let Some((step, checkpoint)) = checkpoints.latest()? {
        checkpoints.point_at(step)?;
        (model, state) = read_training_state(&checkpoint, model, &optimizer)?;
    } else if !settings.is_supervised() && settings.afd.warmup_steps == 0 {
        state.warm_up_rounds = Some(settings.afd.supervised_rounds);
    }
    let method: Box<dyn Method<B>> = if settings.is_supervised() {
        Box::new(Supervised::new(
            recipe,
            settings.supervised.clone(),
            batches.clone(),
            device.clone(),
        ))
    } else if settings.afd.supervised_rounds > 0 {
        Box::new(SupervisedStart::new(
            recipe,
            batches.clone(),
            device.clone(),
        ))
    } else {
        Box::new(Alternation::new(recipe, batches.clone(), device.clone()))
    };
    let planned = method.planned_rounds(&state);
    let (supervised, adversarial) = if settings.is_supervised() {
        (state.round..planned, 0..0)
    } else {
        let start = settings.afd.supervised_rounds;
        let rounds = match settings.method {
            // After the warm-up it goes round the first rounds only.
            MethodKind::Offline => {
                start..start + settings.afd.warmup_steps + settings.afd.offline_rounds
            }
            _ => state.round.max(start)..planned,
        };
        (state.round..start, rounds)
    };
    batches.expect(
        recipe,
        &[
            Asked {
                rounds: supervised,
                prompts: settings.supervised.batch,
                per_prompt: 1,
            },
            Asked {
                rounds: adversarial,
                prompts: settings.afd.prompts_per_alternation,
                per_prompt: settings.afd.teacher_clips_per_prompt,
            },
        ],
    );
    let every = settings.run.checkpoint_every as u64;
    let journal = RunJournal::open(
        run,
        state.round,
        every,
        settings.run.keep,
        optimizer.clone(),
        StudentCard::of(recipe)?,
    )?;
    let rounds = Arc::new(Rounds {
        method,
        optimizer: optimizer.clone(),
        shards: Shards::new(settings.run.shards).map_err(SessionError::Other)?,
        clip_norms: [
            settings.optimizer.clip_norm,
            settings.discriminator.optimizer.clip_norm,
        ],
        journal: Mutex::new(Box::new(journal)),
        state: Mutex::new(state),
        ending: Mutex::new(None),
    });
    let mut training = SupervisedTraining::new(run.path(), Arc::new(NoItems), Arc::new(NoItems))
        .with_metric_logger(NoMetricFiles)
        .with_application_logger(None)
        .num_epochs(1)
        .with_training_strategy(TrainingStrategy::Custom(rounds.clone()));
    let own_loss = match settings.method {
        _ if settings.is_supervised() => "supervised_loss",
        MethodKind::DirectAdversarial => "direct_loss",
        MethodKind::ReverseChain => "reverse_chain_loss",
        _ => "flow_loss",
    };
    let shown = |name: &&str| {
        if name.ends_with("_loss") && *name != "discriminator_loss" {
            *name == own_loss
        } else {
            !settings.is_supervised()
        }
    };
    for name in SHOWN.into_iter().filter(shown) {
        training = training.metric_train_numeric(Gauge::new(name));
    }
    if !std::io::stdout().is_terminal() {
        training = training.renderer(PlainLines::new());
    }
    let result = training.launch(Learner::new(model, optimizer, 1.0));
    drop(result.renderer);
    let ending = ending(&rounds)?;
    let state = rounds
        .state
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    Ok(Trained {
        model: result.model,
        ending,
        state,
    })
}

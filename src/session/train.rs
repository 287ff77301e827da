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
use crate::data::batch::Batches;
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
    let settings = &recipe.settings;
    let optimizer = AfdOptimizer::<B>::new(&settings.optimizer, &settings.discriminator.optimizer);
    let mut model = build::model::<B>(recipe, device)?;
    let mut state = RoundState::default();
    let checkpoints = run.checkpoints(settings.run.keep);
    if let Some((step, checkpoint)) = checkpoints.latest()? {
        checkpoints.point_at(step)?;
        (model, state) = read_training_state(&checkpoint, model, &optimizer)?;
    } else if !settings.is_supervised() && settings.afd.warmup_steps == 0 {
        state.warm_up_rounds = Some(0);
    }
    let method: Box<dyn Method<B>> = if settings.is_supervised() {
        Box::new(Supervised::new(recipe, batches.clone(), device.clone()))
    } else {
        Box::new(Alternation::new(recipe, batches.clone(), device.clone()))
    };
    let (prompts, per_prompt) = if settings.is_supervised() {
        (settings.supervised.batch, 1)
    } else {
        (settings.afd.prompts_per_alternation, settings.afd.teacher_clips_per_prompt)
    };
    let rounds = match settings.method {
        // After the warm-up it goes round the first rounds only.
        MethodKind::Offline => 0..settings.afd.warmup_steps + settings.afd.offline_rounds,
        _ => state.round..method.planned_rounds(&state),
    };
    batches.expect(recipe, rounds, prompts, per_prompt);
    let every = settings.run.checkpoint_every as u64;
    let journal = RunJournal::open(run, state.round, every, settings.run.keep, optimizer.clone(), StudentCard::of(recipe)?)?;
    let rounds = Arc::new(Rounds {
        method,
        optimizer: optimizer.clone(),
        shards: Shards::new(settings.run.shards).map_err(SessionError::Other)?,
        clip_norms: [settings.optimizer.clip_norm, settings.discriminator.optimizer.clip_norm],
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
    let shown =
        |name: &&str| if name.ends_with("_loss") && *name != "discriminator_loss" { *name == own_loss } else { !settings.is_supervised() };
    for name in SHOWN.into_iter().filter(shown) {
        training = training.metric_train_numeric(Gauge::new(name));
    }
    if !std::io::stdout().is_terminal() {
        training = training.renderer(PlainLines::new());
    }
    let result = training.launch(Learner::new(model, optimizer, 1.0));
    drop(result.renderer);
    let ending = ending(&rounds)?;
    let state = rounds.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    Ok(Trained { model: result.model, ending, state })
}

//! A training run from a recipe, started or resumed.

use std::sync::{Arc, Mutex, PoisonError};

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use burn::module::AutodiffModule;
use burn::train::{Learner, SupervisedTraining, TrainingStrategy};

use super::SessionError;
use super::build;
use super::journal::RunJournal;
use super::state::{StudentCard, read_training_state};
use crate::data::batch::{Asked, Batches};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::optimizer::AfdOptimizer;
use crate::engine::progress::{Gauge, NoItems, NoMetricFiles, PlainLines};
use crate::engine::rounds::{Ending, RoundState, Rounds, TrainingMethod, ending};
use crate::engine::shards::Shards;
use crate::methods;
use crate::recipe::Recipe;
use crate::recipe::tables::{Method, Settings};
use crate::run::directory::RunDirectory;

/// A training run that has ended.
pub struct Trained<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    /// The weights at the end, not differentiated.
    pub model: AfdModel<B::InnerBackend, D::InnerModule>,
    /// How it ended.
    pub ending: Ending,
    /// Where it ended.
    pub state: RoundState,
}

/// Trains from the run's newest checkpoint, or from the start if it has none.
///
/// # Errors
/// Weights, data or files that cannot be had; a number that is not finite.
pub fn train<B: Trainable>(
    recipe: &Recipe,
    run: &RunDirectory,
    batches: &Arc<Batches<B::InnerBackend>>,
    device: &B::Device,
) -> Result<Trained<B>, SessionError> {
    let model = build::model::<B>(recipe, device)?;
    train_model(recipe, run, batches, device, model)
}

/// The same for a model that the caller made, such as one with a discriminator of its own (see
/// [`build::model_with`]).
///
/// # Errors
/// As [`train`].
pub fn train_model<B: Trainable, D: TrainedDiscriminator<B>>(
    recipe: &Recipe,
    run: &RunDirectory,
    batches: &Arc<Batches<B::InnerBackend>>,
    device: &B::Device,
    mut model: AfdModel<B, D>,
) -> Result<Trained<B, D>, SessionError> {
    let mut recipe = recipe.clone();
    recipe.settings = recipe.settings.within_passes(batches.training_clips());
    let (recipe, settings) = (&recipe, &recipe.settings);
    let optimizer =
        AfdOptimizer::<B, D>::new(&settings.optimizer, &settings.discriminator.optimizer);
    let mut state = RoundState::default();
    let checkpoints = run.checkpoints(settings.run.keep);
    if let Some((step, checkpoint)) = checkpoints.latest()? {
        checkpoints.point_at(step)?;
        (model, state) = read_training_state(&checkpoint, model, &optimizer)?;
    } else if !settings.is_supervised() && settings.afd.warmup_steps == 0 {
        state.warm_up_rounds = Some(settings.afd.supervised_rounds);
    }
    let method = methods::of_recipe(recipe, batches.clone(), device.clone());
    batches.expect(recipe, &asked(settings, &state, &*method));
    let journal = RunJournal::open(
        run,
        state.round,
        settings.run.checkpoint_every as u64,
        settings.run.keep,
        optimizer.clone(),
        StudentCard::of(recipe)?,
    )?;
    let rounds = Arc::new(Rounds {
        method,
        optimizer: optimizer.clone(),
        shards: Shards::new(settings.run.shards)?,
        clip_norms: [
            settings.optimizer.clip_norm,
            settings.discriminator.optimizer.clip_norm,
        ],
        shown: shown(settings),
        journal: Mutex::new(Box::new(journal)),
        state: Mutex::new(state),
        ending: Mutex::new(None),
    });
    let model = launch(run, &rounds, Learner::new(model, optimizer, 1.0));
    let ending = ending(&rounds)?;
    let state = rounds.state.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Trained {
        model,
        ending,
        state: state.clone(),
    })
}

/// Runs burn-train's loop to its end and gives back the weights.
fn launch<B: Trainable, D: TrainedDiscriminator<B>>(
    run: &RunDirectory,
    rounds: &Arc<Rounds<B, D>>,
    learner: Learner<crate::engine::learner::Components<B, D>>,
) -> <AfdModel<B, D> as AutodiffModule<B>>::InnerModule {
    let mut training = SupervisedTraining::new(run.path(), Arc::new(NoItems), Arc::new(NoItems))
        .with_metric_logger(NoMetricFiles)
        .with_application_logger(None)
        .num_epochs(1)
        .with_training_strategy(TrainingStrategy::Custom(rounds.clone()))
        .renderer(PlainLines::new());
    for name in &rounds.shown {
        training = training.metric_train_numeric(Gauge::new(name));
    }
    let result = training.launch(learner);
    drop(result.renderer);
    result.model
}

/// The measurements that live progress shows.
fn shown(settings: &Settings) -> Vec<&'static str> {
    let method = methods::entry(settings);
    if !method.adversarial {
        return vec![method.loss];
    }
    vec![
        "fresh_pair_accuracy",
        "discriminator_loss",
        method.loss,
        "score_std",
    ]
}

/// What the rounds that are left will ask the teacher for.
fn asked<B: Trainable, D: TrainedDiscriminator<B>>(
    settings: &Settings,
    state: &RoundState,
    method: &dyn TrainingMethod<B, D>,
) -> [Asked; 2] {
    let (afd, planned) = (&settings.afd, method.planned_rounds(state));
    let (supervised, adversarial) = if settings.is_supervised() {
        (state.round..planned, 0..0)
    } else {
        let start = afd.supervised_rounds;
        let rounds = match settings.method {
            // After the warm-up it goes round the first rounds only.
            Method::Offline => start..start + afd.warmup_steps + afd.offline_rounds,
            _ => state.round.max(start)..planned,
        };
        (state.round..start, rounds)
    };
    [
        Asked {
            rounds: supervised,
            prompts: settings.supervised.batch,
            per_prompt: 1,
        },
        Asked {
            rounds: adversarial,
            prompts: afd.prompts_per_alternation,
            per_prompt: afd.teacher_clips_per_prompt,
        },
    ]
}

//! burn-train's learner loop, round by round, with checkpoints between rounds.

use std::sync::{Arc, Mutex, PoisonError};

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use burn::data::dataloader::Progress;
use burn::train::{
    EventProcessorTraining, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use serde::{Deserialize, Serialize};

use super::gradients::NonFinite;
use super::learner::{BurnLearner, Components, LearnerHandle};
use super::model::{AfdModel, TrainedDiscriminator};
use super::optimizer::AfdOptimizer;
use super::outcome::Outcome;
use super::report::RoundReport;
use super::shards::Shards;
use crate::data::batch::BatchError;
use crate::exit::ExitStatus;
use crate::teacher::TeacherError;

/// What a round needs to know besides weights and optimizer state; part of every checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundState {
    /// Rounds done.
    pub round: u64,
    /// Rounds before the first alternation: supervised start and warm-up; `None` while they last.
    pub warm_up_rounds: Option<u64>,
    /// Running pair accuracy on clips that the discriminator had not seen.
    pub pair_accuracy: Option<f64>,
    /// What the discriminator's penalties are multiplied with; `None` until that has moved from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty_scale: Option<f64>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// Data could not be had.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A number is not finite.
    #[error(transparent)]
    NonFinite(#[from] NonFinite),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// The model was built without a discriminator.
    #[error("this method needs a discriminator and the model has none")]
    NoDiscriminator,
    /// Scores that belong neither to clips nor to blocks.
    #[error(
        "the discriminator gives {found} scores per clip, expected 1 or one per block of frames \
         ({blocks})"
    )]
    Scores {
        /// Scores per clip.
        found: usize,
        /// Blocks of frames in a clip.
        blocks: usize,
    },
    /// The journal of the run could not be written.
    #[error("{0}")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stop was asked for before the round had changed anything.
    #[error("asked to stop; continue with --resume")]
    Stopped,
    /// burn-train's loop returned without running a round.
    #[error("the learner ended without running a round")]
    NoRound,
}

impl ExitStatus for RoundError {}

impl RoundError {
    /// A device error from whatever the backend reports.
    pub fn device(error: impl std::fmt::Debug) -> Self {
        Self::Device(format!("{error:?}"))
    }
}

/// A training method: what happens in a round, and when it is done.
pub trait TrainingMethod<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>>:
    Send + Sync
{
    /// Whether all rounds are done.
    fn finished(&self, state: &RoundState) -> bool;

    /// How many rounds the run will have had, as far as that is known.
    fn planned_rounds(&self, state: &RoundState) -> u64;

    /// One round.
    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B, D>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError>;
}

/// What happens between rounds: checkpoints, logs, a request to stop.
pub trait Journal<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>>:
    Send + Sync
{
    /// Called after every round; `last` after the last one.
    fn after_round(
        &mut self,
        model: &AfdModel<B, D>,
        state: &RoundState,
        report: &RoundReport,
        last: bool,
    ) -> Result<(), RoundError>;

    /// Whether the user, or the system, asked to stop: the state is then saved by
    /// [`Journal::save`].
    fn stop_requested(&self) -> bool;

    /// Saves the state now.
    fn save(&mut self, model: &AfdModel<B, D>, state: &RoundState) -> Result<(), RoundError>;
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All rounds are done.
    Finished,
    /// A request to stop was followed; the state is saved.
    Stopped,
}

/// The strategy that drives the learner.
pub struct Rounds<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    /// The method.
    pub method: Box<dyn TrainingMethod<B, D>>,
    /// The optimizer whose clone the learner holds.
    pub optimizer: AfdOptimizer<B, D>,
    /// Threads for the parts of a batch.
    pub shards: Shards,
    /// Gradient norm limits: student, discriminator.
    pub clip_norms: [f64; 2],
    /// The measurements that live progress shows; all of them are logged.
    pub shown: Vec<&'static str>,
    /// Logs and checkpoints.
    pub journal: Mutex<Box<dyn Journal<B, D>>>,
    /// The state to start from, then the state reached.
    pub state: Mutex<RoundState>,
    /// How it ended.
    pub ending: Mutex<Option<Result<Ending, RoundError>>>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> SupervisedLearningStrategy<Components<B, D>>
    for Rounds<B, D>
{
    /// burn-train's loaders are left empty: what a round trains on depends on the student of that
    /// round, so rounds draw it themselves.
    fn fit(
        &self,
        components: TrainingComponents<Components<B, D>>,
        mut learner: Learner<Components<B, D>>,
        _train: TrainLoader<Components<B, D>>,
        _valid: ValidLoader<Components<B, D>>,
        _starting_epoch: usize,
    ) -> (
        AfdModel<B, D>,
        SupervisedTrainingEventProcessor<Components<B, D>>,
    ) {
        let mut events = components.event_processor;
        learner.lr_step();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.run(
            &mut learner,
            &mut state,
            &mut **journal,
            &mut |outcome, state, planned| {
                let progress = || Progress::new(state.round as usize, planned as usize);
                let item = TrainingItem::new(
                    outcome,
                    progress(),
                    progress(),
                    Some(state.round as usize),
                    None,
                );
                events.process_train(LearnerEvent::ProcessedItem(item));
                components.interrupter.should_stop()
            },
        );
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        events.process_train(LearnerEvent::EndEpoch(1));
        (learner.model(), events)
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> Rounds<B, D> {
    fn run(
        &self,
        learner: &mut Learner<Components<B, D>>,
        state: &mut RoundState,
        journal: &mut dyn Journal<B, D>,
        show: &mut dyn FnMut(Outcome, &RoundState, u64) -> bool,
    ) -> Result<Ending, RoundError> {
        while !self.method.finished(state) {
            let mut handle = BurnLearner::new(
                learner,
                &self.optimizer,
                &self.shards,
                self.clip_norms,
                state.round,
            );
            let mut report = match self.method.round(&mut handle, state) {
                // The teacher is asked, and rollouts are drawn, before anything changes, so the
                // state is that of the round before.
                Err(
                    RoundError::Stopped
                    | RoundError::Batch(BatchError::Teacher(TeacherError::Stopped)),
                ) if journal.stop_requested() => {
                    drop(handle);
                    journal.save(&learner.model(), state)?;
                    return Ok(Ending::Stopped);
                }
                other => other?,
            };
            report.values.append(&mut handle.norms());
            state.round += 1;
            let last = self.method.finished(state);
            journal.after_round(&learner.model(), state, &report, last)?;
            let scalars = self
                .shown
                .iter()
                .filter_map(|&name| Some((name, *report.values.get(name)?)))
                .collect();
            let interrupted = show(
                Outcome { scalars },
                state,
                self.method.planned_rounds(state),
            );
            if !last && (interrupted || journal.stop_requested()) {
                journal.save(&learner.model(), state)?;
                return Ok(Ending::Stopped);
            }
        }
        Ok(Ending::Finished)
    }
}

/// Takes the ending out of a strategy whose launch has returned.
pub fn ending<B: Trainable, D: TrainedDiscriminator<B>>(
    rounds: &Arc<Rounds<B, D>>,
) -> Result<Ending, RoundError> {
    let ending = rounds
        .ending
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    ending.unwrap_or_else(|| Err(RoundError::NoRound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_round_survives_its_file_to_the_last_bit() {
        // serde_json without float_roundtrip reads some of these back one bit off, and a resumed
        // run would end in other bytes.
        let mut draw =
            afd_models::noise::Noise::new(1, afd_models::noise::Purpose::Evaluation, 0, 0);
        for round in 0..20_000 {
            let value =
                f64::from(draw.bits()) / f64::from(u32::MAX) / 3.0 + f64::from(draw.bits()) * 1e-17;
            let state = RoundState {
                round,
                warm_up_rounds: Some(3),
                pair_accuracy: Some(value),
                penalty_scale: Some(value),
            };
            let read: RoundState =
                serde_json::from_str(&serde_json::to_string_pretty(&state).unwrap()).unwrap();
            assert_eq!(
                read.pair_accuracy.map(f64::to_bits),
                Some(value.to_bits()),
                "{value}"
            );
        }
    }
}

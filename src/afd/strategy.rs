//! burn-train's learner loop, round by round, with checkpoints between rounds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use afd_models::kernels::Trainable;
use burn::data::dataloader::Progress;
use burn::module::Module;
use burn::train::{
    EventProcessorTraining, Learner, LearnerEvent, LearningComponentsMarker,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainOutput,
    TrainingComponents, TrainingItem, ValidLoader,
};
use serde::{Deserialize, Serialize};

use super::gradients::{self, NonFinite};
use super::model::{AfdModel, Outcome, Work};
use super::optimizer::AfdOptimizer;
use super::shards::Shards;
use super::step::Step;
use crate::data::batch::BatchError;
use crate::teacher::TeacherError;

/// Types of the learner; the learning rate that burn-train passes on is 1, each part's own rate
/// lives in its optimizer.
pub type Components<B> = LearningComponentsMarker<B, f64, AfdModel<B>, AfdOptimizer<B>>;

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

/// What a round cost; a resumed run may have to pay for a round again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Videos that the teacher was asked for.
    pub teacher_queries: u64,
    /// Clips that the student generated.
    pub rollouts: u64,
    /// Clips that went forwards and backwards through the student.
    pub student_passes: u64,
    /// Clips that went forwards and backwards through the discriminator, those of its penalties
    /// included.
    pub discriminator_passes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Self) {
        self.teacher_queries += more.teacher_queries;
        self.rollouts += more.rollouts;
        self.student_passes += more.student_passes;
        self.discriminator_passes += more.discriminator_passes;
    }
}

/// What a round measured.
#[derive(Debug, Clone)]
pub struct RoundReport {
    /// Name of the phase.
    pub phase: &'static str,
    /// Measurements; the same in every run of the same recipe.
    pub values: BTreeMap<String, f64>,
    /// Milliseconds per part; different every time, and kept out of `values` for that reason.
    pub milliseconds: BTreeMap<String, f64>,
    /// What it cost.
    pub cost: Cost,
}

impl RoundReport {
    /// An empty report.
    pub fn new(phase: &'static str) -> Self {
        Self {
            phase,
            values: BTreeMap::new(),
            milliseconds: BTreeMap::new(),
            cost: Cost::default(),
        }
    }

    /// Adds one measurement.
    pub fn measure(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_string(), value);
    }

    /// Adds what a step measured; of several steps of a kind the last one stays.
    pub fn merge(&mut self, outcome: Outcome) {
        outcome
            .scalars
            .into_iter()
            .for_each(|(name, value)| self.measure(name, value));
    }

    /// Adds the time since `started` to a part.
    pub fn took(&mut self, part: &str, started: Instant) {
        *self.milliseconds.entry(part.to_string()).or_default() +=
            started.elapsed().as_secs_f64() * 1e3;
    }
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
    /// Files of the run could not be written.
    #[error("{0}")]
    Files(String),
}

impl RoundError {
    /// A device error from whatever the backend reports.
    pub fn device(error: impl std::fmt::Debug) -> Self {
        Self::Device(format!("{error:?}"))
    }
}

/// A training method: what happens in a round, and when it is done.
pub trait Method<B: Trainable>: Send + Sync {
    /// Whether all rounds are done.
    fn finished(&self, state: &RoundState) -> bool;

    /// How many rounds the run will have had, as far as that is known.
    fn planned_rounds(&self, state: &RoundState) -> u64;

    /// One round.
    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError>;
}

/// What a method may do with burn-train's learner.
pub trait LearnerHandle<B: Trainable> {
    /// The composite as it is now.
    fn model(&self) -> AfdModel<B>;

    /// Replaces the composite's weights (after the lagging copies have moved).
    fn replace(&mut self, model: AfdModel<B>);

    /// One optimizer step on all parts of a batch (each with its share of the whole), refused
    /// before it is applied if a number is not finite.
    fn train(&mut self, parts: Vec<(Work<B>, f64)>) -> Result<Outcome, NonFinite>;

    /// The threads that parts run on.
    fn shards(&self) -> &Shards;

    /// Sets the student's learning rate for the following steps.
    fn set_student_rate(&mut self, rate: f64);
}

/// What happens between rounds: checkpoints, logs, a request to stop.
pub trait Journal<B: Trainable>: Send + Sync {
    /// Called after every round; `last` after the last one.
    fn after_round(
        &mut self,
        model: &AfdModel<B>,
        state: &RoundState,
        report: &RoundReport,
        last: bool,
    ) -> Result<(), RoundError>;

    /// Whether the user, or the system, asked to stop: the state is then saved by
    /// [`Journal::save`].
    fn stop_requested(&self) -> bool;

    /// Saves the state now.
    fn save(&mut self, model: &AfdModel<B>, state: &RoundState) -> Result<(), RoundError>;
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
pub struct Rounds<B: Trainable> {
    /// The method.
    pub method: Box<dyn Method<B>>,
    /// The optimizer whose clone the learner holds.
    pub optimizer: AfdOptimizer<B>,
    /// Threads for the parts of a batch.
    pub shards: Shards,
    /// Gradient norm limits: student, discriminator.
    pub clip_norms: [f64; 2],
    /// Logs and checkpoints.
    pub journal: Mutex<Box<dyn Journal<B>>>,
    /// The state to start from, then the state reached.
    pub state: Mutex<RoundState>,
    /// How it ended.
    pub ending: Mutex<Option<Result<Ending, RoundError>>>,
}

impl<B: Trainable> SupervisedLearningStrategy<Components<B>> for Rounds<B> {
    /// burn-train's loaders are left empty: what a round trains on depends on the student of that
    /// round, so rounds draw it themselves.
    fn fit(
        &self,
        components: TrainingComponents<Components<B>>,
        mut learner: Learner<Components<B>>,
        _train: TrainLoader<Components<B>>,
        _valid: ValidLoader<Components<B>>,
        _starting_epoch: usize,
    ) -> (AfdModel<B>, SupervisedTrainingEventProcessor<Components<B>>) {
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

impl<B: Trainable> Rounds<B> {
    fn run(
        &self,
        learner: &mut Learner<Components<B>>,
        state: &mut RoundState,
        journal: &mut dyn Journal<B>,
        show: &mut dyn FnMut(Outcome, &RoundState, u64) -> bool,
    ) -> Result<Ending, RoundError> {
        while !self.method.finished(state) {
            let mut handle = Handle {
                shards: &self.shards,
                learner,
                optimizer: &self.optimizer,
                clip_norms: self.clip_norms,
                round: state.round,
                norms: BTreeMap::new(),
            };
            let mut report = match self.method.round(&mut handle, state) {
                // The teacher is asked before anything changes, so the state is that of the round
                // before.
                Err(RoundError::Batch(BatchError::Teacher(TeacherError::Stopped)))
                    if journal.stop_requested() =>
                {
                    drop(handle);
                    journal.save(&learner.model(), state)?;
                    return Ok(Ending::Stopped);
                }
                other => other?,
            };
            report.values.append(&mut handle.norms);
            state.round += 1;
            let last = self.method.finished(state);
            journal.after_round(&learner.model(), state, &report, last)?;
            let scalars = SHOWN
                .into_iter()
                .filter_map(|name| Some((name, *report.values.get(name)?)))
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

/// The measurements that live progress shows; all of them are logged.
pub const SHOWN: [&str; 7] = [
    "fresh_pair_accuracy",
    "discriminator_loss",
    "flow_loss",
    "direct_loss",
    "reverse_chain_loss",
    "supervised_loss",
    "score_std",
];

/// One output for all parts: scalars and gradients averaged by share.
fn merged<B: Trainable>(
    parts: Vec<(TrainOutput<Outcome>, f64)>,
    model: &AfdModel<B>,
) -> TrainOutput<Outcome> {
    let mut item = Outcome::default();
    let mut gradients = Vec::with_capacity(parts.len());
    for (output, share) in parts {
        item.add(output.item.scalars, share);
        gradients.push((output.grads, share));
    }
    TrainOutput {
        grads: gradients::weighted_sum::<B, _>(gradients, model),
        item,
    }
}

struct Handle<'a, B: Trainable> {
    shards: &'a Shards,
    learner: &'a mut Learner<Components<B>>,
    optimizer: &'a AfdOptimizer<B>,
    clip_norms: [f64; 2],
    round: u64,
    norms: BTreeMap<String, f64>,
}

impl<B: Trainable> Handle<'_, B> {
    /// Parts side by side, each on a thread of its own.
    fn in_step(&self, works: Vec<Work<B>>, model: &AfdModel<B>) -> Vec<TrainOutput<Outcome>> {
        let copies = works
            .into_iter()
            .map(|work| (gradients::with_own_graph::<B, _>(model.clone()), work))
            .collect();
        let mut steps = self
            .shards
            .map(copies, |_, (copy, work)| Step::new(copy, work));
        let graphs = steps.iter().map(Step::graphs).max().unwrap_or_default();
        for graph in 0..graphs {
            // Two maps, not one: see [`Step`].
            let losses = self.shards.map(steps, |_, mut step| {
                ((graph < step.graphs()).then(|| step.forward(graph)), step)
            });
            steps = self.shards.map(losses, |_, (loss, mut step)| {
                // A smaller part may have fewer graphs.
                if let Some(loss) = loss {
                    step.backward(loss);
                }
                step
            });
        }
        steps.into_iter().map(Step::finish).collect()
    }
}

impl<B: Trainable> LearnerHandle<B> for Handle<'_, B> {
    fn model(&self) -> AfdModel<B> {
        self.learner.model()
    }

    fn replace(&mut self, model: AfdModel<B>) {
        self.learner.load_model(model.into_record());
    }

    fn shards(&self) -> &Shards {
        self.shards
    }

    fn train(&mut self, mut parts: Vec<(Work<B>, f64)>) -> Result<Outcome, NonFinite> {
        let round = self.round;
        let non_finite = |what, tensor| NonFinite {
            what,
            tensor,
            round,
        };
        let judging = matches!(parts.first(), Some((Work::Discriminator(_), _)));
        let mut output = if parts.len() == 1 {
            self.learner.train_step(parts.remove(0).0)
        } else {
            let model = self.learner.model();
            let (works, shares): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let mut works = works.into_iter();
            let mut done = Vec::new();
            for shares in shares.chunks(self.shards.count()) {
                let outputs = self.in_step(works.by_ref().take(shares.len()).collect(), &model);
                let outputs = outputs.into_iter().zip(shares.iter().copied());
                // At most one more set of gradients than threads is held.
                done = vec![(
                    merged(done.into_iter().chain(outputs).collect(), &model),
                    1.0,
                )];
            }
            done.remove(0).0
        };
        if let Some((name, _)) = output
            .item
            .scalars
            .iter()
            .find(|(_, value)| !value.is_finite())
        {
            return Err(non_finite("the loss", (*name).to_string()));
        }
        let model = self.learner.model();
        let (part, limit) = if judging {
            ("discriminator", self.clip_norms[1])
        } else {
            ("student", self.clip_norms[0])
        };
        let in_part = |tensor: String| format!("{part}.{tensor}");
        let (gradients, discriminator) = (
            &mut output.grads,
            model.discriminator.as_ref().filter(|_| judging),
        );
        let norm = match discriminator {
            Some(module) => gradients::norm::<B, _>(gradients, module),
            None => gradients::norm::<B, _>(gradients, &model.student),
        };
        let norm = norm.map_err(|tensor| non_finite("the gradient", in_part(tensor)))?;
        match discriminator {
            Some(module) => gradients::clip::<B, _>(gradients, module, norm, limit),
            None => gradients::clip::<B, _>(gradients, &model.student, norm, limit),
        }
        self.norms.insert(format!("{part}_gradient_norm"), norm);
        self.learner.optimizer_step(output.grads);
        let model = self.learner.model();
        let checked = match (judging, &model.discriminator) {
            (true, Some(module)) => gradients::check_weights::<B, _>(module),
            _ => gradients::check_weights::<B, _>(&model.student),
        };
        checked.map_err(|tensor| non_finite("the weight", in_part(tensor)))?;
        Ok(output.item)
    }

    fn set_student_rate(&mut self, rate: f64) {
        self.optimizer.set_student_rate(rate);
    }
}

/// Takes the ending out of a strategy whose launch has returned.
pub fn ending<B: Trainable>(rounds: &Arc<Rounds<B>>) -> Result<Ending, RoundError> {
    let ending = rounds
        .ending
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    ending.unwrap_or_else(|| {
        Err(RoundError::Files(
            "the learner ended without running a round".to_string(),
        ))
    })
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

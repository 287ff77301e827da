//! What a run writes between rounds: metrics, TensorBoard events, timings and checkpoints.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use burn::module::AutodiffModule;
use serde::{Deserialize, Serialize};

use super::SessionError;
use super::state::{StudentCard, read_json, write_json, write_student, write_training_state};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::optimizer::AfdOptimizer;
use crate::engine::report::{Cost, RoundReport};
use crate::engine::rounds::{Journal, RoundError, RoundState};
use crate::exit::ExitStatus;
use crate::run::checkpoints::Checkpoints;
use crate::run::directory::RunDirectory;
use crate::run::events::MetricsLog;
use crate::run::files::FileError;
use crate::run::manifest::CheckpointError;
use crate::run::signals;
use crate::run::tensorboard::TensorBoard;

/// The timings of a round could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write timings.jsonl: {0}; free some space")]
pub struct TimingsError(std::io::Error);

impl ExitStatus for TimingsError {}

/// What all finished rounds of a run cost, those that a resumed run had to repeat included.
pub fn cost(run: &RunDirectory) -> Result<Cost, SessionError> {
    let mut total = Cost::default();
    let lines = timings(run)?.into_iter();
    lines
        .filter_map(|line| serde_json::from_value::<Cost>(line["cost"].clone()).ok())
        .for_each(|cost| total += cost);
    Ok(total)
}

/// Clips that had gone forwards and backwards through the student by the end of each round,
/// repeated rounds not counted again.
pub fn student_passes(run: &RunDirectory) -> Result<BTreeMap<u64, u64>, SessionError> {
    let mut by_round = BTreeMap::new();
    for line in timings(run)? {
        if let (Some(step), Ok(cost)) = (
            line["step"].as_u64(),
            serde_json::from_value::<Cost>(line["cost"].clone()),
        ) {
            by_round.insert(step, cost.student_passes);
        }
    }
    let mut total = 0;
    by_round.values_mut().for_each(|passes| {
        total += *passes;
        *passes = total;
    });
    Ok(by_round)
}

/// Seconds of all finished rounds of a run, repeated ones included.
pub fn seconds(run: &RunDirectory) -> Result<f64, SessionError> {
    let of_line = |line: &serde_json::Value| {
        line["milliseconds"].as_object().map(|parts| {
            parts
                .values()
                .filter_map(serde_json::Value::as_f64)
                .sum::<f64>()
        })
    };
    Ok(timings(run)?.iter().filter_map(of_line).sum::<f64>() / 1e3)
}

/// The same of a run that may have been stopped before its first round was finished.
pub fn seconds_so_far(run: &RunDirectory) -> Result<f64, SessionError> {
    if run.path().join(TIMINGS).exists() {
        seconds(run)
    } else {
        Ok(0.0)
    }
}

/// Every line of the run's timings but one that a full disk cut short.
fn timings(run: &RunDirectory) -> Result<Vec<serde_json::Value>, SessionError> {
    let path = run.path().join(TIMINGS);
    let bytes = fs::read(&path).map_err(|error| FileError::new("read", &path, error))?;
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// What a checkpoint says of the run's logs.
const LOGS: &str = "training_state/logs.json";

/// The logs that a checkpoint was saved after.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logs {
    /// BLAKE3 of all lines of metrics.jsonl up to the checkpoint's round.
    metrics_blake3: String,
    /// Whether the run has an inputs.json; versions that wrote none did not write this field.
    #[serde(default)]
    inputs: bool,
}

/// Whether the program that saved `checkpoint` wrote the run's inputs.json, too.
///
/// # Errors
/// A file of the checkpoint that cannot be read.
pub fn has_inputs(checkpoint: &Path) -> Result<bool, SessionError> {
    let logs = checkpoint.join(LOGS);
    if !logs.exists() {
        return Ok(false);
    }
    let logs: Logs = read_json(&logs)?;
    Ok(logs.inputs)
}

/// Milliseconds and cost of every round: what differs from run to run.
const TIMINGS: &str = "timings.jsonl";

/// The journal of a run directory.
pub struct RunJournal<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    metrics: MetricsLog,
    events: TensorBoard,
    timings: File,
    checkpoints: Checkpoints,
    every: u64,
    saved: Option<u64>,
    optimizer: AfdOptimizer<B, D>,
    card: StudentCard,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> RunJournal<B, D> {
    /// Opens the run's logs at `round`: later lines, left by a run that was killed, are cut off.
    pub fn open(
        run: &RunDirectory,
        round: u64,
        every: u64,
        keep: usize,
        optimizer: AfdOptimizer<B, D>,
        card: StudentCard,
    ) -> Result<Self, SessionError> {
        let path = run.path().join(TIMINGS);
        let timings = OpenOptions::new().create(true).append(true).open(&path);
        // Versions before this one did not write it.
        let logs = run.checkpoints(keep).path_of(round).join(LOGS);
        let written: Option<Logs> = match round > 0 && logs.exists() {
            true => Some(read_json(&logs)?),
            false => None,
        };
        let written = written.as_ref().map(|logs| logs.metrics_blake3.as_str());
        Ok(Self {
            metrics: MetricsLog::open_at(&run.metrics_path(), round, written)?,
            events: TensorBoard::create(&run.events(), round + 1)?,
            timings: timings.map_err(|error| FileError::new("open", &path, error))?,
            checkpoints: run.checkpoints(keep),
            every,
            saved: (round > 0).then_some(round),
            optimizer,
            card,
        })
    }

    fn log(&mut self, state: &RoundState, report: &RoundReport) -> Result<(), SessionError> {
        self.metrics
            .append(state.round, report.phase, &report.values)?;
        for (name, value) in &report.values {
            self.events.scalar(state.round, name, *value)?;
        }
        let line: BTreeMap<&str, f64> = report
            .milliseconds
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let line = serde_json::json!({
            "step": state.round,
            "phase": report.phase,
            "milliseconds": line,
            "cost": report.cost,
        });
        // One write: a killed process must not leave half a line for the next one to continue.
        self.timings
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| TimingsError(error).into())
    }

    fn checkpoint(
        &mut self,
        model: &AfdModel<B, D>,
        state: &RoundState,
    ) -> Result<(), SessionError> {
        if self.saved == Some(state.round) {
            return Ok(());
        }
        // The log first: a checkpoint's metrics are never missing.
        self.metrics.sync()?;
        let fill = |directory: &std::path::Path| -> Result<(), SaveError> {
            write_student(directory, &model.ema.valid(), &self.card).map_err(SaveError::fill)?;
            let logs = Logs {
                metrics_blake3: self.metrics.hash(),
                inputs: true,
            };
            write_json(&directory.join(LOGS), &logs).map_err(SaveError::fill)?;
            write_training_state(directory, model, &self.optimizer, state).map_err(SaveError::fill)
        };
        self.checkpoints
            .save::<SaveError>(state.round, fill)
            .map_err(|SaveError(error)| *error)?;
        self.saved = Some(state.round);
        Ok(())
    }
}

/// Carries a session error through the checkpoint store.
struct SaveError(Box<SessionError>);

impl SaveError {
    fn fill(error: SessionError) -> Self {
        Self(Box::new(error))
    }
}

impl From<CheckpointError> for SaveError {
    fn from(error: CheckpointError) -> Self {
        Self(Box::new(error.into()))
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> Journal<B, D> for RunJournal<B, D> {
    fn after_round(
        &mut self,
        model: &AfdModel<B, D>,
        state: &RoundState,
        report: &RoundReport,
        last: bool,
    ) -> Result<(), RoundError> {
        let files = |error: SessionError| RoundError::Journal(Box::new(error));
        self.log(state, report).map_err(files)?;
        if last || state.round.is_multiple_of(self.every) {
            self.checkpoint(model, state).map_err(files)?;
        }
        Ok(())
    }

    fn stop_requested(&self) -> bool {
        signals::stop_requested()
    }

    fn save(&mut self, model: &AfdModel<B, D>, state: &RoundState) -> Result<(), RoundError> {
        self.checkpoint(model, state)
            .map_err(|error| RoundError::Journal(Box::new(error)))
    }
}

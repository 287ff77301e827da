//! How long a run took, over all the processes that worked on it.

use std::time::Instant;

use super::{SessionError, journal};
use crate::run::directory::RunDirectory;

/// Wall-clock time of a run.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    started: Instant,
    before: f64,
}

impl WallClock {
    /// The clock of a run that begins now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            before: 0.0,
        }
    }

    /// The same for a run that goes on: the rounds that earlier processes finished count, those
    /// included that this one has to repeat. What else an earlier process did, such as reading
    /// weights or half a round, was not written down and is missing.
    ///
    /// # Errors
    /// A journal that cannot be read.
    pub fn going_on(self, run: &RunDirectory) -> Result<Self, SessionError> {
        Ok(Self {
            before: journal::seconds_so_far(run)?,
            ..self
        })
    }

    /// Seconds of the run until now.
    pub fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

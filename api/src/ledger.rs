//! What was asked of a provider, journalled before it is asked: which samples were submitted, under
//! which handle, for how much, and how they ended.
//!
//! A submission is three lines at most: its intent (before the request is sent), its job (before
//! the first poll) and its end. An intent without a job is a submission whose answer is not known:
//! it counts as paid for, and it is never repeated unless the provider can tell.

mod line;
mod submissions;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use afd_clips::journal::{Journal, JournalError};

use crate::money::Money;
use line::Line;
pub use line::{End, FILE_NAME, Job, Sample};
pub use submissions::{State, Submission, Submissions};

/// The submissions of a store, open for writing. Every method returns when its line is on disk.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal<Line>,
    submissions: Submissions,
    budget: Money,
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// It would exceed the budget.
    #[error(
        "the budget is {budget}, {spent} of it is spent or reserved, and the next clip may cost \
            {cost}"
    )]
    Budget {
        /// The budget.
        budget: Money,
        /// Spent or reserved.
        spent: Money,
        /// The next clip.
        cost: Money,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Ledger {
    /// Opens the ledger in `directory`, which the caller has locked.
    ///
    /// # Errors
    /// [`JournalError`] for a ledger that cannot be read or written, or was edited.
    pub fn open(directory: &Path, budget: Money) -> Result<Self, JournalError> {
        let (lines, journal) = Journal::open(&Self::path(directory))?;
        Ok(Self {
            journal,
            submissions: Submissions::of(lines),
            budget,
        })
    }

    fn path(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// All submissions.
    pub fn submissions(&self) -> &Submissions {
        &self.submissions
    }

    /// Reserves the cost of an attempt, before its request is sent.
    ///
    /// # Errors
    /// [`ReserveError::Budget`] where it would exceed the budget; [`ReserveError::Journal`] where
    /// the disk refuses.
    pub fn reserve(
        &mut self,
        sample: &Sample,
        attempt: u32,
        handle: &str,
        cost: Money,
    ) -> Result<(), ReserveError> {
        let spent = self.submissions.spent();
        if spent.plus(cost) > self.budget {
            return Err(ReserveError::Budget {
                budget: self.budget,
                spent,
                cost,
            });
        }
        let (handle, prompt) = (handle.to_string(), sample.0.clone());
        Ok(self.write(Line::Intent {
            handle,
            prompt,
            sample: sample.1,
            attempt,
            micros: cost.micros,
            at: now(),
        })?)
    }

    /// The request was certainly not accepted.
    pub(crate) fn unsent(&mut self, handle: &str) -> Result<(), JournalError> {
        self.write(Line::Unsent {
            handle: handle.to_string(),
        })
    }

    /// The request was accepted as `job`, of which `kept` is written down: what may be on disk.
    pub(crate) fn accepted(
        &mut self,
        handle: &str,
        job: &Job,
        kept: &Job,
    ) -> Result<(), JournalError> {
        let handle = handle.to_string();
        self.write(Line::Job {
            handle: handle.clone(),
            job: kept.clone(),
        })?;
        self.submissions.open(&handle, job);
        Ok(())
    }

    /// The provider was asked for its clip for so many seconds in all.
    pub(crate) fn waited(&mut self, handle: &str, secs: u64) -> Result<(), JournalError> {
        self.write(Line::Waited {
            handle: handle.to_string(),
            secs,
        })
    }

    /// No clip will come of it; `free`: nothing was accepted, so nothing is spent.
    pub(crate) fn ended(
        &mut self,
        handle: &str,
        end: End,
        reason: &str,
        free: bool,
    ) -> Result<(), JournalError> {
        self.write(Line::Ended {
            handle: handle.to_string(),
            end,
            reason: reason.to_string(),
            free,
        })
    }

    /// Lets every sample be submitted again whose latest submission `wanted` names; gives their
    /// number.
    ///
    /// # Errors
    /// [`JournalError`] where the disk refuses.
    pub fn release(&mut self, wanted: &dyn Fn(&State) -> bool) -> Result<usize, JournalError> {
        let handles: Vec<String> = self
            .submissions
            .latest()
            .filter(|(_, latest)| wanted(&latest.state))
            .map(|(_, latest)| latest.handle.clone())
            .collect();
        for handle in &handles {
            self.write(Line::Released {
                handle: handle.clone(),
            })?;
        }
        Ok(handles.len())
    }

    /// The user knows that the provider accepted none of the submissions of which nothing was ever
    /// heard: what was reserved for them comes back. Gives their number.
    ///
    /// # Errors
    /// [`JournalError`] where the disk refuses.
    pub fn give_back(&mut self) -> Result<usize, JournalError> {
        let lost = self.submissions.lost(&|_| false);
        let handles: Vec<String> = lost.map(|lost| lost.handle.clone()).collect();
        handles.iter().try_for_each(|handle| self.unsent(handle))?;
        Ok(handles.len())
    }

    fn write(&mut self, line: Line) -> Result<(), JournalError> {
        self.journal.append(&line)?;
        self.submissions.apply(line);
        Ok(())
    }
}

/// What may be done where a budget is used up, of which `lost` is for submissions of which nothing
/// was ever heard.
pub(crate) fn way_out(lost: Money) -> String {
    if lost == Money::ZERO {
        return "raise teacher.api.budget to go on".to_string();
    }
    format!(
        "{lost} of that is for submissions whose answers were lost: if the provider's own list of \
            jobs has none of them, `afd teacher fetch --again not-accepted` gives it back, else \
            raise teacher.api.budget"
    )
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

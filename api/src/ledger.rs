//! What was asked of a provider, journalled before it is asked: which samples were submitted, under
//! which handle, for how much, and how they ended.
//!
//! A submission is three lines at most: its intent (before the request is sent), its job (before
//! the first poll) and its end. An intent without a job is a submission whose answer is not known:
//! it counts as paid for, and it is never repeated unless the provider can tell.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use afd_clips::journal::{Journal, JournalError};
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// The ledger's name in its store.
pub const FILE_NAME: &str = "submissions.jsonl";

/// A prompt and a sample index: which of the prompt's clips, from 0.
pub type Sample = (String, u64);

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    /// About to be sent; `micros` are reserved.
    Intent {
        handle: String,
        prompt: String,
        sample: u64,
        attempt: u32,
        micros: u64,
        at: u64,
    },
    /// The provider said no before it accepted anything: nothing is spent, the handle is free
    /// again.
    Unsent { handle: String },
    /// Accepted.
    Job { handle: String, job: Job },
    /// No clip will come of it.
    Ended {
        handle: String,
        end: End,
        reason: String,
        /// Nothing was accepted, so nothing is spent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        free: bool,
    },
    /// The user wants the sample to be submitted again; what was reserved stays spent.
    Released { handle: String },
}

/// The provider's name for a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where to poll, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<String>,
    /// Where the result is, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// How a submission ended without a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The provider will not make this clip, or does not understand the request.
    Refused,
    /// The job failed.
    Failed,
    /// The job failed through no fault of the request.
    FailedRetry,
    /// The job was not done before the deadline.
    Overdue,
}

/// A submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// What tells it from all others.
    pub handle: String,
    /// Which attempt at this sample, from 0.
    pub attempt: u32,
    /// What is reserved for it.
    pub cost: Money,
    /// When it was sent, in seconds since 1970.
    pub at: u64,
    /// What became of it.
    pub state: State,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Sent, perhaps; the answer is not known.
    Unanswered,
    /// Accepted, and perhaps done.
    Open(Job),
    /// No clip will come of it.
    Ended(End, String),
    /// To be submitted again.
    Released,
}

/// All submissions of a store.
#[derive(Debug, Default)]
pub struct Submissions {
    /// Every attempt of each sample, in order; none is empty.
    attempts: BTreeMap<Sample, Vec<Submission>>,
    samples: BTreeMap<String, Sample>,
    spent: Money,
}

impl Submissions {
    /// As the ledger in `directory` has them now. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// [`JournalError`] for a ledger that cannot be read, or was edited.
    pub fn read(directory: &Path) -> Result<Self, JournalError> {
        Ok(Self::of(Journal::read(&directory.join(FILE_NAME))?))
    }

    fn of(lines: Vec<Line>) -> Self {
        let mut submissions = Self::default();
        lines.into_iter().for_each(|line| submissions.apply(line));
        submissions
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Intent {
                handle,
                prompt,
                sample,
                attempt,
                micros,
                at,
            } => {
                let cost = Money { micros };
                self.spent = self.spent.plus(cost);
                let submission = Submission {
                    handle: handle.clone(),
                    attempt,
                    cost,
                    at,
                    state: State::Unanswered,
                };
                self.samples.insert(handle, (prompt.clone(), sample));
                self.attempts
                    .entry((prompt, sample))
                    .or_default()
                    .push(submission);
            }
            Line::Unsent { handle } => {
                let Some(sample) = self.samples.remove(&handle) else {
                    return;
                };
                let attempts = self.attempts.get_mut(&sample);
                let place = attempts.as_ref().and_then(|attempts| {
                    attempts.iter().position(|attempt| attempt.handle == handle)
                });
                if let (Some(attempts), Some(place)) = (attempts, place) {
                    self.spent = self.spent.minus(attempts.remove(place).cost);
                    if attempts.is_empty() {
                        self.attempts.remove(&sample);
                    }
                }
            }
            Line::Job { handle, job } => {
                self.change(&handle, State::Open(job));
            }
            Line::Ended {
                handle,
                end,
                reason,
                free,
            } => {
                let refund = self
                    .change(&handle, State::Ended(end, reason))
                    .filter(|_| free)
                    .map(|ended| std::mem::take(&mut ended.cost));
                self.spent = self.spent.minus(refund.unwrap_or_default());
            }
            Line::Released { handle } => {
                self.change(&handle, State::Released);
            }
        }
    }

    fn change(&mut self, handle: &str, state: State) -> Option<&mut Submission> {
        let attempts = self.attempts.get_mut(self.samples.get(handle)?)?;
        let submission = attempts
            .iter_mut()
            .find(|attempt| attempt.handle == handle)?;
        submission.state = state;
        Some(submission)
    }

    /// Everything that was reserved and not given back: what may have been spent.
    pub fn spent(&self) -> Money {
        self.spent
    }

    /// The latest submission of each sample that has one.
    pub fn latest(&self) -> impl Iterator<Item = (&Sample, &Submission)> {
        self.attempts
            .iter()
            .filter_map(|(sample, attempts)| Some((sample, attempts.last()?)))
    }

    /// Whether the provider ever accepted anything.
    pub fn any_accepted(&self) -> bool {
        self.attempts
            .values()
            .flatten()
            .any(|attempt| match &attempt.state {
                State::Open(_) => true,
                State::Ended(..) => attempt.cost != Money::ZERO,
                State::Unanswered | State::Released => false,
            })
    }

    /// The latest submission of a sample.
    pub fn of_sample(&self, prompt: &str, sample: u64) -> Option<&Submission> {
        self.attempts.get(&(prompt.to_string(), sample))?.last()
    }
}

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
            {cost}; raise teacher.api.budget to go on"
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
        let spent = self.submissions.spent;
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

    /// The request was accepted.
    pub(crate) fn accepted(&mut self, handle: &str, job: &Job) -> Result<(), JournalError> {
        self.write(Line::Job {
            handle: handle.to_string(),
            job: job.clone(),
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

    fn write(&mut self, line: Line) -> Result<(), JournalError> {
        self.journal.append(&line)?;
        self.submissions.apply(line);
        Ok(())
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;

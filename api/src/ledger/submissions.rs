//! What a ledger's lines come to.

use std::{collections::BTreeMap, path::Path};

use afd_clips::journal::{Journal, JournalError};

use super::line::{End, FILE_NAME, Job, Line, Sample};
use crate::money::Money;

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
    /// Seconds in which the provider was asked for its clip, and had not made it.
    pub waited: u64,
    /// Whether nothing was ever heard of it.
    pub lost: bool,
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
    /// The sample of each job's id.
    jobs: BTreeMap<String, Sample>,
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

    pub(super) fn of(lines: Vec<Line>) -> Self {
        let mut submissions = Self::default();
        lines.into_iter().for_each(|line| submissions.apply(line));
        submissions
    }

    pub(super) fn apply(&mut self, line: Line) {
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
                    waited: 0,
                    lost: true,
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
                if let Some(sample) = self.samples.get(&handle) {
                    self.jobs.insert(job.id.clone(), sample.clone());
                }
                if let Some(submission) = self.change(&handle, State::Open(job)) {
                    submission.lost = false;
                }
            }
            Line::Waited { handle, secs } => {
                if let Some(submission) = self.find(&handle) {
                    submission.waited = secs;
                }
            }
            Line::Ended {
                handle,
                end,
                reason,
                free,
            } => {
                let Some(ended) = self.change(&handle, State::Ended(end, reason)) else {
                    return;
                };
                ended.lost = false;
                if free {
                    let refund = std::mem::take(&mut ended.cost);
                    self.spent = self.spent.minus(refund);
                }
            }
            Line::Released { handle } => {
                self.change(&handle, State::Released);
            }
        }
    }

    /// What is known of a job in this process, where that is more than what was written down.
    pub(super) fn open(&mut self, handle: &str, job: &Job) {
        self.change(handle, State::Open(job.clone()));
    }

    fn change(&mut self, handle: &str, state: State) -> Option<&mut Submission> {
        let submission = self.find(handle)?;
        submission.state = state;
        Some(submission)
    }

    fn find(&mut self, handle: &str) -> Option<&mut Submission> {
        let attempts = self.attempts.get_mut(self.samples.get(handle)?)?;
        attempts.iter_mut().find(|attempt| attempt.handle == handle)
    }

    /// Everything that was reserved and not given back: what may have been spent.
    pub fn spent(&self) -> Money {
        self.spent
    }

    /// The submissions of which nothing was ever heard: they may or may not have been accepted.
    /// Those of samples that `but` names are on their way just now.
    pub fn lost<'a>(
        &'a self,
        but: &'a dyn Fn(&Sample) -> bool,
    ) -> impl Iterator<Item = &'a Submission> {
        let of_others = self.attempts.iter().filter(|(sample, _)| !but(sample));
        of_others
            .flat_map(|(_, attempts)| attempts)
            .filter(|attempt| attempt.lost)
    }

    /// What is reserved for them.
    pub fn lost_cost(&self, but: &dyn Fn(&Sample) -> bool) -> Money {
        let lost = self.lost(but);
        lost.fold(Money::ZERO, |sum, lost| sum.plus(lost.cost))
    }

    /// The other sample whose submission became the job of this id, if any.
    pub(crate) fn other_of_job(&self, id: &str, sample: &Sample) -> Option<&Sample> {
        self.jobs.get(id).filter(|other| *other != sample)
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

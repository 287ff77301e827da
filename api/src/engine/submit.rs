//! From an attempt's intent to the provider's answer, so that nothing is paid twice.

use std::time::{Duration, Instant};

use super::{Shared, step::Step};
use crate::{
    ApiError,
    adapter::{Handle, Outcome},
    client::Submitted,
    ledger::{End, ReserveError, Sample},
};

/// An attempt at a sample, on its way to the provider.
pub(super) struct Attempt<'a> {
    pub sample: &'a Sample,
    /// What tells it from all other submissions.
    pub handle: &'a str,
    /// Which attempt at this sample, from 0.
    pub number: u32,
    /// Whether the provider may have accepted it without our knowing.
    pub lost: bool,
    /// Whether its cost is reserved.
    pub reserved: bool,
    /// Whether the provider is asked for its job instead of being sent it.
    pub search: bool,
}

impl Shared {
    /// Whether the provider can be asked for the job of a handle.
    pub(super) fn finds(&self) -> bool {
        matches!(self.service.adapter.handle, Handle::Find { .. })
    }

    /// Submits an attempt. `true` if something came of it that is journalled.
    pub(super) fn submit(&self, mut attempt: Attempt) -> Result<bool, ApiError> {
        let begun = Instant::now();
        let mut last = String::new();
        for count in 0.. {
            if count > 0 && begun.elapsed().as_secs() >= self.service.settings.deadline_secs {
                self.halt(format!(
                    "nothing could be submitted for {} seconds, lastly: {last}",
                    self.service.settings.deadline_secs
                ));
                return Ok(false);
            }
            if !attempt.search && !attempt.reserved && !self.reserve(&mut attempt)? {
                return Ok(false);
            }
            let submitted = if attempt.search {
                self.client.find(attempt.handle)
            } else {
                self.client.submit(attempt.sample, attempt.handle)
            };
            let wait = match self.settle(&mut attempt, submitted)? {
                Step::Ended(journalled) => return Ok(journalled),
                Step::Now => continue,
                Step::Later(wait, reason) => {
                    last = reason;
                    wait.max(self.pause(count))
                }
            };
            if !attempt.search {
                let mut state = self.lock();
                state.quiet_until = state.quiet_until.max(Instant::now() + wait);
            }
            if !self.sleep(wait) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Reserves an attempt's cost when its turn has come; `false` if it must not be sent.
    fn reserve(&self, attempt: &mut Attempt) -> Result<bool, ApiError> {
        if !self.await_turn() {
            return Ok(false);
        }
        let mut state = self.lock();
        if state.halted.is_some() {
            return Ok(false);
        }
        let price = self.service.price;
        let reserved = state
            .ledger
            .reserve(attempt.sample, attempt.number, attempt.handle, price);
        match reserved {
            Ok(()) => {
                attempt.reserved = true;
                Ok(true)
            }
            Err(ReserveError::Journal(error)) => Err(error.into()),
            Err(error) => {
                state.halted.get_or_insert(error.to_string());
                Ok(false)
            }
        }
    }

    /// Journals what an answer means for an attempt, and says how it goes on.
    fn settle(&self, attempt: &mut Attempt, submitted: Submitted) -> Result<Step, ApiError> {
        let handle = attempt.handle;
        let (free, finds) = (!attempt.lost, self.finds());
        Ok(match submitted {
            Submitted::Job(job) => {
                self.lock().ledger.accepted(handle, &job)?;
                Step::Ended(true)
            }
            Submitted::Refused(reason) => {
                self.lock()
                    .ledger
                    .ended(handle, End::Refused, &reason, free)?;
                Step::Ended(true)
            }
            Submitted::Rejected(reason) => {
                let mut state = self.lock();
                if attempt.lost
                    || state.ledger.submissions().any_accepted()
                    || !state.store.clips().is_empty()
                {
                    state.ledger.ended(handle, End::Refused, &reason, free)?;
                    return Ok(Step::Ended(true));
                }
                // Nothing was ever accepted: it is not this prompt.
                state.ledger.unsent(handle)?;
                state.halted.get_or_insert(format!(
                    "the provider rejects the request: {reason}; check model and parameters"
                ));
                Step::Ended(false)
            }
            Submitted::Stop(reason) => {
                let mut state = self.lock();
                if !attempt.lost {
                    state.ledger.unsent(handle)?;
                }
                state.halted.get_or_insert(format!(
                    "the provider accepts nothing: {reason}; check key, account, model and base_url"
                ));
                Step::Ended(false)
            }
            Submitted::Other(Outcome::Missing, _) if attempt.search => {
                // It never arrived. Were it on its way still, the provider would refuse the second
                // one.
                attempt.search = false;
                Step::Now
            }
            Submitted::Other(_, reason) | Submitted::Unanswered(reason) => {
                if self.service.adapter.handle == Handle::None {
                    return Ok(Step::Ended(false));
                }
                (attempt.lost, attempt.search) = (true, finds);
                Step::Later(Duration::ZERO, reason)
            }
            Submitted::Again(wait, reason) => {
                if !attempt.lost && attempt.reserved {
                    // A kill while waiting must not make it look sent.
                    self.lock().ledger.unsent(handle)?;
                    attempt.reserved = false;
                }
                Step::Later(wait.unwrap_or_default(), reason)
            }
        })
    }

    /// Waits until the provider may be sent another submission; `false` if it should stop.
    fn await_turn(&self) -> bool {
        loop {
            let wait = {
                let mut state = self.lock();
                let now = Instant::now();
                if state.quiet_until <= now {
                    let per_minute = self.service.adapter.limits.submissions_per_minute;
                    if per_minute > 0 {
                        state.quiet_until = now + Duration::from_secs(60) / per_minute;
                    }
                    return !self.stopping();
                }
                state.quiet_until - now
            };
            if !self.sleep(wait) {
                return false;
            }
        }
    }
}

//! From an attempt's intent to the provider's answer, so that nothing is paid twice.

use std::time::{Duration, Instant};

use super::{
    LOOK, Shared, ready,
    state::{Halt, State},
    step::Step,
};
use crate::{
    ApiError,
    adapter::{Handle, Outcome},
    clean::brief,
    client::Submitted,
    ledger::{End, Job, ReserveError, Sample},
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
        let deadline = self.service.settings.deadline_secs;
        let mut last = String::new();
        for count in 0.. {
            if count > 0 && begun.elapsed().as_secs() >= deadline {
                self.halt(format!(
                    "nothing could be submitted for {deadline} seconds, lastly: {last}"
                ));
                return Ok(false);
            }
            if self.lock().silence.has_given_up() {
                return Ok(false);
            }
            let submitted = if attempt.search {
                self.client.find(attempt.handle)
            } else {
                if !self.take_turn(&mut attempt)? {
                    return Ok(false);
                }
                let submitted = self.client.submit(attempt.sample, attempt.handle);
                self.lock().sending -= 1;
                submitted
            };
            let wait = match self.settle(&mut attempt, submitted)? {
                Step::Ended(journalled) => return Ok(journalled),
                Step::Now => continue,
                Step::Later(wait, reason) => {
                    last = reason;
                    wait.max(self.pause(count))
                }
            };
            {
                let mut state = self.lock();
                state.meet(&last);
                if !attempt.search {
                    state.quiet_until = state.quiet_until.max(Instant::now() + wait);
                }
            }
            if !self.sleep(wait) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Waits until the provider may be sent an attempt, and reserves its cost; `false` if it must
    /// not be sent.
    fn take_turn(&self, attempt: &mut Attempt) -> Result<bool, ApiError> {
        loop {
            let wait = {
                let mut state = self.lock();
                if self.stopping()
                    || state.silence.has_given_up()
                    || (!attempt.reserved && state.halted.is_some())
                {
                    return Ok(false);
                }
                let now = Instant::now();
                if state.quiet_until > now {
                    state.quiet_until - now
                } else if state.sending > 0 && !state.silence.is_trusted() {
                    LOOK
                } else {
                    return self.reserve(&mut state, attempt);
                }
            };
            if !self.sleep(wait) {
                return Ok(false);
            }
        }
    }

    /// Reserves an attempt's cost, if that is not done, and counts it as on its way.
    fn reserve(&self, state: &mut State, attempt: &mut Attempt) -> Result<bool, ApiError> {
        if !attempt.reserved {
            if let Err(reason) = ready::room(&self.service.store) {
                state.halted.get_or_insert(Halt::Said(reason));
                return Ok(false);
            }
            let price = self.service.price;
            let reserved =
                state
                    .ledger
                    .reserve(attempt.sample, attempt.number, attempt.handle, price);
            match reserved {
                Ok(()) => attempt.reserved = true,
                Err(ReserveError::Journal(error)) => return Err(error.into()),
                Err(error) => {
                    state.halted.get_or_insert(Halt::Budget(error.to_string()));
                    return Ok(false);
                }
            }
        }
        let per_minute = self.service.adapter.limits.submissions_per_minute;
        if per_minute > 0 {
            state.quiet_until = Instant::now() + Duration::from_secs(60) / per_minute;
        }
        state.sending += 1;
        Ok(true)
    }

    /// Journals what an answer means for an attempt, and says how it goes on.
    fn settle(&self, attempt: &mut Attempt, submitted: Submitted) -> Result<Step, ApiError> {
        let handle = attempt.handle;
        let (free, finds) = (!attempt.lost, self.finds());
        if !matches!(submitted, Submitted::Unsent(_) | Submitted::Unanswered(_)) {
            self.lock().silence.prove();
        }
        Ok(match submitted {
            Submitted::Job(job) => self.accept(attempt, &job)?,
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
                state.halted.get_or_insert(Halt::Said(format!(
                    "the provider rejects the request: {reason}; check model and parameters"
                )));
                Step::Ended(false)
            }
            Submitted::Stop(reason) => {
                let mut state = self.lock();
                if !attempt.lost {
                    state.ledger.unsent(handle)?;
                }
                state.halted.get_or_insert(Halt::Said(format!(
                    "the provider accepts nothing: {reason}; check key, account, model and base_url"
                )));
                Step::Ended(false)
            }
            Submitted::Other(Outcome::Missing, _) if attempt.search => {
                // It never arrived. Were it on its way still, the provider would refuse the second
                // one.
                attempt.search = false;
                Step::Now
            }
            Submitted::Unanswered(reason) if self.service.adapter.handle == Handle::None => {
                self.lose(&reason);
                Step::Ended(false)
            }
            Submitted::Other(..) if self.service.adapter.handle == Handle::None => {
                Step::Ended(false)
            }
            Submitted::Other(_, reason) => {
                (attempt.lost, attempt.search) = (true, finds);
                Step::Later(Duration::ZERO, reason)
            }
            Submitted::Unanswered(reason) => {
                (attempt.lost, attempt.search) = (true, finds);
                self.miss(reason, "the same command looks for what was sent")
            }
            Submitted::Unsent(reason) => {
                self.take_back(attempt)?;
                self.miss(reason, "nothing was sent, so nothing is spent")
            }
            Submitted::Again(wait, reason) => {
                self.take_back(attempt)?;
                Step::Later(wait.unwrap_or_default(), reason)
            }
        })
    }

    /// Gives back what is reserved for an attempt that was certainly not accepted: a kill while
    /// waiting must not make it look sent.
    fn take_back(&self, attempt: &mut Attempt) -> Result<(), ApiError> {
        if !attempt.lost && attempt.reserved {
            self.lock().ledger.unsent(attempt.handle)?;
            attempt.reserved = false;
        }
        Ok(())
    }

    /// Journals a job, unless it is another sample's.
    fn accept(&self, attempt: &Attempt, job: &Job) -> Result<Step, ApiError> {
        let kept = self.client.kept(job);
        let mut state = self.lock();
        let submissions = state.ledger.submissions();
        if let Some((prompt, sample)) = submissions.other_of_job(&kept.id, attempt.sample) {
            let reason = format!(
                "the provider gave the same job, {:?}, to sample {sample} of {:?} and to sample {} \
                    of {:?}; its clip is stored once and the second counts as spent: set \
                    parameters.seed = \"{{seed}}\" if the provider answers equal requests with one \
                    job, else tell the provider",
                brief(&kept.id),
                brief(prompt),
                attempt.sample.1,
                brief(&attempt.sample.0)
            );
            state.halted.get_or_insert(Halt::Said(reason));
            return Ok(Step::Ended(false));
        }
        state.ledger.accepted(attempt.handle, job, &kept)?;
        Ok(Step::Ended(true))
    }

    /// An answer was lost for good: what was reserved counts as spent.
    fn lose(&self, reason: &str) {
        let mut state = self.lock();
        state.meet(reason);
        let enough = state.silence.lose();
        let wait = self.pause(state.silence.in_a_row() - 1);
        state.quiet_until = state.quiet_until.max(Instant::now() + wait);
        if let Some(count) = enough {
            state.halted.get_or_insert(Halt::Said(format!(
                "{count} submissions in a row got no answer that says whether they were accepted, \
                    lastly: {reason}; they count as spent: check base_url, and the provider's own \
                    list of jobs, then see `afd teacher status`"
            )));
        }
    }

    /// A try told nothing and cost nothing: once more, unless that was often enough.
    fn miss(&self, reason: String, comfort: &str) -> Step {
        let mut state = self.lock();
        let enough = state.silence.miss();
        let wait = self.pause(state.silence.in_a_row() - 1);
        match enough {
            Some(count) => {
                state.halted.get_or_insert(Halt::Said(format!(
                    "the provider did not answer {count} times in a row, lastly: {reason}; \
                        {comfort}: check base_url and the network"
                )));
                Step::Ended(false)
            }
            None => Step::Later(wait, reason),
        }
    }
}

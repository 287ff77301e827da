//! One sample, from wherever it stands to its clip: every step is journalled before the next one is
//! made.

use std::time::{Duration, Instant};

use super::Shared;
use crate::{
    ApiError,
    adapter::{Handle, Outcome},
    client::{Fetched, Polled, Submitted},
    ledger::{End, Job, ReserveError, Sample, State, now},
    survey::Standing,
};

/// Answers in a row that say that a job is not known, before that is believed.
const BELIEVED: u32 = 5;
/// Downloads that gave no clip, each from a fresh address, before it is given up; those that the
/// network broke do not count.
const DOWNLOADS: u32 = 8;

impl Shared {
    /// From wherever a sample stands to its clip, or to the reason why there is none.
    pub(super) fn drive(&self, sample: &Sample) -> Result<(), ApiError> {
        while !self.stopping() {
            let (standing, latest, halted) = {
                let state = self.lock();
                let latest = state
                    .ledger
                    .submissions()
                    .of_sample(&sample.0, sample.1)
                    .cloned();
                (
                    state.journalled(&self.service, sample),
                    latest,
                    state.halted.is_some(),
                )
            };
            match (standing, latest) {
                (Standing::Open, Some(latest)) => match latest.state {
                    State::Open(job) => {
                        if !self.follow(sample, &latest.handle, &job, latest.at)? {
                            return Ok(());
                        }
                    }
                    // Sent, and the answer was lost: the provider can tell.
                    _ => {
                        if !self.submit(sample, &latest.handle, latest.attempt, true)? {
                            return Ok(());
                        }
                    }
                },
                (Standing::Missing, latest) if !halted => {
                    let attempt = latest.map_or(0, |latest| latest.attempt + 1);
                    if !self.submit(
                        sample,
                        &self.service.handle(sample, attempt),
                        attempt,
                        false,
                    )? {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Submits an attempt; `sent`: it may have been sent before. `true` if something came of it
    /// that is journalled.
    fn submit(
        &self,
        sample: &Sample,
        handle: &str,
        attempt: u32,
        sent: bool,
    ) -> Result<bool, ApiError> {
        let finds = matches!(self.service.adapter.handle, Handle::Find { .. });
        let begun = Instant::now();
        // Whether the provider may have accepted it without our knowing; and whether its cost is
        // reserved.
        let (mut lost, mut reserved, mut search) = (sent, sent, sent && finds);
        let mut last = String::new();
        for count in 0.. {
            if count > 0 && begun.elapsed().as_secs() >= self.service.settings.deadline_secs {
                self.halt(format!(
                    "nothing could be submitted for {} seconds, lastly: {last}",
                    self.service.settings.deadline_secs
                ));
                return Ok(false);
            }
            if !search && !reserved {
                if !self.await_turn() {
                    return Ok(false);
                }
                let mut state = self.lock();
                if state.halted.is_some() {
                    return Ok(false);
                }
                match state
                    .ledger
                    .reserve(sample, attempt, handle, self.service.price)
                {
                    Ok(()) => reserved = true,
                    Err(ReserveError::Journal(error)) => return Err(error.into()),
                    Err(error) => {
                        state.halted.get_or_insert(error.to_string());
                        return Ok(false);
                    }
                }
            }
            let outcome = if search {
                self.client.find(handle)
            } else {
                self.client.submit(sample, handle)
            };
            let (wait, reason) = match outcome {
                Submitted::Job(job) => {
                    self.lock().ledger.accepted(handle, &job)?;
                    return Ok(true);
                }
                Submitted::Refused(reason) => {
                    self.lock()
                        .ledger
                        .ended(handle, End::Refused, &reason, !lost)?;
                    return Ok(true);
                }
                Submitted::Rejected(reason) => {
                    let mut state = self.lock();
                    if lost
                        || state.ledger.submissions().any_accepted()
                        || !state.store.clips().is_empty()
                    {
                        state.ledger.ended(handle, End::Refused, &reason, !lost)?;
                        return Ok(true);
                    }
                    // Nothing was ever accepted: it is not this prompt.
                    state.ledger.unsent(handle)?;
                    state.halted.get_or_insert(format!(
                        "the provider rejects the request: {reason}; check model and parameters"
                    ));
                    return Ok(false);
                }
                Submitted::Stop(reason) => {
                    let mut state = self.lock();
                    if !lost {
                        state.ledger.unsent(handle)?;
                    }
                    state.halted.get_or_insert(format!(
                        "the provider accepts nothing: {reason}; check key, account, model and \
                            base_url"
                    ));
                    return Ok(false);
                }
                Submitted::Other(Outcome::Missing, _) if search => {
                    // It never arrived. Were it on its way still, the provider would refuse the
                    // second one.
                    search = false;
                    continue;
                }
                Submitted::Other(_, reason) | Submitted::Unanswered(reason) => {
                    if self.service.adapter.handle == Handle::None {
                        return Ok(false);
                    }
                    (lost, search) = (true, finds);
                    (None, reason)
                }
                Submitted::Again(wait, reason) => {
                    if !lost && reserved {
                        // A kill while waiting must not make it look sent.
                        self.lock().ledger.unsent(handle)?;
                        reserved = false;
                    }
                    (wait, reason)
                }
            };
            last = reason;
            let wait = wait.unwrap_or_default().max(self.pause(count));
            if !search {
                let mut state = self.lock();
                state.quiet_until = state.quiet_until.max(Instant::now() + wait);
            }
            if !self.sleep(wait) {
                return Ok(false);
            }
        }
        Ok(false)
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

    /// Polls a job until its clip is in the store, or will not come; `true` if that is journalled.
    fn follow(&self, sample: &Sample, handle: &str, job: &Job, at: u64) -> Result<bool, ApiError> {
        let settings = &self.service.settings;
        let first = self
            .service
            .adapter
            .limits
            .first_poll_secs
            .map_or(Duration::ZERO, Duration::from_secs_f64);
        // A job that another process began may be done already.
        let fresh = now().saturating_sub(at) < 2;
        let mut wait = if fresh {
            first.max(self.pause(0))
        } else {
            Duration::ZERO
        };
        let (mut unknown, mut downloads) = (0, 0);
        for count in 1.. {
            if !self.sleep(wait) {
                return Ok(false);
            }
            wait = self.pause(count);
            let mut trouble = String::new();
            match self.client.poll(job) {
                Polled::Working => {}
                Polled::Again(asked, reason) => {
                    wait = wait.max(asked.unwrap_or_default());
                    trouble = reason;
                }
                Polled::Ended(outcome, reason) => return self.end(handle, outcome, &reason),
                Polled::Stop(reason) => {
                    self.halt(format!(
                        "the provider does not say what jobs are doing: {reason}; check key and \
                            account"
                    ));
                    return Ok(false);
                }
                Polled::Gone(reason) => {
                    unknown += 1;
                    if unknown >= BELIEVED {
                        return self.end(
                            handle,
                            Outcome::Failed,
                            &format!("the provider does not know the job any more: {reason}"),
                        );
                    }
                    trouble = reason;
                }
                Polled::Done(address) => match self.client.fetch(job, address, &|| self.stopping())
                {
                    Fetched::Clip(clip) => {
                        self.lock().store.add_download(&sample.0, sample.1, *clip)?;
                        return Ok(true);
                    }
                    Fetched::Disk(error) => return Err(error.into()),
                    Fetched::Ended(outcome, reason) => return self.end(handle, outcome, &reason),
                    Fetched::Again(_) | Fetched::Weather(_) if self.stopping() => return Ok(false),
                    Fetched::Weather(reason) => trouble = reason,
                    Fetched::Again(reason) => {
                        downloads += 1;
                        if downloads >= DOWNLOADS {
                            return self.end(
                                handle,
                                Outcome::Failed,
                                &format!("no clip after {DOWNLOADS} downloads: {reason}"),
                            );
                        }
                        wait = self.pause(downloads - 1);
                        trouble = reason;
                    }
                },
            }
            if now().saturating_sub(at) >= settings.deadline_secs {
                let reason = format!(
                    "not done after {} seconds{}{trouble}",
                    settings.deadline_secs,
                    if trouble.is_empty() { "" } else { ": " }
                );
                self.lock()
                    .ledger
                    .ended(handle, End::Overdue, &reason, false)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end(&self, handle: &str, outcome: Outcome, reason: &str) -> Result<bool, ApiError> {
        let end = match outcome {
            Outcome::Refused => End::Refused,
            Outcome::FailedRetry => End::FailedRetry,
            _ => End::Failed,
        };
        self.lock().ledger.ended(handle, end, reason, false)?;
        Ok(true)
    }
}

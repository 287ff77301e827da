//! From an accepted job to its clip in the store, or to the reason why there is none.

use std::time::Duration;

use super::{Shared, step::Step};
use crate::{
    ApiError,
    adapter::Outcome,
    client::{Fetched, Polled},
    ledger::{End, Job, Sample, now},
};

/// Answers in a row that say that a job is not known, before that is believed.
const BELIEVED: u32 = 5;
/// Downloads that gave no clip, each from a fresh address, before it is given up; those that the
/// network broke do not count.
const DOWNLOADS: u32 = 8;

/// A job that the provider accepted.
pub(super) struct Following<'a> {
    sample: &'a Sample,
    handle: &'a str,
    job: &'a Job,
    /// Answers so far that said that the job is not known.
    unknown: u32,
    /// Downloads so far that gave no clip.
    downloads: u32,
}

impl<'a> Following<'a> {
    pub(super) fn new(sample: &'a Sample, handle: &'a str, job: &'a Job) -> Self {
        Self {
            sample,
            handle,
            job,
            unknown: 0,
            downloads: 0,
        }
    }
}

impl Shared {
    /// Polls a job, which was submitted at `at` (seconds since 1970), until its clip is in the
    /// store, or will not come; `true` if that is journalled.
    pub(super) fn follow(&self, mut following: Following, at: u64) -> Result<bool, ApiError> {
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
        let deadline = self.service.settings.deadline_secs;
        for count in 1.. {
            if !self.sleep(wait) {
                return Ok(false);
            }
            let trouble = match self.poll(&mut following, self.pause(count))? {
                Step::Ended(journalled) => return Ok(journalled),
                Step::Now => continue,
                Step::Later(longer, trouble) => {
                    wait = longer;
                    trouble
                }
            };
            if now().saturating_sub(at) >= deadline {
                let colon = if trouble.is_empty() { "" } else { ": " };
                let reason = format!("not done after {deadline} seconds{colon}{trouble}");
                self.lock()
                    .ledger
                    .ended(following.handle, End::Overdue, &reason, false)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Polls once, and downloads the clip where it is ready; `wait`: what to wait before the next
    /// poll, unless the answer says otherwise.
    fn poll(&self, following: &mut Following, wait: Duration) -> Result<Step, ApiError> {
        Ok(match self.client.poll(following.job) {
            Polled::Working => Step::Later(wait, String::new()),
            Polled::Again(asked, reason) => {
                Step::Later(wait.max(asked.unwrap_or_default()), reason)
            }
            Polled::Ended(outcome, reason) => self.end(following, outcome, &reason)?,
            Polled::Stop(reason) => {
                self.halt(format!(
                    "the provider does not say what jobs are doing: {reason}; check key and account"
                ));
                Step::Ended(false)
            }
            Polled::Gone(reason) => {
                following.unknown += 1;
                if following.unknown >= BELIEVED {
                    let reason = format!("the provider does not know the job any more: {reason}");
                    return self.end(following, Outcome::Failed, &reason);
                }
                Step::Later(wait, reason)
            }
            Polled::Done(address) => self.download(following, address, wait)?,
        })
    }

    /// Downloads a clip that is ready into the store; `address`: where it is, if the poll said so.
    fn download(
        &self,
        following: &mut Following,
        address: Option<String>,
        wait: Duration,
    ) -> Result<Step, ApiError> {
        let fetched = self
            .client
            .fetch(following.job, address, &|| self.stopping());
        Ok(match fetched {
            Fetched::Clip(clip) => {
                let (prompt, sample) = following.sample;
                self.lock().store.add_download(prompt, *sample, *clip)?;
                Step::Ended(true)
            }
            Fetched::Disk(error) => return Err(error.into()),
            Fetched::Ended(outcome, reason) => self.end(following, outcome, &reason)?,
            Fetched::Again(_) | Fetched::Network(_) if self.stopping() => Step::Ended(false),
            Fetched::Network(reason) => Step::Later(wait, reason),
            Fetched::Again(reason) => {
                following.downloads += 1;
                if following.downloads >= DOWNLOADS {
                    let reason = format!("no clip after {DOWNLOADS} downloads: {reason}");
                    return self.end(following, Outcome::Failed, &reason);
                }
                Step::Later(self.pause(following.downloads - 1), reason)
            }
        })
    }

    /// Journals that no clip will come of a job.
    fn end(&self, following: &Following, outcome: Outcome, reason: &str) -> Result<Step, ApiError> {
        let end = match outcome {
            Outcome::Refused => End::Refused,
            Outcome::FailedRetry => End::FailedRetry,
            _ => End::Failed,
        };
        self.lock()
            .ledger
            .ended(following.handle, end, reason, false)?;
        Ok(Step::Ended(true))
    }
}

//! From an accepted job to its clip in the store, or to the reason why there is none.

use std::time::{Duration, Instant};

use afd_clips::store::Verified;

use super::{Shared, step::Step};
use crate::{
    ApiError,
    adapter::Outcome,
    clean::brief,
    client::{Fetched, Polled},
    ledger::{End, Job, Sample, Submission, now},
};

/// Answers in a row that say that a job is not known, before that is believed.
const BELIEVED: u32 = 5;
/// Downloads that gave no clip, each from a fresh address, before it is given up; those that the
/// network broke do not count.
const DOWNLOADS: u32 = 8;
/// Answers in a row that the adapter does not understand, before it is asked no more.
const UNCLEAR: u32 = 20;
/// How much time of asking a kill may forget.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A job that the provider accepted.
pub(super) struct Following<'a> {
    sample: &'a Sample,
    handle: &'a str,
    job: &'a Job,
    /// Whether it was submitted just now.
    fresh: bool,
    /// How long the provider was asked for it, and had not made it.
    waited: Duration,
    /// What of that is journalled.
    journalled: Duration,
    /// Since when the provider could not be asked.
    silent: Option<Instant>,
    /// Answers in a row that were not understood.
    unclear: u32,
    /// Answers so far that said that the job is not known.
    unknown: u32,
    /// Downloads so far that gave no clip.
    downloads: u32,
}

impl<'a> Following<'a> {
    pub(super) fn new(sample: &'a Sample, submission: &'a Submission, job: &'a Job) -> Self {
        let waited = Duration::from_secs(submission.waited);
        Self {
            sample,
            handle: &submission.handle,
            job,
            fresh: now().saturating_sub(submission.at) < 2,
            waited,
            journalled: waited,
            silent: None,
            unclear: 0,
            unknown: 0,
            downloads: 0,
        }
    }
}

impl Shared {
    /// Polls a job until its clip is in the store, or will not come; `true` if that is journalled.
    pub(super) fn follow(&self, mut following: Following) -> Result<bool, ApiError> {
        let ended = self.poll_until_ended(&mut following)?;
        if !ended && following.waited > following.journalled {
            self.journal_wait(&mut following)?;
        }
        Ok(ended)
    }

    fn poll_until_ended(&self, following: &mut Following) -> Result<bool, ApiError> {
        let first = self.service.adapter.limits.first_poll_secs;
        let first = first.map_or(Duration::ZERO, Duration::from_secs_f64);
        // A job that another process began may be done already.
        let mut wait = match following.fresh {
            true => first.max(self.pause(0)),
            false => Duration::ZERO,
        };
        for count in 1.. {
            let begun = Instant::now();
            if !self.sleep(wait) {
                return Ok(false);
            }
            let polled = self.client.poll(following.job);
            let understood = !matches!(
                polled,
                Polled::Again(..) | Polled::Unclear(_) | Polled::Stop(_)
            );
            if understood {
                self.lock().silence.hear();
                (following.silent, following.unclear) = (None, 0);
                // A machine that slept did not ask meanwhile.
                let most = wait + 2 * self.client.answer_time();
                following.waited += begun.elapsed().min(most);
            } else {
                following.silent.get_or_insert(begun);
            }
            let trouble = match self.step(following, polled, self.pause(count))? {
                Step::Ended(journalled) => return Ok(journalled),
                Step::Now => continue,
                Step::Later(longer, trouble) => {
                    wait = longer;
                    trouble
                }
            };
            self.lock().meet(&trouble);
            if self.is_over(following, understood, &trouble)? {
                return Ok(understood);
            }
        }
        Ok(false)
    }

    /// Whether a job is followed no further. It is given up only where the provider had all its
    /// time and just said that the clip is not there; where it cannot be asked, nothing is known of
    /// the job, and it stays.
    fn is_over(
        &self,
        following: &mut Following,
        understood: bool,
        trouble: &str,
    ) -> Result<bool, ApiError> {
        let deadline = self.service.settings.deadline_secs;
        let colon = if trouble.is_empty() { "" } else { ": " };
        if understood && following.waited.as_secs() >= deadline {
            let reason = format!("not there after {deadline} seconds of asking{colon}{trouble}");
            self.lock()
                .ledger
                .ended(following.handle, End::Overdue, &reason, false)?;
            return Ok(true);
        }
        let silent = following
            .silent
            .map_or(0, |since| since.elapsed().as_secs());
        if !understood && silent >= deadline {
            self.halt(format!(
                "the provider could not be asked about its jobs for {deadline} \
                    seconds{colon}{trouble}; they stay under way: run the same again later"
            ));
            return Ok(true);
        }
        if following.waited >= following.journalled + FORGOTTEN {
            self.journal_wait(following)?;
        }
        Ok(false)
    }

    fn journal_wait(&self, following: &mut Following) -> Result<(), ApiError> {
        let secs = following.waited.as_secs();
        if secs > following.journalled.as_secs() {
            self.lock().ledger.waited(following.handle, secs)?;
        }
        following.journalled = following.waited;
        Ok(())
    }

    /// What an answer means for a job, with its clip downloaded where it is ready; `wait`: what to
    /// wait before the next poll, unless the answer says otherwise.
    fn step(
        &self,
        following: &mut Following,
        polled: Polled,
        wait: Duration,
    ) -> Result<Step, ApiError> {
        Ok(match polled {
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
            Polled::Unclear(reason) => {
                following.unclear += 1;
                if following.unclear < UNCLEAR {
                    return Ok(Step::Later(wait, reason));
                }
                self.halt(format!(
                    "asked about a job, the provider answered {UNCLEAR} times in a row with \
                        {reason}; the job stays under way: check base_url, or mend a copy of the \
                        adapter, and run the same again"
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
            Fetched::Clip(clip) => self.keep(following, *clip)?,
            Fetched::Local(error) => return Err(error.into()),
            Fetched::Ended(outcome, reason) => self.end(following, outcome, &reason)?,
            Fetched::Stop(reason) => {
                self.halt(format!("{reason}; the job stays under way"));
                Step::Ended(false)
            }
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

    /// Stores a clip, unless it is another sample's: copies would pass for takes.
    fn keep(&self, following: &Following, clip: Verified) -> Result<Step, ApiError> {
        let (prompt, sample) = following.sample;
        let mut state = self.lock();
        let same =
            state.store.clips().iter().find(|(other, record)| {
                *other != following.sample && record.blake3 == clip.blake3()
            });
        let Some(((other, number), _)) = same else {
            state.store.add_download(prompt, *sample, clip)?;
            return Ok(Step::Ended(true));
        };
        let reason = format!(
            "its clip is byte for byte that of sample {number} of {:?}",
            brief(other)
        );
        state
            .ledger
            .ended(following.handle, End::Failed, &reason, false)?;
        drop(state);
        self.halt(format!(
            "sample {sample} of {:?}: {reason}; nothing more is paid for: set parameters.seed = \
                \"{{seed}}\", or tell the provider",
            brief(prompt)
        ));
        Ok(Step::Ended(true))
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

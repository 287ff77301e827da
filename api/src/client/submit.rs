//! Submissions, and the search for those whose answer was lost.

use super::{Client, Submitted};
use crate::{
    adapter::{Handle, Outcome, outcome_of},
    http::NoAnswer,
    ledger::Sample,
};

impl Client {
    /// Submits a sample under a handle.
    pub fn submit(&self, sample: &Sample, handle: &str) -> Submitted {
        let submit = &self.service.adapter.submit;
        let (url, body) = self.service.submission(sample, handle);
        let answer = match self.ask(&url, Some(handle), Some(&body)) {
            Ok(answer) => answer,
            Err(NoAnswer {
                unsent: true,
                reason,
            }) => return Submitted::Unsent(self.scrub(&reason)),
            Err(NoAnswer { reason, .. }) => return Submitted::Unanswered(self.scrub(&reason)),
        };
        let reason = self.explain(&answer);
        match outcome_of(&submit.rules, answer.status, &answer.json) {
            Some(Outcome::Refused) => return Submitted::Refused(reason),
            Some(Outcome::Rejected | Outcome::Failed) => return Submitted::Rejected(reason),
            Some(Outcome::Again | Outcome::FailedRetry) => {
                return Submitted::Again(answer.retry_after, reason);
            }
            Some(Outcome::Stop) => return Submitted::Stop(reason),
            Some(other @ (Outcome::Duplicate | Outcome::Missing)) => {
                return Submitted::Other(other, reason);
            }
            Some(Outcome::Pending | Outcome::Running | Outcome::Done) | None => {}
        }
        match answer.status {
            200..300 => self.job(&answer, &submit.id, &reason),
            // 303 says that the request was carried out, and where its result is.
            303 => Submitted::Unanswered(self.explain_redirect(&answer)),
            300..400 => Submitted::Stop(self.explain_redirect(&answer)),
            status if submit.not_accepted.contains(&status) => {
                Submitted::Again(answer.retry_after, reason)
            }
            401..=405 => Submitted::Stop(reason),
            // 408: the request did not arrive as a whole. 409: two of the same at once, in most
            // conventions.
            408 | 425 | 429 => Submitted::Again(answer.retry_after, reason),
            400..500 => Submitted::Rejected(reason),
            _ => Submitted::Unanswered(reason),
        }
    }

    /// Looks for the job of a handle; only for adapters that can.
    pub fn find(&self, handle: &str) -> Submitted {
        let Handle::Find { path, id, rules } = &self.service.adapter.handle else {
            return Submitted::Unanswered("this provider cannot be asked".to_string());
        };
        let answer = match self.ask(&self.service.address(path, "", handle), None, None) {
            Ok(answer) => answer,
            Err(NoAnswer { reason, .. }) => return Submitted::Unanswered(self.scrub(&reason)),
        };
        let reason = self.explain(&answer);
        match (
            outcome_of(rules, answer.status, &answer.json),
            answer.status,
        ) {
            (Some(Outcome::Missing), _) | (None, 404) => Submitted::Other(Outcome::Missing, reason),
            (Some(Outcome::Stop), _) | (None, 401 | 403) => Submitted::Stop(reason),
            (None, 200..300) => self.job(&answer, id, &reason),
            (None, 300..=399) => Submitted::Stop(self.explain_redirect(&answer)),
            (None, 500..) => Submitted::Unanswered(reason),
            _ => Submitted::Again(answer.retry_after, reason),
        }
    }
}

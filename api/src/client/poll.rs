//! The question what a job is doing.

use super::{Client, Polled};
use crate::{
    adapter::{Outcome, outcome_of, text_at},
    clean::brief,
    http::NoAnswer,
    ledger::Job,
};

impl Client {
    /// Asks what a job is doing.
    pub fn poll(&self, job: &Job) -> Polled {
        let poll = &self.service.adapter.poll;
        let url = job
            .poll
            .clone()
            .unwrap_or_else(|| self.service.address(&poll.path, &self.id_of(job), ""));
        let answer = match self.ask(&url, None, None) {
            Ok(answer) => answer,
            Err(NoAnswer { reason, .. }) => return Polled::Again(None, self.scrub(&reason)),
        };
        let reason = self.explain(&answer);
        let by_state = || match text_at(&answer.json, &poll.state) {
            Some(state) => poll.states.get(&state).copied(),
            None => poll.absent.filter(|_| answer.json.is_object()),
        };
        let outcome = outcome_of(&poll.rules, answer.status, &answer.json)
            .or_else(|| (answer.status < 300).then(by_state).flatten());
        match (outcome, answer.status) {
            (Some(Outcome::Pending | Outcome::Running), _) => Polled::Working,
            (Some(Outcome::Done), _) => Polled::Done(self.named_clip(&answer)),
            (Some(Outcome::Again), _) => Polled::Again(answer.retry_after, reason),
            (Some(Outcome::Stop), _) | (None, 401 | 403) => Polled::Stop(reason),
            (Some(outcome @ (Outcome::Failed | Outcome::FailedRetry | Outcome::Refused)), _) => {
                Polled::Ended(outcome, reason)
            }
            (Some(Outcome::Rejected), _) => Polled::Ended(Outcome::Failed, reason),
            (Some(Outcome::Missing | Outcome::Duplicate), _) | (None, 404 | 410) => {
                Polled::Gone(reason)
            }
            (None, 200..300) => Polled::Unclear(match text_at(&answer.json, &poll.state) {
                Some(state) => format!(
                    "the state {:?} at {}, which the adapter's poll.states does not name",
                    brief(&self.scrub(&state)),
                    poll.state
                ),
                None => format!("{reason}, without a state at {}", poll.state),
            }),
            (None, 300..=399) => Polled::Unclear(self.explain_redirect(&answer)),
            (None, 408 | 425 | 429 | 500..) => Polled::Again(answer.retry_after, reason),
            (None, _) => Polled::Unclear(reason),
        }
    }
}

//! One provider: a submission, a question, a clip, each answered by what it means.

mod download;
mod job;
mod poll;
mod submit;

use std::time::Duration;

use afd_clips::store::{StoreError, Verified};
use serde_json::Value;

use crate::{
    ApiError,
    adapter::{Handle, Outcome, text_at},
    address::is_local,
    auth,
    clean::scrub,
    http::{Answer, Http, NoAnswer, Timeouts},
    ledger::{Job, now},
    secret::Secret,
    service::Service,
};

/// A client of a [`Service`].
#[derive(Debug)]
pub(crate) struct Client {
    service: Service,
    key: Option<Secret>,
    /// What of the key must not be shown or stored.
    hidden: Vec<String>,
    http: Http,
}

/// What became of a submission, or of the search for one.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// Accepted.
    Job(Job),
    /// Not accepted, and never will be.
    Refused(String),
    /// Not accepted, and the request itself is at fault.
    Rejected(String),
    /// Certainly not accepted, says the provider: ask again after this long.
    Again(Option<Duration>, String),
    /// Certainly not sent.
    Unsent(String),
    /// Accepted or not: nobody here can tell.
    Unanswered(String),
    /// This handle was accepted before, or, in a search, there is no job of it.
    Other(Outcome, String),
    /// Nothing will be accepted.
    Stop(String),
}

/// What a job is doing.
#[derive(Debug)]
pub(crate) enum Polled {
    /// Not done yet.
    Working,
    /// Done; where the answer names the clip, its address.
    Done(Option<String>),
    /// Nobody told: ask again after this long, if the provider said so.
    Again(Option<Duration>, String),
    /// It told something that the adapter does not know.
    Unclear(String),
    /// No clip will come of it.
    Ended(Outcome, String),
    /// The provider does not know the job.
    Gone(String),
    /// Key or account.
    Stop(String),
}

/// What became of a download.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// A clip, decoded.
    Clip(Box<Verified>),
    /// Not a clip this time; a fresh address may do better.
    Again(String),
    /// The network or the server failed, which says nothing of the clip.
    Network(String),
    /// No clip will come of it.
    Ended(Outcome, String),
    /// Nothing comes until the user does something; the job stays.
    Stop(String),
    /// The disk, or a program that is missing here.
    Local(StoreError),
}

impl Client {
    /// Reads the key.
    ///
    /// # Errors
    /// [`ApiError::Settings`].
    pub fn new(service: Service) -> Result<Self, ApiError> {
        let key = service.key()?;
        let seconds = Duration::from_secs_f64;
        let of = service.settings.timeouts;
        let timeouts = Timeouts {
            connect: seconds(of.connect_secs),
            answer: seconds(of.answer_secs),
            clip: seconds(of.clip_secs),
        };
        let client = Self {
            http: Http::new(timeouts, is_local(&service.base_url)),
            service,
            hidden: auth::hidden(key.as_ref()),
            key,
        };
        client.headers(None)?;
        Ok(client)
    }

    /// Longest time that an answer may take.
    pub fn answer_time(&self) -> Duration {
        Duration::from_secs_f64(self.service.settings.timeouts.answer_secs)
    }

    fn headers(&self, handle: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
        let adapter = &self.service.adapter;
        let mut headers: Vec<(String, String)> = adapter
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.extend(auth::header(&adapter.auth, self.key.as_ref(), now())?);
        if let (Handle::Repeat { header: Some(name) }, Some(handle)) = (&adapter.handle, handle) {
            headers.push((name.clone(), handle.to_string()));
        }
        Ok(headers)
    }

    fn ask(
        &self,
        url: &str,
        handle: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let headers = self.headers(handle).map_err(|error| NoAnswer {
            unsent: true,
            reason: error.to_string(),
        })?;
        self.http.ask(url, &headers, body)
    }

    /// What an answer says of itself, fit to be shown and stored.
    fn explain(&self, answer: &Answer) -> String {
        let said = self
            .service
            .adapter
            .messages
            .iter()
            .find_map(|pointer| text_at(&answer.json, pointer));
        match said {
            Some(said) => self.scrub(&format!("HTTP {}: {said}", answer.status)),
            None => format!("HTTP {}", answer.status),
        }
    }

    fn scrub(&self, text: &str) -> String {
        scrub(text, &self.hidden)
    }

    /// What an answer says of itself where it redirects.
    fn explain_redirect(&self, answer: &Answer) -> String {
        let target = answer.location.as_deref().unwrap_or("nowhere");
        // Signatures stand behind the path, also where the address has no host.
        let target = target.split(['?', '#']).next().unwrap_or_default();
        self.scrub(&format!(
            "HTTP {}, a redirect to {target}, which is not followed",
            answer.status
        ))
    }
}

//! One provider: a submission, a question, a clip, each answered by what it means.

use std::time::Duration;

use afd_clips::store::{StoreError, Verified, download_place};
use serde_json::Value;

use crate::{
    ApiError,
    adapter::{Handle, Outcome, ResultKind, Rule, outcome_of, text_at},
    auth,
    http::{Answer, Http, NoAnswer, Timeouts, is_local, origin},
    ledger::{Job, Sample, now},
    secret::{Secret, scrub},
    service::Service,
};

/// A client of a [`Service`].
#[derive(Debug)]
pub(crate) struct Client {
    service: Service,
    key: Option<Secret>,
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
    /// Certainly not accepted: ask again after this long.
    Again(Option<Duration>, String),
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
    /// Ask again after this long, if the provider said so.
    Again(Option<Duration>, String),
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
    /// The disk.
    Disk(StoreError),
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
            key,
        };
        client.headers(None)?;
        Ok(client)
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
        let hidden = auth::hidden(self.key.as_ref());
        scrub(text, &hidden.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Submits a sample under a handle.
    pub fn submit(&self, sample: &Sample, handle: &str) -> Submitted {
        let submit = &self.service.adapter.submit;
        let (url, body) = self.service.submission(sample, handle);
        let answer = match self.ask(&url, Some(handle), Some(&body)) {
            Ok(answer) => answer,
            Err(NoAnswer {
                unsent: true,
                reason,
            }) => return Submitted::Again(None, self.scrub(&reason)),
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
            200..300 => self.job(&answer, &submit.id, reason),
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

    fn job(&self, answer: &Answer, id: &str, reason: String) -> Submitted {
        let Some(id) = text_at(&answer.json, id) else {
            return Submitted::Unanswered(format!("{reason}, without the job's id at {id}"));
        };
        let submit = &self.service.adapter.submit;
        let address = |pointer: &Option<String>| {
            pointer
                .as_ref()
                .and_then(|pointer| text_at(&answer.json, pointer))
        };
        let (poll, result) = (address(&submit.poll_at), address(&submit.result_at));
        let base = origin(&self.service.base_url);
        // The key goes along: to the provider only.
        if poll.iter().chain(&result).any(|url| origin(url) != base) {
            return Submitted::Unanswered(
                "the answer names addresses of another host; tell the provider, or write an adapter"
                    .to_string(),
            );
        }
        Submitted::Job(Job { id, poll, result })
    }

    /// Looks for the job of a handle; only for adapters that can.
    pub fn find(&self, handle: &str) -> Submitted {
        let Handle::Find { path, id, rules } = &self.service.adapter.handle else {
            return Submitted::Unanswered("this provider cannot be asked".to_string());
        };
        let answer = match self.ask(&self.service.address(path, "", handle), None, None) {
            Ok(answer) => answer,
            Err(NoAnswer { reason, .. }) => return Submitted::Again(None, self.scrub(&reason)),
        };
        let reason = self.explain(&answer);
        match (
            outcome_of(rules, answer.status, &answer.json),
            answer.status,
        ) {
            (Some(Outcome::Missing), _) | (None, 404) => Submitted::Other(Outcome::Missing, reason),
            (Some(Outcome::Stop), _) | (None, 401 | 403) => Submitted::Stop(reason),
            (None, 200..300) => match self.job(&answer, id, reason) {
                Submitted::Unanswered(reason) => Submitted::Again(None, reason),
                other => other,
            },
            _ => Submitted::Again(answer.retry_after, reason),
        }
    }

    /// Asks what a job is doing.
    pub fn poll(&self, job: &Job) -> Polled {
        let poll = &self.service.adapter.poll;
        let url = job
            .poll
            .clone()
            .unwrap_or_else(|| self.service.address(&poll.path, &job.id, ""));
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
            (None, 200..300) => {
                let state = text_at(&answer.json, &poll.state).unwrap_or_default();
                Polled::Again(
                    None,
                    self.scrub(&format!(
                        "HTTP {}: the state {state:?} is not one that the adapter knows",
                        answer.status
                    )),
                )
            }
            (None, _) => Polled::Again(answer.retry_after, reason),
        }
    }

    /// Downloads a job's clip and decodes it; `named`: its address, if the poll's answer had it.
    pub fn fetch(&self, job: &Job, named: Option<String>, stop: &dyn Fn() -> bool) -> Fetched {
        let result = &self.service.adapter.result;
        let path = result.path.as_ref().map(|path| {
            job.result
                .clone()
                .unwrap_or_else(|| self.service.address(path, &job.id, ""))
        });
        let (url, authorised) = match (result.kind, path, named) {
            (ResultKind::Bytes, Some(url), _) => (url, true),
            (ResultKind::Url, Some(url), _) => match self.clip_address(&url, &result.rules) {
                Ok(url) => (url, result.authorised),
                Err(ended) => return ended,
            },
            (_, _, Some(url)) => (url, result.authorised),
            (_, None, None) => return Fetched::Again("the answer names no clip".to_string()),
        };
        let allowed =
            url.starts_with("https://") || (is_local(&self.service.base_url) && is_local(&url));
        let Some(base) =
            origin(&self.service.base_url).filter(|_| allowed && origin(&url).is_some())
        else {
            return Fetched::Again("the clip's address is not https".to_string());
        };
        let headers = |url: &str| match authorised && origin(url) == Some(base) {
            true => self.headers(None).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut place = match download_place(&self.service.store) {
            Ok(place) => place,
            Err(error) => return Fetched::Disk(error),
        };
        match self
            .http
            .download(&url, &headers, place.as_file_mut(), stop)
        {
            Ok(200) => {}
            Ok(status) if status == 429 || status >= 500 => {
                return Fetched::Network(format!("the clip's address answered HTTP {status}"));
            }
            Ok(status) => {
                return Fetched::Again(format!("the clip's address answered HTTP {status}"));
            }
            Err(NoAnswer { reason, .. }) => return Fetched::Network(reason),
        }
        match Verified::decode(place) {
            Ok(clip) => Fetched::Clip(Box::new(clip)),
            // A missing ffmpeg is not the clip's fault.
            Err(StoreError::Video(
                error @ afd_clips::video_io::VideoError::FfmpegMissing { .. },
            )) => Fetched::Disk(error.into()),
            Err(StoreError::Video(error)) => Fetched::Again(format!(
                "what came is no whole video: {}",
                self.scrub(&error.to_string())
            )),
            Err(error) => Fetched::Disk(error),
        }
    }

    /// The answer that names the clip.
    fn clip_address(&self, url: &str, rules: &[Rule]) -> Result<String, Fetched> {
        let answer = self
            .ask(url, None, None)
            .map_err(|NoAnswer { reason, .. }| Fetched::Network(self.scrub(&reason)))?;
        let reason = self.explain(&answer);
        match outcome_of(rules, answer.status, &answer.json) {
            Some(outcome @ (Outcome::Refused | Outcome::Failed | Outcome::FailedRetry)) => {
                return Err(Fetched::Ended(outcome, reason));
            }
            _ if answer.status == 429 || answer.status >= 500 => {
                return Err(Fetched::Network(reason));
            }
            _ if !(200..300).contains(&answer.status) => return Err(Fetched::Again(reason)),
            _ => {}
        }
        self.named_clip(&answer)
            .ok_or_else(|| Fetched::Again(format!("{reason}, and names no clip")))
    }

    /// The clip's address in an answer, if it names one.
    fn named_clip(&self, answer: &Answer) -> Option<String> {
        let pointers = &self.service.adapter.result.url;
        pointers
            .iter()
            .find_map(|pointer| url_at(&answer.json, pointer))
    }
}

/// An address in an answer; other values there are none.
fn url_at(answer: &Value, pointer: &str) -> Option<String> {
    answer
        .pointer(pointer)?
        .as_str()
        .filter(|text| text.contains("://"))
        .map(str::to_string)
}

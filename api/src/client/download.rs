//! The way from a job that is done to its clip.

use afd_clips::{
    store::{StoreError, Verified, download_place},
    video_io::VideoError,
};
use serde_json::Value;

use super::{Client, Fetched};
use crate::{
    adapter::{Outcome, ResultKind, Rule, outcome_of},
    address::{may_hold_clips, origin},
    http::{Answer, NoAnswer, NoClip, Way},
    ledger::Job,
};

impl Client {
    /// Downloads a job's clip and decodes it; `named`: its address, if the poll's answer had it.
    pub fn fetch(&self, job: &Job, named: Option<String>, stop: &dyn Fn() -> bool) -> Fetched {
        let result = &self.service.adapter.result;
        let path = result.path.as_ref().map(|path| {
            job.result
                .clone()
                .unwrap_or_else(|| self.service.address(path, &self.id_of(job), ""))
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
        let mut place = match download_place(&self.service.store) {
            Ok(place) => place,
            Err(error) => return Fetched::Local(error),
        };
        let way = ClipWay {
            client: self,
            authorised,
            stop,
        };
        match self.http.download(&url, &way, place.as_file_mut()) {
            Ok((_, 200)) => {}
            // 403 may mean an address that has expired, or a clip that is gone.
            Ok((last, 401)) if !way.headers(&last).is_empty() => {
                return Fetched::Stop(
                    "the provider refuses the key for a clip with HTTP 401; check key and account"
                        .to_string(),
                );
            }
            Ok((_, status)) if status == 429 || status >= 500 => {
                return Fetched::Network(format!("the clip's address answered HTTP {status}"));
            }
            Ok((_, status)) => {
                return Fetched::Again(format!("the clip's address answered HTTP {status}"));
            }
            Err(NoClip::Network(reason)) => return Fetched::Network(self.scrub(&reason)),
            Err(NoClip::Elsewhere(url)) => {
                return Fetched::Stop(self.scrub(&format!(
                    "the clip is at {url}, and clips are fetched over https from the provider and \
                        from public hosts only; if that is the provider's, add its host to \
                        result.hosts of the adapter"
                )));
            }
            Err(NoClip::Disk(source)) => {
                return Fetched::Local(StoreError::Io {
                    action: "write",
                    path: place.path().to_path_buf(),
                    source,
                });
            }
        }
        match Verified::decode(place) {
            Ok(clip) => Fetched::Clip(Box::new(clip)),
            // A missing ffmpeg and a full disk are not the clip's fault.
            Err(StoreError::Video(
                error @ (VideoError::FfmpegMissing { .. } | VideoError::Io { .. }),
            )) => Fetched::Local(error.into()),
            Err(StoreError::Video(error)) => Fetched::Again(format!(
                "what came is no whole video: {}",
                self.scrub(&error.to_string())
            )),
            Err(error) => Fetched::Local(error),
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
            _ if (300..400).contains(&answer.status) => {
                return Err(Fetched::Stop(self.explain_redirect(&answer)));
            }
            _ if answer.status == 401 => {
                return Err(Fetched::Stop(format!("{reason}; check key and account")));
            }
            _ if !(200..300).contains(&answer.status) => return Err(Fetched::Again(reason)),
            _ => {}
        }
        self.named_clip(&answer)
            .ok_or_else(|| Fetched::Again(format!("{reason}, and names no clip")))
    }

    /// The clip's address in an answer, if it names one.
    pub(super) fn named_clip(&self, answer: &Answer) -> Option<String> {
        let pointers = &self.service.adapter.result.url;
        pointers
            .iter()
            .find_map(|pointer| url_at(&answer.json, pointer))
    }
}

/// The key goes to the provider's own addresses only, and nothing at all to where clips are not
/// fetched from.
struct ClipWay<'a> {
    client: &'a Client,
    authorised: bool,
    stop: &'a dyn Fn() -> bool,
}

impl Way for ClipWay<'_> {
    fn headers(&self, url: &str) -> Vec<(String, String)> {
        let own = origin(url) == origin(&self.client.service.base_url);
        match self.authorised && own {
            true => self.client.headers(None).unwrap_or_default(),
            false => Vec::new(),
        }
    }

    fn is_allowed(&self, url: &str) -> bool {
        let service = &self.client.service;
        may_hold_clips(url, &service.base_url, &service.adapter.result.hosts)
    }

    fn stopping(&self) -> bool {
        (self.stop)()
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

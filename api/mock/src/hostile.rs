//! What a provider does that means harm, or is not the provider at all.

use serde_json::json;

use crate::{
    Options,
    wire::{Reply, Request},
};

/// A way to misbehave, all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hostile {
    /// Every submission is answered with this status and a page of HTML; nothing is accepted.
    Submissions(u16),
    /// Every submission is redirected with this status to the same path and a slash.
    Redirects(u16),
    /// Everything is answered with 200 and a page of HTML.
    Pages,
    /// Every question about a job is answered with this status.
    Questions(u16),
    /// Every job has the same id.
    OneJob,
    /// Ids of so many letters.
    LongIds(usize),
    /// Ids and refusals quote the key.
    Echo,
    /// The addresses of a job carry a token (fal).
    Tokens,
    /// The addresses of a job are at another host (fal).
    OtherHost,
    /// Every job that is not done is in this state (`/v1/videos`).
    State(&'static str),
    /// Refusals hold what a terminal obeys.
    Escapes,
    /// Every clip is redirected to this address (`/v1/videos`).
    ClipsAt(String),
}

const PAGE: &[u8] = b"<html>\x1b[31mwelcome</html>";

/// The answer to a request, where it is not that of a provider.
pub(crate) fn instead(options: &Options, request: &Request) -> Option<Reply> {
    let submission = request.method == "POST";
    let page = |status: u16| {
        let mut page = Reply::bytes(PAGE.to_vec());
        page.status = status;
        page
    };
    match options.hostile.as_ref()? {
        Hostile::Submissions(status) if submission => Some(page(*status)),
        Hostile::Redirects(status) if submission => {
            let location = format!("{}/?token=S3CRET", request.path);
            let mut reply = Reply::redirect(&location);
            reply.status = *status;
            Some(reply)
        }
        Hostile::Pages => Some(page(200)),
        Hostile::Questions(status) if !submission => Some(page(*status)),
        Hostile::ClipsAt(address) if request.path.ends_with("/content") => {
            Some(Reply::redirect(address))
        }
        Hostile::Escapes if submission => {
            let message = "no\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\u{9b}31m";
            Some(Reply::json(
                400,
                &json!({ "error": { "code": "moderation_blocked", "message": message } }),
            ))
        }
        _ => None,
    }
}

/// The id of the job of this number.
pub(crate) fn job_id(options: &Options, number: usize) -> String {
    match &options.hostile {
        Some(Hostile::OneJob) => "job".to_string(),
        Some(Hostile::LongIds(length)) => format!("{number}{}", "x".repeat(*length)),
        Some(Hostile::Echo) => format!("job-{number}-{}", options.key),
        _ => format!("job-{number}"),
    }
}

/// Host and query of a job's addresses.
pub(crate) fn address(options: &Options, base: &str) -> (String, &'static str) {
    match &options.hostile {
        Some(Hostile::Tokens) => (base.to_string(), "?token=S3CRET"),
        Some(Hostile::OtherHost) => ("https://elsewhere.invalid".to_string(), ""),
        _ => (base.to_string(), ""),
    }
}

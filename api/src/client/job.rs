//! The job that a provider names: what of it is believed, and what of it is written down.

use serde_json::Value;

use super::{Client, Submitted};
use crate::{adapter::text_at, address::origin, clean::brief, http::Answer, ledger::Job};

/// Longest id of a job, in bytes.
const LONGEST_ID: usize = 1024;
/// Longest address of a job, in bytes.
const LONGEST_ADDRESS: usize = 4096;

impl Client {
    /// The job that an answer names at the pointer `id`.
    pub(super) fn job(&self, answer: &Answer, id: &str, reason: &str) -> Submitted {
        let place = id;
        let id = match answer.json.pointer(place) {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => {
                return Submitted::Unanswered(format!("{reason}, without the job's id at {place}"));
            }
        };
        if id.len() > LONGEST_ID || id.chars().any(char::is_control) {
            let found = brief(&self.scrub(&id));
            return Submitted::Unanswered(format!(
                "{reason}, and {} bytes as the job's id, {found:?}; expected at most {LONGEST_ID} \
                    printable ones",
                id.len()
            ));
        }
        let base = origin(&self.service.base_url);
        // The key goes along: to the provider only. Without an address of its own, a job is asked
        // for where the adapter says.
        let address = |pointer: &Option<String>| {
            let url = text_at(&answer.json, pointer.as_ref()?)?;
            (url.len() <= LONGEST_ADDRESS && origin(&url) == base).then_some(url)
        };
        let submit = &self.service.adapter.submit;
        let (poll, result) = (address(&submit.poll_at), address(&submit.result_at));
        Submitted::Job(Job { id, poll, result })
    }

    /// What may be written down of a job: its id with a mark where the key stands in it, and
    /// addresses without a query, where tokens stand, and without the key. What is left out is
    /// asked for at the adapter's own addresses.
    pub fn kept(&self, job: &Job) -> Job {
        let clean = |url: &Option<String>| {
            let plain = |url: &&String| {
                !url.contains(['?', '#']) && !self.hidden.iter().any(|part| url.contains(part))
            };
            url.as_ref().filter(plain).cloned()
        };
        let mut id = job.id.clone();
        for (number, part) in self.hidden.iter().enumerate() {
            id = id.replace(part, &mark(number));
        }
        Job {
            id,
            poll: clean(&job.poll),
            result: clean(&job.result),
        }
    }

    /// A job's id as the provider knows it.
    pub(super) fn id_of(&self, job: &Job) -> String {
        let mut id = job.id.clone();
        for (number, part) in self.hidden.iter().enumerate() {
            id = id.replace(&mark(number), part);
        }
        id
    }
}

/// What stands for the part of a key of this number.
fn mark(number: usize) -> String {
    format!("[key {number}]")
}

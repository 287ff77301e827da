//! The lines of a ledger.

use serde::{Deserialize, Serialize};

/// The ledger's name in its store.
pub const FILE_NAME: &str = "submissions.jsonl";

/// A prompt and a sample index: which of the prompt's clips, from 0.
pub type Sample = (String, u64);

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line {
    /// About to be sent; `micros` are reserved.
    Intent {
        handle: String,
        prompt: String,
        sample: u64,
        attempt: u32,
        micros: u64,
        at: u64,
    },
    /// The provider said no before it accepted anything: nothing is spent, the handle is free
    /// again.
    Unsent { handle: String },
    /// Accepted.
    Job { handle: String, job: Job },
    /// The provider was asked for so many seconds in all, and had not made it.
    Waited { handle: String, secs: u64 },
    /// No clip will come of it.
    Ended {
        handle: String,
        end: End,
        reason: String,
        /// Nothing was accepted, so nothing is spent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        free: bool,
    },
    /// The user wants the sample to be submitted again; what was reserved stays spent.
    Released { handle: String },
}

/// The provider's name for a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where to poll, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<String>,
    /// Where the result is, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// How a submission ended without a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The provider will not make this clip, or does not understand the request.
    Refused,
    /// The job failed.
    Failed,
    /// The job failed through no fault of the request.
    FailedRetry,
    /// The job was not done before the deadline.
    Overdue,
}

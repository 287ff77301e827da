//! A video API on the loopback interface that speaks every shipped adapter's shape and misbehaves
//! on request: for tests.
//!
//! Faults are drawn per request from a seeded stream. The prompt says what becomes of a job.
//! `forbidden` is refused when submitted, `unsafe` while it runs, and `picky` likewise for every
//! other seed. `broken` fails, `flaky` fails at its first attempt, and `endless` is never done.
#![warn(missing_docs)]

mod dialect;
mod hostile;
mod server;
mod state;
mod wire;

use std::{collections::BTreeMap, sync::Arc};

use afd_clips::{video::Video, video_io::write_gif_bytes};

pub use dialect::{Dialect, MODEL};
pub use hostile::Hostile;
pub use server::MockServer;

/// Probabilities of what goes wrong with a request; at most one of them does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The connection closes before anything was done.
    pub drop: f64,
    /// The request is carried out, and the connection closes instead of an answer.
    pub drop_answer: f64,
    /// 429 without `Retry-After`.
    pub busy: f64,
    /// 429 with `Retry-After: 0`.
    pub busy_seconds: f64,
    /// 503 with a date a second ahead.
    pub busy_date: f64,
    /// 500 after the request was carried out.
    pub error: f64,
    /// The answer comes byte by byte, slower than the client waits.
    pub slow: f64,
    /// A clip that ends early (its length header says more).
    pub truncated: f64,
    /// A clip with other bytes in its midst, or none of a clip's.
    pub corrupt: f64,
    /// A clip's address that has expired when it is used.
    pub expired: f64,
}

impl Faults {
    /// Each with this probability.
    pub fn all(share: f64) -> Self {
        Self {
            drop: share,
            drop_answer: share,
            busy: share,
            busy_seconds: share,
            busy_date: share / 4.0,
            error: share,
            slow: share / 4.0,
            truncated: share,
            corrupt: share,
            expired: share,
        }
    }
}

/// What makes a clip's file of (prompt, seed).
pub type Maker = Arc<dyn Fn(&str, u64) -> Vec<u8> + Send + Sync>;

/// How a server behaves.
#[derive(Clone)]
pub struct Options {
    /// Whose shape it speaks.
    pub dialect: Dialect,
    /// Seed of its faults.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// How it misbehaves all the time, if it does.
    pub hostile: Option<Hostile>,
    /// The key that it accepts; `ISSUER:SECRET` for Kling.
    pub key: String,
    /// Polls until a job is done.
    pub polls: u32,
    /// Whether it knows a job by the `Idempotency-Key` header.
    pub idempotency_key: bool,
    /// Milliseconds that every answer takes.
    pub latency_ms: u64,
    /// What it hands out.
    pub maker: Maker,
}

impl Options {
    /// A faultless server of small GIFs whose colours tell (prompt, seed) apart; its key is
    /// `canary:1234567890`.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            seed: 1,
            faults: Faults::default(),
            hostile: None,
            key: "canary:1234567890".to_string(),
            polls: 2,
            idempotency_key: false,
            latency_ms: 0,
            maker: Arc::new(colours),
        }
    }
}

/// A GIF of four frames of 8 x 8 pixels.
fn colours(prompt: &str, seed: u64) -> Vec<u8> {
    let hash = blake3::hash(format!("{prompt} {seed}").as_bytes());
    let frame = |index: usize| hash.as_bytes()[index * 3..index * 3 + 3].repeat(64);
    let video = Video {
        width: 8,
        height: 8,
        frames_per_second: 10.0,
        frames: (0..4).map(frame).collect(),
    };
    write_gif_bytes(&video).unwrap_or_default()
}

/// A job that was accepted.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The handle that came with it, if any.
    pub handle: Option<String>,
    /// Its prompt.
    pub prompt: String,
    /// Its seed, or 0.
    pub seed: u64,
    /// How often it was polled.
    pub polls: u32,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A clip.
    Done,
    /// A refusal.
    Refused,
    /// A failure.
    Failed,
    /// A failure that another attempt may avoid.
    Flaky,
    /// Nothing, ever.
    Endless,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Log {
    /// Jobs in the order of their acceptance.
    pub jobs: Vec<Job>,
    /// Submissions of a handle that was accepted before: refused, or answered with the job there
    /// is.
    pub repeated: usize,
    /// Submissions refused for their prompt.
    pub refused: usize,
    /// Requests in all, downloads included.
    pub requests: usize,
    /// Requests to submit something, also those that were no submission for a fault.
    pub posts: usize,
    /// Submissions in all, whatever became of them.
    pub submissions: usize,
    /// Requests with a wrong key or none.
    pub unauthorised: usize,
    /// Downloads that carried a key to where it has no business.
    pub leaks: usize,
    /// Most jobs under way at once.
    pub most_open: usize,
    /// Clips handed out whole.
    pub downloads: usize,
    /// Clips' addresses that were given out, and whether they have expired.
    pub(crate) addresses: BTreeMap<u64, (usize, bool)>,
}

impl Log {
    /// Jobs of the same (prompt, seed) beyond those that a failure called for.
    pub fn duplicates(&self) -> usize {
        let mut seen: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| job.fate != Fate::Flaky) {
            *seen.entry((&job.prompt, job.seed)).or_default() += 1;
        }
        seen.values().map(|count| count - 1).sum()
    }

    /// Jobs that are not done after `polls` polls each.
    pub(crate) fn open(&self, polls: u32) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.fate == Fate::Endless || job.polls < polls)
            .count()
    }
}

//! What a server's connections share: its behaviour, its jobs and its log.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use crate::{Fate, Job, Log, Options, hostile};

/// The state of a server, of its API and its files.
pub(crate) struct Shared {
    pub options: Mutex<Options>,
    pub api: SocketAddr,
    pub files: SocketAddr,
    pub log: Mutex<Log>,
    pub draws: Mutex<fastrand::Rng>,
    pub stopping: AtomicBool,
}

impl Shared {
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn options(&self) -> Options {
        self.options
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The next draw of the server's stream, in [0, 1).
    pub fn random(&self) -> f64 {
        self.draws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    /// A fresh address of a job's clip.
    pub fn address(&self, options: &Options, job: usize) -> String {
        let expired = self.random() < options.faults.expired;
        let mut log = self.log();
        let number = log.addresses.len() as u64;
        log.addresses.insert(number, (job, expired));
        format!("http://{}/files/{number}?sig=S3CRET", self.files)
    }

    /// Accepts a job, or finds the one that has its handle.
    pub fn accept(
        &self,
        options: &Options,
        handle: Option<String>,
        prompt: &str,
        seed: u64,
    ) -> Accepted {
        let mut log = self.log();
        log.submissions += 1;
        if let Some(known) = handle.as_ref().and_then(|handle| {
            log.jobs
                .iter()
                .position(|job| job.handle.as_ref() == Some(handle))
        }) {
            log.repeated += 1;
            return Accepted::Known(known);
        }
        if prompt.contains("forbidden") {
            log.refused += 1;
            return Accepted::Refused;
        }
        let seen = log
            .jobs
            .iter()
            .any(|job| job.prompt == prompt && job.seed == seed);
        let fate = match prompt {
            _ if prompt.contains("unsafe") => Fate::Refused,
            _ if prompt.contains("picky") && seed % 2 == 1 => Fate::Refused,
            _ if prompt.contains("broken") => Fate::Failed,
            _ if prompt.contains("flaky") && !seen => Fate::Flaky,
            _ if prompt.contains("endless") => Fate::Endless,
            _ => Fate::Done,
        };
        let number = log.jobs.len();
        log.jobs.push(Job {
            id: hostile::job_id(options, number),
            handle,
            prompt: prompt.to_string(),
            seed,
            polls: 0,
            fate,
        });
        log.most_open = log.most_open.max(log.open(options.polls));
        Accepted::New(number)
    }

    /// One more poll of a job: its fate once it is decided.
    pub fn poll(&self, options: &Options, id: &str) -> Option<(usize, Option<Fate>)> {
        let mut log = self.log();
        let number = log.jobs.iter().position(|job| job.id == id)?;
        let job = &mut log.jobs[number];
        job.polls += 1;
        let decided = job.polls >= options.polls && job.fate != Fate::Endless;
        Some((number, decided.then_some(job.fate)))
    }
}

/// What became of a submission, with the job's number.
pub(crate) enum Accepted {
    New(usize),
    /// Its handle was accepted before.
    Known(usize),
    Refused,
}

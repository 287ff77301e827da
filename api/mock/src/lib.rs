//! A video API on the loopback interface that speaks every shipped adapter's shape and misbehaves
//! on request: for tests.
//!
//! Faults are drawn per request from a seeded stream. What becomes of a job is said by its prompt:
//! `forbidden` is refused when submitted, `unsafe` while it runs, `picky` likewise for every other
//! seed, `broken` fails, `flaky` fails at its first attempt, `endless` is never done.
#![warn(missing_docs)]

mod dialect;
mod wire;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use afd_clips::{video::Video, video_io::write_gif_bytes};
use serde_json::Value;

pub use dialect::{Dialect, MODEL};
use wire::{Reply, Request};

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
    addresses: BTreeMap<u64, (usize, bool)>,
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

    fn open(&self, polls: u32) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.fate == Fate::Endless || job.polls < polls)
            .count()
    }
}

/// A running server; dropped, it stops.
pub struct MockServer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    options: Mutex<Options>,
    api: SocketAddr,
    files: SocketAddr,
    log: Mutex<Log>,
    draws: Mutex<fastrand::Rng>,
    stopping: AtomicBool,
}

impl MockServer {
    /// Starts a server on two free ports: the API's, and one for files.
    ///
    /// # Panics
    /// If the loopback interface has no free port: a test cannot go on then.
    pub fn start(options: Options) -> Self {
        let [api, files] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared {
            api: address(&api),
            files: address(&files),
            draws: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            options: Mutex::new(options),
            log: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let serve = |listener: TcpListener, of_files: bool| {
            let shared = shared.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    let (Ok(stream), shared) = (stream, shared.clone()) else {
                        continue;
                    };
                    thread::spawn(move || shared.serve(stream, of_files));
                }
            })
        };
        let threads = vec![serve(api, false), serve(files, true)];
        Self { shared, threads }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.api)
    }

    /// What happened so far.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log()
    }

    /// Changes how the server behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(
            &mut self
                .shared
                .options
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Each listener looks up at its next connection.
        for address in [self.shared.api, self.shared.files] {
            let _ = TcpStream::connect(address);
        }
        self.threads
            .drain(..)
            .for_each(|thread| drop(thread.join()));
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    DropAnswer,
    Busy,
    BusySeconds,
    BusyDate,
    Error,
    Slow,
    Truncated,
    Corrupt,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> Options {
        self.options
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn random(&self) -> f64 {
        self.draws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    fn draw(&self, faults: &Faults, of_clip: bool) -> Fault {
        let mut choices = vec![
            (Fault::Drop, faults.drop),
            (Fault::DropAnswer, faults.drop_answer),
            (Fault::Busy, faults.busy),
            (Fault::BusySeconds, faults.busy_seconds),
            (Fault::BusyDate, faults.busy_date),
            (Fault::Error, faults.error),
            (Fault::Slow, faults.slow),
        ];
        if of_clip {
            choices.extend([
                (Fault::Truncated, faults.truncated),
                (Fault::Corrupt, faults.corrupt),
            ]);
        }
        let mut left = self.random();
        for (fault, share) in choices {
            if left < share {
                return fault;
            }
            left -= share;
        }
        Fault::None
    }

    fn serve(&self, mut stream: TcpStream, of_files: bool) {
        // A client that was killed leaves half a request.
        let Some(request) = wire::read(&mut stream) else {
            return;
        };
        self.log().requests += 1;
        let options = self.options();
        thread::sleep(Duration::from_millis(options.latency_ms));
        let of_clip = of_files || request.path.ends_with("/content");
        let fault = self.draw(&options.faults, of_clip);
        let refusal = match fault {
            Fault::Drop => return,
            Fault::Busy => Some(Reply::json(
                429,
                &serde_json::json!({ "message": "slow down" }),
            )),
            Fault::BusySeconds => Some(Reply::json(429, &Value::Null).with("Retry-After", "0")),
            Fault::BusyDate => {
                let date =
                    httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(1));
                Some(Reply::json(503, &Value::Null).with("Retry-After", &date))
            }
            _ => None,
        };
        let mut reply = match refusal {
            Some(reply) => reply,
            None if of_files => self.file(&options, &request),
            None => dialect::answer(self, &options, &request),
        };
        match fault {
            Fault::DropAnswer => {}
            Fault::Error => {
                Reply::json(500, &serde_json::json!({ "error": "internal" })).send(&mut stream)
            }
            Fault::Slow => reply.send_slowly(&mut stream),
            Fault::Truncated if reply.status == 200 => reply.send_half(&mut stream),
            Fault::Corrupt if reply.status == 200 => {
                let middle = reply.body.len() / 2;
                if self.random() < 0.5 {
                    reply.body = b"<html>try again</html>".to_vec();
                } else {
                    reply.body.truncate(middle);
                }
                reply.send(&mut stream);
            }
            _ => {
                if of_clip && reply.status == 200 {
                    self.log().downloads += 1;
                }
                reply.send(&mut stream);
            }
        }
    }

    /// `GET /files/NUMBER?sig=...`: a clip, at its own host, where no key belongs.
    fn file(&self, options: &Options, request: &Request) -> Reply {
        let mut log = self.log();
        if request.header("authorization").is_some() || request.header("x-goog-api-key").is_some() {
            log.leaks += 1;
        }
        let number = request
            .path
            .strip_prefix("/files/")
            .and_then(|rest| rest.split('?').next())
            .and_then(|number| number.parse().ok());
        match number.and_then(|number: u64| log.addresses.get(&number).copied()) {
            Some((_, true)) => Reply::json(
                403,
                &serde_json::json!({ "message": "Request has expired" }),
            ),
            Some((job, false)) if request.path.contains("sig=S3CRET") => {
                let job = log.jobs[job].clone();
                drop(log);
                Reply::bytes((options.maker)(&job.prompt, job.seed))
            }
            _ => Reply::json(404, &Value::Null),
        }
    }

    /// A fresh address of a job's clip.
    fn address(&self, options: &Options, job: usize) -> String {
        let expired = self.random() < options.faults.expired;
        let mut log = self.log();
        let number = log.addresses.len() as u64;
        log.addresses.insert(number, (job, expired));
        format!("http://{}/files/{number}?sig=S3CRET", self.files)
    }

    /// Accepts a job, or finds the one that has its handle.
    fn accept(
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
            id: format!("job-{number}"),
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
    fn poll(&self, options: &Options, id: &str) -> Option<(usize, Option<Fate>)> {
        let mut log = self.log();
        let number = log.jobs.iter().position(|job| job.id == id)?;
        let job = &mut log.jobs[number];
        job.polls += 1;
        let decided = job.polls >= options.polls && job.fate != Fate::Endless;
        Some((number, decided.then_some(job.fate)))
    }
}

enum Accepted {
    New(usize),
    Known(usize),
    Refused,
}

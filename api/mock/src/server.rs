//! The server itself: connections and faults.

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Faults, Log, Options, dialect, hostile,
    state::Shared,
    wire::{self, Reply, Request},
};

/// A running server; dropped, it stops.
pub struct MockServer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
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
        {
            let mut log = self.log();
            log.requests += 1;
            log.posts += usize::from(request.method == "POST");
        }
        let options = self.options();
        thread::sleep(Duration::from_millis(options.latency_ms));
        let of_clip = of_files || request.path.ends_with("/content");
        let fault = self.draw(&options.faults, of_clip);
        let refusal = match fault {
            Fault::Drop => return,
            Fault::Busy => Some(Reply::json(429, &json!({ "message": "slow down" }))),
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
            None => hostile::instead(&options, &request)
                .unwrap_or_else(|| dialect::answer(self, &options, &request)),
        };
        match fault {
            Fault::DropAnswer => {}
            Fault::Error => Reply::json(500, &json!({ "error": "internal" })).send(&mut stream),
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
            Some((_, true)) => Reply::json(403, &json!({ "message": "Request has expired" })),
            Some((job, false)) if request.path.contains("sig=S3CRET") => {
                let job = log.jobs[job].clone();
                drop(log);
                Reply::bytes((options.maker)(&job.prompt, job.seed))
            }
            _ => Reply::json(404, &Value::Null),
        }
    }
}

//! The worker threads that turn wanted samples into clips: each drives one sample at a time from
//! its intent to its clip.

mod drive;
mod follow;
mod ready;
mod silence;
mod state;
mod step;
mod submit;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use afd_clips::store::{ClipRecord, ClipStore};

use crate::{
    ApiError,
    client::Client,
    ledger::{Ledger, Sample},
    service::Service,
    survey::{Standing, Unavailable},
};
pub use state::Progress;
use state::{Halt, State};

/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// How a fetch ended.
#[derive(Debug)]
pub struct Fetch {
    /// How far it came.
    pub progress: Progress,
    /// Why nothing more was submitted, if so.
    pub halted: Option<String>,
    /// Whether it was asked to stop.
    pub stopped: bool,
}

/// Fetches the clips of samples, in order and several at once, until all are there or will not
/// come. Samples that are under way from an earlier run come first. `progress` hears about every
/// fifth of a second, `stop` is asked as often.
///
/// # Errors
/// [`ApiError::Settings`] for the key, [`ApiError::Store`] and [`ApiError::Journal`] for the store,
/// [`ApiError::Stopped`] where ffmpeg or room on the disk is missing. What the provider does is in
/// [`Fetch`].
pub fn fetch(
    service: &Service,
    wanted: &[Sample],
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Fetch, ApiError> {
    let engine = Engine::start(service, wanted.to_vec(), usize::MAX, true)?;
    let mut heard = Instant::now();
    let mut stopped = false;
    while !engine.workers.iter().all(JoinHandle::is_finished) {
        thread::sleep(LOOK);
        if !stopped && stop() {
            stopped = true;
            engine.shared.stop();
        }
        if heard.elapsed() >= LOOK * 10 {
            progress(&engine.shared.lock().progress(&engine.shared.service));
            heard = Instant::now();
        }
    }
    let mut state = engine.shared.lock();
    let finished = state.store.finish();
    let halted = state.reason(&engine.shared.service);
    if halted.is_none() {
        finished?;
    }
    let fetch = Fetch {
        progress: state.progress(&engine.shared.service),
        halted,
        stopped,
    };
    progress(&fetch.progress);
    Ok(fetch)
}

/// Workers on a store; dropped, it stops them. What they were doing is journalled, and goes on with
/// the next engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    service: Service,
    client: Client,
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is journalled before it is made, so another thread's panic leaves nothing
        // half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Submits nothing more, and says why; jobs are followed to their end.
    fn halt(&self, reason: String) {
        self.lock().halted.get_or_insert(Halt::Said(reason));
        self.changed.notify_all();
    }

    /// Stops everything for a fault on this side, which must not be taken for a job's: what is
    /// under way stays so.
    fn fail(&self, reason: String) {
        self.halt(reason);
        self.stop();
    }

    /// Sleeps; `false` if it should stop.
    fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stopping() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOK));
        }
        false
    }

    fn pause(&self, count: u32) -> Duration {
        self.service.settings.pace.wait(count, fastrand::f64())
    }

    fn work(&self) {
        loop {
            let sample = {
                let mut state = self.lock();
                loop {
                    if self.stopping() {
                        return;
                    }
                    if let Some(sample) = state.next_sample(&self.service) {
                        break sample;
                    }
                    if state.closing {
                        return;
                    }
                    state = self
                        .changed
                        .wait_timeout(state, LOOK * 10)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            };
            if let Err(error) = self.drive(&sample) {
                self.fail(error.to_string());
            }
            self.lock().put_down(&self.service, &sample);
            self.changed.notify_all();
        }
    }
}

impl Engine {
    /// Opens the store, which no other process may have open, and starts the workers on the first
    /// `ahead` of `wanted`.
    ///
    /// # Errors
    /// [`ApiError::Settings`] for the key, [`ApiError::Store`] and [`ApiError::Journal`] for the
    /// store, [`ApiError::Stopped`] where something is missing that clips will need.
    pub(crate) fn start(
        service: &Service,
        wanted: Vec<Sample>,
        ahead: usize,
        closing: bool,
    ) -> Result<Self, ApiError> {
        let client = Client::new(service.clone())?;
        let store = ClipStore::open(&service.store, &service.origin())?;
        let ledger = Ledger::open(&service.store, service.settings.budget)?;
        let all_there = |samples: &[Sample]| {
            let there = |sample| store.clips().contains_key(sample);
            !samples.is_empty() && samples.iter().all(there)
        };
        if !all_there(&wanted) {
            ready::check(service)?;
        }
        let paid = |(sample, latest): (&Sample, _)| {
            (Standing::of(service, store.clips().contains_key(sample), Some(latest))
                == Standing::Open)
                .then(|| sample.clone())
        };
        let resumed = ledger.submissions().latest().filter_map(paid).collect();
        let state = State::new(store, ledger, resumed, ahead, closing);
        let shared = Arc::new(Shared {
            service: service.clone(),
            client,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let mut engine = Self {
            shared,
            workers: Vec::new(),
        };
        engine.expect(wanted);
        for _ in 0..service.concurrency() {
            let shared = engine.shared.clone();
            let worker = thread::Builder::new().spawn(move || shared.work());
            engine.workers.push(worker.map_err(|error| {
                ApiError::Stopped(format!(
                    "cannot start {} threads: {error}; lower teacher.api.concurrency",
                    service.concurrency()
                ))
            })?);
        }
        Ok(engine)
    }

    /// Adds to what is wanted, in the order of need.
    pub(crate) fn expect(&self, wanted: Vec<Sample>) {
        let mut state = self.shared.lock();
        for sample in wanted {
            if !state.positions.contains_key(&sample) {
                let place = state.wanted.len();
                state.positions.insert(sample.clone(), place);
                state.wanted.push(sample);
            }
        }
        self.shared.changed.notify_all();
    }

    /// Waits until a sample is there or will not come. Moves the window of what is asked for ahead
    /// along.
    ///
    /// # Errors
    /// [`ApiError::Stopped`] where nothing more is submitted, or `stop` says so.
    pub(crate) fn wait(
        &self,
        sample: &Sample,
        ahead: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<Result<ClipRecord, Unavailable>, ApiError> {
        let mut state = self.shared.lock();
        if let Some(place) = state.positions.get(sample).copied() {
            state.limit = state.limit.max((place + 1).saturating_add(ahead));
            self.shared.changed.notify_all();
        }
        loop {
            if let Some(record) = state.store.clips().get(sample) {
                return Ok(Ok(record.clone()));
            }
            let standing = state.standing(&self.shared.service, sample);
            if let (Some(reason), false) = (standing.unavailable(), state.in_hand.contains(sample))
            {
                return Ok(Err(reason));
            }
            if !state.in_hand.contains(sample) {
                let given_up = standing == Standing::Missing || state.stuck.contains(sample);
                if let (true, Some(reason)) = (given_up, state.reason(&self.shared.service)) {
                    return Err(ApiError::Stopped(reason));
                }
                if !state.urgent.contains(sample) {
                    state.urgent.push_back(sample.clone());
                    self.shared.changed.notify_all();
                }
            }
            if stop() || self.shared.stopping() {
                let reason = state.reason(&self.shared.service);
                return Err(ApiError::Stopped(reason.unwrap_or_else(|| {
                    "stopped while waiting for the provider".to_string()
                })));
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, LOOK * 5)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Where a sample stands now.
    pub(crate) fn standing(&self, sample: &Sample) -> Standing {
        self.shared.lock().standing(&self.shared.service, sample)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing more to say.
            let _ = worker.join();
        }
        let finished = self.shared.lock().store.finish();
        // The manifest is whole either way, in the order of arrival.
        drop(finished);
    }
}

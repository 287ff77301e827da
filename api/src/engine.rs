//! The worker threads that turn wanted samples into clips: each drives one sample at a time from
//! its intent to its clip.

mod drive;
mod follow;
mod step;
mod submit;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    money::Money,
    service::Service,
    survey::{Counts, Standing, Unavailable},
};

/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// How far a fetch is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Where the wanted samples stand.
    pub counts: Counts,
    /// Spent or reserved.
    pub spent: Money,
}

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
/// [`ApiError::Settings`] for the key, [`ApiError::Store`] and [`ApiError::Journal`] for the store.
/// What the provider does is in [`Fetch`].
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
    state.store.finish()?;
    let fetch = Fetch {
        progress: state.progress(&engine.shared.service),
        halted: state.halted.clone(),
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

#[derive(Debug)]
struct State {
    store: ClipStore,
    ledger: Ledger,
    /// What is wanted, in the order of need, and where each sample stands in it.
    wanted: Vec<Sample>,
    positions: BTreeMap<Sample, usize>,
    /// Wanted now.
    urgent: VecDeque<Sample>,
    /// Under way from an earlier run: already paid for.
    resumed: VecDeque<Sample>,
    /// The first place in `wanted` that no worker has looked at, and the first that none may look
    /// at yet.
    next: usize,
    limit: usize,
    /// Whether workers end when nothing is left.
    closing: bool,
    in_hand: BTreeSet<Sample>,
    /// Why nothing more is submitted.
    halted: Option<String>,
    /// Before this, nothing is submitted: rate limits and `Retry-After`.
    quiet_until: Instant,
}

impl State {
    /// By what is journalled.
    fn journalled(&self, service: &Service, sample: &Sample) -> Standing {
        Standing::of(
            service,
            self.store.clips().contains_key(sample),
            self.ledger.submissions().of_sample(&sample.0, sample.1),
        )
    }

    /// The same, knowing which requests are on their way just now.
    fn standing(&self, service: &Service, sample: &Sample) -> Standing {
        match self.journalled(service, sample) {
            Standing::Unknown if self.in_hand.contains(sample) => Standing::Open,
            other => other,
        }
    }

    fn progress(&self, service: &Service) -> Progress {
        let mut counts = Counts::default();
        self.wanted
            .iter()
            .for_each(|sample| counts.add(&self.standing(service, sample)));
        Progress {
            counts,
            spent: self.ledger.submissions().spent(),
        }
    }

    /// The next sample that a worker can do something for.
    fn next_sample(&mut self, service: &Service) -> Option<Sample> {
        loop {
            let sample = match self.urgent.pop_front().or_else(|| self.resumed.pop_front()) {
                Some(sample) => sample,
                None if self.next < self.limit.min(self.wanted.len()) => {
                    self.next += 1;
                    self.wanted[self.next - 1].clone()
                }
                None => return None,
            };
            let standing = self.journalled(service, &sample);
            let workable = standing == Standing::Open
                || (standing == Standing::Missing && self.halted.is_none());
            if workable && self.in_hand.insert(sample.clone()) {
                return Some(sample);
            }
        }
    }
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

    fn halt(&self, reason: String) {
        self.lock().halted.get_or_insert(reason);
        self.changed.notify_all();
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
                self.halt(error.to_string());
            }
            self.lock().in_hand.remove(&sample);
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
    /// store.
    pub(crate) fn start(
        service: &Service,
        wanted: Vec<Sample>,
        ahead: usize,
        closing: bool,
    ) -> Result<Self, ApiError> {
        let client = Client::new(service.clone())?;
        let store = ClipStore::open(&service.store, &service.origin())?;
        let ledger = Ledger::open(&service.store, service.settings.budget)?;
        let paid = |(sample, latest): (&Sample, _)| {
            (Standing::of(service, store.clips().contains_key(sample), Some(latest))
                == Standing::Open)
                .then(|| sample.clone())
        };
        let resumed = ledger.submissions().latest().filter_map(paid).collect();
        let state = State {
            store,
            ledger,
            wanted: Vec::new(),
            positions: BTreeMap::new(),
            urgent: VecDeque::new(),
            resumed,
            next: 0,
            limit: ahead,
            closing,
            in_hand: BTreeSet::new(),
            halted: None,
            quiet_until: Instant::now(),
        };
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
            engine.workers.push(thread::spawn(move || shared.work()));
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
                if let (Standing::Missing, Some(reason)) = (&standing, &state.halted) {
                    return Err(ApiError::Stopped(reason.clone()));
                }
                if !state.urgent.contains(sample) {
                    state.urgent.push_back(sample.clone());
                    self.shared.changed.notify_all();
                }
            }
            if stop() || self.shared.stopping() {
                return Err(ApiError::Stopped(
                    "stopped while waiting for the provider".to_string(),
                ));
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

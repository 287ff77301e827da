//! The worker threads that turn wanted takes into clips: each drives one take at a time from its intent to its clip.

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
    adapter::{Handle, Outcome},
    client::{Client, Fetched, Polled, Submitted},
    ledger::{End, Job, Ledger, ReserveError, State as SubmissionState, Take, now},
    money::Money,
    service::Service,
    survey::{Counts, Standing},
};

/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);
/// Answers in a row that say that a job is not known, before that is believed.
const BELIEVED: u32 = 5;
/// Downloads that gave no clip, each from a fresh address, before it is given up; those that the network broke do not count.
const DOWNLOADS: u32 = 8;

/// How far a fetch is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Where the wanted takes stand.
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

/// Fetches takes, in order and several at once, until all are there or will not come. Takes that are under way from an earlier run come first.
/// `progress` hears about every fifth of a second, `stop` is asked as often.
///
/// # Errors
/// The key, the store, the journal. What the provider does is in [`Fetch`].
pub fn fetch(service: &Service, wanted: &[Take], stop: &dyn Fn() -> bool, progress: &mut dyn FnMut(&Progress)) -> Result<Fetch, ApiError> {
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
    let fetch = Fetch { progress: state.progress(&engine.shared.service), halted: state.halted.clone(), stopped };
    progress(&fetch.progress);
    Ok(fetch)
}

/// Workers on a store; dropped, it stops them. What they were doing is journalled, and goes on with the next engine.
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
    /// What is wanted, in the order of need, and where each take stands in it.
    wanted: Vec<Take>,
    positions: BTreeMap<Take, usize>,
    /// Wanted now.
    urgent: VecDeque<Take>,
    /// Under way from an earlier run: already paid for.
    resumed: VecDeque<Take>,
    /// The first place in `wanted` that no worker has looked at, and the first that none may look at yet.
    next: usize,
    limit: usize,
    /// Whether workers end when nothing is left.
    closing: bool,
    in_hand: BTreeSet<Take>,
    /// Why nothing more is submitted.
    halted: Option<String>,
    /// Before this, nothing is submitted: rate limits and `Retry-After`.
    quiet_until: Instant,
}

impl State {
    /// By what is journalled.
    fn journalled(&self, service: &Service, take: &Take) -> Standing {
        Standing::of(service, self.store.clips().contains_key(take), self.ledger.submissions().of_take(&take.0, take.1))
    }

    /// The same, knowing which requests are on their way just now.
    fn standing(&self, service: &Service, take: &Take) -> Standing {
        match self.journalled(service, take) {
            Standing::Unknown if self.in_hand.contains(take) => Standing::Open,
            other => other,
        }
    }

    fn progress(&self, service: &Service) -> Progress {
        let mut counts = Counts::default();
        self.wanted.iter().for_each(|take| counts.add(&self.standing(service, take)));
        Progress { counts, spent: self.ledger.submissions().spent() }
    }

    /// The next take that a worker can do something for.
    fn next_take(&mut self, service: &Service) -> Option<Take> {
        loop {
            let take = match self.urgent.pop_front().or_else(|| self.resumed.pop_front()) {
                Some(take) => take,
                None if self.next < self.limit.min(self.wanted.len()) => {
                    self.next += 1;
                    self.wanted[self.next - 1].clone()
                }
                None => return None,
            };
            let standing = self.journalled(service, &take);
            let workable = standing == Standing::Open || (standing == Standing::Missing && self.halted.is_none());
            if workable && self.in_hand.insert(take.clone()) {
                return Some(take);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is journalled before it is made, so another thread's panic leaves nothing half-done.
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
            let take = {
                let mut state = self.lock();
                loop {
                    if self.stopping() {
                        return;
                    }
                    if let Some(take) = state.next_take(&self.service) {
                        break take;
                    }
                    if state.closing {
                        return;
                    }
                    state = self.changed.wait_timeout(state, LOOK * 10).unwrap_or_else(PoisonError::into_inner).0;
                }
            };
            if let Err(error) = self.drive(&take) {
                self.halt(error.to_string());
            }
            self.lock().in_hand.remove(&take);
            self.changed.notify_all();
        }
    }

    /// From wherever a take stands to its clip, or to the reason why there is none.
    fn drive(&self, take: &Take) -> Result<(), ApiError> {
        while !self.stopping() {
            let (standing, latest, halted) = {
                let state = self.lock();
                let latest = state.ledger.submissions().of_take(&take.0, take.1).cloned();
                (state.journalled(&self.service, take), latest, state.halted.is_some())
            };
            match (standing, latest) {
                (Standing::Open, Some(latest)) => match latest.state {
                    SubmissionState::Open(job) => {
                        if !self.follow(take, &latest.handle, &job, latest.at)? {
                            return Ok(());
                        }
                    }
                    // Sent, and the answer was lost: the provider can tell.
                    _ => {
                        if !self.submit(take, &latest.handle, latest.attempt, true)? {
                            return Ok(());
                        }
                    }
                },
                (Standing::Missing, latest) if !halted => {
                    let attempt = latest.map_or(0, |latest| latest.attempt + 1);
                    if !self.submit(take, &self.service.handle(take, attempt), attempt, false)? {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Submits an attempt; `sent`: it may have been sent before. `true` if something came of it that is journalled.
    fn submit(&self, take: &Take, handle: &str, attempt: u32, sent: bool) -> Result<bool, ApiError> {
        let finds = matches!(self.service.adapter.handle, Handle::Find { .. });
        let begun = Instant::now();
        // Whether the provider may have accepted it without our knowing; and whether its cost is reserved.
        let (mut lost, mut reserved, mut search) = (sent, sent, sent && finds);
        let mut last = String::new();
        for count in 0.. {
            if count > 0 && begun.elapsed().as_secs() >= self.service.settings.deadline_secs {
                self.halt(format!("nothing could be submitted for {} seconds, lastly: {last}", self.service.settings.deadline_secs));
                return Ok(false);
            }
            if !search && !reserved {
                if !self.await_turn() {
                    return Ok(false);
                }
                let mut state = self.lock();
                if state.halted.is_some() {
                    return Ok(false);
                }
                match state.ledger.reserve(take, attempt, handle, self.service.price) {
                    Ok(()) => reserved = true,
                    Err(ReserveError::Journal(error)) => return Err(error.into()),
                    Err(error) => {
                        state.halted.get_or_insert(error.to_string());
                        return Ok(false);
                    }
                }
            }
            let outcome = if search { self.client.find(handle) } else { self.client.submit(take, handle) };
            let (wait, reason) = match outcome {
                Submitted::Job(job) => {
                    self.lock().ledger.accepted(handle, &job)?;
                    return Ok(true);
                }
                Submitted::Refused(reason) => {
                    self.lock().ledger.ended(handle, End::Refused, &reason, !lost)?;
                    return Ok(true);
                }
                Submitted::Rejected(reason) => {
                    let mut state = self.lock();
                    if lost || state.ledger.submissions().any_accepted() || !state.store.clips().is_empty() {
                        state.ledger.ended(handle, End::Refused, &reason, !lost)?;
                        return Ok(true);
                    }
                    // Nothing was ever accepted: it is not this prompt.
                    state.ledger.unsent(handle)?;
                    state.halted.get_or_insert(format!("the provider rejects the request: {reason}; check model and parameters"));
                    return Ok(false);
                }
                Submitted::Stop(reason) => {
                    let mut state = self.lock();
                    if !lost {
                        state.ledger.unsent(handle)?;
                    }
                    state.halted.get_or_insert(format!("the provider accepts nothing: {reason}; check key, account, model and base_url"));
                    return Ok(false);
                }
                Submitted::Other(Outcome::Missing, _) if search => {
                    // It never arrived. Were it on its way still, the provider would refuse the second one.
                    search = false;
                    continue;
                }
                Submitted::Other(_, reason) | Submitted::Unanswered(reason) => {
                    if self.service.adapter.handle == Handle::None {
                        return Ok(false);
                    }
                    (lost, search) = (true, finds);
                    (None, reason)
                }
                Submitted::Again(wait, reason) => {
                    if !lost && reserved {
                        // A kill while waiting must not make it look sent.
                        self.lock().ledger.unsent(handle)?;
                        reserved = false;
                    }
                    (wait, reason)
                }
            };
            last = reason;
            let wait = wait.unwrap_or_default().max(self.pause(count));
            if !search {
                let mut state = self.lock();
                state.quiet_until = state.quiet_until.max(Instant::now() + wait);
            }
            if !self.sleep(wait) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Waits until the provider may be sent another submission; `false` if it should stop.
    fn await_turn(&self) -> bool {
        loop {
            let wait = {
                let mut state = self.lock();
                let now = Instant::now();
                if state.quiet_until <= now {
                    let per_minute = self.service.adapter.limits.submissions_per_minute;
                    if per_minute > 0 {
                        state.quiet_until = now + Duration::from_secs(60) / per_minute;
                    }
                    return !self.stopping();
                }
                state.quiet_until - now
            };
            if !self.sleep(wait) {
                return false;
            }
        }
    }

    /// Polls a job until its clip is in the store, or will not come; `true` if that is journalled.
    fn follow(&self, take: &Take, handle: &str, job: &Job, at: u64) -> Result<bool, ApiError> {
        let settings = &self.service.settings;
        let first = self.service.adapter.limits.first_poll_secs.map_or(Duration::ZERO, Duration::from_secs_f64);
        // A job that another process began may be done already.
        let fresh = now().saturating_sub(at) < 2;
        let mut wait = if fresh { first.max(self.pause(0)) } else { Duration::ZERO };
        let (mut unknown, mut downloads) = (0, 0);
        for count in 1.. {
            if !self.sleep(wait) {
                return Ok(false);
            }
            wait = self.pause(count);
            let mut trouble = String::new();
            match self.client.poll(job) {
                Polled::Working => {}
                Polled::Again(asked, reason) => {
                    wait = wait.max(asked.unwrap_or_default());
                    trouble = reason;
                }
                Polled::Ended(outcome, reason) => return self.end(handle, outcome, &reason),
                Polled::Stop(reason) => {
                    self.halt(format!("the provider does not say what jobs are doing: {reason}; check key and account"));
                    return Ok(false);
                }
                Polled::Gone(reason) => {
                    unknown += 1;
                    if unknown >= BELIEVED {
                        return self.end(handle, Outcome::Failed, &format!("the provider does not know the job any more: {reason}"));
                    }
                    trouble = reason;
                }
                Polled::Done(address) => match self.client.fetch(job, address, &|| self.stopping()) {
                    Fetched::Clip(clip) => {
                        self.lock().store.add_download(&take.0, take.1, *clip)?;
                        return Ok(true);
                    }
                    Fetched::Disk(error) => return Err(error.into()),
                    Fetched::Ended(outcome, reason) => return self.end(handle, outcome, &reason),
                    Fetched::Again(_) | Fetched::Weather(_) if self.stopping() => return Ok(false),
                    Fetched::Weather(reason) => trouble = reason,
                    Fetched::Again(reason) => {
                        downloads += 1;
                        if downloads >= DOWNLOADS {
                            return self.end(handle, Outcome::Failed, &format!("no clip after {DOWNLOADS} downloads: {reason}"));
                        }
                        wait = self.pause(downloads - 1);
                        trouble = reason;
                    }
                },
            }
            if now().saturating_sub(at) >= settings.deadline_secs {
                let reason =
                    format!("not done after {} seconds{}{trouble}", settings.deadline_secs, if trouble.is_empty() { "" } else { ": " });
                self.lock().ledger.ended(handle, End::Overdue, &reason, false)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end(&self, handle: &str, outcome: Outcome, reason: &str) -> Result<bool, ApiError> {
        let end = match outcome {
            Outcome::Refused => End::Refused,
            Outcome::FailedRetry => End::FailedRetry,
            _ => End::Failed,
        };
        self.lock().ledger.ended(handle, end, reason, false)?;
        Ok(true)
    }
}

impl Engine {
    /// Opens the store, which no other process may have open, and starts the workers on the first `ahead` of `wanted`.
    ///
    /// # Errors
    /// The key, the store, the journal.
    pub(crate) fn start(service: &Service, wanted: Vec<Take>, ahead: usize, closing: bool) -> Result<Self, ApiError> {
        let client = Client::new(service.clone())?;
        let store = ClipStore::open(&service.store, &service.origin())?;
        let ledger = Ledger::open(&service.store, service.settings.budget)?;
        let paid = |(take, latest): (&Take, _)| {
            (Standing::of(service, store.clips().contains_key(take), Some(latest)) == Standing::Open).then(|| take.clone())
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
        let mut engine = Self { shared, workers: Vec::new() };
        engine.expect(wanted);
        for _ in 0..service.concurrency() {
            let shared = engine.shared.clone();
            engine.workers.push(thread::spawn(move || shared.work()));
        }
        Ok(engine)
    }

    /// Adds to what is wanted, in the order of need.
    pub(crate) fn expect(&self, wanted: Vec<Take>) {
        let mut state = self.shared.lock();
        for take in wanted {
            if !state.positions.contains_key(&take) {
                let place = state.wanted.len();
                state.positions.insert(take.clone(), place);
                state.wanted.push(take);
            }
        }
        self.shared.changed.notify_all();
    }

    /// Waits until a take is there or will not come. Moves the window of what is asked for ahead along.
    ///
    /// # Errors
    /// [`ApiError::Stopped`] where nothing more is submitted, or `stop` says so.
    pub(crate) fn wait(&self, take: &Take, ahead: usize, stop: &dyn Fn() -> bool) -> Result<Result<ClipRecord, String>, ApiError> {
        let mut state = self.shared.lock();
        if let Some(place) = state.positions.get(take).copied() {
            state.limit = state.limit.max((place + 1).saturating_add(ahead));
            self.shared.changed.notify_all();
        }
        loop {
            if let Some(record) = state.store.clips().get(take) {
                return Ok(Ok(record.clone()));
            }
            let standing = state.standing(&self.shared.service, take);
            if let (Some(reason), false) = (standing.unavailable(), state.in_hand.contains(take)) {
                return Ok(Err(reason));
            }
            if !state.in_hand.contains(take) {
                if let (Standing::Missing, Some(reason)) = (&standing, &state.halted) {
                    return Err(ApiError::Stopped(reason.clone()));
                }
                if !state.urgent.contains(take) {
                    state.urgent.push_back(take.clone());
                    self.shared.changed.notify_all();
                }
            }
            if stop() || self.shared.stopping() {
                return Err(ApiError::Stopped("stopped while waiting for the provider".to_string()));
            }
            state = self.shared.changed.wait_timeout(state, LOOK * 5).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Where a take stands now.
    pub(crate) fn standing(&self, take: &Take) -> Standing {
        self.shared.lock().standing(&self.shared.service, take)
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

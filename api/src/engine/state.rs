//! What the workers share: the store, the ledger, and who works on what.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use afd_clips::store::ClipStore;

use super::silence::Silence;
use crate::{
    adapter::Handle,
    ledger::{Ledger, Sample, way_out},
    money::Money,
    service::Service,
    survey::{Counts, Standing},
};

/// How long a trouble is shown after it was met.
const RECENT: Duration = Duration::from_secs(30);

/// How far a fetch is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Where the wanted samples stand.
    pub counts: Counts,
    /// Spent or reserved.
    pub spent: Money,
    /// What lately stood in the way, if anything: it is tried again.
    pub trouble: Option<String>,
}

/// Why nothing more is submitted.
#[derive(Debug)]
pub(super) enum Halt {
    /// The budget, in the ledger's words. What may be done about it depends on what was lost, which
    /// is known when nothing is on its way any more.
    Budget(String),
    /// Anything else.
    Said(String),
}

#[derive(Debug)]
pub(super) struct State {
    pub store: ClipStore,
    pub ledger: Ledger,
    /// What is wanted, in the order of need, and where each sample stands in it.
    pub wanted: Vec<Sample>,
    pub positions: BTreeMap<Sample, usize>,
    /// Wanted now.
    pub urgent: VecDeque<Sample>,
    /// Under way from an earlier run: already paid for.
    resumed: VecDeque<Sample>,
    /// The first place in `wanted` that no worker has looked at, and the first that none may look
    /// at yet.
    next: usize,
    pub limit: usize,
    /// Whether workers end when nothing is left.
    pub closing: bool,
    pub in_hand: BTreeSet<Sample>,
    /// Under way, and not to be followed any further in this process.
    pub stuck: BTreeSet<Sample>,
    /// Why nothing more is submitted.
    pub halted: Option<Halt>,
    /// Before this, nothing is submitted: rate limits and `Retry-After`.
    pub quiet_until: Instant,
    /// Submissions on their way just now.
    pub sending: usize,
    pub silence: Silence,
    trouble: Option<(String, Instant)>,
}

impl State {
    pub fn new(
        store: ClipStore,
        ledger: Ledger,
        resumed: VecDeque<Sample>,
        limit: usize,
        closing: bool,
    ) -> Self {
        Self {
            store,
            ledger,
            wanted: Vec::new(),
            positions: BTreeMap::new(),
            urgent: VecDeque::new(),
            resumed,
            next: 0,
            limit,
            closing,
            in_hand: BTreeSet::new(),
            stuck: BTreeSet::new(),
            halted: None,
            quiet_until: Instant::now(),
            sending: 0,
            silence: Silence::default(),
            trouble: None,
        }
    }

    /// By what is journalled.
    pub fn journalled(&self, service: &Service, sample: &Sample) -> Standing {
        Standing::of(
            service,
            self.store.clips().contains_key(sample),
            self.ledger.submissions().of_sample(&sample.0, sample.1),
        )
    }

    /// The same, knowing which requests are on their way just now.
    pub fn standing(&self, service: &Service, sample: &Sample) -> Standing {
        match self.journalled(service, sample) {
            Standing::Unknown if self.in_hand.contains(sample) => Standing::Open,
            other => other,
        }
    }

    pub fn progress(&self, service: &Service) -> Progress {
        let mut counts = Counts::default();
        self.wanted
            .iter()
            .for_each(|sample| counts.add(&self.standing(service, sample)));
        let recent = |(_, met): &&(String, Instant)| met.elapsed() < RECENT;
        Progress {
            counts,
            spent: self.ledger.submissions().spent(),
            trouble: self
                .trouble
                .as_ref()
                .filter(recent)
                .map(|(trouble, _)| trouble.clone()),
        }
    }

    /// Something stood in the way, and is tried again.
    pub fn meet(&mut self, trouble: &str) {
        if !trouble.is_empty() {
            self.trouble = Some((trouble.to_string(), Instant::now()));
        }
    }

    /// Why nothing more is submitted, and what to do about it.
    pub fn reason(&self, service: &Service) -> Option<String> {
        Some(match self.halted.as_ref()? {
            Halt::Said(reason) => reason.clone(),
            Halt::Budget(reason) => format!("{reason}; {}", way_out(self.lost(service))),
        })
    }

    /// What is reserved for submissions whose answers were lost for good.
    fn lost(&self, service: &Service) -> Money {
        if service.adapter.handle != Handle::None {
            return Money::ZERO;
        }
        let on_their_way = |sample: &Sample| self.in_hand.contains(sample);
        self.ledger.submissions().lost_cost(&on_their_way)
    }

    /// The next sample that a worker can do something for.
    pub fn next_sample(&mut self, service: &Service) -> Option<Sample> {
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
            let workable = (standing == Standing::Open && !self.stuck.contains(&sample))
                || (standing == Standing::Missing && self.halted.is_none());
            if workable && self.in_hand.insert(sample.clone()) {
                return Some(sample);
            }
        }
    }

    /// A worker can do nothing more for a sample.
    pub fn put_down(&mut self, service: &Service, sample: &Sample) {
        self.in_hand.remove(sample);
        if self.journalled(service, sample) == Standing::Open {
            self.stuck.insert(sample.clone());
        }
    }
}

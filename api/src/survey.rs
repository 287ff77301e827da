//! Where samples stand: what is there, what is on its way, what will never come, and what the rest
//! may cost.

use std::collections::BTreeMap;

use afd_clips::store::{ClipRecord, ClipStore};

use crate::{
    ApiError,
    adapter::Handle,
    ledger::{End, Sample, State, Submission, Submissions},
    money::Money,
    service::Service,
};

/// Why no clip will come of a sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Where a sample stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The store has it.
    There,
    /// The provider works on it, or has it.
    Open,
    /// It is still to be submitted.
    Missing,
    /// It may have been submitted; nobody but the user can tell. No clip will come of it until the
    /// user lets it be submitted again.
    Unknown,
    /// No clip will come of it, and why.
    Gone(End, String),
}

impl Standing {
    /// Of a sample with this latest submission.
    pub fn of(service: &Service, there: bool, latest: Option<&Submission>) -> Self {
        if there {
            return Self::There;
        }
        let Some(latest) = latest else {
            return Self::Missing;
        };
        match &latest.state {
            State::Unanswered if service.adapter.handle == Handle::None => Self::Unknown,
            // The provider can tell.
            State::Unanswered | State::Open(_) => Self::Open,
            State::Released => Self::Missing,
            State::Ended(End::FailedRetry, _) if latest.attempt + 1 < service.settings.attempts => {
                Self::Missing
            }
            State::Ended(end, reason) => Self::Gone(*end, reason.clone()),
        }
    }

    /// Why no clip will come of the sample, if so.
    pub fn unavailable(&self) -> Option<Unavailable> {
        let reason = match self {
            Self::Gone(_, reason) => reason,
            Self::Unknown => {
                "whether it was submitted is unknown; `afd teacher status` says what to do"
            }
            Self::There | Self::Open | Self::Missing => return None,
        };
        Some(Unavailable(reason.to_string()))
    }
}

/// How many samples stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Asked for.
    pub wanted: usize,
    /// In the store.
    pub there: usize,
    /// Under way.
    pub open: usize,
    /// Still to be submitted.
    pub missing: usize,
    /// Perhaps submitted.
    pub unknown: usize,
    /// Refused by the provider.
    pub refused: usize,
    /// Failed there.
    pub failed: usize,
    /// Not done in time.
    pub overdue: usize,
}

impl Counts {
    /// Adds a sample.
    pub fn add(&mut self, standing: &Standing) {
        self.wanted += 1;
        *match standing {
            Standing::There => &mut self.there,
            Standing::Open => &mut self.open,
            Standing::Missing => &mut self.missing,
            Standing::Unknown => &mut self.unknown,
            Standing::Gone(End::Refused, _) => &mut self.refused,
            Standing::Gone(End::Failed | End::FailedRetry, _) => &mut self.failed,
            Standing::Gone(End::Overdue, _) => &mut self.overdue,
        } += 1;
    }
}

/// The state of a store and of its account.
#[derive(Debug)]
pub struct Survey {
    /// Its clips.
    pub clips: BTreeMap<Sample, ClipRecord>,
    /// Its submissions.
    pub submissions: Submissions,
    /// Where the wanted samples stand.
    pub counts: Counts,
    /// Those of them that will not come by themselves.
    pub troubles: Vec<(Sample, Standing)>,
    /// Spent or reserved.
    pub spent: Money,
    /// What of that is for submissions whose answers were lost for good.
    pub lost: Money,
    /// What the missing samples may cost, if each succeeds at its next attempt.
    pub bill: Money,
}

impl Survey {
    /// Looks at the store of `service`, which another process may be filling: takes no lock, asks
    /// nobody, changes nothing.
    ///
    /// # Errors
    /// [`ApiError::Store`] for a store of another origin, or one that cannot be read;
    /// [`ApiError::Journal`] for its submissions.
    pub fn of(service: &Service, wanted: &[Sample]) -> Result<Self, ApiError> {
        if let Some(found) =
            ClipStore::origin(&service.store)?.filter(|found| *found != service.origin())
        {
            let (path, asked) = (service.store.clone(), service.origin().to_string());
            return Err(afd_clips::store::StoreError::Origin {
                path,
                found: found.to_string(),
                asked,
            }
            .into());
        }
        let clips = ClipStore::list(&service.store)?;
        let submissions = Submissions::read(&service.store)?;
        let (mut counts, mut troubles) = (Counts::default(), Vec::new());
        for sample in wanted {
            let standing = Standing::of(
                service,
                clips.contains_key(sample),
                submissions.of_sample(&sample.0, sample.1),
            );
            counts.add(&standing);
            if standing.unavailable().is_some() {
                troubles.push((sample.clone(), standing));
            }
        }
        let lost = match service.adapter.handle {
            Handle::None => submissions.lost_cost(&|_| false),
            _ => Money::ZERO,
        };
        let bill = service.price.times(counts.missing as u64);
        Ok(Self {
            clips,
            spent: submissions.spent(),
            lost,
            submissions,
            counts,
            troubles,
            bill,
        })
    }
}

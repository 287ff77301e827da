//! One sample, from wherever it stands to its clip: every step is journalled before the next one is
//! made.

use super::{Shared, follow::Following, submit::Attempt};
use crate::{
    ApiError,
    ledger::{Sample, State},
    survey::Standing,
};

impl Shared {
    /// From wherever a sample stands to its clip, or to the reason why there is none.
    pub(super) fn drive(&self, sample: &Sample) -> Result<(), ApiError> {
        while !self.stopping() {
            let (standing, latest, halted) = {
                let state = self.lock();
                let latest = state
                    .ledger
                    .submissions()
                    .of_sample(&sample.0, sample.1)
                    .cloned();
                (
                    state.journalled(&self.service, sample),
                    latest,
                    state.halted.is_some(),
                )
            };
            let journalled = match (standing, latest) {
                (Standing::Open, Some(latest)) => match &latest.state {
                    State::Open(job) => self.follow(Following::new(sample, &latest, job))?,
                    // Sent, and the answer was lost: the provider can tell.
                    _ => self.submit(Attempt {
                        sample,
                        handle: &latest.handle,
                        number: latest.attempt,
                        lost: true,
                        reserved: true,
                        search: self.finds(),
                    })?,
                },
                (Standing::Missing, latest) if !halted => {
                    let number = latest.map_or(0, |latest| latest.attempt + 1);
                    self.submit(Attempt {
                        sample,
                        handle: &self.service.handle(sample, number),
                        number,
                        lost: false,
                        reserved: false,
                        search: false,
                    })?
                }
                _ => return Ok(()),
            };
            if !journalled {
                return Ok(());
            }
        }
        Ok(())
    }
}

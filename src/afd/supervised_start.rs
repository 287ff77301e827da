//! Supervised flow matching on teacher clips first, adversarial rounds from there: one schedule of
//! the two objectives.

use std::sync::Arc;

use afd_models::kernels::Trainable;

use super::alternation::Alternation;
use super::policies;
use super::strategy::{LearnerHandle, Method, RoundError, RoundReport, RoundState};
use super::supervised::Supervised;
use crate::data::batch::Batches;
use crate::recipe::Recipe;
use crate::recipe::settings::Supervised as Settings;

/// `afd.supervised_rounds` rounds of [`Supervised`], then [`Alternation`] from the student that
/// they made; a reference stays the base student.
pub struct SupervisedStart<B: Trainable> {
    rounds: u64,
    supervised: Supervised<B>,
    then: Alternation<B>,
}

impl<B: Trainable> SupervisedStart<B> {
    /// The recipe's schedule on its prompts and teacher.
    pub fn new(recipe: &Recipe, batches: Arc<Batches<B::InnerBackend>>, device: B::Device) -> Self {
        let rounds = recipe.settings.afd.supervised_rounds;
        let settings = Settings {
            steps: rounds,
            ..recipe.settings.supervised.clone()
        };
        Self {
            rounds,
            supervised: Supervised::new(recipe, settings, batches.clone(), device.clone()),
            then: Alternation::new(recipe, batches, device),
        }
    }
}

impl<B: Trainable> Method<B> for SupervisedStart<B> {
    fn finished(&self, state: &RoundState) -> bool {
        state.round >= self.rounds && self.then.finished(state)
    }

    fn planned_rounds(&self, state: &RoundState) -> u64 {
        self.then.planned_rounds(state)
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B>,
        state: &mut RoundState,
    ) -> Result<RoundReport, RoundError> {
        if state.round >= self.rounds {
            return self.then.round(learner, state);
        }
        let report = self.supervised.round(learner, state)?;
        if state.round + 1 == self.rounds {
            // Rollouts and trust region start from the student that was made, as they would in a
            // run of its own.
            let mut model = learner.model();
            model.old = model
                .old
                .map(|old| policies::blend::<B, _>(old, &model.student, 0.0));
            learner.replace(model);
        }
        Ok(report)
    }
}

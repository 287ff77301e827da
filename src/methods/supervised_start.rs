//! Supervised flow matching on teacher clips first, adversarial rounds from there: one schedule of
//! the two objectives.

use std::sync::Arc;

use afd_models::kernels::Trainable;

use super::alternation::Alternation;
use super::supervised::Supervised;
use crate::data::batch::Batches;
use crate::engine::averages;
use crate::engine::learner::LearnerHandle;
use crate::engine::model::TrainedDiscriminator;
use crate::engine::report::RoundReport;
use crate::engine::rounds::{RoundError, RoundState, TrainingMethod};
use crate::recipe::Recipe;
use crate::recipe::tables::SupervisedTable;

/// `afd.supervised_rounds` rounds of [`Supervised`], then [`Alternation`] from the student that
/// they made; a reference stays the base student.
pub struct SupervisedStart<B: Trainable, D: TrainedDiscriminator<B>> {
    rounds: u64,
    supervised: Supervised<B>,
    then: Alternation<B, D>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> SupervisedStart<B, D> {
    /// The recipe's supervised rounds on its prompts and teacher, before `then`.
    pub fn new(
        recipe: &Recipe,
        batches: Arc<Batches<B::InnerBackend>>,
        device: B::Device,
        then: Alternation<B, D>,
    ) -> Self {
        let rounds = recipe.settings.afd.supervised_rounds;
        let table = SupervisedTable {
            steps: rounds,
            ..recipe.settings.supervised.clone()
        };
        Self {
            rounds,
            supervised: Supervised::new(recipe, table, batches, device),
            then,
        }
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> TrainingMethod<B, D> for SupervisedStart<B, D> {
    fn finished(&self, state: &RoundState) -> bool {
        state.round >= self.rounds && self.then.finished(state)
    }

    fn planned_rounds(&self, state: &RoundState) -> u64 {
        self.then.planned_rounds(state)
    }

    fn round(
        &self,
        learner: &mut dyn LearnerHandle<B, D>,
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
                .map(|old| averages::blend::<B, _>(old, &model.student, 0.0));
            learner.replace(model);
        }
        Ok(report)
    }
}

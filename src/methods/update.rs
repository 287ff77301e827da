//! How a student learns from an alternation's rollouts: one implementation per method.

use afd_models::discriminator::Discriminator;
use afd_models::kernels::Trainable;
use afd_models::student::Student;

use super::feedback::ScoredPart;
use crate::engine::model::TrainedDiscriminator;
use crate::engine::rounds::RoundError;
use crate::engine::update::StudentUpdate;
use crate::flow::sampler::Sampler;

/// How a student learns from an alternation's rollouts.
pub trait RolloutUpdate<B: Trainable, D: TrainedDiscriminator<B>>: Send + Sync {
    /// The sampler of a round's rollouts.
    fn sampler(&self, round: u64) -> Sampler;

    /// Whether it reads the states on the way to the rollouts, which are then kept.
    fn reads_states(&self) -> bool {
        false
    }

    /// Discriminator passes of a clip per student update, besides those of the discriminator's own
    /// updates.
    fn discriminator_passes(&self) -> u64 {
        0
    }

    /// What the student learns from a part, in micro-batches. `r` are the optimalities of its
    /// rollouts, `[P][K][S]`; `progress` is the share of the alternations done, in [0, 1).
    ///
    /// # Errors
    /// Scores that cannot be used.
    fn micro_batches(
        &self,
        part: &ScoredPart<B::InnerBackend>,
        r: &[Vec<Vec<f64>>],
        progress: f64,
        policies: &Policies<'_, B>,
    ) -> Result<Vec<Box<dyn MicroBatch<B, D>>>, RoundError>;
}

/// Clips that the student learns from at once.
pub trait MicroBatch<B: Trainable, D: TrainedDiscriminator<B>>: Send + Sync {
    /// How many there are.
    fn clips(&self) -> usize;

    /// Update number `step` of a round.
    fn update(&self, at: [u64; 2], policies: &Policies<'_, B>) -> Box<dyn StudentUpdate<B, D>>;
}

/// Who else an update may ask; none of them is differentiated.
pub struct Policies<'a, B: Trainable> {
    /// The policy that drew the rollouts.
    pub old: &'a Student<B::InnerBackend>,
    /// The student as it was at the start, if the method keeps it.
    pub reference: Option<&'a Student<B::InnerBackend>>,
    /// The discriminator after its updates of this round.
    pub discriminator: &'a (dyn Discriminator<B::InnerBackend> + Sync),
    /// The sampler that the rollouts were drawn with.
    pub sampler: &'a Sampler,
}

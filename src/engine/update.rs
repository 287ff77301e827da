//! What an optimizer step differentiates. The engine knows these traits and no method.

use afd_models::discriminator::pieces::ScoreBatch;
use afd_models::kernels::Trainable;
use afd_models::student::segments::Pass;
use afd_models::student::{KvCache, Student};
use burn::prelude::*;

use super::model::{AfdModel, TrainedDiscriminator};
use super::outcome::Scalars;

/// One optimizer step's worth of work, for one of the two networks that are trained.
pub enum Update<B: Trainable, D: TrainedDiscriminator<B>> {
    /// The discriminator learns.
    Discriminator(Box<dyn DiscriminatorUpdate<B>>),
    /// The student learns.
    Student(Box<dyn StudentUpdate<B, D>>),
}

/// A loss of the discriminator's scores.
pub trait DiscriminatorUpdate<B: Trainable>: Send {
    /// What is scored, batch by batch.
    fn batches(&self) -> Vec<ScoreBatch<B::InnerBackend>>;

    /// Clips in all batches.
    fn clips(&self) -> usize;

    /// Loss and measurements; `scores` are those of [`DiscriminatorUpdate::batches`], each `[B, S]`
    /// with S scores per clip.
    fn loss(&self, scores: &[Tensor<B, 2>]) -> (Tensor<B, 1>, Scalars);
}

/// A loss of the student's velocities; one implementation per method.
pub trait StudentUpdate<B: Trainable, D: TrainedDiscriminator<B>>: Send {
    /// Text embeddings of the clips, `[B, L, text_width]`.
    fn text(&self) -> &Tensor<B::InnerBackend, 3>;

    /// Finished clips `[B, F, C, H, W]` that blocks attend to without a gradient. Their KV cache is
    /// filled once per step and handed to [`StudentUpdate::passes`].
    fn frozen_context(&self) -> Option<&Tensor<B::InnerBackend, 5>> {
        None
    }

    /// How often the student runs; each run is a graph of its own.
    fn runs(&self, student: &Student<B>) -> usize {
        let _ = student;
        1
    }

    /// What the student reads in run `run`; the last pass gives the velocities.
    fn passes(
        &self,
        student: &Student<B>,
        cache: Option<&KvCache<B::InnerBackend>>,
        run: usize,
    ) -> Vec<Pass<B::InnerBackend>>;

    /// The loss of the velocities `[B, frames of the run, C, H, W]` of run `run`.
    fn loss(&self, velocity: Tensor<B, 5>, model: &AfdModel<B, D>, run: usize) -> RunLoss<B>;

    /// The loss in two halves, where it reads the velocities through the discriminator's scores
    /// alone: the discriminator is then differentiated in pieces too.
    fn scored(&self) -> Option<&dyn ScoredClips<B>> {
        None
    }
}

/// A loss of the discriminator's scores of the student's own clips.
pub trait ScoredClips<B: Trainable> {
    /// The clips `[B, F, C, H, W]` that are scored, made of the velocities `[B, F, C, H, W]`.
    fn clips(&self, velocity: Tensor<B, 5>) -> Tensor<B, 5>;

    /// The loss of their scores `[B, S]`.
    fn loss_of_scores(&self, scores: Tensor<B, 2>) -> RunLoss<B>;
}

/// The loss of one run of the student.
pub struct RunLoss<B: Backend> {
    /// The loss, as if the run were the whole step.
    pub value: Tensor<B, 1>,
    /// The run's share of the step, in (0, 1]; the shares of all runs add up to 1.
    pub share: f64,
    /// What was measured.
    pub scalars: Scalars,
}

/// The value of a loss on the host.
pub fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().into_scalar().elem()
}

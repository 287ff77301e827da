//! The composite that burn-train's learner trains: student, discriminator and the student's lagging
//! copies.

use afd_models::discriminator::{AnyDiscriminator, Discriminator};
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::Student;
use burn::module::{AutodiffModule, ModuleDisplay};
use burn::prelude::*;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use super::step::Step;
use super::update::{Scalars, Update};

/// A discriminator that can be trained, and whose copy without a graph scores too. Every module
/// that scores on both is one.
pub trait TrainedDiscriminator<B: Trainable>:
    AutodiffModule<B, InnerModule: Discriminator<B::InnerBackend> + ModuleDisplay + Sync>
    + Discriminator<B>
    + ModuleDisplay
    + Sync
    + 'static
{
}

impl<B: Trainable, D> TrainedDiscriminator<B> for D where
    D: AutodiffModule<B, InnerModule: Discriminator<B::InnerBackend> + ModuleDisplay + Sync>
        + Discriminator<B>
        + ModuleDisplay
        + Sync
        + 'static
{
}

/// Everything that is trained or follows what is trained. A method leaves out the parts it has no
/// use for.
#[derive(Module, Debug)]
pub struct AfdModel<B: Backend, D: Module<B> = AnyDiscriminator<B>> {
    /// The student theta.
    pub student: Student<B>,
    /// The policy that rollouts are drawn with.
    pub old: Option<Student<B>>,
    /// The student as it was at the start.
    pub reference: Option<Student<B>>,
    /// The exponential moving average (EMA) of the student, which is evaluated and exported.
    pub ema: Student<B>,
    /// The prompt-paired discriminator phi.
    pub discriminator: Option<D>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> AfdModel<B, D> {
    /// The policy that rollouts are drawn with, without a graph: the lagging copy, or the student
    /// itself where the method keeps none.
    pub fn old_policy(&self) -> Student<B::InnerBackend> {
        self.old.as_ref().unwrap_or(&self.student).valid()
    }

    /// The reference policy without a graph, if the method keeps one.
    pub fn reference_policy(&self) -> Option<Student<B::InnerBackend>> {
        self.reference.as_ref().map(AutodiffModule::valid)
    }
}

/// Scalars that a step measured, by name.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Name and value; the first is the loss.
    pub scalars: Scalars,
}

impl Outcome {
    /// Adds a part's scalars, weighted by its share of the whole.
    pub fn add(&mut self, scalars: Scalars, share: f64) {
        for (name, value) in scalars {
            match self.scalars.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += share * value,
                None => self.scalars.push((name, share * value)),
            }
        }
    }
}

impl ItemLazy for Outcome {
    type ItemSync = Self;

    fn sync(self) -> Self {
        self
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> TrainStep for AfdModel<B, D> {
    type Input = Update<B, D>;
    type Output = Outcome;

    fn step(&self, update: Update<B, D>) -> TrainOutput<Outcome> {
        let mut step = Step::new(self.clone(), update);
        for graph in 0..step.graphs() {
            let loss = step.forward(graph);
            step.backward(loss);
        }
        step.finish()
    }
}

/// The learner asks for a validation step; held-out evaluation happens on finished clips instead
/// (see [`crate::eval`]).
impl<B: Kernels, D: Module<B>> InferenceStep for AfdModel<B, D> {
    type Input = ();
    type Output = Outcome;

    fn step(&self, _nothing: ()) -> Outcome {
        Outcome::default()
    }
}

//! The composite that burn-train's learner trains: student, discriminator and the student's lagging
//! copies.

use afd_models::discriminator::{AnyDiscriminator, Discriminator};
use afd_models::kernels::Trainable;
use afd_models::student::Student;
use burn::module::{AutodiffModule, ModuleDisplay};
use burn::prelude::*;

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

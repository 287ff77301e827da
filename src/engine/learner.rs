//! What a method may do with burn-train's learner, and one optimizer step on all parts of a batch.

use std::collections::BTreeMap;

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use burn::module::Module;
use burn::train::{Learner, LearningComponentsMarker, TrainOutput};

use super::gradients::{self, NonFinite, Part, Stage};
use super::model::{AfdModel, TrainedDiscriminator};
use super::optimizer::AfdOptimizer;
use super::outcome::Outcome;
use super::shards::Shards;
use super::step::Step;
use super::update::Update;

/// Types of the learner; the learning rate that burn-train passes on is 1, each part's own rate
/// lives in its optimizer.
pub type Components<B, D = AnyDiscriminator<B>> =
    LearningComponentsMarker<B, f64, AfdModel<B, D>, AfdOptimizer<B, D>>;

/// What a method may do with burn-train's learner.
pub trait LearnerHandle<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    /// The composite as it is now.
    fn model(&self) -> AfdModel<B, D>;

    /// Replaces the composite's weights (after the lagging copies have moved).
    fn replace(&mut self, model: AfdModel<B, D>);

    /// One optimizer step on all parts of a batch, each with its share of the whole.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, before the step; a weight that is not, after it.
    fn train(&mut self, parts: Vec<(Update<B, D>, f64)>) -> Result<Outcome, NonFinite>;

    /// The threads that parts run on.
    fn shards(&self) -> &Shards;

    /// Sets the student's learning rate for the following steps.
    fn set_student_rate(&mut self, rate: f64);
}

/// One output for all parts: scalars and gradients averaged by share.
fn merged<B: Trainable, D: TrainedDiscriminator<B>>(
    parts: Vec<(TrainOutput<Outcome>, f64)>,
    model: &AfdModel<B, D>,
) -> TrainOutput<Outcome> {
    let mut item = Outcome::default();
    let mut gradients = Vec::with_capacity(parts.len());
    for (output, share) in parts {
        item.add(output.item.scalars, share);
        gradients.push((output.grads, share));
    }
    TrainOutput {
        grads: gradients::weighted_sum::<B, _>(gradients, model),
        item,
    }
}

/// burn-train's learner in the hands of a method, for one round.
pub struct BurnLearner<'a, B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    shards: &'a Shards,
    learner: &'a mut Learner<Components<B, D>>,
    optimizer: &'a AfdOptimizer<B, D>,
    clip_norms: [f64; 2],
    round: u64,
    norms: BTreeMap<String, f64>,
}

impl<'a, B: Trainable, D: TrainedDiscriminator<B>> BurnLearner<'a, B, D> {
    /// The learner for round `round`; `clip_norms` are the gradient norm limits of student and
    /// discriminator.
    pub fn new(
        learner: &'a mut Learner<Components<B, D>>,
        optimizer: &'a AfdOptimizer<B, D>,
        shards: &'a Shards,
        clip_norms: [f64; 2],
        round: u64,
    ) -> Self {
        Self {
            shards,
            learner,
            optimizer,
            clip_norms,
            round,
            norms: BTreeMap::new(),
        }
    }

    /// Gradient norms of the steps so far, by name; of several steps of a kind the last one.
    pub fn norms(self) -> BTreeMap<String, f64> {
        self.norms
    }

    /// Gradients and measurements of all parts, averaged by share.
    fn gradients(&self, mut parts: Vec<(Update<B, D>, f64)>) -> TrainOutput<Outcome> {
        if parts.len() == 1 {
            return self.learner.train_step(parts.remove(0).0);
        }
        let model = self.learner.model();
        let (updates, shares): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut updates = updates.into_iter();
        let mut done = Vec::new();
        for shares in shares.chunks(self.shards.count()) {
            let outputs = self.side_by_side(updates.by_ref().take(shares.len()).collect(), &model);
            let outputs = outputs.into_iter().zip(shares.iter().copied());
            // At most one more set of gradients than threads is held.
            let so_far = merged(done.into_iter().chain(outputs).collect(), &model);
            done = vec![(so_far, 1.0)];
        }
        done.remove(0).0
    }

    /// Parts side by side, each on a thread of its own.
    fn side_by_side(
        &self,
        updates: Vec<Update<B, D>>,
        model: &AfdModel<B, D>,
    ) -> Vec<TrainOutput<Outcome>> {
        let copies = updates
            .into_iter()
            .map(|update| (gradients::with_own_graph::<B, _>(model.clone()), update))
            .collect();
        let mut steps = self
            .shards
            .map(copies, |_, (copy, update)| Step::new(copy, update));
        let graphs = steps.iter().map(Step::graphs).max().unwrap_or_default();
        for graph in 0..graphs {
            // Two maps, not one: see [`Step`].
            let losses = self.shards.map(steps, |_, mut step| {
                ((graph < step.graphs()).then(|| step.forward(graph)), step)
            });
            steps = self.shards.map(losses, |_, (loss, mut step)| {
                // A smaller part may have fewer graphs.
                if let Some(loss) = loss {
                    step.backward(loss);
                }
                step
            });
        }
        steps.into_iter().map(Step::finish).collect()
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> LearnerHandle<B, D> for BurnLearner<'_, B, D> {
    fn model(&self) -> AfdModel<B, D> {
        self.learner.model()
    }

    fn replace(&mut self, model: AfdModel<B, D>) {
        self.learner.load_model(model.into_record());
    }

    fn shards(&self) -> &Shards {
        self.shards
    }

    fn train(&mut self, parts: Vec<(Update<B, D>, f64)>) -> Result<Outcome, NonFinite> {
        let part = match parts.first() {
            Some((Update::Discriminator(_), _)) => Part::Discriminator,
            _ => Part::Student,
        };
        let fail = |stage, tensor| NonFinite {
            stage,
            part,
            tensor,
            round: self.round,
        };
        let TrainOutput { mut grads, item } = self.gradients(parts);
        if let Some((name, _)) = item.scalars.iter().find(|(_, value)| !value.is_finite()) {
            return Err(fail(Stage::Loss, (*name).to_string()));
        }
        let model = self.learner.model();
        let limit = self.clip_norms[part as usize];
        let norm = match (part, &model.discriminator) {
            (Part::Discriminator, Some(module)) => {
                gradients::clip::<B, _>(&mut grads, module, limit)
            }
            _ => gradients::clip::<B, _>(&mut grads, &model.student, limit),
        };
        let norm = norm.map_err(|tensor| fail(Stage::Gradient, tensor))?;
        self.learner.optimizer_step(grads);
        let model = self.learner.model();
        let checked = match (part, &model.discriminator) {
            (Part::Discriminator, Some(module)) => gradients::check_weights::<B, _>(module),
            _ => gradients::check_weights::<B, _>(&model.student),
        };
        checked.map_err(|tensor| fail(Stage::Weight, tensor))?;
        self.norms.insert(format!("{part}_gradient_norm"), norm);
        Ok(item)
    }

    fn set_student_rate(&mut self, rate: f64) {
        self.optimizer.set_student_rate(rate);
    }
}

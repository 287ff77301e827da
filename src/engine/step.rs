//! One optimizer step's gradients, graph by graph.

use afd_models::discriminator::RegisterDiscriminator;
use afd_models::discriminator::pieces::{Pieces, ScoreBatch};
use afd_models::kernels::{Kernels, Trainable};
use afd_models::student::KvCache;
use afd_models::student::passes::prefill;
use afd_models::student::segments::{self, Segments, pulled};
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::model::{AfdModel, TrainedDiscriminator};
use super::outcome::Outcome;
use super::update::{RunLoss, ScoredClips, StudentUpdate, Update};

/// A step in the making: one or more graphs, each built by [`Step::forward`] and then consumed by
/// [`Step::backward`].
///
/// The two are apart because the parts of a batch (see [`super::shards`]) must not build graphs
/// while others are walked backwards: burn-autodiff 0.21 ends a backward pass by freeing what looks
/// unused in *every* graph of the process, and a node whose consumer another thread has not
/// registered yet looks unused. The gradient that should have passed through it is then silently
/// missing.
pub struct Step<B: Trainable, D: TrainedDiscriminator<B>> {
    model: AfdModel<B, D>,
    update: Update<B, D>,
    /// Keys and values of the clips that blocks attend to, where they are constants.
    cache: Option<KvCache<B::InnerBackend>>,
    /// The student's current run, where its transformer blocks are run again.
    segments: Option<Segments<B>>,
    /// The discriminator's, where its backbone's are: of its own update, or of a student's that
    /// reads scores.
    pieces: Option<Pieces<B>>,
    gradients: GradientsAccumulator<AfdModel<B, D>>,
    item: Outcome,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> Step<B, D> {
    /// The step of `model` that `update` asks for.
    pub fn new(mut model: AfdModel<B, D>, update: Update<B, D>) -> Self {
        if let Update::Student(_) = update {
            // Whoever learns through it leaves it as it is: no gradients of its weights.
            model.discriminator = model.discriminator.map(Module::no_grad);
        }
        let cache = match &update {
            Update::Student(update) => update.frozen_context().map(|clips| {
                let student = model.student.valid();
                let text = student.text_cache(update.text().clone());
                prefill(&student, clips.clone(), 0.0, &text)
            }),
            Update::Discriminator(_) => None,
        };
        Self {
            model,
            update,
            cache,
            segments: None,
            pieces: None,
            gradients: GradientsAccumulator::new(),
            item: Outcome::default(),
        }
    }

    /// How many graphs the step has: one per run of the student, each cut into pieces where
    /// transformer blocks are run again. A loss that reads scores is walked through the
    /// discriminator first, then through the student.
    pub fn graphs(&self) -> usize {
        match &self.update {
            Update::Student(update) => update.runs(&self.model.student) * self.graphs_per_run(),
            Update::Discriminator(_) => self.graphs_per_run(),
        }
    }

    fn graphs_per_run(&self) -> usize {
        let student = &self.model.student;
        match &self.update {
            Update::Discriminator(update) => match self.discriminator().in_pieces() {
                Some(registers) => Pieces::graphs(registers, update.clips()),
                None => 1,
            },
            Update::Student(_) if student.limits().recompute_blocks => {
                self.graphs_of_scores() + Segments::graphs(student)
            }
            Update::Student(_) => 1,
        }
    }

    /// How many of a run's graphs lead from the scores of the student's clips to the clips.
    fn graphs_of_scores(&self) -> usize {
        match (&self.update, self.scored()) {
            (Update::Student(update), Some((_, registers))) => {
                Pieces::graphs_to_clips(registers, update.text().dims()[0])
            }
            _ => 0,
        }
    }

    /// A student's loss in two halves and the discriminator between them, if both are walked in
    /// pieces.
    fn scored(&self) -> Option<(&dyn ScoredClips<B>, &RegisterDiscriminator<B>)> {
        let Update::Student(update) = &self.update else {
            return None;
        };
        let in_pieces = self.model.student.limits().recompute_blocks;
        let registers = self.model.discriminator.as_ref()?.in_pieces()?;
        Some((update.scored().filter(|_| in_pieces)?, registers))
    }

    /// Builds graph number `graph` and returns its loss, scaled so that the losses of all graphs
    /// add up to the step's; or, for a piece of a run, a scalar with the loss's gradients.
    pub fn forward(&mut self, graph: usize) -> Tensor<B, 1> {
        let per_run = self.graphs_per_run();
        let (run, piece) = (graph / per_run, graph % per_run);
        if piece > 0 {
            return self.next_piece(piece);
        }
        let RunLoss {
            value,
            share,
            scalars,
        } = match &self.update {
            Update::Discriminator(update) => {
                let (scores, pieces) = self.scores(update.batches());
                self.pieces = pieces;
                let (value, scalars) = update.loss(&scores);
                RunLoss {
                    value,
                    share: 1.0,
                    scalars,
                }
            }
            Update::Student(update) if self.graphs_of_scores() > 0 => {
                let (loss, pieces, segments) = self.scores_of_own(&**update, run);
                (self.pieces, self.segments) = (Some(pieces), Some(segments));
                loss
            }
            Update::Student(update) => {
                let (velocity, segments) = self.velocity(&**update, run);
                self.segments = segments;
                update.loss(velocity, &self.model, run)
            }
        };
        self.item.add(scalars, share);
        if share == 1.0 { value } else { value * share }
    }

    fn next_piece(&mut self, piece: usize) -> Tensor<B, 1> {
        let of_scores = self.graphs_of_scores();
        let own = match &self.update {
            Update::Student(_) => piece.checked_sub(of_scores),
            Update::Discriminator(_) => None,
        };
        match own {
            None => self.piece_of_discriminator(piece),
            Some(0) => self.clips_again(),
            Some(own) => match &mut self.segments {
                Some(segments) => segments.graph(&self.model.student, own),
                None => unreachable!("a run has several graphs only if it is cut into pieces"),
            },
        }
    }

    fn piece_of_discriminator(&mut self, piece: usize) -> Tensor<B, 1> {
        let found = self.model.discriminator.as_ref();
        match (&mut self.pieces, found.and_then(|found| found.in_pieces())) {
            (Some(pieces), Some(registers)) => pieces.graph(registers, piece),
            _ => unreachable!("scores are in pieces only if the discriminator is"),
        }
    }

    /// The loss of the scores of the student's own clips: neither the student's run, whose segments
    /// are kept, nor the discriminator's is part of its graph.
    fn scores_of_own(
        &self,
        update: &dyn StudentUpdate<B, D>,
        run: usize,
    ) -> (RunLoss<B>, Pieces<B>, Segments<B>) {
        let Some((scored, registers)) = self.scored() else {
            unreachable!("it has graphs of its own")
        };
        let student = &self.model.student;
        let text = update.text().clone();
        let passes = update.passes(student, self.cache.as_ref(), run);
        let segments = Segments::new(student, text.clone(), passes);
        let velocity = Tensor::from_inner(segments.plain_velocity(student));
        let clips = scored.clips(velocity).inner();
        let pieces = Pieces::to_clips(registers, vec![ScoreBatch { clips, text }]);
        let loss = scored.loss_of_scores(pieces.scores()[0].clone());
        (loss, pieces, segments)
    }

    /// The student's clips, pulled by the gradient that came back to them through the
    /// discriminator.
    fn clips_again(&mut self) -> Tensor<B, 1> {
        let gradient = self.pieces.take().map(Pieces::clips_gradient);
        let velocity = (self.segments.as_mut()).map(|found| found.velocity(&self.model.student));
        match (gradient, velocity, self.scored()) {
            (Some(gradient), Some(velocity), Some((scored, _))) => {
                pulled(scored.clips(velocity), gradient)
            }
            _ => unreachable!("the scores' graphs come before"),
        }
    }

    /// The student's velocities in run `run`, and its segments if its blocks are run again.
    fn velocity(
        &self,
        update: &dyn StudentUpdate<B, D>,
        run: usize,
    ) -> (Tensor<B, 5>, Option<Segments<B>>) {
        let student = &self.model.student;
        let passes = update.passes(student, self.cache.as_ref(), run);
        if !student.limits().recompute_blocks {
            let velocity = segments::velocity(student, update.text().clone(), &passes);
            return (velocity, None);
        }
        let mut segments = Segments::new(student, update.text().clone(), passes);
        (segments.velocity(student), Some(segments))
    }

    /// The scores of all batches, each `[B, S]`, and the pieces if the backbone's blocks are run
    /// again.
    fn scores(
        &self,
        batches: Vec<ScoreBatch<B::InnerBackend>>,
    ) -> (Vec<Tensor<B, 2>>, Option<Pieces<B>>) {
        let discriminator = self.discriminator();
        if let Some(registers) = discriminator.in_pieces() {
            let pieces = Pieces::new(registers, batches);
            return (pieces.scores().to_vec(), Some(pieces));
        }
        let score = |batch: ScoreBatch<B::InnerBackend>| {
            discriminator.score(
                Tensor::from_inner(batch.clips),
                Tensor::from_inner(batch.text),
            )
        };
        (batches.into_iter().map(score).collect(), None)
    }

    fn discriminator(&self) -> &D {
        let found = self.model.discriminator.as_ref();
        found.unwrap_or_else(|| unreachable!("its update is asked of models that have one"))
    }

    /// Consumes a graph and keeps its gradients.
    pub fn backward(&mut self, loss: Tensor<B, 1>) {
        let mut gradients = loss.backward();
        // As long as there are pieces, the graphs are the discriminator's.
        if let Some(pieces) = &mut self.pieces {
            pieces.absorb(&mut gradients);
        } else if let Some(segments) = &mut self.segments {
            segments.absorb(&mut gradients);
        }
        let gradients = match (&self.update, &self.model.discriminator) {
            (Update::Discriminator(_), Some(discriminator)) => {
                GradientsParams::from_module::<B, _>(&mut gradients, discriminator)
            }
            _ => GradientsParams::from_module::<B, _>(&mut gradients, &self.model.student),
        };
        self.gradients.accumulate(&self.model, gradients);
    }

    /// Gradients and measurements of all graphs.
    pub fn finish(mut self) -> TrainOutput<Outcome> {
        TrainOutput {
            grads: self.gradients.grads(),
            item: self.item,
        }
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

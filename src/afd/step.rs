//! One optimizer step's losses and gradients: the discriminator's, the forward-process update's,
//! supervised flow matching's.

use std::ops::Range;

use afd_models::discriminator::pieces::{Judged, Pieces};
use afd_models::discriminator::{AnyDiscriminator, Discriminator, RegisterDiscriminator};
use afd_models::kernels::Trainable;
use afd_models::student::segments::{self, Pass, Past, Segments};
use afd_models::student::{BlockLayout, KvCache, Student, Visibility};
use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::train::TrainOutput;

use super::bradley_terry;
use super::direct::{self, DirectWork};
use super::forward_process::{self, Noised};
use super::model::{
    AfdModel, Context, DiscriminatorWork, FlowWork, Outcome, SupervisedWork, Work, prefill,
};
use super::reverse_chain::{self, ChainSteps, ReverseChainWork};

/// A step in the making: one or more graphs, each built by [`Step::forward`] and then consumed by
/// [`Step::backward`].
///
/// The two are apart because the parts of a batch (see [`super::shards`]) must not build graphs
/// while others are walked backwards: burn-autodiff 0.21 ends a backward pass by freeing what looks
/// unused in *every* graph of the process, and a node whose consumer another thread has not
/// registered yet looks unused. The gradient that should have passed through it is then silently
/// missing.
pub struct Step<B: Trainable> {
    model: AfdModel<B>,
    work: Work<B>,
    /// Keys and values of the clean rollout, where they are constants.
    cache: Option<KvCache<B::InnerBackend>>,
    /// The student's current run, where its blocks are run again.
    segments: Option<Segments<B>>,
    /// The discriminator's, where its backbone's are.
    pieces: Option<Pieces<B>>,
    gradients: GradientsAccumulator<AfdModel<B>>,
    item: Outcome,
}

impl<B: Trainable> Step<B> {
    /// The step of `model` that `work` asks for.
    pub fn new(model: AfdModel<B>, work: Work<B>) -> Self {
        let cache = match &work {
            Work::Flow(work)
                if work.context == Context::Cached
                    || (work.context == Context::OwnClean && work.detach_context) =>
            {
                Some(clean_cache(&model, &work.clips.clean, &work.text))
            }
            Work::Direct(work) => Some(clean_cache(&model, &work.clean, &work.text)),
            Work::ReverseChain(work) => Some(clean_cache(&model, &work.clean, &work.text)),
            _ => None,
        };
        Self {
            model,
            work,
            cache,
            segments: None,
            pieces: None,
            gradients: GradientsAccumulator::new(),
            item: Outcome::default(),
        }
    }

    /// How many graphs the step has: one; one per block of frames when they look back through a
    /// cache; each cut into pieces where transformer blocks are run again.
    pub fn graphs(&self) -> usize {
        self.runs() * self.pieces()
    }

    fn runs(&self) -> usize {
        match &self.work {
            Work::Flow(work) if work.context == Context::Cached => self
                .model
                .student
                .layout(work.clips.clean.dims()[1])
                .blocks()
                .count(),
            _ => 1,
        }
    }

    fn pieces(&self) -> usize {
        let student = &self.model.student;
        match &self.work {
            Work::Discriminator(work) => match in_pieces(&self.model) {
                Some(discriminator) => Pieces::graphs(discriminator, clips_judged(work)),
                None => 1,
            },
            _ if student.limits().recompute_blocks => Segments::graphs(student),
            _ => 1,
        }
    }

    /// Builds graph number `graph` and returns its loss, scaled so that the losses of all graphs
    /// add up to the step's; or, for a piece of a student's run, a scalar with the loss's
    /// gradients.
    pub fn forward(&mut self, graph: usize) -> Tensor<B, 1> {
        let (run, piece) = (graph / self.pieces(), graph % self.pieces());
        let student = &self.model.student;
        if let (Some(segments), 1..) = (&mut self.segments, piece) {
            return segments.graph(student, piece);
        }
        if let (Some(pieces), Some(discriminator), 1..) =
            (&mut self.pieces, in_pieces(&self.model), piece)
        {
            return pieces.graph(discriminator, piece);
        }
        let velocity = |text: &Tensor<B::InnerBackend, 3>,
                        passes: Vec<Pass<B::InnerBackend>>,
                        segments: &mut Option<Segments<B>>| {
            if student.limits().recompute_blocks {
                segments
                    .insert(Segments::new(student, text.clone(), passes))
                    .velocity(student)
            } else {
                segments::velocity(student, text.clone(), &passes)
            }
        };
        let (loss, share, scalars) = match &self.work {
            Work::Discriminator(work) => {
                let batches = judged(work);
                let (loss, scalars) = match (in_pieces(&self.model), &self.model.discriminator) {
                    (Some(discriminator), _) => {
                        let pieces = self.pieces.insert(Pieces::new(discriminator, batches));
                        discriminator_loss(pieces.scores(), work)
                    }
                    (None, Some(discriminator)) => {
                        let score = |batch: Judged<_>| {
                            discriminator.score(
                                Tensor::from_inner(batch.clips),
                                Tensor::from_inner(batch.text),
                            )
                        };
                        discriminator_loss(
                            &batches.into_iter().map(score).collect::<Vec<_>>(),
                            work,
                        )
                    }
                    (None, None) => unreachable!("{NO_JUDGE}"),
                };
                (loss, 1.0, scalars)
            }
            Work::Supervised(work) => {
                let velocity = velocity(
                    &work.text,
                    supervised_passes(student, work),
                    &mut self.segments,
                );
                let (loss, scalars) = supervised_loss(velocity, work);
                (loss, 1.0, scalars)
            }
            Work::Direct(work) => {
                let passes = chain_passes(student, &work.states, &work.sigmas, self.cache.as_ref());
                let velocity = velocity(&work.text, passes, &mut self.segments);
                let discriminator = discriminator_of(&self.model);
                let loss = direct::loss(velocity, discriminator, differentiated(work));
                let scalars = vec![("direct_loss", scalar(&loss))];
                (loss, 1.0, scalars)
            }
            Work::ReverseChain(work) => {
                let passes =
                    chain_passes(student, &work.steps.from, &work.sigmas, self.cache.as_ref());
                let velocity = velocity(&work.text, passes, &mut self.segments);
                let (loss, scalars) = reverse_chain_loss(student, velocity, work);
                (loss, 1.0, scalars)
            }
            Work::Flow(work) => {
                let (passes, range) = flow_passes(student, work, self.cache.as_ref(), run);
                let frames = work.clips.clean.dims()[1];
                let velocity = velocity(&work.text, passes, &mut self.segments);
                let (loss, scalars) = loss_of_frames(&self.model, work, velocity, range.clone());
                (loss, range.len() as f64 / frames as f64, scalars)
            }
        };
        self.item.add(scalars, share);
        if share == 1.0 { loss } else { loss * share }
    }

    /// Consumes a graph and keeps its gradients.
    pub fn backward(&mut self, loss: Tensor<B, 1>) {
        let mut gradients = loss.backward();
        if let Some(segments) = &mut self.segments {
            segments.absorb(&mut gradients);
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.absorb(&mut gradients);
        }
        let gradients = match (&self.work, &self.model.discriminator) {
            (Work::Discriminator(_), Some(discriminator)) => {
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

/// The discriminator, if its loss is differentiated in pieces.
fn in_pieces<B: Trainable>(model: &AfdModel<B>) -> Option<&RegisterDiscriminator<B>> {
    match &model.discriminator {
        Some(AnyDiscriminator::Registers(discriminator))
            if discriminator.backbone.limits().recompute_blocks =>
        {
            Some(discriminator)
        }
        _ => None,
    }
}

const NO_DISCRIMINATOR: &str = "a method without a discriminator asks for no step that needs one";

fn discriminator_of<B: Trainable>(model: &AfdModel<B>) -> &AnyDiscriminator<B> {
    model
        .discriminator
        .as_ref()
        .unwrap_or_else(|| unreachable!("{NO_JUDGE}"))
}

/// Clips in all batches of [`judged`].
fn clips_judged<B: Backend>(work: &DiscriminatorWork<B>) -> usize {
    let (teachers, students) = (work.teacher.dims()[0], work.student.dims()[0]);
    let times = if work.penalty.is_some() { 2 } else { 1 };
    times * (teachers + students) + work.mismatched.as_ref().map_or(0, |_| teachers)
}

type Scalars = Vec<(&'static str, f64)>;

/// What the discriminator judges: teacher clips and rollouts in one batch, the same moved by the
/// penalty's step, teacher clips under other prompts.
fn judged<B: Backend>(work: &DiscriminatorWork<B>) -> Vec<Judged<B>> {
    // One batch for both sides: nothing but the clips may differ between them.
    let clips = Tensor::cat(vec![work.teacher.clone(), work.student.clone()], 0);
    let text = Tensor::cat(
        vec![work.teacher_text.clone(), work.student_text.clone()],
        0,
    );
    let moved = work.penalty.as_ref().map(|penalty| {
        // Both penalties in one forward: the mean over each side is taken afterwards.
        Judged {
            clips: clips.clone() + penalty.direction.clone() * penalty.size,
            text: text.clone(),
        }
    });
    let mismatched = work.mismatched.as_ref().map(|(text, _)| Judged {
        clips: work.teacher.clone(),
        text: text.clone(),
    });
    [Judged { clips, text }]
        .into_iter()
        .chain(moved)
        .chain(mismatched)
        .collect()
}

/// Bradley-Terry on all pairs, with the penalties; `scores` are those of [`judged`], each `[B]`.
fn discriminator_loss<B: Trainable>(
    scores: &[Tensor<B, 1>],
    work: &DiscriminatorWork<B::InnerBackend>,
) -> (Tensor<B, 1>, Scalars) {
    let (teachers, students) = (work.teacher.dims()[0], work.student.dims()[0]);
    let mut scores = scores.iter().cloned();
    let mut next = || {
        scores
            .next()
            .unwrap_or_else(|| unreachable!("there are scores for everything that is judged"))
    };
    let both = next();
    let per_prompt = |range: Range<usize>| {
        let count = range.len() / work.prompts;
        both.clone().slice([range]).reshape([work.prompts, count])
    };
    let (teacher, student) = (
        per_prompt(0..teachers),
        per_prompt(teachers..teachers + students),
    );
    let mut loss = bradley_terry::discriminator_loss(teacher.clone(), student.clone(), work.loss);
    let mut scalars = vec![("discriminator_loss", scalar(&loss))];
    if let Some(penalty) = &work.penalty {
        let squares = bradley_terry::squared_slopes(both.clone(), next(), penalty.size);
        let (r1, r2) = (
            squares.clone().slice_dim(0, 0..teachers).mean(),
            squares.slice_dim(0, teachers..teachers + students).mean(),
        );
        scalars.extend([("r1", scalar(&r1)), ("r2", scalar(&r2))]);
        loss = loss + (r1 * penalty.r1 + r2 * penalty.r2) * 0.5;
    }
    if let Some((_, weight)) = &work.mismatched {
        // Pairs of one clip under two prompts: what does not depend on the prompt cancels.
        let wrong = next().reshape([teachers, 1]);
        let right = teacher.clone().reshape([teachers, 1]);
        let mismatch = bradley_terry::loss(right.clone(), wrong.clone());
        let (accuracy, _) = bradley_terry::pair_accuracy(right.inner(), wrong.inner());
        scalars.extend([
            ("mismatch_loss", scalar(&mismatch)),
            ("prompt_accuracy", accuracy),
        ]);
        loss = loss + mismatch * *weight;
    }
    let (accuracy, gap) = bradley_terry::pair_accuracy(teacher.inner(), student.inner());
    scalars.extend([("pair_accuracy", accuracy), ("score_gap", gap)]);
    (loss, scalars)
}

/// What the student runs for the forward-process update (method.md F.1, G.3), and the frames whose
/// velocities come out: all, or, through the cache (option 3), those of block `run`.
fn flow_passes<B: Trainable>(
    student: &Student<B>,
    work: &FlowWork<B::InnerBackend>,
    cache: Option<&KvCache<B::InnerBackend>>,
    run: usize,
) -> (Vec<Pass<B::InnerBackend>>, Range<usize>) {
    let frames = work.clips.clean.dims()[1];
    let layout = student.layout(frames);
    match (work.context, cache) {
        (Context::Cached, Some(cache)) => {
            let start = run * layout.frames_per_block;
            let block = start..(start + layout.frames_per_block).min(frames);
            let past = cache.clone().keep(&layout.past_of(&block));
            let visibility = Visibility::rollout(
                past.as_ref().map_or(0, |past| past.frames.len()),
                block.len(),
            );
            let pass = Pass {
                latents: work.clips.state().slice_dim(1, block.clone()),
                timesteps: work
                    .sigmas
                    .chunks(frames)
                    .flat_map(|clip| &clip[block.clone()])
                    .map(|sigma| 1000.0 * sigma)
                    .collect(),
                frames: block.clone().collect(),
                visibility,
                past: past.map_or(Past::Nothing, Past::Constant),
            };
            (vec![pass], block)
        }
        (Context::UniformNoise, _) => (
            vec![noisy_pass(
                &layout,
                work.clips.state(),
                &work.sigmas,
                Past::Nothing,
            )],
            0..frames,
        ),
        (_, Some(cache)) => (
            vec![noisy_pass(
                &layout,
                work.clips.state(),
                &work.sigmas,
                Past::Constant(cache.clone()),
            )],
            0..frames,
        ),
        (_, None) => {
            let clean = clean_pass(&layout, work.clips.clean.clone(), 0.0);
            (
                vec![
                    clean,
                    noisy_pass(&layout, work.clips.state(), &work.sigmas, Past::Of(0)),
                ],
                0..frames,
            )
        }
    }
}

/// What the student runs for teacher- or diffusion-forced flow matching (method.md H.1).
fn supervised_passes<B: Trainable>(
    student: &Student<B>,
    work: &SupervisedWork<B::InnerBackend>,
) -> Vec<Pass<B::InnerBackend>> {
    let layout = student.layout(work.clips.clean.dims()[1]);
    match &work.context {
        Some(context) => {
            let clean = clean_pass(&layout, context.clone(), work.context_sigma);
            vec![
                clean,
                noisy_pass(&layout, work.clips.state(), &work.sigmas, Past::Of(0)),
            ]
        }
        None => vec![noisy_pass(
            &layout,
            work.clips.state(),
            &work.sigmas,
            Past::Nothing,
        )],
    }
}

/// What the student runs for states of its own sampler, looking back at its own finished clips.
fn chain_passes<B: Trainable>(
    student: &Student<B>,
    states: &Tensor<B::InnerBackend, 5>,
    sigmas: &[f32],
    cache: Option<&KvCache<B::InnerBackend>>,
) -> Vec<Pass<B::InnerBackend>> {
    let layout = student.layout(states.dims()[1]);
    let past = cache.cloned().map_or(Past::Nothing, Past::Constant);
    vec![noisy_pass(&layout, states.clone(), sigmas, past)]
}

/// The pass over clean frames that others look back at.
fn clean_pass<B: Backend>(layout: &BlockLayout, clips: Tensor<B, 5>, sigma: f32) -> Pass<B> {
    let [batch, frames, ..] = clips.dims();
    Pass {
        latents: clips,
        timesteps: vec![1000.0 * sigma; batch * frames],
        frames: (0..frames).collect(),
        visibility: Visibility::block_causal(layout),
        past: Past::Nothing,
    }
}

/// The pass over noised frames: they look back at `past`, or, without one, at each other.
fn noisy_pass<B: Backend>(
    layout: &BlockLayout,
    clips: Tensor<B, 5>,
    sigmas: &[f32],
    past: Past<B>,
) -> Pass<B> {
    let visibility = match &past {
        Past::Nothing => Visibility::block_causal(layout),
        // The clean pass remembers all frames, also those that nobody looks back at.
        _ => Visibility {
            past_frames: layout.frames,
            ..Visibility::teacher_forcing(layout)
        },
    };
    let timesteps = sigmas.iter().map(|sigma| 1000.0 * sigma).collect();
    Pass {
        latents: clips,
        timesteps,
        frames: (0..layout.frames).collect(),
        visibility,
        past,
    }
}

/// The loss of velocities for the frames `range` of the clips.
fn loss_of_frames<B: Trainable>(
    model: &AfdModel<B>,
    work: &FlowWork<B::InnerBackend>,
    velocity: Tensor<B, 5>,
    range: Range<usize>,
) -> (Tensor<B, 1>, Scalars) {
    let layout = model.student.layout(work.clips.clean.dims()[1]);
    let cut = |tensor: &Tensor<B::InnerBackend, 5>| {
        let part = if range.len() == layout.frames {
            tensor.clone()
        } else {
            tensor.clone().slice_dim(1, range.clone())
        };
        Tensor::<B, 5>::from_inner(part)
    };
    let old = work
        .old_velocity
        .as_ref()
        .map_or_else(|| velocity.clone().detach(), cut);
    let part = Noised {
        clean: cut(&work.clips.clean),
        noise: cut(&work.clips.noise),
        sigmas: cut(&work.clips.sigmas),
    };
    let blocks = BlockLayout {
        frames: range.len(),
        ..layout
    };
    let moved = (velocity.clone() - old.clone()).square().mean();
    let r = Tensor::from_inner(work.r.clone());
    let mut loss = forward_process::loss(velocity.clone(), old, &part, r, &blocks, &work.settings);
    let mut scalars = vec![
        ("flow_loss", scalar(&loss)),
        ("policy_shift", scalar(&moved)),
        ("prior", 0.0),
    ];
    if let Some((reference, weight)) = &work.reference {
        let prior = (velocity - cut(reference)).square().mean();
        scalars[2].1 = scalar(&prior);
        loss = loss + prior * *weight;
    }
    (loss, scalars)
}

/// Flow matching on the clips themselves.
fn supervised_loss<B: Trainable>(
    velocity: Tensor<B, 5>,
    work: &SupervisedWork<B::InnerBackend>,
) -> (Tensor<B, 1>, Scalars) {
    let target = Tensor::<B, 5>::from_inner(work.clips.noise.clone() - work.clips.clean.clone());
    let loss = (velocity - target).square().mean();
    let scalars = vec![("supervised_loss", scalar(&loss))];
    (loss, scalars)
}

/// The same numbers as constants of a graph.
fn differentiated<B: Trainable>(work: &DirectWork<B::InnerBackend>) -> DirectWork<B> {
    let clips = |tensor: &Tensor<B::InnerBackend, 5>| Tensor::<B, 5>::from_inner(tensor.clone());
    DirectWork {
        clean: clips(&work.clean),
        states: clips(&work.states),
        sigmas: work.sigmas.clone(),
        levels: clips(&work.levels),
        text: Tensor::from_inner(work.text.clone()),
        teacher_scores: Tensor::from_inner(work.teacher_scores.clone()),
        equalised: work.equalised.as_ref().map(clips),
        noise: work.noise.as_ref().map(clips),
        loss: work.loss,
    }
}

/// The clipped surrogate, and the divergence from the reference.
fn reverse_chain_loss<B: Trainable>(
    student: &Student<B>,
    velocity: Tensor<B, 5>,
    work: &ReverseChainWork<B::InnerBackend>,
) -> (Tensor<B, 1>, Scalars) {
    let lifted = |tensor: &Tensor<B::InnerBackend, 5>| Tensor::<B, 5>::from_inner(tensor.clone());
    let ChainSteps {
        from,
        to,
        sigma,
        next,
        fresh_noise,
    } = &work.steps;
    let steps = ChainSteps {
        from: lifted(from),
        to: lifted(to),
        sigma: lifted(sigma),
        next: lifted(next),
        fresh_noise: *fresh_noise,
    };
    let layout = student.layout(work.clean.dims()[1]);
    let log_ratio = steps.log_ratio(velocity.clone(), lifted(&work.old_velocity), &layout);
    let (mut loss, outside, shift) =
        reverse_chain::surrogate(log_ratio, lifted(&work.advantage), work.clip_range);
    let mut scalars = vec![
        ("reverse_chain_loss", scalar(&loss)),
        ("clipped_ratios", outside),
        ("ratio_shift", shift),
    ];
    if let Some((reference, weight)) = &work.reference {
        let divergence = steps.divergence(velocity, lifted(reference));
        scalars.push(("divergence", scalar(&divergence)));
        loss = loss + divergence * *weight;
    }
    (loss, scalars)
}

/// Keys and values of the clean rollout, without a graph.
fn clean_cache<B: Trainable>(
    model: &AfdModel<B>,
    clean: &Tensor<B::InnerBackend, 5>,
    text: &Tensor<B::InnerBackend, 3>,
) -> KvCache<B::InnerBackend> {
    let student = model.student.valid();
    let text = student.text_cache(text.clone());
    prefill(&student, clean.clone(), 0.0, &text)
}

fn scalar<B: Backend>(value: &Tensor<B, 1>) -> f64 {
    value.clone().into_scalar().elem()
}

#[cfg(test)]
mod tests {
    use afd_models::init::initialise;
    use afd_models::noise::{Noise, Purpose};
    use afd_models::student::{Limits, StudentConfig};
    use burn::backend::{Autodiff, Flex, NdArray};
    use burn::module::{ModuleVisitor, Param};

    use super::super::forward_process::{ForwardProcessSettings, LossForm};
    use super::*;

    /// Rounding of f32: the same sums, cut into other parts.
    const TOLERANCE: f32 = 1e-5;

    fn random<B: Backend, const N: usize>(shape: [usize; N], index: u64) -> Tensor<B, N> {
        let values = Noise::new(9, Purpose::Evaluation, 0, index).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// Gradients of all weights that have one, by name.
    struct Found<'a> {
        of: &'a GradientsParams,
        path: Vec<String>,
        values: Vec<(String, Vec<f32>)>,
    }

    impl<B: Trainable> ModuleVisitor<B> for Found<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
            if let Some(gradient) = self.of.get::<B::InnerBackend, N>(param.id) {
                self.values
                    .push((self.path.join("."), gradient.into_data().to_vec().unwrap()));
            }
        }
    }

    /// All gradients of one flow update on two clips of six frames.
    fn gradients<B: Trainable>(
        config: &StudentConfig,
        context: Context,
        recompute_blocks: bool,
    ) -> Vec<(String, Vec<f32>)> {
        let limits = Limits {
            attention_queries: 5,
            recompute_blocks,
            ..Limits::default()
        };
        let mut student =
            initialise(Student::<B>::new(config, &Default::default()), 5, "student").within(limits);
        // The output starts at zero, where nothing behind it would have a gradient.
        student.head.output.weight =
            Param::from_tensor(random(student.head.output.weight.dims(), 77) * 0.1)
                .set_require_grad(true);
        let model = AfdModel {
            old: None,
            reference: None,
            evaluation: student.clone(),
            student,
            discriminator: None,
        };
        let sigmas: Vec<f32> = (0..12)
            .map(|number| 0.95 - 0.07 * (number / config.frames_per_block) as f32)
            .collect();
        let clips = || random([2, 6, 4, 4, 4], 2);
        let work = FlowWork {
            clips: Noised {
                clean: clips(),
                noise: random([2, 6, 4, 4, 4], 3),
                sigmas: Tensor::from_data(
                    TensorData::new(sigmas.clone(), [2, 6, 1, 1, 1]),
                    &Default::default(),
                ),
            },
            sigmas,
            r: Tensor::from_data(
                TensorData::new(vec![0.8_f32, 0.3], [2, 1, 1, 1, 1]),
                &Default::default(),
            ),
            text: random([2, 3, 8], 1),
            old_velocity: Some(random([2, 6, 4, 4, 4], 4)),
            reference: Some((random([2, 6, 4, 4, 4], 5), 0.1)),
            context,
            detach_context: true,
            settings: ForwardProcessSettings {
                form: LossForm::Adaptive,
                beta: 0.5,
                advantage_clip: 1.0,
            },
        };
        let mut step = Step::new(model.clone(), Work::Flow(Box::new(work)));
        for graph in 0..step.graphs() {
            let loss = step.forward(graph);
            step.backward(loss);
        }
        let output = step.finish();
        let mut found = Found {
            of: &output.grads,
            path: Vec::new(),
            values: Vec::new(),
        };
        model.student.visit(&mut found);
        found.values
    }

    fn through_the_cache_as_in_parallel<B: Trainable>(
        frames_per_block: usize,
        window_frames: usize,
        sink_frames: usize,
    ) {
        let config = StudentConfig {
            width: 24,
            layers: 2,
            heads: 2,
            feed_forward_width: 48,
            latent_channels: 4,
            patch: 2,
            text_width: 8,
            frequency_width: 16,
            frames_per_block,
            window_frames,
            sink_frames,
        };
        let expected = gradients::<B>(&config, Context::OwnClean, false);
        // 15 tensors outside the blocks and 27 in each.
        assert_eq!(expected.len(), 15 + 2 * 27);
        for (context, recompute_blocks) in [
            (Context::Cached, false),
            (Context::Cached, true),
            (Context::OwnClean, true),
        ] {
            let found = gradients::<B>(&config, context, recompute_blocks);
            assert_eq!(found.len(), expected.len());
            for ((name, expected), (found_name, found)) in expected.iter().zip(&found) {
                assert_eq!((name, expected.len()), (found_name, found.len()));
                let largest = expected
                    .iter()
                    .fold(1e-6_f32, |largest, value| largest.max(value.abs()));
                let gap = expected
                    .iter()
                    .zip(found)
                    .fold(0.0_f32, |gap, (expected, found)| {
                        gap.max((expected - found).abs())
                    });
                assert!(
                    gap / largest < TOLERANCE,
                    "{context:?}, blocks again: {recompute_blocks}: {name} is off by {}",
                    gap / largest
                );
            }
        }
    }

    /// method.md G.3, options 1 (its context cut off) and 3.
    #[test]
    fn gradients_through_the_cache_are_those_in_parallel() {
        through_the_cache_as_in_parallel::<Autodiff<NdArray>>(2, 0, 0);
        through_the_cache_as_in_parallel::<Autodiff<Flex>>(1, 3, 1);
    }
}

//! Direct adversarial training, the baseline: the discriminator's gradient flows through a finished
//! clip into the student's last step (docs/method.md H.2).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use afd_models::kernels::{Kernels, Trainable};
use afd_models::noise::{Noise, Purpose};
use afd_models::student::segments::Pass;
use afd_models::student::{KvCache, Student};
use burn::prelude::*;

use super::feedback::{ScoredPart, bradley_terry, scores};
use super::samples::{Samples, state_pass};
use super::setup::Setup;
use super::update::{MicroBatch, Policies, RolloutUpdate};
use crate::engine::model::{AfdModel, TrainedDiscriminator};
use crate::engine::rounds::RoundError;
use crate::engine::update::{RunLoss, ScoredClips, StudentUpdate, scalar};
use crate::flow::path::{clean_estimate, levels};
use crate::flow::sampler::Sampler;
use crate::recipe::tables::DiscriminatorLoss;

/// Streams of a round that belong to no clip.
const WHOLE_ROUND: u64 = u64::MAX;

/// Name of the loss in the log.
pub const LOSS: &str = "direct_loss";

/// The student's update in direct adversarial training. Rollouts end at a random step (Self
/// Forcing's random exit).
pub struct DirectAdversarial<B: Trainable> {
    setup: Arc<Setup<B::InnerBackend>>,
}

impl<B: Trainable> DirectAdversarial<B> {
    /// The update of the run that `setup` describes.
    pub fn new(setup: Arc<Setup<B::InnerBackend>>) -> Self {
        Self { setup }
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> RolloutUpdate<B, D> for DirectAdversarial<B> {
    fn sampler(&self, round: u64) -> Sampler {
        let mut sampler = self.setup.sampler.clone();
        let mut draw = Noise::new(self.setup.seed, Purpose::Sigma, round, WHOLE_ROUND);
        let mut end = |levels: &mut Vec<f32>| levels.truncate(draw.below(levels.len()) + 1);
        end(&mut sampler.sigmas);
        if let Some(levels) = &mut sampler.first_block {
            end(levels);
        }
        sampler
    }

    fn reads_states(&self) -> bool {
        true
    }

    fn discriminator_passes(&self) -> u64 {
        1
    }

    fn micro_batches(
        &self,
        part: &ScoredPart<B::InnerBackend>,
        r: &[Vec<Vec<f64>>],
        _progress: f64,
        policies: &Policies<'_, B>,
    ) -> Result<Vec<Box<dyn MicroBatch<B, D>>>, RoundError> {
        let afd = &self.setup.afd;
        // The student's loss compares scores of the updated discriminator.
        let teacher = scores(
            &self.setup,
            policies.discriminator,
            &part.teacher,
            &part.text.teacher,
            afd.teacher_clips_per_prompt,
        )?;
        // Each rollout is compared with the scores of its prompt's teacher clips, [B][M][S].
        let teacher: Vec<Vec<Vec<f64>>> = teacher
            .into_iter()
            .flat_map(|scores| std::iter::repeat_n(scores, afd.rollouts_per_prompt))
            .collect();
        let batch = |(range, samples): (std::ops::Range<usize>, Samples<_>)| {
            let batch = DirectBatch {
                setup: self.setup.clone(),
                samples,
                shown: part.student.clone().slice_dim(0, range.clone()),
                teacher_scores: teacher[range].to_vec(),
            };
            Box::new(batch) as Box<dyn MicroBatch<B, D>>
        };
        let samples = Samples::rollouts(part, r).micro_batches(&self.setup);
        Ok(samples.into_iter().map(batch).collect())
    }
}

struct DirectBatch<B: Backend> {
    setup: Arc<Setup<B>>,
    samples: Samples<B>,
    /// The rollouts as the discriminator sees them, `[B, F, C, H, W]`.
    shown: Tensor<B, 5>,
    /// Scores of the same prompt's teacher clips for each rollout, `[B][M][S]`.
    teacher_scores: Vec<Vec<Vec<f64>>>,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> MicroBatch<B, D> for DirectBatch<B::InnerBackend> {
    fn clips(&self) -> usize {
        self.samples.clips.len()
    }

    fn update(
        &self,
        [round, step]: [u64; 2],
        policies: &Policies<'_, B>,
    ) -> Box<dyn StudentUpdate<B, D>> {
        let (setup, samples) = (&self.setup, &self.samples);
        let dims = samples.latents.dims();
        let [batch, frames, ..] = dims;
        let last = |first| policies.sampler.levels(first).last().copied();
        let [first, other] = [true, false].map(last).map(Option::unwrap_or_default);
        let sigmas = setup.per_frame(first, other).repeat(batch);
        let last = policies.sampler.most_levels() - 1;
        let size = setup.discriminator.instance_noise;
        let noise = (size > 0.0).then(|| {
            let draw = |clip: &u64| {
                // A side of its own: 0 to 2 are the discriminator's.
                let index = (3 + step) << 40 | clip;
                Noise::new(setup.seed, Purpose::InstanceNoise, round, index)
                    .normals(setup.values_per_clip())
            };
            let values: Vec<f32> = samples.clips.iter().flat_map(draw).collect();
            Tensor::<B::InnerBackend, 5>::from_data(TensorData::new(values, dims), &setup.device)
                * size
        });
        Box::new(DirectUpdate {
            clean: samples.latents.clone(),
            states: samples.states[last].clone(),
            levels: levels(&sigmas, batch, frames, &setup.device),
            sigmas,
            text: samples.text.clone(),
            teacher_scores: per_score(&self.teacher_scores, &setup.device),
            shown: Some(self.shown.clone()),
            noise,
            loss: setup.discriminator.loss,
        })
    }
}

/// `[B][M][S]` as a tensor `[B * S, M]`, in the order of a clip's scores.
fn per_score<B: Backend>(scores: &[Vec<Vec<f64>>], device: &B::Device) -> Tensor<B, 2> {
    let teachers = scores.first().map_or(0, Vec::len);
    let per_clip = scores.first().and_then(|of| of.first()).map_or(0, Vec::len);
    let values: Vec<f32> = scores
        .iter()
        .flat_map(|of| (0..per_clip).flat_map(move |s| of.iter().map(move |clip| clip[s] as f32)))
        .collect();
    let shape = [scores.len() * per_clip, teachers];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The last states of rollouts, and what the student's clips are compared with.
#[derive(Debug, Clone)]
pub struct DirectUpdate<B: Backend> {
    /// Finished clips that blocks attend to, `[B, F, C, H, W]`; detached from the graph, as in Self
    /// Forcing.
    pub clean: Tensor<B, 5>,
    /// What the student saw last before each clip, `[B, F, C, H, W]`.
    pub states: Tensor<B, 5>,
    /// Noise level of every (sample, frame), frame fastest.
    pub sigmas: Vec<f32>,
    /// The same as `[B, F, 1, 1, 1]`.
    pub levels: Tensor<B, 5>,
    /// Text embeddings `[B, L, text_width]`.
    pub text: Tensor<B, 3>,
    /// Scores of teacher clips of the same prompt, `[B * S, M]`.
    pub teacher_scores: Tensor<B, 2>,
    /// The clips after the same 8-bit and codec round trip as the teacher's: what the discriminator
    /// sees, while the gradient passes as if it saw the student's own; `None` where there is no
    /// round trip.
    pub shown: Option<Tensor<B, 5>>,
    /// Instance noise, `[B, F, C, H, W]`.
    pub noise: Option<Tensor<B, 5>>,
    /// The adversarial loss.
    pub loss: DiscriminatorLoss,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> StudentUpdate<B, D>
    for DirectUpdate<B::InnerBackend>
{
    fn text(&self) -> &Tensor<B::InnerBackend, 3> {
        &self.text
    }

    fn frozen_context(&self) -> Option<&Tensor<B::InnerBackend, 5>> {
        Some(&self.clean)
    }

    fn passes(
        &self,
        student: &Student<B>,
        cache: Option<&KvCache<B::InnerBackend>>,
        _run: usize,
    ) -> Vec<Pass<B::InnerBackend>> {
        vec![state_pass(student, &self.states, &self.sigmas, cache)]
    }

    fn loss(&self, velocity: Tensor<B, 5>, model: &AfdModel<B, D>, _run: usize) -> RunLoss<B> {
        let found = model.discriminator.as_ref();
        let discriminator =
            found.unwrap_or_else(|| unreachable!("the method's rounds need a discriminator"));
        let clips = self.clips(velocity);
        self.loss_of_scores(discriminator.score(clips, Tensor::from_inner(self.text.clone())))
    }

    fn scored(&self) -> Option<&dyn ScoredClips<B>> {
        Some(self)
    }
}

impl<B: Trainable> ScoredClips<B> for DirectUpdate<B::InnerBackend> {
    fn clips(&self, velocity: Tensor<B, 5>) -> Tensor<B, 5> {
        clips(velocity, self.differentiated())
    }

    fn loss_of_scores(&self, scores: Tensor<B, 2>) -> RunLoss<B> {
        let value = loss(scores, self.differentiated());
        RunLoss {
            scalars: vec![(LOSS, scalar(&value))],
            value,
            share: 1.0,
        }
    }
}

impl<B: Backend> DirectUpdate<B> {
    /// The same numbers as constants of a graph.
    fn differentiated<A: Trainable<InnerBackend = B>>(&self) -> DirectUpdate<A> {
        let clips = |tensor: &Tensor<B, 5>| Tensor::<A, 5>::from_inner(tensor.clone());
        DirectUpdate {
            clean: clips(&self.clean),
            states: clips(&self.states),
            sigmas: self.sigmas.clone(),
            levels: clips(&self.levels),
            text: Tensor::from_inner(self.text.clone()),
            teacher_scores: Tensor::from_inner(self.teacher_scores.clone()),
            shown: self.shown.as_ref().map(clips),
            noise: self.noise.as_ref().map(clips),
            loss: self.loss,
        }
    }
}

/// What the discriminator scores of the student's velocity `[B, F, C, H, W]`.
fn clips<B: Kernels>(velocity: Tensor<B, 5>, update: DirectUpdate<B>) -> Tensor<B, 5> {
    let own = clean_estimate(update.states, velocity, &update.levels);
    let clips = match update.shown {
        Some(shown) => straight_through(own, shown),
        None => own,
    };
    match update.noise {
        Some(noise) => clips + noise,
        None => clips,
    }
}

/// The student's loss for the scores `[B, S]` of its clips.
fn loss<B: Kernels>(scores: Tensor<B, 2>, update: DirectUpdate<B>) -> Tensor<B, 1> {
    // [B, S] -> [B S]
    let count = scores.dims().iter().product::<usize>();
    bradley_terry::student_loss(scores.reshape([count]), update.teacher_scores, update.loss)
}

/// The value of `shown` with the gradient of `own`.
fn straight_through<B: Backend>(own: Tensor<B, 5>, shown: Tensor<B, 5>) -> Tensor<B, 5> {
    own.clone() + (shown - own.detach())
}

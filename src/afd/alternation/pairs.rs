//! The discriminator's side of an alternation: scores, pairs, and its updates.

use std::ops::Range;

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use afd_models::noise::{Noise, Purpose};
use burn::prelude::*;

use super::Alternation;
use crate::afd::advantage::mean;
use crate::afd::model::{DiscriminatorWork, Penalty};
use crate::afd::shards::micro_batches;
use crate::afd::strategy::RoundError;

/// Text rows of a part's prompts.
pub(super) struct Texts<B: Backend> {
    /// Repeated for every teacher clip.
    pub teacher: Tensor<B, 3>,
    /// Repeated for every rollout.
    pub student: Tensor<B, 3>,
    /// Of another prompt for every teacher clip.
    pub mismatched: Option<Tensor<B, 3>>,
}

/// Clips of a part's prompts and their scores, `[P][M]` and `[P][K]`.
pub(super) struct Sides<B: Backend> {
    pub teacher: Tensor<B, 5>,
    pub student: Tensor<B, 5>,
    pub teacher_scores: Vec<Vec<f64>>,
    pub student_scores: Vec<Vec<f64>>,
}

impl<B: Trainable> Alternation<B> {
    /// Scores per prompt: `[P][per_prompt]`.
    pub(super) fn scores(
        &self,
        discriminator: &AnyDiscriminator<B::InnerBackend>,
        clips: &Tensor<B::InnerBackend, 5>,
        text: &Tensor<B::InnerBackend, 3>,
        per_prompt: usize,
    ) -> Vec<Vec<f64>> {
        let micro_batches = micro_batches(clips.dims()[0], self.micro_batch).into_iter();
        let scores: Vec<f64> = micro_batches
            .flat_map(|portion| {
                let text = text.clone().slice_dim(0, portion.clone());
                discriminator
                    .score_within_limits(clips.clone().slice_dim(0, portion), text)
                    .into_data()
                    .iter::<f64>()
                    .collect::<Vec<_>>()
            })
            .collect();
        scores.chunks(per_prompt).map(<[f64]>::to_vec).collect()
    }

    /// `first` is the place of the first prompt in its round.
    pub(super) fn texts(
        &self,
        prompts: &[String],
        first: usize,
        round: u64,
    ) -> Result<Texts<B::InnerBackend>, RoundError> {
        let text = |prompts: &[String], repeats| self.batches.text(prompts, repeats);
        let teachers = self.afd.teacher_clips_per_prompt;
        let mismatched = (self.discriminator.mismatch_weight > 0.0)
            .then(|| {
                self.batches
                    .mismatched_prompts(prompts, first, round, teachers)
            })
            .flatten();
        Ok(Texts {
            teacher: text(prompts, teachers)?,
            student: text(prompts, self.afd.rollouts_per_prompt)?,
            mismatched: mismatched.map(|prompts| text(&prompts, 1)).transpose()?,
        })
    }

    /// Both sides with the same augmentation and instance noise of the same size; `part` numbers
    /// the prompts.
    pub(super) fn discriminator_work(
        &self,
        round: u64,
        step: u64,
        sides: &Sides<B::InnerBackend>,
        texts: &Texts<B::InnerBackend>,
        part: Range<usize>,
        penalty_scale: f64,
    ) -> DiscriminatorWork<B::InnerBackend> {
        let settings = &self.discriminator;
        let mut draw = Noise::new(self.seed, Purpose::Augmentation, round, step);
        let reach = settings.augment_shift as i64;
        let shift = [0; 2].map(|_| draw.below(2 * settings.augment_shift + 1) as i64 - reach);
        let brightness = 1.0 + settings.augment_brightness * draw.between(-1.0, 1.0);
        let (teachers, students) = (
            self.afd.teacher_clips_per_prompt,
            self.afd.rollouts_per_prompt,
        );
        // One stream per step, side and prompt.
        let index = |side: u64| step * 3 + side;
        let augment = |clips: &Tensor<B::InnerBackend, 5>, side: u64, per_prompt: usize| {
            let mut clips = shifted_clips(clips.clone(), shift);
            if settings.augment_brightness > 0.0 {
                clips = clips * brightness;
            }
            if settings.instance_noise > 0.0 {
                let [noise] = self.normals(
                    Purpose::InstanceNoise,
                    round,
                    index(side),
                    part.clone(),
                    [per_prompt],
                );
                clips = clips + noise * settings.instance_noise;
            }
            clips
        };
        let (teacher, student) = (
            augment(&sides.teacher, 0, teachers),
            augment(&sides.student, 1, students),
        );
        let penalised = settings.r1_weight > 0.0 || settings.r2_weight > 0.0;
        let penalty = penalised.then(|| Penalty {
            direction: Tensor::cat(
                self.normals(
                    Purpose::Penalty,
                    round,
                    index(2),
                    part.clone(),
                    [teachers, students],
                )
                .into(),
                0,
            ),
            size: settings.penalty_size,
            r1: settings.r1_weight * penalty_scale,
            r2: settings.r2_weight * penalty_scale,
        });
        DiscriminatorWork {
            teacher,
            student,
            teacher_text: texts.teacher.clone(),
            student_text: texts.student.clone(),
            mismatched: texts
                .mismatched
                .clone()
                .map(|text| (text, settings.mismatch_weight)),
            prompts: part.len(),
            loss: settings.loss,
            penalty,
        }
    }

    /// Standard normal clips for the prompts numbered `part`, `counts` of each kind per prompt: one
    /// `[P * count, F, C, H, W]` per kind.
    ///
    /// A stream per prompt, so that nothing depends on how a batch is split.
    pub(super) fn normals<const KINDS: usize>(
        &self,
        purpose: Purpose,
        round: u64,
        index: u64,
        part: Range<usize>,
        counts: [usize; KINDS],
    ) -> [Tensor<B::InnerBackend, 5>; KINDS] {
        let [frames, channels, height, width] = self.shape;
        let size = frames * channels * height * width;
        let mut values = [const { Vec::new() }; KINDS];
        for prompt in part.clone() {
            let mut draw = Noise::new(self.seed, purpose, round, index << 32 | prompt as u64);
            values
                .iter_mut()
                .zip(counts)
                .for_each(|(values, count)| values.extend(draw.normals(count * size)));
        }
        values.map(|values: Vec<f32>| {
            let clips = values.len() / size;
            Tensor::from_data(
                TensorData::new(values, [clips, frames, channels, height, width]),
                &self.device,
            )
        })
    }
}

/// Pair accuracy on clips that the discriminator has not been trained on yet.
pub(super) fn fresh_accuracy(teacher: &[Vec<f64>], student: &[Vec<f64>]) -> f64 {
    let wins = teacher.iter().zip(student).flat_map(|(teacher, student)| {
        teacher.iter().flat_map(move |t| {
            student.iter().map(move |s| {
                if t > s {
                    1.0
                } else if t == s {
                    0.5
                } else {
                    0.0
                }
            })
        })
    });
    mean(&wins.collect::<Vec<_>>())
}

/// Moves clips by whole latent pixels (rows, columns); what moves in from outside is zero, the mean
/// colour.
fn shifted_clips<B: Backend>(clips: Tensor<B, 5>, [rows, columns]: [i64; 2]) -> Tensor<B, 5> {
    let move_axis = |clips: Tensor<B, 5>, axis: usize, by: i64| {
        let mut dims = clips.dims();
        let length = dims[axis];
        let gap = (by.unsigned_abs() as usize).min(length);
        if gap == 0 {
            return clips;
        }
        dims[axis] = gap;
        let empty = Tensor::zeros(dims, &clips.device());
        if by > 0 {
            Tensor::cat(vec![empty, clips.slice_dim(axis, 0..length - gap)], axis)
        } else {
            Tensor::cat(vec![clips.slice_dim(axis, gap..length), empty], axis)
        }
    };
    move_axis(move_axis(clips, 3, rows), 4, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn shifting_moves_pixels_and_fills_with_the_mean_colour() {
        let clips = Tensor::<NdArray, 1, Int>::arange(1..7, &Default::default())
            .float()
            .reshape([1, 1, 1, 2, 3]);
        let shifted = shifted_clips(clips, [1, -1])
            .into_data()
            .to_vec::<f32>()
            .unwrap();
        assert_eq!(shifted, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
    }
}

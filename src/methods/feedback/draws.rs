//! Augmentation and noise of a discriminator update.

use std::ops::Range;

use afd_models::noise::{Noise, Purpose};
use burn::prelude::*;

use crate::methods::setup::Setup;

/// Standard normal clips for the prompts numbered `prompts`, `counts` of each kind per prompt: one
/// `[P * count, F, C, H, W]` per kind.
///
/// A stream per prompt, so that nothing depends on how a batch is split.
pub(super) fn normals<B: Backend, const KINDS: usize>(
    setup: &Setup<B>,
    purpose: Purpose,
    round: u64,
    index: u64,
    prompts: Range<usize>,
    counts: [usize; KINDS],
) -> [Tensor<B, 5>; KINDS] {
    let [frames, channels, height, width] = setup.shape;
    let size = setup.values_per_clip();
    let mut values = [const { Vec::new() }; KINDS];
    for prompt in prompts {
        let mut draw = Noise::new(setup.seed, purpose, round, index << 32 | prompt as u64);
        for (values, count) in values.iter_mut().zip(counts) {
            values.extend(draw.normals(count * size));
        }
    }
    values.map(|values: Vec<f32>| {
        let shape = [values.len() / size, frames, channels, height, width];
        Tensor::from_data(TensorData::new(values, shape), &setup.device)
    })
}

/// One shift and one change of brightness for both sides of an update.
pub(super) struct Augmentation {
    shift: [i64; 2],
    brightness: f32,
}

impl Augmentation {
    /// The augmentation of update number `step` of a round.
    pub(super) fn draw<B: Backend>(setup: &Setup<B>, round: u64, step: u64) -> Self {
        let table = &setup.discriminator;
        let mut draw = Noise::new(setup.seed, Purpose::Augmentation, round, step);
        let reach = table.augment_shift as i64;
        let shift = [0; 2].map(|_| draw.below(2 * table.augment_shift + 1) as i64 - reach);
        Self {
            shift,
            brightness: 1.0 + table.augment_brightness * draw.between(-1.0, 1.0),
        }
    }

    /// Augmented clips, `[B, F, C, H, W]` as they came.
    pub(super) fn apply<B: Backend>(&self, setup: &Setup<B>, clips: Tensor<B, 5>) -> Tensor<B, 5> {
        let clips = shifted_clips(clips, self.shift);
        if setup.discriminator.augment_brightness > 0.0 {
            clips * self.brightness
        } else {
            clips
        }
    }
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

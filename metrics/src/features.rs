//! A fixed feature network: three random 3-D convolutions and a random projection, the same on
//! every machine.
//!
//! Fréchet video distance uses a network trained on Kinetics, which we neither have nor would
//! understand balls of 3 px. Random convolutions with rectifiers are a known stand-in: their
//! features separate distributions of pictures without having learned any (Naeem et al., arXiv
//! 2002.09797, use a randomly initialised VGG16 for sets unlike ImageNet). Their numbers compare
//! with nothing but themselves.
//!
//! | layer | kernel | stride (t, y, x) | output (t, y, x, channels) |
//! |---|---|---|---|
//! | input | | | 12 x 16 x 16 x 3 |
//! | convolution | 3 x 3 x 3 | 1, 2, 2 | 12 x 8 x 8 x 24 |
//! | convolution | 3 x 3 x 3 | 2, 2, 2 | 6 x 4 x 4 x 48 |
//! | convolution | 3 x 3 x 3 | 2, 2, 2 | 3 x 2 x 2 x 64 |
//! | projection | | | 64 |
//!
//! Zero padding of 1; leaky ReLU (slope 0.2) after each convolution; normal weights of
//! variance 2 / inputs (He et al., arXiv 1502.01852), no biases. The last map is projected whole,
//! not pooled: where a ball is and when must not be averaged away.

use afd_clips::video::Clip;
use afd_noise::{Noise, Purpose};

/// Values per feature vector.
pub const FEATURES: usize = 64;

/// Frames, rows and columns that every clip is brought to.
const INPUT: [usize; 3] = [12, 16, 16];
/// Input channels, output channels and strides of each convolution.
const CONVOLUTIONS: [(usize, usize, [usize; 3]); 3] =
    [(3, 24, [1, 2, 2]), (24, 48, [2, 2, 2]), (48, 64, [2, 2, 2])];
const KERNEL: usize = 3;
const SLOPE: f32 = 0.2;

/// The network. Cheap to make, always the same.
#[derive(Debug, Clone)]
pub struct FeatureNetwork {
    convolutions: Vec<Convolution>,
    /// `[values of the last map, FEATURES]`
    projection: Vec<f32>,
}

impl Default for FeatureNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl FeatureNetwork {
    /// Draws the weights.
    pub fn new() -> Self {
        let weights = |layer: u64, inputs: usize, outputs: usize| -> Vec<f32> {
            let scale = (2.0 / inputs as f32).sqrt();
            Noise::new(0, Purpose::FeatureNetwork, 0, layer)
                .normals(inputs * outputs)
                .iter()
                .map(|value| scale * value)
                .collect()
        };
        let mut size = INPUT;
        let mut convolutions = Vec::new();
        for (layer, (inputs, outputs, strides)) in CONVOLUTIONS.into_iter().enumerate() {
            convolutions.push(Convolution {
                inputs,
                outputs,
                strides,
                weights: weights(layer as u64, KERNEL.pow(3) * inputs, outputs),
            });
            size = [0, 1, 2].map(|axis| size[axis].div_ceil(strides[axis]));
        }
        let values = size.iter().product::<usize>() * CONVOLUTIONS[2].1;
        Self {
            convolutions,
            projection: weights(CONVOLUTIONS.len() as u64, values, FEATURES),
        }
    }

    /// The [`FEATURES`] values of a clip.
    ///
    /// Larger pictures are averaged down to 16 x 16 px; of longer clips 12 evenly spaced frames are
    /// seen. So clips that are to be compared must have one shape.
    pub fn features(&self, clip: &Clip) -> Vec<f32> {
        let (mut map, mut size) = (input(clip), INPUT);
        for convolution in &self.convolutions {
            (map, size) = convolution.apply(&map, size);
        }
        let mut features = vec![0.0; FEATURES];
        for (value, weights) in map.iter().zip(self.projection.chunks_exact(FEATURES)) {
            features
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += value * weight);
        }
        features
    }
}

/// `[t, y, x, channel]`, values in [-1, 1]: each place the mean of the pixels it covers.
fn input(clip: &Clip) -> Vec<f32> {
    let shape = clip.shape;
    let part = |index: usize, parts: usize, of: usize| {
        let start = index * of / parts;
        start..((index + 1) * of / parts).max(start + 1)
    };
    let mut values = Vec::with_capacity(INPUT.iter().product::<usize>() * 3);
    for t in 0..INPUT[0] {
        let frame = t * shape.frames / INPUT[0];
        for (y, x) in (0..INPUT[1]).flat_map(|y| (0..INPUT[2]).map(move |x| (y, x))) {
            let (rows, columns) = (
                part(y, INPUT[1], shape.height),
                part(x, INPUT[2], shape.width),
            );
            let count = (rows.len() * columns.len()) as f32;
            let mut sum = [0.0; 3];
            for (row, column) in
                rows.flat_map(|row| columns.clone().map(move |column| (row, column)))
            {
                sum.iter_mut()
                    .zip(clip.pixel(frame, row, column))
                    .for_each(|(sum, value)| *sum += value);
            }
            values.extend(sum.map(|sum| sum / count));
        }
    }
    values
}

#[derive(Debug, Clone)]
struct Convolution {
    inputs: usize,
    outputs: usize,
    strides: [usize; 3],
    /// `[kernel t, y, x, inputs, outputs]`
    weights: Vec<f32>,
}

impl Convolution {
    /// `[t, y, x, inputs]` of `size` to `[t', y', x', outputs]` and its size, rectified.
    fn apply(&self, map: &[f32], size: [usize; 3]) -> (Vec<f32>, [usize; 3]) {
        let to = [0, 1, 2].map(|axis| size[axis].div_ceil(self.strides[axis]));
        let mut out = vec![0.0; to.iter().product::<usize>() * self.outputs];
        for (place, sums) in out.chunks_exact_mut(self.outputs).enumerate() {
            let centre = [
                place / (to[1] * to[2]),
                place / to[2] % to[1],
                place % to[2],
            ];
            for (tap, weights) in self
                .weights
                .chunks_exact(self.inputs * self.outputs)
                .enumerate()
            {
                let offset = [tap / (KERNEL * KERNEL), tap / KERNEL % KERNEL, tap % KERNEL];
                // Padding of 1: offsets -1, 0, 1 around the strided place.
                let at = [0, 1, 2]
                    .map(|axis| (centre[axis] * self.strides[axis] + offset[axis]).wrapping_sub(1));
                if (0..3).any(|axis| at[axis] >= size[axis]) {
                    continue;
                }
                let start = ((at[0] * size[1] + at[1]) * size[2] + at[2]) * self.inputs;
                for (value, weights) in map[start..start + self.inputs]
                    .iter()
                    .zip(weights.chunks_exact(self.outputs))
                {
                    sums.iter_mut()
                        .zip(weights)
                        .for_each(|(sum, weight)| *sum += value * weight);
                }
            }
        }
        out.iter_mut()
            .for_each(|value| *value = value.max(SLOPE * *value));
        (out, to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{Disc, RED, clip, drifting};
    use super::*;

    #[test]
    fn a_convolution_by_hand_pads_strides_and_rectifies() {
        // One channel, weights 1 at the centre tap and 10 at the tap one to the right: 1 x 1 x 4
        // values, stride 2 along x.
        let mut weights = vec![0.0; 27];
        weights[13] = 1.0;
        weights[14] = 10.0;
        let convolution = Convolution {
            inputs: 1,
            outputs: 1,
            strides: [1, 1, 2],
            weights,
        };
        assert_eq!(
            convolution.apply(&[1.0, 2.0, -3.0, -4.0], [1, 1, 4]),
            (vec![21.0, -43.0 * SLOPE], [1, 1, 2])
        );
        // At the border the tap to the right falls into the padding.
        assert_eq!(
            convolution.apply(&[1.0, 2.0, 3.0], [1, 1, 3]).0,
            [21.0, 3.0]
        );
    }

    #[test]
    fn features_are_recorded_numbers() {
        // Recorded on x86-64. A failure means that Fréchet and kernel distances no longer compare
        // with the committed results.
        let features = FeatureNetwork::new().features(&drifting([3.0, 5.0], [0.8, 0.3]));
        assert_eq!(features.len(), FEATURES);
        let sum: f64 = features.iter().map(|&value| f64::from(value)).sum();
        assert!(
            (sum - RECORDED_SUM).abs() < 1e-4 && (features[0] - RECORDED_FIRST).abs() < 1e-5,
            "{sum} {}",
            features[0]
        );
    }
    const RECORDED_SUM: f64 = 3.726037880;
    const RECORDED_FIRST: f32 = 1.091676;

    #[test]
    fn features_tell_times_and_places_apart_and_do_not_explode() {
        let network = FeatureNetwork::new();
        let one = drifting([3.0, 5.0], [0.8, 0.3]);
        let mut reversed = one.clone();
        let frame = 16 * 16 * 3;
        reversed.pixels = one.pixels.chunks(frame).rev().flatten().copied().collect();
        let distance = |other: &Clip| {
            super::super::energy_distance::euclidean(
                &network.features(&one),
                &network.features(other),
            )
        };
        let norm = network
            .features(&one)
            .iter()
            .map(|value| value * value)
            .sum::<f32>()
            .sqrt();
        assert!((0.1..100.0).contains(&norm), "{norm}");
        let (backwards, elsewhere, nearly) = (
            distance(&reversed),
            distance(&drifting([3.0, 10.0], [0.8, 0.3])),
            distance(&drifting([3.1, 5.0], [0.8, 0.3])),
        );
        assert!(
            nearly < 0.2 * backwards && nearly < 0.2 * elsewhere && backwards > 0.3,
            "{nearly} {backwards} {elsewhere}"
        );
    }

    #[test]
    fn larger_and_longer_clips_are_seen_as_their_small_short_versions() {
        let disc = |side: f32, frames: usize, per: usize| {
            let path = (0..frames)
                .map(|t| Some([side * (0.3 + 0.04 * (t / per) as f32), side * 0.4]))
                .collect();
            clip(
                frames,
                side as usize,
                &[Disc {
                    path,
                    radius: 0.125 * side,
                    colour: RED,
                }],
            )
        };
        let network = FeatureNetwork::new();
        let (small, large) = (
            network.features(&disc(16.0, 12, 1)),
            network.features(&disc(32.0, 24, 2)),
        );
        let norm = small.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!(super::super::energy_distance::euclidean(&small, &large) < f64::from(0.02 * norm));
    }
}

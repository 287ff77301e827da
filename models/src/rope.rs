//! Three-axis rotary position embedding (docs/method.md B.2.6).

use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

/// Rotations for a run of tokens: frame-major, then row, then column.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    /// `[1, S * D]`, D = heads * d, each cosine repeated for both members of its channel pair.
    pub(crate) cosine: Tensor<B, 2>,
    /// `[1, S * D]`.
    pub(crate) sine: Tensor<B, 2>,
    /// `[d, d]`: the matrix that maps each channel pair (a, b) to (-b, a).
    pub(crate) quarter_turn: Tensor<B, 2>,
}

impl<B: Backend> Rotation<B> {
    /// The same as constants of a differentiated graph.
    pub(crate) fn lift<D: AutodiffBackend<InnerBackend = B>>(self) -> Rotation<D> {
        let Self {
            cosine,
            sine,
            quarter_turn,
        } = self;
        Rotation {
            cosine: Tensor::from_inner(cosine),
            sine: Tensor::from_inner(sine),
            quarter_turn: Tensor::from_inner(quarter_turn),
        }
    }

    /// Rotations for latent frames numbered `frames`, each of `rows` x `columns` tokens, for
    /// `heads` heads of `head_width` channels.
    ///
    /// The head's channel pairs are split over (frame, row, column) as Wan does: `d - 4 * (d / 6)`,
    /// `2 * (d / 6)` and `2 * (d / 6)` channels (44/42/42 of 128). Angles are computed in f64.
    pub fn new(
        frames: &[usize],
        rows: usize,
        columns: usize,
        heads: usize,
        head_width: usize,
        device: &B::Device,
    ) -> Self {
        let spatial = 2 * (head_width / 6);
        let axes = [head_width - 2 * spatial, spatial, spatial];
        let tokens = frames.len() * rows * columns;
        let mut cosine = Vec::with_capacity(tokens * head_width);
        let mut sine = Vec::with_capacity(tokens * head_width);
        for &frame in frames {
            for row in 0..rows {
                for column in 0..columns {
                    for (axis, position) in axes.iter().zip([frame, row, column]) {
                        for pair in 0..axis / 2 {
                            let angle = position as f64
                                * libm::pow(10_000.0, -2.0 * pair as f64 / *axis as f64);
                            cosine.extend([libm::cos(angle) as f32; 2]);
                            sine.extend([libm::sin(angle) as f32; 2]);
                        }
                    }
                }
            }
        }
        let mut quarter_turn = vec![0.0f32; head_width * head_width];
        for pair in 0..head_width / 2 {
            // Row = input channel, column = output channel: out[2j] = -in[2j+1], out[2j+1] =
            // in[2j].
            quarter_turn[(2 * pair + 1) * head_width + 2 * pair] = -1.0;
            quarter_turn[2 * pair * head_width + 2 * pair + 1] = 1.0;
        }
        // The same rotation for every head, so that whole rows of tokens can be rotated before they
        // are split into heads.
        let table = |values: Vec<f32>| {
            let repeated: Vec<f32> = values
                .chunks(head_width)
                .flat_map(|token| token.repeat(heads))
                .collect();
            Tensor::from_data(
                TensorData::new(repeated, [1, tokens * heads * head_width]),
                device,
            )
        };
        Self {
            cosine: table(cosine),
            sine: table(sine),
            quarter_turn: Tensor::from_data(
                TensorData::new(quarter_turn, [head_width, head_width]),
                device,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernels;
    use burn::backend::NdArray;

    #[test]
    fn a_pair_turns_by_position_times_frequency() {
        // Head width 6 has one pair per axis, each with frequency 1: frame 3, row 1, column 1 turn
        // by 3, 1 and 1 radians.
        let rotation = Rotation::<NdArray>::new(&[3], 2, 2, 1, 6, &Default::default());
        let ones = Tensor::<NdArray, 3>::from_data(
            TensorData::new([1.0f32, 0.0].repeat(12), [1, 4, 6]),
            &Default::default(),
        );
        let rotated = NdArray::rotate(ones, &rotation, false)
            .into_data()
            .to_vec::<f32>()
            .unwrap();
        let last = &rotated[18..];
        for (found, angle) in last.chunks(2).zip([3.0f32, 1.0, 1.0]) {
            assert!(
                (found[0] - angle.cos()).abs() < 1e-6 && (found[1] - angle.sin()).abs() < 1e-6,
                "{found:?} at {angle}"
            );
        }
    }

    #[test]
    fn head_width_128_splits_44_42_42() {
        let spatial = 2 * (128 / 6);
        assert_eq!([128 - 2 * spatial, spatial, spatial], [44, 42, 42]);
    }
}

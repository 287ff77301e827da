//! Rotary position embedding.

use burn::backend::Flex;
use burn::prelude::*;

use super::lanes::vectorised;
use super::{made, slice, values};
use crate::rope::Rotation;

pub(super) fn rotate(x: Tensor<Flex, 3>, rotation: &Rotation<Flex>, back: bool) -> Tensor<Flex, 3> {
    let dims = x.dims();
    let (x, cosine, sine) = (
        values(x),
        values(rotation.cosine.clone()),
        values(rotation.sine.clone()),
    );
    let mut output = slice(&x).to_vec();
    let (cosine, sine) = (slice(&cosine), slice(&sine));
    let sign = if back { -1.0 } else { 1.0 };
    vectorised(|| {
        for clip in output.chunks_exact_mut(dims[1] * dims[2]) {
            for ((pair, cosine), sine) in clip
                .chunks_exact_mut(2)
                .zip(cosine.chunks_exact(2))
                .zip(sine.chunks_exact(2))
            {
                let (cosine, sine) = (cosine[0], sign * sine[0]);
                (pair[0], pair[1]) = (
                    pair[0] * cosine - pair[1] * sine,
                    pair[1] * cosine + pair[0] * sine,
                );
            }
        }
    });
    made(output, dims)
}

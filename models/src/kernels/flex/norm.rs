//! Norms of rows and gated sums, with scales, shifts and gates broadcast per group.

use burn::backend::Flex;
use burn::prelude::*;

use super::lanes::{dot, statistics, sum, vectorised};
use super::{made, slice, values};
use crate::kernels::{Affine, Norm};

pub(super) fn normalise(x: Tensor<Flex, 2>, affine: Affine<Flex>, norm: Norm) -> Tensor<Flex, 2> {
    let ([rows, width], [groups, piece]) = (x.dims(), affine.scale.dims());
    let (x, scale, shift) = (values(x), values(affine.scale), affine.shift.map(values));
    let per_group = rows * width / piece / groups;
    let mut output = vec![0.0; rows * width];
    let (x, scale, shift) = (slice(&x), slice(&scale), shift.as_ref().map(slice));
    vectorised(|| {
        for (row, (x, output)) in x
            .chunks_exact(width)
            .zip(output.chunks_exact_mut(width))
            .enumerate()
        {
            let (mean, inverse) = statistics(x, norm);
            for (number, (x, output)) in x
                .chunks_exact(piece)
                .zip(output.chunks_exact_mut(piece))
                .enumerate()
            {
                let group = (row * (width / piece) + number) / per_group * piece;
                let scale = &scale[group..group + piece];
                for ((output, x), scale) in output.iter_mut().zip(x).zip(scale) {
                    *output = (x - mean) * inverse * scale;
                }
                if let Some(shift) = shift {
                    for (output, shift) in output.iter_mut().zip(&shift[group..group + piece]) {
                        *output += shift;
                    }
                }
            }
        }
    });
    made(output, [rows, width])
}

pub(super) fn normalise_backward(
    x: Tensor<Flex, 2>,
    scale: Tensor<Flex, 2>,
    gradient: Tensor<Flex, 2>,
    norm: Norm,
) -> [Tensor<Flex, 2>; 3] {
    let ([rows, width], [groups, piece]) = (x.dims(), scale.dims());
    let (x, scale, gradient) = (values(x), values(scale), values(gradient));
    let per_group = rows * width / piece / groups;
    let mut for_x = vec![0.0; rows * width];
    let (mut for_scale, mut for_shift) = (vec![0.0; groups * piece], vec![0.0; groups * piece]);
    let (x, scale, gradient) = (slice(&x), slice(&scale), slice(&gradient));
    vectorised(|| {
        let mut normed = vec![0.0; width];
        let rows = x
            .chunks_exact(width)
            .zip(gradient.chunks_exact(width))
            .zip(for_x.chunks_exact_mut(width));
        for (row, ((x, gradient), for_x)) in rows.enumerate() {
            let (mean, inverse) = statistics(x, norm);
            for (normed, x) in normed.iter_mut().zip(x) {
                *normed = (x - mean) * inverse;
            }
            for number in 0..width / piece {
                let group = (row * (width / piece) + number) / per_group * piece;
                let range = number * piece..(number + 1) * piece;
                let (normed, gradient) = (&normed[range.clone()], &gradient[range.clone()]);
                for ((sum, gradient), normed) in for_scale[group..group + piece]
                    .iter_mut()
                    .zip(gradient)
                    .zip(normed)
                {
                    *sum += gradient * normed;
                }
                for (sum, gradient) in for_shift[group..group + piece].iter_mut().zip(gradient) {
                    *sum += gradient;
                }
                for ((for_x, gradient), scale) in for_x[range]
                    .iter_mut()
                    .zip(gradient)
                    .zip(&scale[group..group + piece])
                {
                    *for_x = gradient * scale;
                }
            }
            let along = dot(for_x, &normed) / width as f32;
            let centre = if norm.centred {
                sum(for_x) / width as f32
            } else {
                0.0
            };
            for (for_x, normed) in for_x.iter_mut().zip(&normed) {
                *for_x = (*for_x - centre - normed * along) * inverse;
            }
        }
    });
    [
        made(for_x, [rows, width]),
        made(for_scale, [groups, piece]),
        made(for_shift, [groups, piece]),
    ]
}

pub(super) fn add_gated(
    x: Tensor<Flex, 2>,
    branch: Tensor<Flex, 2>,
    gate: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let ([rows, width], [groups, _]) = (x.dims(), gate.dims());
    let (x, branch, gate) = (values(x), values(branch), values(gate));
    let mut output = slice(&x).to_vec();
    let (branch, gate) = (slice(&branch), slice(&gate));
    vectorised(|| {
        for (row, (output, branch)) in output
            .chunks_exact_mut(width)
            .zip(branch.chunks_exact(width))
            .enumerate()
        {
            let group = row / (rows / groups) * width;
            for ((output, branch), gate) in output
                .iter_mut()
                .zip(branch)
                .zip(&gate[group..group + width])
            {
                *output += branch * gate;
            }
        }
    });
    made(output, [rows, width])
}

pub(super) fn add_gated_backward(
    branch: Tensor<Flex, 2>,
    gate: Tensor<Flex, 2>,
    gradient: Tensor<Flex, 2>,
) -> [Tensor<Flex, 2>; 2] {
    let ([rows, width], [groups, _]) = (branch.dims(), gate.dims());
    let (branch, gate, gradient) = (values(branch), values(gate), values(gradient));
    let mut for_branch = slice(&gradient).to_vec();
    let mut for_gate = vec![0.0; groups * width];
    let (branch, gate) = (slice(&branch), slice(&gate));
    vectorised(|| {
        for (row, (gradient, branch)) in for_branch
            .chunks_exact_mut(width)
            .zip(branch.chunks_exact(width))
            .enumerate()
        {
            let group = row / (rows / groups) * width;
            for ((sum, gradient), branch) in for_gate[group..group + width]
                .iter_mut()
                .zip(&*gradient)
                .zip(branch)
            {
                *sum += gradient * branch;
            }
            for (gradient, gate) in gradient.iter_mut().zip(&gate[group..group + width]) {
                *gradient *= gate;
            }
        }
    });
    [
        made(for_branch, [rows, width]),
        made(for_gate, [groups, width]),
    ]
}

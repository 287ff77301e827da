//! GELU and leaky ReLU, value by value.

use burn::backend::Flex;
use burn::prelude::*;

use super::lanes::{sigmoid, vectorised};
use super::{made, slice, values};
use crate::kernels::composite;

const SLOPE: f32 = composite::SLOPE as f32;
const CUBIC: f32 = composite::CUBIC as f32;

pub(super) fn gelu_tanh(x: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let dims = x.dims();
    let x = values(x);
    let mut output = slice(&x).to_vec();
    vectorised(|| {
        for x in &mut output {
            *x *= sigmoid(*x * (*x * *x * CUBIC + SLOPE));
        }
    });
    made(output, dims)
}

pub(super) fn gelu_tanh_backward(x: Tensor<Flex, 2>, gradient: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let dims = x.dims();
    let (x, gradient) = (values(x), values(gradient));
    let mut output = slice(&gradient).to_vec();
    let x = slice(&x);
    vectorised(|| {
        for (gradient, x) in output.iter_mut().zip(x) {
            let square = x * x;
            let share = sigmoid(x * (square * CUBIC + SLOPE));
            *gradient *= share * ((1.0 - share) * x * (square * (3.0 * CUBIC) + SLOPE) + 1.0);
        }
    });
    made(output, dims)
}

pub(super) fn leaky_relu(x: Tensor<Flex, 2>) -> Tensor<Flex, 2> {
    let dims = x.dims();
    let mut output = slice(&values(x)).to_vec();
    vectorised(|| {
        for x in &mut output {
            *x *= slope(*x);
        }
    });
    made(output, dims)
}

pub(super) fn leaky_relu_backward(
    x: Tensor<Flex, 2>,
    gradient: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let dims = x.dims();
    let x = values(x);
    let mut output = slice(&values(gradient)).to_vec();
    vectorised(|| {
        for (gradient, x) in output.iter_mut().zip(slice(&x)) {
            *gradient *= slope(*x);
        }
    });
    made(output, dims)
}

/// The slope of leaky ReLU at `x`.
#[inline(always)]
fn slope(x: f32) -> f32 {
    if x < 0.0 {
        composite::LEAKY_SLOPE as f32
    } else {
        1.0
    }
}

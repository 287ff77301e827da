//! The kernels on flex: plain loops over rows, compiled for the widest vector instructions of the
//! machine they run on.
//!
//! Sums run in 16 lanes that are added up at the end, whatever the machine's vectors: the same bits
//! everywhere. The loops are for f32; other types take the composite kernels.

mod activation;
mod attention;
mod attention_backward;
mod convolution;
mod lanes;
mod norm;
mod rotation;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::prelude::*;
use burn::tensor::{DType, TensorPrimitive};

use super::{Affine, Attention, Kernels, Norm, Window, composite, convolve};
use crate::causal::Visibility;
use crate::rope::Rotation;

impl Kernels for Flex {
    fn normalise(x: Tensor<Self, 2>, affine: Affine<Self>, norm: Norm) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::normalise(x, affine, norm);
        }
        norm::normalise(x, affine, norm)
    }

    fn normalise_backward(
        x: Tensor<Self, 2>,
        scale: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
        norm: Norm,
    ) -> [Tensor<Self, 2>; 3] {
        if !single(&x) {
            return composite::normalise_backward(x, scale, gradient, norm);
        }
        norm::normalise_backward(x, scale, gradient, norm)
    }

    fn add_gated(
        x: Tensor<Self, 2>,
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if !single(&x) || !single(&branch) {
            return composite::add_gated(x, branch, gate);
        }
        norm::add_gated(x, branch, gate)
    }

    fn add_gated_backward(
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
        gradient: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        if !single(&branch) {
            return composite::add_gated_backward(branch, gate, gradient);
        }
        norm::add_gated_backward(branch, gate, gradient)
    }

    fn gelu_tanh(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::gelu_tanh(x);
        }
        activation::gelu_tanh(x)
    }

    fn gelu_tanh_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::gelu_tanh_backward(x, gradient);
        }
        activation::gelu_tanh_backward(x, gradient)
    }

    fn leaky_relu(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::leaky_relu(x);
        }
        activation::leaky_relu(x)
    }

    fn leaky_relu_backward(x: Tensor<Self, 2>, gradient: Tensor<Self, 2>) -> Tensor<Self, 2> {
        if !single(&x) {
            return composite::leaky_relu_backward(x, gradient);
        }
        activation::leaky_relu_backward(x, gradient)
    }

    fn unfold(x: Tensor<Self, 5>) -> Tensor<Self, 5> {
        if !single(&x) {
            return composite::unfold(x);
        }
        convolution::unfold(x)
    }

    fn unfold_backward(gradient: Tensor<Self, 5>, dims: [usize; 5]) -> Tensor<Self, 5> {
        if !single(&gradient) {
            return composite::unfold_backward(gradient, dims);
        }
        convolution::unfold_backward(gradient, dims)
    }

    fn convolve(
        x: Tensor<Self, 5>,
        weight: Tensor<Self, 5>,
        bias: Tensor<Self, 1>,
        window: Window,
    ) -> Tensor<Self, 5> {
        if !single(&x) {
            return convolve::tiled(x, weight, bias, window);
        }
        convolution::convolve(x, weight, bias, window)
    }

    fn rotate(x: Tensor<Self, 3>, rotation: &Rotation<Self>, back: bool) -> Tensor<Self, 3> {
        if !single(&x) {
            return composite::rotate(x, rotation, back);
        }
        rotation::rotate(x, rotation, back)
    }

    fn attend(inputs: Attention<Self>, visibility: &Visibility) -> Tensor<Self, 3> {
        if !single(&inputs.queries) {
            return composite::attend(inputs, visibility, false);
        }
        attention::attend(inputs, visibility)
    }

    fn attend_backward(
        inputs: Attention<Self>,
        output: Tensor<Self, 3>,
        gradient: Tensor<Self, 3>,
        visibility: &Visibility,
        past: bool,
    ) -> Vec<Tensor<Self, 3>> {
        if !single(&output) {
            return composite::attend_backward(inputs, gradient, visibility, past);
        }
        attention_backward::attend_backward(inputs, output, gradient, visibility, past)
    }
}

/// Whether the values are f32, which these loops are for.
fn single<const N: usize>(x: &Tensor<Flex, N>) -> bool {
    x.dtype() == DType::F32
}

/// The tensor with its values in order.
fn values<const N: usize>(x: Tensor<Flex, N>) -> FlexTensor {
    x.into_primitive().tensor().to_contiguous()
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice()
        .expect("f32 in order: see `single` and `values`")
}

fn made<const N: usize>(values: Vec<f32>, shape: [usize; N]) -> Tensor<Flex, N> {
    Tensor::from_primitive(TensorPrimitive::Float(FlexTensor::from_data(
        TensorData::new(values, shape),
    )))
}

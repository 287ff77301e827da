//! The kernels as single nodes of a differentiated graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use burn::tensor::ops::FloatTensor;

use super::{Affine, Attention, Kernels, Norm};
use crate::causal::Visibility;
use crate::rope::Rotation;

/// What the inner backend computes with.
fn inner<B: Kernels, C: CheckpointStrategy, const N: usize>(
    x: &Tensor<Autodiff<B, C>, N>,
) -> Tensor<B, N> {
    x.clone().inner()
}

fn primitive<B: Backend, const N: usize>(x: Tensor<B, N>) -> FloatTensor<B> {
    x.into_primitive().tensor()
}

fn tensor<B: Backend, const N: usize>(primitive: FloatTensor<B>) -> Tensor<B, N> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// One node: the graph gets `output`, and `operation` is called with `state` for the gradients of
/// `parents`.
macro_rules! node {
    ($operation:expr, [$($parent:expr),+], $state:expr, $output:expr) => {{
        let parents = [$(primitive($parent)),+];
        let nodes = parents.each_ref().map(|parent| parent.node.clone());
        tensor(match Backward::<B, _>::prepare::<C>($operation, nodes).compute_bound().stateful() {
            OpsKind::Tracked(preparation) => preparation.finish($state, primitive($output)),
            OpsKind::UnTracked(preparation) => preparation.finish(primitive($output)),
        })
    }};
}

/// Hands each differentiated parent its gradient.
fn register<B: Backend, S, const N: usize, const D: usize>(
    ops: Ops<S, N>,
    grads: &mut Gradients,
    gradients: impl IntoIterator<Item = Tensor<B, D>>,
) {
    for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, primitive(gradient));
        }
    }
}

#[derive(Debug)]
struct NormaliseStep(Norm);

impl<B: Kernels, const N: usize> Backward<B, N> for NormaliseStep {
    /// `x` and the scale.
    type State = (Tensor<B, 2>, Tensor<B, 2>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let (x, scale) = ops.state.clone();
        register(
            ops,
            grads,
            B::normalise_backward(x, scale, gradient, self.0),
        );
    }
}

#[derive(Debug)]
struct AddGatedStep;

impl<B: Kernels> Backward<B, 3> for AddGatedStep {
    /// Branch and gate.
    type State = (Tensor<B, 2>, Tensor<B, 2>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient: Tensor<B, 2> = tensor(grads.consume::<B>(&ops.node));
        let (branch, gate) = ops.state.clone();
        let [for_branch, for_gate] = B::add_gated_backward(branch, gate, gradient.clone());
        register(ops, grads, [gradient, for_branch, for_gate]);
    }
}

#[derive(Debug)]
struct GeluStep;

impl<B: Kernels> Backward<B, 1> for GeluStep {
    type State = Tensor<B, 2>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let x = ops.state.clone();
        register(ops, grads, [B::gelu_tanh_backward(x, gradient)]);
    }
}

#[derive(Debug)]
struct LeakyReluStep;

impl<B: Kernels> Backward<B, 1> for LeakyReluStep {
    type State = Tensor<B, 2>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let x = ops.state.clone();
        register(
            ops,
            grads,
            [<B as Kernels>::leaky_relu_backward(x, gradient)],
        );
    }
}

#[derive(Debug)]
struct UnfoldStep;

impl<B: Kernels> Backward<B, 1> for UnfoldStep {
    /// The input's shape.
    type State = [usize; 5];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let dims = ops.state;
        register(ops, grads, [B::unfold_backward(gradient, dims)]);
    }
}

#[derive(Debug)]
struct RotateStep {
    back: bool,
}

impl<B: Kernels> Backward<B, 1> for RotateStep {
    type State = Rotation<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let rotation = ops.state.clone();
        register(ops, grads, [B::rotate(gradient, &rotation, !self.back)]);
    }
}

#[derive(Debug)]
struct AttendStep(Visibility);

impl<B: Kernels, const N: usize> Backward<B, N> for AttendStep {
    /// Inputs and output.
    type State = (Attention<B>, Tensor<B, 3>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = tensor(grads.consume::<B>(&ops.node));
        let (inputs, output) = ops.state.clone();
        // Parents: queries, keys, values, past keys, past values. A cached past is usually a
        // constant.
        let past = ops.parents.iter().skip(3).any(Option::is_some);
        register(
            ops,
            grads,
            B::attend_backward(inputs, output, gradient, &self.0, past),
        );
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn normalise(x: Tensor<Self, 2>, affine: Affine<Self>, norm: Norm) -> Tensor<Self, 2> {
        let (inner_x, inner_scale) = (inner(&x), inner(&affine.scale));
        let inner_affine = Affine {
            scale: inner_scale.clone(),
            shift: affine.shift.as_ref().map(inner),
        };
        let output = B::normalise(inner_x.clone(), inner_affine, norm);
        let state = (inner_x, inner_scale);
        match affine.shift {
            Some(shift) => node!(NormaliseStep(norm), [x, affine.scale, shift], state, output),
            None => node!(NormaliseStep(norm), [x, affine.scale], state, output),
        }
    }

    fn add_gated(
        x: Tensor<Self, 2>,
        branch: Tensor<Self, 2>,
        gate: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let state = (inner(&branch), inner(&gate));
        let output = B::add_gated(inner(&x), state.0.clone(), state.1.clone());
        node!(AddGatedStep, [x, branch, gate], state, output)
    }

    fn gelu_tanh(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let state = inner(&x);
        let output = B::gelu_tanh(state.clone());
        node!(GeluStep, [x], state, output)
    }

    fn leaky_relu(x: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let state = inner(&x);
        let output = <B as Kernels>::leaky_relu(state.clone());
        node!(LeakyReluStep, [x], state, output)
    }

    fn unfold(x: Tensor<Self, 5>) -> Tensor<Self, 5> {
        let (dims, output) = (x.dims(), B::unfold(inner(&x)));
        node!(UnfoldStep, [x], dims, output)
    }

    fn rotate(x: Tensor<Self, 3>, rotation: &Rotation<Self>, back: bool) -> Tensor<Self, 3> {
        let state = Rotation {
            cosine: inner(&rotation.cosine),
            sine: inner(&rotation.sine),
            quarter_turn: inner(&rotation.quarter_turn),
        };
        let output = B::rotate(inner(&x), &state, back);
        node!(RotateStep { back }, [x], state, output)
    }

    fn attend(inputs: Attention<Self>, visibility: &Visibility) -> Tensor<Self, 3> {
        let past = inputs
            .past
            .as_ref()
            .map(|(keys, values)| (inner(keys), inner(values)));
        let (queries, keys, values) = (
            inner(&inputs.queries),
            inner(&inputs.keys),
            inner(&inputs.values),
        );
        let inner_inputs = Attention {
            queries,
            keys,
            values,
            past,
            heads: inputs.heads,
            query_chunk: inputs.query_chunk,
        };
        let output = B::attend(inner_inputs.clone(), visibility);
        let state = (inner_inputs, output.clone());
        let step = AttendStep(visibility.clone());
        let Attention {
            queries,
            keys,
            values,
            past,
            ..
        } = inputs;
        match past {
            Some((past_keys, past_values)) => node!(
                step,
                [queries, keys, values, past_keys, past_values],
                state,
                output
            ),
            None => node!(step, [queries, keys, values], state, output),
        }
    }
}

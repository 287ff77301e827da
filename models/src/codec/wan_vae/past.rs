//! What the causal layers keep of earlier frames (docs/method.md C.3): the feature cache.

use burn::prelude::*;

/// The last two input frames of every layer that is causal in time, in the order in which the
/// layers run.
///
/// A layer that has seen nothing finds `None`. Nothing here is shared: a copy is an independent
/// stream from the same point on.
#[derive(Debug, Clone)]
pub(super) struct Past<B: Backend> {
    slots: Vec<Option<Tensor<B, 5>>>,
    next: usize,
}

impl<B: Backend> Past<B> {
    /// Before the first frame.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            next: 0,
        }
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Back to the first layer, for the next frames.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// What the layer that runs next has kept: `[B, 2, H, W, C]`.
    pub fn slot(&mut self) -> &mut Option<Tensor<B, 5>> {
        if self.next == self.slots.len() {
            self.slots.push(None);
        }
        self.next += 1;
        &mut self.slots[self.next - 1]
    }
}

/// Frames `[B, n, H, W, C]` of `x [B, T, H, W, C]` from `first` on.
pub(super) fn frames<B: Backend>(x: &Tensor<B, 5>, first: usize, count: usize) -> Tensor<B, 5> {
    x.clone().slice_dim(1, first..first + count)
}

/// Two frames of zeros in the shape and type of `x`.
pub(super) fn no_frames<B: Backend>(x: &Tensor<B, 5>) -> Tensor<B, 5> {
    let mut dims = x.dims();
    dims[1] = 2;
    Tensor::zeros(dims, (&x.device(), x.dtype()))
}

/// The last two frames of `before` (two frames) followed by `x`.
///
/// Always a concatenation, which copies: a slice would keep all of `x` in memory.
pub(super) fn last_two<B: Backend>(before: &Tensor<B, 5>, x: &Tensor<B, 5>) -> Tensor<B, 5> {
    let count = x.dims()[1];
    let earlier = if count > 1 {
        frames(x, count - 2, 1)
    } else {
        frames(before, 1, 1)
    };
    Tensor::cat(vec![earlier, frames(x, count - 1, 1)], 1)
}

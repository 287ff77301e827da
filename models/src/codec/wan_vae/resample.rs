//! Between the stages: half or twice the rows and columns, and the frames where told
//! (docs/method.md C.2, C.3).

use burn::prelude::*;

use super::layers::Convolution;
use super::past::{Past, frames, last_two, no_frames};
use crate::kernels::{Kernels, Window};

/// Half the rows and columns, then half the frames after the first.
#[derive(Module, Debug)]
pub struct Downsample<B: Backend> {
    /// 1x3x3 with stride 2, C -> C.
    pub space: Convolution<B>,
    /// 3x1x1 with stride 2, C -> C.
    pub time: Option<Convolution<B>>,
}

impl<B: Backend> Downsample<B> {
    /// Over `channels` channels.
    pub fn new(channels: usize, halve_time: bool, device: &B::Device) -> Self {
        Self {
            space: Convolution::new(channels, channels, [1, 3, 3], device),
            time: halve_time.then(|| Convolution::new(channels, channels, [3, 1, 1], device)),
        }
    }
}

impl<B: Kernels> Downsample<B> {
    /// The very first frame passes alone, and is the first that the next ones read; each later
    /// output sees the two frames that it stands for and the one before.
    pub(super) fn forward(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let x = self.space.forward(
            x,
            Window {
                stride: [1, 2, 2],
                before: [0, 0],
                after: [1, 1],
            },
        );
        let Some(time) = &self.time else { return x };
        let slot = past.slot();
        let before = slot.take();
        *slot = Some(last_two(before.as_ref().unwrap_or(&no_frames(&x)), &x));
        let halve = |x: Tensor<B, 5>| {
            time.forward(
                x,
                Window {
                    stride: [2, 1, 1],
                    ..Window::PLAIN
                },
            )
        };
        match before {
            Some(before) => halve(Tensor::cat(vec![frames(&before, 1, 1), x], 1)),
            None if x.dims()[1] == 1 => x,
            None => Tensor::cat(vec![frames(&x, 0, 1), halve(x)], 1),
        }
    }
}

/// Twice the frames after the first, then twice the rows and columns with half the channels.
#[derive(Module, Debug)]
pub struct Upsample<B: Backend> {
    /// 3x1x1, C -> two frames of C.
    pub time: Option<Convolution<B>>,
    /// 1x3x3 after each position became a square of four, C -> C / 2.
    pub space: Convolution<B>,
}

impl<B: Backend> Upsample<B> {
    /// From `channels` channels to half of them.
    pub fn new(channels: usize, double_time: bool, device: &B::Device) -> Self {
        Self {
            time: double_time.then(|| Convolution::new(channels, 2 * channels, [3, 1, 1], device)),
            space: Convolution::new(channels, channels / 2, [1, 3, 3], device),
        }
    }
}

impl<B: Kernels> Upsample<B> {
    pub(super) fn forward(&self, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        let x = match &self.time {
            Some(time) => doubled(time, x, past),
            None => x,
        };
        // Frame by frame: an enlarged frame takes twice the memory of its output.
        let frame = |number: usize| {
            let window = Window {
                stride: [1, 1, 1],
                before: [1, 1],
                after: [1, 1],
            };
            self.space.forward(enlarged(frames(&x, number, 1)), window)
        };
        Tensor::cat((0..x.dims()[1]).map(frame).collect(), 1)
    }
}

/// The very first frame passes alone and is forgotten: the second sees zeros before it. Each later
/// frame becomes two.
fn doubled<B: Kernels>(time: &Convolution<B>, x: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
    let slot = past.slot();
    let (first, before, x) = match (slot.take(), x.dims()[1]) {
        (Some(before), _) => (None, before, x),
        (None, 1) => {
            *slot = Some(no_frames(&x));
            return x;
        }
        (None, count) => (
            Some(frames(&x, 0, 1)),
            no_frames(&x),
            frames(&x, 1, count - 1),
        ),
    };
    *slot = Some(last_two(&before, &x));
    let [batch, count, rows, columns, channels] = x.dims();
    let both = time.forward(Tensor::cat(vec![before, x], 1), Window::PLAIN);
    // [B, T, H, W, 2 C] -> twice [B * T, 1, H, W, C] -> [B * T, 2, H, W, C] -> [B, 2 T, H, W, C]
    let half = |number: usize| {
        let half = both
            .clone()
            .slice_dim(4, number * channels..(number + 1) * channels);
        half.reshape([batch * count, 1, rows, columns, channels])
    };
    let later =
        Tensor::cat(vec![half(0), half(1)], 1).reshape([batch, 2 * count, rows, columns, channels]);
    match first {
        Some(first) => Tensor::cat(vec![first, later], 1),
        None => later,
    }
}

/// Every position as a square of four: `[B, T, H, W, C] -> [B, T, 2 H, 2 W, C]`.
fn enlarged<B: Backend>(x: Tensor<B, 5>) -> Tensor<B, 5> {
    let [batch, frames, rows, columns, channels] = x.dims();
    // [.., H, W, C] -> [.., H, W, 2 C] = [.., H, 2 W, C] -> [.., H, 4 W C] = [.., 2 H, 2 W, C]
    let doubled =
        Tensor::cat(vec![x.clone(), x], 4).reshape([batch * frames * rows, 2 * columns * channels]);
    Tensor::cat(vec![doubled.clone(), doubled], 1).reshape([
        batch,
        frames,
        2 * rows,
        2 * columns,
        channels,
    ])
}

//! Clips through the VAE as they come, in the memory of one group of frames (docs/method.md C.3).

use burn::prelude::*;

use super::WanVae;
use super::past::{Past, frames};
use crate::codec::DecodeStream;
use crate::kernels::Kernels;

/// Encodes frames as they come. Cloned, it goes on as two independent streams.
#[derive(Debug, Clone)]
pub struct StreamingEncoder<B: Backend> {
    vae: WanVae<B>,
    past: Past<B>,
    /// Frames that do not fill a group yet, `[B, n, 3, H, W]`.
    waiting: Option<Tensor<B, 5>>,
}

impl<B: Kernels> StreamingEncoder<B> {
    /// Before the first frame. The weights are shared with `vae`.
    pub fn new(vae: &WanVae<B>) -> Self {
        Self {
            vae: vae.clone(),
            past: Past::new(),
            waiting: None,
        }
    }

    /// Takes the next frames `[B, T, 3, H, W]` in [-1, 1], any number of them, all of one size, and
    /// gives the normalised latents `[B, F, C, H / 8, W / 8]` that they complete: one for the first
    /// frame, one for every 4 after it.
    pub fn push(&mut self, next: Tensor<B, 5>) -> Option<Tensor<B, 5>> {
        let next = match self.waiting.take() {
            Some(waiting) => Tensor::cat(vec![waiting, next], 1),
            None => next,
        };
        let (mut from, count) = (0, next.dims()[1]);
        let mut latents = Vec::new();
        loop {
            let group = if self.past.is_empty() {
                1
            } else {
                self.vae.config.frame_stride()
            };
            if count - from < group {
                break;
            }
            latents.push(
                self.vae
                    .encode_next(frames(&next, from, group), &mut self.past),
            );
            from += group;
        }
        self.waiting = (from < count).then(|| frames(&next, from, count - from));
        (!latents.is_empty()).then(|| Tensor::cat(latents, 1))
    }

    /// Frames that wait for the rest of their group.
    pub fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, |frames| frames.dims()[1])
    }
}

/// Decodes latent frames as they come. Cloned, it goes on as two independent streams.
#[derive(Debug, Clone)]
pub struct StreamingDecoder<B: Backend> {
    vae: WanVae<B>,
    past: Past<B>,
}

impl<B: Kernels> StreamingDecoder<B> {
    /// Before the first latent frame. The weights are shared with `vae`.
    pub fn new(vae: &WanVae<B>) -> Self {
        Self {
            vae: vae.clone(),
            past: Past::new(),
        }
    }

    /// Takes the next normalised latents `[B, F, C, H, W]`, at least one frame, and gives their
    /// frames `[B, T, 3, 8 H, 8 W]` in [-1, 1]: one for the first latent frame, 4 for each after
    /// it.
    pub fn push(&mut self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        let decoded = (0..latents.dims()[1]).map(|number| {
            self.vae
                .decode_next(frames(&latents, number, 1), &mut self.past)
        });
        Tensor::cat(decoded.collect(), 1)
    }
}

impl<B: Kernels> DecodeStream<B> for StreamingDecoder<B> {
    fn push(&mut self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        StreamingDecoder::push(self, latents)
    }
}

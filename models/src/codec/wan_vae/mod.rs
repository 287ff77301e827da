//! Wan's causal video VAE (docs/method.md C): 8 x 8 pixels and 4 frames to one latent position, the
//! first frame alone.
//!
//! Every layer that is causal in time keeps its last two input frames, so that clips stream through
//! in pieces of any length: encoding and decoding go group by group (1, 4, 4, ... frames), which
//! bounds memory by one group whatever the clip's length, and a stream gives the same values as the
//! clip at once. Activations are channels-last.

pub mod config;
pub mod decoder;
pub mod encoder;
pub mod layers;
mod past;
pub mod resample;
pub mod stream;

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::FloatDType;

pub use config::{SizeProblem, UnusableSizes, WanVaeConfig};
use decoder::Decoder;
use encoder::Encoder;
use layers::Convolution;
use past::Past;
pub use stream::{StreamingDecoder, StreamingEncoder};

use super::{Codec, DecodeStream, LatentShapeError};
use crate::kernels::Kernels;

/// Encoder and decoder with their weights. As a [`Codec`] it encodes to the normalised mean of the
/// posterior; nothing is sampled.
#[derive(Module, Debug)]
pub struct WanVae<B: Backend> {
    /// Frames to the posterior, before [`Self::quantise`].
    pub encoder: Encoder<B>,
    /// 1x1x1, 2 C -> mean and log-variance. (Wan's name; nothing is quantised.)
    pub quantise: Convolution<B>,
    /// 1x1x1, C -> C, before the decoder.
    pub dequantise: Convolution<B>,
    /// Latents to frames.
    pub decoder: Decoder<B>,
    #[module(skip)]
    config: WanVaeConfig,
}

impl<B: Backend> WanVae<B> {
    /// Weights are zeros until they are loaded ([`crate::weights::wan_vae`]) or initialised
    /// ([`crate::init::initialise`]), and take no memory before.
    ///
    /// # Errors
    /// Sizes that no VAE can have.
    pub fn new(config: &WanVaeConfig, device: &B::Device) -> Result<Self, UnusableSizes> {
        config.check()?;
        let channels = config.latent_channels;
        Ok(Self {
            encoder: Encoder::new(config, device),
            quantise: Convolution::new(2 * channels, 2 * channels, [1, 1, 1], device),
            dequantise: Convolution::new(channels, channels, [1, 1, 1], device),
            decoder: Decoder::new(config, device),
            config: config.clone(),
        })
    }

    /// The sizes.
    pub fn config(&self) -> &WanVaeConfig {
        &self.config
    }

    /// The same VAE with weights of another type, in which it then computes; norms and attention
    /// stay in f32, and so do inputs and outputs.
    pub fn to_dtype(self, dtype: FloatDType) -> Self {
        self.map(&mut ToDtype(dtype))
    }

    fn dtype(&self) -> FloatDType {
        FloatDType::from(self.dequantise.bias.val().dtype())
    }

    /// One value per latent channel, to broadcast over `[B, F, H, W, C]`.
    fn per_channel(&self, values: &[f32], like: &Tensor<B, 5>) -> Tensor<B, 5> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [1, 1, 1, 1, values.len()]),
            (&like.device(), like.dtype()),
        )
    }
}

impl<B: Kernels> WanVae<B> {
    /// A clip `[B, T, 3, H, W]` in [-1, 1] to its normalised latents `[B, F, C, H / 8, W / 8]` in
    /// one piece, without groups: a layer's activations for the whole clip are held.
    /// [`Codec::encode`] gives the same values in the memory of one group.
    pub fn encode_at_once(&self, clip: Tensor<B, 5>) -> Tensor<B, 5> {
        self.encode_next(clip, &mut Past::new())
    }

    /// Normalised latents `[B, F, C, H, W]` to a clip `[B, T, 3, 8 H, 8 W]` in [-1, 1] in one
    /// piece; see [`Self::encode_at_once`].
    pub fn decode_at_once(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        self.decode_next(latents, &mut Past::new())
    }

    /// The next frames of a clip: 1 + 4 n at its beginning, then 4 n.
    fn encode_next(&self, frames: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        past.rewind();
        // [B, T, 3, H, W] -> [B, T, H, W, 3]
        let posterior = self.quantise.pointwise(
            self.encoder
                .forward(frames.permute([0, 1, 3, 4, 2]).cast(self.dtype()), past),
        );
        // The mean comes first, then the log-variance.
        let mean = posterior
            .slice_dim(4, 0..self.config.latent_channels)
            .cast(FloatDType::F32);
        let (shift, scale) = (
            self.per_channel(&self.config.mean, &mean),
            self.per_channel(&self.config.std, &mean),
        );
        // [B, F, H, W, C] -> [B, F, C, H, W]
        ((mean - shift) / scale).permute([0, 1, 4, 2, 3])
    }

    /// The next latents of a clip.
    fn decode_next(&self, latents: Tensor<B, 5>, past: &mut Past<B>) -> Tensor<B, 5> {
        past.rewind();
        // [B, F, C, H, W] -> [B, F, H, W, C]
        let latents = latents.permute([0, 1, 3, 4, 2]).cast(FloatDType::F32);
        let (shift, scale) = (
            self.per_channel(&self.config.mean, &latents),
            self.per_channel(&self.config.std, &latents),
        );
        let latents = self
            .dequantise
            .pointwise((latents * scale + shift).cast(self.dtype()));
        let frames = self.decoder.forward(latents, past).cast(FloatDType::F32);
        // [B, T, H, W, 3] -> [B, T, 3, H, W]
        frames.clamp(-1.0, 1.0).permute([0, 1, 4, 2, 3])
    }
}

impl<B: Kernels> Codec<B> for WanVae<B> {
    fn latent_shape(
        &self,
        frames: usize,
        height: usize,
        width: usize,
    ) -> Result<[usize; 4], LatentShapeError> {
        let (stride, step) = (self.config.stride(), self.config.frame_stride());
        if frames == 0 || !(frames - 1).is_multiple_of(step) {
            return Err(LatentShapeError::WanFrames { step, frames });
        }
        if height == 0
            || width == 0
            || !height.is_multiple_of(stride)
            || !width.is_multiple_of(stride)
        {
            return Err(LatentShapeError::WanStride {
                stride,
                height,
                width,
            });
        }
        Ok([
            1 + (frames - 1) / step,
            self.config.latent_channels,
            height / stride,
            width / stride,
        ])
    }

    fn encode(&self, clips: Tensor<B, 5>) -> Tensor<B, 5> {
        let mut encoder = StreamingEncoder::new(self);
        let latents = encoder.push(clips);
        assert_eq!(
            encoder.waiting(),
            0,
            "clips have 1 + {} n frames: see latent_shape",
            self.config.frame_stride()
        );
        latents.expect("clips have frames: see latent_shape")
    }

    fn decode(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        StreamingDecoder::new(self).push(latents)
    }

    fn decoder(&self) -> Box<dyn DecodeStream<B>> {
        Box::new(StreamingDecoder::new(self))
    }
}

struct ToDtype(FloatDType);

impl<B: Backend> ModuleMapper<B> for ToDtype {
    fn map_float<const N: usize>(&mut self, param: Param<Tensor<B, N>>) -> Param<Tensor<B, N>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

//! Clips to latents and back, through a codec.

use afd_models::codec::Codec;
use burn::prelude::*;

use super::prepare::round_to_8_bits;
use super::video::{Clip, ClipShape};

/// Clips of `shape` to latents `[B, F, C, H, W]`.
pub fn encode<B: Backend>(
    codec: &dyn Codec<B>,
    clips: &[Clip],
    shape: ClipShape,
    device: &B::Device,
) -> Tensor<B, 5> {
    let ClipShape {
        frames,
        height,
        width,
        ..
    } = shape;
    let values: Vec<f32> = clips
        .iter()
        .flat_map(|clip| clip.pixels.iter().copied())
        .collect();
    // [B, T, H, W, 3] -> [B, T, 3, H, W]
    let pixels = Tensor::<B, 5>::from_data(
        TensorData::new(values, [clips.len(), frames, height, width, 3]),
        device,
    );
    codec.encode(pixels.permute([0, 1, 4, 2, 3]))
}

/// Latents `[B, F, C, H, W]` to 8-bit clips on the host.
pub fn decode<B: Backend>(
    codec: &dyn Codec<B>,
    shape: ClipShape,
    latents: Tensor<B, 5>,
) -> Vec<Clip> {
    let pixels = codec.decode(latents).permute([0, 1, 3, 4, 2]);
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    let clip = |pixels: &[f32]| {
        round_to_8_bits(&Clip {
            shape,
            pixels: pixels.to_vec(),
        })
    };
    values
        .chunks(shape.frames * shape.height * shape.width * 3)
        .map(clip)
        .collect()
}

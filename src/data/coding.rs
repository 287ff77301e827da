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

/// A clip has pixels that are not finite; as bytes they would be black.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{clip} has pixels that are not finite: the weights of student or codec hold such numbers or \
     lead to them; use another checkpoint"
)]
pub struct NotFinitePixels {
    clip: String,
}

impl NotFinitePixels {
    /// Refuses the pixels, or latents, of `clip`, so called in the message, if one of them is not
    /// finite.
    ///
    /// # Errors
    /// That one is not.
    pub fn check(pixels: &[f32], clip: impl FnOnce() -> String) -> Result<(), Self> {
        if pixels.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(Self { clip: clip() })
    }
}

/// Latents `[B, F, C, H, W]` to 8-bit clips on the host; `name` says what clip number b is called.
///
/// # Errors
/// The first clip whose pixels are not finite.
pub fn decode<B: Backend>(
    codec: &dyn Codec<B>,
    shape: ClipShape,
    latents: Tensor<B, 5>,
    name: &dyn Fn(usize) -> String,
) -> Result<Vec<Clip>, NotFinitePixels> {
    // A codec may clamp, which hides what is infinite.
    let of_clip = latents.dims()[1..].iter().product();
    let data: Vec<f32> = latents.clone().into_data().iter::<f32>().collect();
    for (number, latents) in data.chunks(of_clip).enumerate() {
        NotFinitePixels::check(latents, || name(number))?;
    }
    let pixels = codec.decode(latents).permute([0, 1, 3, 4, 2]);
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    let clip = |(number, pixels): (usize, &[f32])| {
        NotFinitePixels::check(pixels, || name(number))?;
        Ok(round_to_8_bits(&Clip {
            shape,
            pixels: pixels.to_vec(),
        }))
    };
    values
        .chunks(shape.frames * shape.height * shape.width * 3)
        .enumerate()
        .map(clip)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_models::codec::pixel::PixelCodec;
    use burn::backend::Flex;

    #[test]
    fn a_clip_with_a_pixel_that_is_not_finite_is_named_instead_of_shown_black() {
        let device = Default::default();
        let codec = PixelCodec {
            stride: 1,
            subsampled_chroma: false,
            mean: 0.0,
            std: 1.0,
        };
        let shape = ClipShape {
            frames: 1,
            height: 2,
            width: 2,
            frames_per_second: 8.0,
        };
        let decoded = |value: f32| {
            let mut values = vec![0.5; 2 * 12];
            values[17] = value;
            let latents =
                Tensor::<Flex, 5>::from_data(TensorData::new(values, [2, 1, 3, 2, 2]), &device);
            decode(&codec, shape, latents, &|clip| format!("clip {clip}"))
        };
        assert_eq!(decoded(0.25).unwrap().len(), 2);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = decoded(value).unwrap_err().to_string();
            assert!(error.starts_with("clip 1 has pixels"), "{error}");
        }
    }
}

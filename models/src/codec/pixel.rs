//! Space-to-depth: the parameter-free codec of the small recipes.

use burn::prelude::*;

use super::{Codec, DecodeStream, LatentShapeError};

/// Moves each `stride` x `stride` square of pixels into channels, and scales to about unit
/// variance. Frames are kept: F = T.
///
/// With `subsampled_chroma` the square keeps a brightness per pixel but only one pair of colour
/// differences (as video's 4:2:0 does): half the channels, so that a student of small width spends
/// it on motion. Without it the codec is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelCodec {
    /// Pixels per latent row and column.
    pub stride: usize,
    /// One pair of colour differences per square instead of three colours per pixel.
    pub subsampled_chroma: bool,
    /// Subtracted from brightness (or colours) before scaling.
    pub mean: f32,
    /// Divided by after the mean is subtracted, > 0.
    pub std: f32,
}

/// Brightness weights of red, green and blue (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl PixelCodec {
    /// Latent channels C.
    pub fn channels(&self) -> usize {
        if self.subsampled_chroma {
            self.stride * self.stride + 2
        } else {
            3 * self.stride * self.stride
        }
    }

    /// `[N, C, H, W] -> [N, C * s * s, H / s, W / s]`.
    fn fold<B: Backend>(&self, planes: Tensor<B, 4>) -> Tensor<B, 4> {
        let [count, channels, height, width] = planes.dims();
        let stride = self.stride;
        let (rows, columns) = (height / stride, width / stride);
        planes
            .reshape([count, channels, rows, stride, columns, stride])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape([count, channels * stride * stride, rows, columns])
    }

    /// The inverse of [`Self::fold`].
    fn unfold<B: Backend>(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        let [count, channels, rows, columns] = latents.dims();
        let stride = self.stride;
        let planes = channels / (stride * stride);
        latents
            .reshape([count, planes, stride, stride, rows, columns])
            .permute([0, 1, 4, 2, 5, 3])
            .reshape([count, planes, rows * stride, columns * stride])
    }
}

impl<B: Backend> Codec<B> for PixelCodec {
    fn latent_shape(
        &self,
        frames: usize,
        height: usize,
        width: usize,
    ) -> Result<[usize; 4], LatentShapeError> {
        if !height.is_multiple_of(self.stride) || !width.is_multiple_of(self.stride) {
            return Err(LatentShapeError::PixelStride {
                stride: self.stride,
                height,
                width,
            });
        }
        Ok([
            frames,
            self.channels(),
            height / self.stride,
            width / self.stride,
        ])
    }

    fn encode(&self, clips: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, frames, colours, height, width] = clips.dims();
        let (rows, columns) = (height / self.stride, width / self.stride);
        let pixels = clips.reshape([batch * frames, colours, height, width]);
        let latents = if self.subsampled_chroma {
            let plane = |index: usize| pixels.clone().slice_dim(1, index..index + 1);
            let luma = plane(0) * LUMA[0] + plane(1) * LUMA[1] + plane(2) * LUMA[2];
            // Blue and red differences, averaged over the square: [N, 2, s * s, rows, columns] ->
            // [N, 2, rows, columns]
            let differences =
                Tensor::cat(vec![plane(2) - luma.clone(), plane(0) - luma.clone()], 1);
            let square = self.stride * self.stride;
            let chroma = self
                .fold(differences)
                .reshape([batch * frames, 2, square, rows * columns])
                .mean_dim(2);
            let chroma = chroma.reshape([batch * frames, 2, rows, columns]) / self.std;
            Tensor::cat(vec![(self.fold(luma) - self.mean) / self.std, chroma], 1)
        } else {
            (self.fold(pixels) - self.mean) / self.std
        };
        latents.reshape([batch, frames, self.channels(), rows, columns])
    }

    fn decode(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, frames, channels, rows, columns] = latents.dims();
        let latents = latents.reshape([batch * frames, channels, rows, columns]) * self.std;
        let pixels = if self.subsampled_chroma {
            let square = self.stride * self.stride;
            let luma = self.unfold(latents.clone().slice_dim(1, 0..square)) + self.mean;
            // Each square's difference for all of its pixels.
            let spread = |index: usize| {
                let plane = latents
                    .clone()
                    .slice_dim(1, square + index..square + index + 1);
                self.unfold(plane.repeat_dim(1, square))
            };
            let (blue, red) = (luma.clone() + spread(0), luma.clone() + spread(1));
            let green = (luma - red.clone() * LUMA[0] - blue.clone() * LUMA[2]) / LUMA[1];
            Tensor::cat(vec![red, green, blue], 1)
        } else {
            self.unfold(latents) + self.mean
        };
        pixels.clamp(-1.0, 1.0).reshape([
            batch,
            frames,
            3,
            rows * self.stride,
            columns * self.stride,
        ])
    }

    fn decoder(&self) -> Box<dyn DecodeStream<B>> {
        Box::new(*self)
    }
}

/// Frames do not depend on each other: there is nothing to keep.
impl<B: Backend> DecodeStream<B> for PixelCodec {
    fn push(&mut self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        self.decode(latents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn decoding_inverts_encoding_and_neighbours_become_channels() {
        let codec = PixelCodec {
            stride: 2,
            subsampled_chroma: false,
            mean: -0.5,
            std: 0.25,
        };
        let values: Vec<f32> = (0..2 * 3 * 4 * 4)
            .map(|index| index as f32 / 100.0 - 0.5)
            .collect();
        let clip = Tensor::<NdArray, 5>::from_data(
            TensorData::new(values.clone(), [1, 2, 3, 4, 4]),
            &Default::default(),
        );
        let latents = codec.encode(clip);
        assert_eq!(latents.dims(), [1, 2, 12, 2, 2]);
        // Channel 1 is the pixel to the right of channel 0.
        let right = latents
            .clone()
            .slice([0..1, 0..1, 1..2, 0..1, 0..1])
            .into_scalar();
        assert!((right - (values[1] + 0.5) / 0.25).abs() < 1e-5);
        let decoded = codec.decode(latents).into_data().to_vec::<f32>().unwrap();
        assert!(
            decoded
                .iter()
                .zip(&values)
                .all(|(found, expected)| (found - expected).abs() < 1e-6)
        );
    }

    #[test]
    fn subsampled_chroma_keeps_brightness_exactly_and_a_squares_colour_on_average() {
        let codec = PixelCodec {
            stride: 2,
            subsampled_chroma: true,
            mean: -0.5,
            std: 0.25,
        };
        let values: Vec<f32> = (0..3 * 2 * 2)
            .map(|index| (index * index % 7) as f32 / 20.0 - 0.2)
            .collect();
        let clip = Tensor::<NdArray, 5>::from_data(
            TensorData::new(values.clone(), [1, 1, 3, 2, 2]),
            &Default::default(),
        );
        let latents = codec.encode(clip);
        assert_eq!(latents.dims(), [1, 1, 6, 1, 1]);
        let decoded = codec.decode(latents).into_data().to_vec::<f32>().unwrap();
        let luma = |pixels: &[f32], at: usize| {
            LUMA[0] * pixels[at] + LUMA[1] * pixels[4 + at] + LUMA[2] * pixels[8 + at]
        };
        for at in 0..4 {
            assert!((luma(&decoded, at) - luma(&values, at)).abs() < 1e-6);
        }
        for colour in 0..3 {
            let mean =
                |pixels: &[f32]| pixels[4 * colour..4 * colour + 4].iter().sum::<f32>() / 4.0;
            assert!((mean(&decoded) - mean(&values)).abs() < 1e-6);
        }
    }
}

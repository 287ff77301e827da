//! Space-to-depth: the exact, parameter-free codec of the small recipes.

use burn::prelude::*;

use super::Codec;

/// Moves each `stride` x `stride` square of pixels into channels, and scales to about unit variance. Frames are kept: F = T.
#[derive(Debug, Clone, Copy)]
pub struct PixelCodec {
    /// Pixels per latent row and column.
    pub stride: usize,
    /// Subtracted before scaling.
    pub mean: f32,
    /// Divided by after the mean is subtracted, > 0.
    pub deviation: f32,
}

impl<B: Backend> Codec<B> for PixelCodec {
    fn latent_shape(&self, frames: usize, height: usize, width: usize) -> Result<[usize; 4], String> {
        if !height.is_multiple_of(self.stride) || !width.is_multiple_of(self.stride) {
            return Err(format!("codec.stride ({}) must divide the clip's height ({height}) and width ({width})", self.stride));
        }
        Ok([frames, 3 * self.stride * self.stride, height / self.stride, width / self.stride])
    }

    fn encode(&self, clips: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, frames, channels, height, width] = clips.dims();
        let stride = self.stride;
        let (rows, columns) = (height / stride, width / stride);
        let latents = clips
            .reshape([batch * frames, channels, rows, stride, columns, stride])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape([batch, frames, channels * stride * stride, rows, columns]);
        (latents - self.mean) / self.deviation
    }

    fn decode(&self, latents: Tensor<B, 5>) -> Tensor<B, 5> {
        let [batch, frames, channels, rows, columns] = latents.dims();
        let stride = self.stride;
        let colours = channels / (stride * stride);
        (latents * self.deviation + self.mean)
            .clamp(-1.0, 1.0)
            .reshape([batch * frames, colours, stride, stride, rows, columns])
            .permute([0, 1, 4, 2, 5, 3])
            .reshape([batch, frames, colours, rows * stride, columns * stride])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn decoding_inverts_encoding_and_neighbours_become_channels() {
        let codec = PixelCodec { stride: 2, mean: -0.5, deviation: 0.25 };
        let values: Vec<f32> = (0..2 * 3 * 4 * 4).map(|index| index as f32 / 100.0 - 0.5).collect();
        let clip = Tensor::<NdArray, 5>::from_data(TensorData::new(values.clone(), [1, 2, 3, 4, 4]), &Default::default());
        let latents = codec.encode(clip);
        assert_eq!(latents.dims(), [1, 2, 12, 2, 2]);
        // Channel 1 is the pixel to the right of channel 0.
        let right = latents.clone().slice([0..1, 0..1, 1..2, 0..1, 0..1]).into_scalar();
        assert!((right - (values[1] + 0.5) / 0.25).abs() < 1e-5);
        let decoded = codec.decode(latents).into_data().to_vec::<f32>().unwrap();
        assert!(decoded.iter().zip(&values).all(|(found, expected)| (found - expected).abs() < 1e-6));
    }
}

//! The straight path between a clean clip and noise (docs/method.md A.1): `x_sigma = (1 - sigma)
//! x_0 + sigma eps`, velocity `v = eps - x_0`.

use burn::prelude::*;

/// Noise levels `[B, F]`, one per latent frame, shaped to multiply latents `[B, F, C, H, W]`.
pub fn levels<B: Backend>(
    sigmas: &[f32],
    batch: usize,
    frames: usize,
    device: &B::Device,
) -> Tensor<B, 5> {
    Tensor::from_data(
        TensorData::new(sigmas.to_vec(), [batch, frames, 1, 1, 1]),
        device,
    )
}

/// `x_sigma` of clean latents and noise.
pub fn noised<B: Backend>(
    clean: Tensor<B, 5>,
    noise: Tensor<B, 5>,
    sigmas: &Tensor<B, 5>,
) -> Tensor<B, 5> {
    clean.clone() + (noise - clean) * sigmas.clone()
}

/// Clips of the forward process with the noise that they are mixed with.
#[derive(Debug, Clone)]
pub struct Noised<B: Backend> {
    /// Clean clips x_0, `[B, F, C, H, W]`.
    pub clean: Tensor<B, 5>,
    /// The noise eps they are mixed with, `[B, F, C, H, W]`.
    pub noise: Tensor<B, 5>,
    /// Noise levels `[B, F, 1, 1, 1]`.
    pub sigmas: Tensor<B, 5>,
}

impl<B: Backend> Noised<B> {
    /// `x_sigma`, `[B, F, C, H, W]`.
    pub fn state(&self) -> Tensor<B, 5> {
        noised(self.clean.clone(), self.noise.clone(), &self.sigmas)
    }

    /// The velocity that leads from the clean clips to the noise, `eps - x_0`.
    pub fn velocity(&self) -> Tensor<B, 5> {
        self.noise.clone() - self.clean.clone()
    }
}

/// The clean estimate `x_sigma - sigma v`.
pub fn clean_estimate<B: Backend>(
    noised: Tensor<B, 5>,
    velocity: Tensor<B, 5>,
    sigmas: &Tensor<B, 5>,
) -> Tensor<B, 5> {
    noised - velocity * sigmas.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    #[test]
    fn the_true_velocity_leads_back_to_the_clean_clip() {
        let device = Default::default();
        let tensor = |values: [f32; 4]| {
            Tensor::<NdArray, 1>::from_floats(values, &device).reshape([1, 2, 1, 1, 2])
        };
        let (clean, noise) = (tensor([0.3, -1.0, 2.0, 0.5]), tensor([1.0, 0.1, -0.4, 0.9]));
        let sigmas = levels(&[0.25, 1.0], 1, 2, &device);
        let estimate = clean_estimate(
            noised(clean.clone(), noise.clone(), &sigmas),
            noise - clean.clone(),
            &sigmas,
        );
        assert!((estimate - clean).abs().max().into_scalar() < 1e-6);
    }
}

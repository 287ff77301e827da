//! The few-step sampler (method.md A.4).

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// How one noise level leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Stochastic: the clean estimate is noised again with fresh noise. The default of every few-step student.
    Consistency,
    /// Deterministic: an Euler step along the velocity.
    Ode,
}

/// A few-step sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    /// The kind of step.
    pub kind: SamplerKind,
    /// Noise levels, descending, the first is where sampling starts.
    pub sigmas: Vec<f32>,
}

impl Sampler {
    /// Denoises `x` (noise of the first level) with `velocity(x, sigma)`; `noise()` draws fresh noise of the same shape.
    pub fn denoise<B: Backend>(
        &self,
        mut x: Tensor<B, 5>,
        mut velocity: impl FnMut(Tensor<B, 5>, f32) -> Tensor<B, 5>,
        mut noise: impl FnMut() -> Tensor<B, 5>,
    ) -> Tensor<B, 5> {
        for (step, &sigma) in self.sigmas.iter().enumerate() {
            let v = velocity(x.clone(), sigma);
            x = match (self.sigmas.get(step + 1), self.kind) {
                (None, _) => x - v * sigma,
                (Some(next), SamplerKind::Ode) => x + v * (next - sigma),
                (Some(next), SamplerKind::Consistency) => (x - v * sigma) * (1.0 - next) + noise() * *next,
            };
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    /// For data concentrated in one point the exact velocity is (x - point) / sigma, and every sampler must end there.
    #[test]
    fn both_samplers_end_in_the_only_clip_there_is() {
        for kind in [SamplerKind::Consistency, SamplerKind::Ode] {
            let sampler = Sampler { kind, sigmas: vec![1.0, 0.9375, 0.8333, 0.625] };
            let full = |value: f32| Tensor::<NdArray, 5>::full([1, 1, 1, 1, 2], value, &Default::default());
            let clip = sampler.denoise(full(2.0), |x, sigma| (x - 0.5) / sigma, || full(-1.0));
            assert!((clip - 0.5).abs().max().into_scalar() < 1e-5, "{kind:?}");
        }
    }

    #[test]
    fn the_consistency_step_is_a_gaussian_kernel_around_the_scaled_clean_estimate() {
        // N((1 - s') x0, s'^2): with velocity 0 the clean estimate is x itself.
        let sampler = Sampler { kind: SamplerKind::Consistency, sigmas: vec![1.0, 0.25] };
        let full = |value: f32| Tensor::<NdArray, 5>::full([1, 1, 1, 1, 1], value, &Default::default());
        let mut seen = Vec::new();
        sampler.denoise(
            full(4.0),
            |x, _| {
                seen.push(x.clone().into_scalar());
                x * 0.0
            },
            || full(10.0),
        );
        assert_eq!(seen, [4.0, 0.75 * 4.0 + 0.25 * 10.0]);
    }
}

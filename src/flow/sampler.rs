//! The few-step sampler (docs/method.md A.4).

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// How one noise level leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Stochastic: the clean estimate is noised again with fresh noise. The default of every
    /// few-step student.
    Consistency,
    /// Deterministic: an Euler step along the velocity.
    Ode,
}

impl SamplerKind {
    /// The share of each step's noise that is fresh; see [`Sampler::fresh_noise`].
    pub fn fresh_noise(self) -> f64 {
        match self {
            Self::Consistency => 1.0,
            Self::Ode => 0.0,
        }
    }
}

/// A few-step sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    /// How much of the noise of a step is drawn afresh, in [0, 1]: 0 is the deterministic Euler
    /// step, 1 noises the clean estimate anew. In between, the step keeps `cos` and draws `sin` of
    /// a quarter turn times this share, so that the noise level stays what the schedule says
    /// (Flow-CPS, arXiv 2509.05952): the stochastic chain that reverse-chain RL needs, with the
    /// marginals of the deterministic one.
    pub fresh_noise: f64,
    /// Noise levels, descending, the first is where sampling starts.
    pub sigmas: Vec<f32>,
    /// Those of a clip's first block, where it has its own: nothing comes before it that says what
    /// the clip shows.
    pub first_block: Option<Vec<f32>>,
}

impl Sampler {
    /// Noise levels of a clip's first block, or of the others.
    pub fn levels(&self, first: bool) -> &[f32] {
        let of_first = self.first_block.as_ref().filter(|_| first);
        of_first.unwrap_or(&self.sigmas)
    }

    /// The most levels that any block has.
    pub fn most_levels(&self) -> usize {
        self.levels(true).len().max(self.sigmas.len())
    }

    /// The sampler of the block whose frames begin at `start`, with the same levels for all.
    #[must_use]
    pub fn of_block(&self, start: usize) -> Self {
        Self {
            fresh_noise: self.fresh_noise,
            sigmas: self.levels(start == 0).to_vec(),
            first_block: None,
        }
    }

    /// Denoises `x` (noise of the first level) with `velocity(x, sigma)`; `noise()` draws fresh
    /// noise of the same shape.
    ///
    /// The second result are the states that the velocity was asked for, one per level.
    pub fn denoise<B: Backend>(
        &self,
        mut x: Tensor<B, 5>,
        mut velocity: impl FnMut(Tensor<B, 5>, f32) -> Tensor<B, 5>,
        mut noise: impl FnMut() -> Tensor<B, 5>,
    ) -> (Tensor<B, 5>, Vec<Tensor<B, 5>>) {
        let mut states = Vec::with_capacity(self.sigmas.len());
        for (step, &sigma) in self.sigmas.iter().enumerate() {
            states.push(x.clone());
            let v = velocity(x.clone(), sigma);
            x = match self.sigmas.get(step + 1) {
                None => x - v * sigma,
                Some(next) if self.fresh_noise == 0.0 => x + v * (next - sigma),
                Some(next) if self.fresh_noise == 1.0 => {
                    (x - v * sigma) * (1.0 - next) + noise() * *next
                }
                Some(next) => {
                    let (kept, drawn) = noise_shares(self.fresh_noise);
                    let noise_estimate = x.clone() + v.clone() * (1.0 - sigma);
                    (x - v * sigma) * (1.0 - next)
                        + noise_estimate * (kept * *next)
                        + noise() * (drawn * *next)
                }
            };
        }
        (x, states)
    }
}

/// `(cos, sin)` of a quarter turn times `fresh`: the shares of a step's noise that are kept and
/// drawn.
pub fn noise_shares(fresh: f64) -> (f32, f32) {
    // Exact at the end: no trace of the old noise is left.
    if fresh >= 1.0 {
        return (0.0, 1.0);
    }
    let (sin, cos) = (fresh * std::f64::consts::FRAC_PI_2).sin_cos();
    (cos as f32, sin as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::NdArray;

    /// For data concentrated in one point the exact velocity is (x - point) / sigma, and every
    /// sampler must end there.
    #[test]
    fn every_sampler_ends_in_the_only_clip_there_is() {
        for fresh_noise in [
            SamplerKind::Consistency.fresh_noise(),
            SamplerKind::Ode.fresh_noise(),
            0.4,
        ] {
            let sampler = Sampler {
                fresh_noise,
                sigmas: vec![1.0, 0.9375, 0.8333, 0.625],
                first_block: None,
            };
            let full = |value: f32| {
                Tensor::<NdArray, 5>::full([1, 1, 1, 1, 2], value, &Default::default())
            };
            let (clip, states) =
                sampler.denoise(full(2.0), |x, sigma| (x - 0.5) / sigma, || full(-1.0));
            assert!(
                (clip - 0.5).abs().max().into_scalar() < 1e-5,
                "{fresh_noise}"
            );
            assert_eq!(states.len(), 4);
        }
    }

    #[test]
    fn the_consistency_step_is_a_gaussian_kernel_around_the_scaled_clean_estimate() {
        // N((1 - s') x0, s'^2): with velocity 0 the clean estimate is x itself.
        let sampler = Sampler {
            fresh_noise: 1.0,
            sigmas: vec![1.0, 0.25],
            first_block: None,
        };
        let full =
            |value: f32| Tensor::<NdArray, 5>::full([1, 1, 1, 1, 1], value, &Default::default());
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

    #[test]
    fn drawing_part_of_the_noise_afresh_keeps_the_noise_level() {
        use afd_noise::{Noise, Purpose};
        const COUNT: usize = 20_000;
        let normal = |step| {
            let values = Noise::new(1, Purpose::Evaluation, step, 0).normals(COUNT);
            Tensor::<NdArray, 5>::from_data(
                burn::tensor::TensorData::new(values, [1, 1, 1, 1, COUNT]),
                &Default::default(),
            )
        };
        for fresh_noise in [0.3, 0.7, 1.0] {
            let sampler = Sampler {
                fresh_noise,
                sigmas: vec![1.0, 0.8, 0.6, 0.4],
                first_block: None,
            };
            let mut draws = 0;
            let noise = || {
                draws += 1;
                normal(draws)
            };
            // A student that knows the clean clip (0 here, so that all variance is noise): x =
            // sigma eps, v = eps.
            let (_, states) = sampler.denoise(normal(0), |x, sigma| x / sigma, noise);
            for (state, sigma) in states.iter().zip([1.0f32, 0.8, 0.6, 0.4]) {
                let std = state.clone().square().mean().sqrt().into_scalar();
                // The standard error of a deviation over 20,000 draws is 0.5 %.
                assert!(
                    (std / sigma - 1.0).abs() < 0.02,
                    "{fresh_noise} {sigma}: {std}"
                );
            }
        }
    }
}

//! `[sampler]`: the few-step sampler (docs/method.md A.3, A.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SigmaSet;
use crate::flow::sampler::{Sampler, SamplerKind};
use crate::flow::schedule::few_step_sigmas;
use crate::recipe::Problem;

/// The few-step sampler (docs/method.md A.3, A.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplerTable {
    /// The kind of step.
    pub kind: SamplerKind,
    /// Nominal timesteps, descending, each above 0 and at most 1000.
    #[schemars(length(min = 1, max = 1000), inner(range(max = 1000.0)))]
    pub denoising_step_list: Vec<f64>,
    /// Shift of the schedule; Wan students use 5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timestep_shift: f64,
    /// Whether the nominal list is warped by the shifted schedule.
    pub warp_denoising_step: bool,
}

impl SamplerTable {
    /// The sampler.
    pub fn build(&self) -> Sampler {
        Sampler {
            fresh_noise: self.kind.fresh_noise(),
            sigmas: self.training_sigmas(SigmaSet::Sampler),
        }
    }

    /// Noise levels that an update trains; empty for continuous ones.
    pub fn training_sigmas(&self, set: SigmaSet) -> Vec<f32> {
        let steps = &self.denoising_step_list;
        match set {
            SigmaSet::Sampler => {
                few_step_sigmas(steps, self.timestep_shift, self.warp_denoising_step)
            }
            SigmaSet::Unwarped => few_step_sigmas(steps, 1.0, false),
            SigmaSet::Shifted => Vec::new(),
        }
    }

    /// Whether the steps descend within (0, 1000].
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let steps = &self.denoising_step_list;
        let descending = steps.windows(2).all(|pair| pair[0] > pair[1]);
        let within = steps.iter().all(|step| *step > 0.0 && *step <= 1000.0);
        if !steps.is_empty() && descending && within {
            return Ok(());
        }
        Err(Problem::new(format!(
            "sampler.denoising_step_list is {steps:?}, must be descending numbers above 0 and at \
             most 1000"
        )))
    }
}

//! `[sampler]`: the few-step sampler (docs/method.md A.3, A.4).

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SigmaSet;
use crate::flow::sampler::{Sampler, SamplerKind};
use crate::flow::schedule::{TrainedLevels, few_step_sigmas};
use crate::recipe::{Problem, RecipeError, bounds, document};

/// The few-step sampler (docs/method.md A.3, A.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplerTable {
    /// The kind of step.
    pub kind: SamplerKind,
    /// Nominal timesteps, descending, each above 0 and at most 1000.
    #[schemars(length(min = 1, max = 1000), inner(range(max = 1000.0)))]
    pub denoising_step_list: Vec<f64>,
    /// The same of a clip's first block of frames, where it has a list of its own (as students of
    /// one and two steps have); without it, the list above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(max = 1000.0)))]
    pub denoising_step_list_first_chunk: Option<Vec<f64>>,
    /// Shift of the schedule; Wan students use 5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timestep_shift: f64,
    /// Whether the nominal lists are warped by the shifted schedule. Without warping an entry d is
    /// the noise level d / 1000 itself; Self-Forcing and its kin look up the nearest of the 1000
    /// levels of their shifted table instead (304 becomes 0.30303) and still tell the student
    /// 304.
    pub warp_denoising_step: bool,
}

impl SamplerTable {
    /// The sampler.
    pub fn build(&self) -> Sampler {
        let TrainedLevels {
            levels,
            first_block,
        } = self.training_sigmas(SigmaSet::Sampler);
        Sampler {
            fresh_noise: self.kind.fresh_noise(),
            sigmas: levels,
            first_block,
        }
    }

    /// This one with the fields of `overrides` (`sampler.a=value`); `origin` is the recipe that
    /// they were given for.
    ///
    /// # Errors
    /// As for a recipe with these fields.
    pub fn with(&self, overrides: &[String], origin: &Path) -> Result<Self, RecipeError> {
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Alone {
            sampler: SamplerTable,
        }
        let alone = Alone {
            sampler: self.clone(),
        };
        let failed = |problem: Problem| RecipeError::Value {
            path: origin.to_path_buf(),
            problem,
        };
        let text = toml::to_string(&alone).map_err(|error| failed(Problem::from_error(error)))?;
        let Alone { sampler } = document::parse(&text, origin, overrides)?;
        bounds::check_table("sampler", &sampler)
            .and_then(|()| sampler.check())
            .map_err(failed)?;
        Ok(sampler)
    }

    /// Noise levels that an update trains; none for continuous ones.
    pub fn training_sigmas(&self, set: SigmaSet) -> TrainedLevels {
        let levels = |steps: &Vec<f64>| match set {
            SigmaSet::Sampler => {
                few_step_sigmas(steps, self.timestep_shift, self.warp_denoising_step)
            }
            SigmaSet::Unwarped => few_step_sigmas(steps, 1.0, false),
            SigmaSet::Shifted => Vec::new(),
        };
        TrainedLevels {
            levels: levels(&self.denoising_step_list),
            first_block: self.denoising_step_list_first_chunk.as_ref().map(levels),
        }
    }

    /// Steps of a clip's first block, and of the others.
    pub fn steps(&self) -> [usize; 2] {
        let others = &self.denoising_step_list;
        let first = self.denoising_step_list_first_chunk.as_ref();
        [first.unwrap_or(others).len(), others.len()]
    }

    /// Whether the steps descend within (0, 1000].
    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_steps("denoising_step_list", &self.denoising_step_list)?;
        let first = self.denoising_step_list_first_chunk.as_ref();
        first.map_or(Ok(()), |first| {
            check_steps("denoising_step_list_first_chunk", first)
        })
    }
}

fn check_steps(field: &str, steps: &[f64]) -> Result<(), Problem> {
    let descending = steps.windows(2).all(|pair| pair[0] > pair[1]);
    let within = steps.iter().all(|step| *step > 0.0 && *step <= 1000.0);
    if !steps.is_empty() && descending && within {
        return Ok(());
    }
    Err(Problem::new(format!(
        "sampler.{field} is {steps:?}, must be descending numbers above 0 and at most 1000"
    )))
}

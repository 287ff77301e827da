//! The many-step sampler whose states teach a student to go the same way in few steps.

use super::sampler::{Sampler, SamplerKind};
use super::schedule::few_step_sigmas;

/// The many-step sampler, and which of its noise levels the few-step student visits.
#[derive(Debug, Clone, PartialEq)]
pub struct TrajectorySchedule {
    /// The many-step sampler.
    pub sampler: Sampler,
    /// Places of the few-step levels among the many.
    pub visited: Vec<usize>,
    /// Those of a clip's first block, where the few-step sampler has a list of its own for it.
    pub visited_first: Option<Vec<usize>>,
}

/// A few-step level that the many steps miss.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "supervised.trajectory_steps is {steps}, whose steps of {} miss {level} of the sampler's \
     denoising steps",
    1000.0 / *steps as f64
)]
pub struct MissedLevel {
    /// Steps of the many-step sampler.
    pub steps: usize,
    /// Nominal timestep that it does not visit.
    pub level: f64,
}

impl TrajectorySchedule {
    /// `steps` equal steps of the nominal time, warped as the few-step list is (see
    /// [`few_step_sigmas`]).
    ///
    /// # Errors
    /// A few-step level that the many steps miss.
    pub fn new(
        few_steps: &[f64],
        first_block: Option<&[f64]>,
        shift: f64,
        warp: bool,
        steps: usize,
    ) -> Result<Self, MissedLevel> {
        let nominal: Vec<f64> = (1..=steps)
            .rev()
            .map(|step| 1000.0 * step as f64 / steps as f64)
            .collect();
        let place = |&level: &f64| {
            let found = nominal.iter().position(|step| (step - level).abs() < 1e-6);
            found.ok_or(MissedLevel { steps, level })
        };
        let places = |steps: &[f64]| steps.iter().map(place).collect::<Result<Vec<_>, _>>();
        let visited = places(few_steps)?;
        let visited_first = first_block.map(places).transpose()?;
        Ok(Self {
            sampler: Sampler {
                fresh_noise: SamplerKind::Ode.fresh_noise(),
                sigmas: few_step_sigmas(&nominal, shift, warp),
                first_block: None,
            },
            visited,
            visited_first,
        })
    }

    /// Places of the levels that a block is shown at: the first one or another.
    pub fn places(&self, first: bool) -> &[usize] {
        let of_first = self.visited_first.as_ref().filter(|_| first);
        of_first.unwrap_or(&self.visited)
    }

    /// Levels that the few-step student visits: every trajectory gives as many clips to learn from.
    pub fn levels(&self) -> usize {
        self.visited.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_step_level_that_the_many_steps_miss_is_named() {
        assert!(TrajectorySchedule::new(&[1000.0, 500.0], None, 5.0, true, 16).is_ok());
        let problem = TrajectorySchedule::new(&[1000.0, 700.0], None, 5.0, true, 16).unwrap_err();
        let problem = problem.to_string();
        assert!(
            problem.contains("700") && problem.contains("16"),
            "{problem}"
        );
    }
}

//! Shifted noise levels and the few-step list (docs/method.md A.2, A.3).

use afd_models::noise::Noise;

/// `sigma(s) = S s / (1 + (S - 1) s)` for shift `S` and `s` in [0, 1].
pub fn shifted(shift: f64, s: f64) -> f64 {
    shift * s / (1.0 + (shift - 1.0) * s)
}

/// The sampler's noise levels from a nominal list such as `[1000, 750, 500, 250]`, descending.
///
/// With `warp`, every entry `d` becomes `sigma(d / 1000)` of the shifted schedule, otherwise `d /
/// 1000`.
pub fn few_step_sigmas(denoising_steps: &[f64], shift: f64, warp: bool) -> Vec<f32> {
    let level = |step: &f64| {
        if warp {
            shifted(shift, step / 1000.0)
        } else {
            step / 1000.0
        }
    };
    denoising_steps
        .iter()
        .map(|step| level(step) as f32)
        .collect()
}

/// One of `levels`, or, if there are none, a uniform level in (0, 1] of the shifted schedule.
pub fn draw_sigma(levels: &[f32], shift: f64, draw: &mut Noise) -> f32 {
    match levels.len() {
        0 => shifted(shift, 1.0 - f64::from(draw.uniform())) as f32,
        count => levels[draw.below(count)],
    }
}

/// The noise levels that an update trains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainedLevels {
    /// Those of every block; none for continuous ones.
    pub levels: Vec<f32>,
    /// Those of a clip's first block, where its sampler has a list of its own for it.
    pub first_block: Option<Vec<f32>>,
}

/// Noise levels of a clip's `frames`, one drawn per block of `per_block` frames; see
/// [`draw_sigma`].
pub fn draw_block_sigmas(
    trained: &TrainedLevels,
    shift: f64,
    frames: usize,
    per_block: usize,
    draw: &mut Noise,
) -> Vec<f32> {
    let mut sigmas = Vec::with_capacity(frames);
    let mut current = 0.0;
    for frame in 0..frames {
        if frame % per_block == 0 {
            let of_first = trained.first_block.as_ref().filter(|_| frame == 0);
            let levels = of_first.unwrap_or(&trained.levels);
            current = draw_sigma(levels, shift, draw);
        }
        sigmas.push(current);
    }
    sigmas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warped_list_is_the_published_one() {
        // docs/method.md A.3: 1000, 937.5, 833.333, 625.
        let found = few_step_sigmas(&[1000.0, 750.0, 500.0, 250.0], 5.0, true);
        for (found, expected) in found.iter().zip([1.0, 0.9375, 0.833_333, 0.625]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(few_step_sigmas(&[1000.0, 250.0], 5.0, false), [1.0, 0.25]);
    }

    #[test]
    fn the_first_block_draws_from_its_own_list_and_takes_nothing_from_the_others() {
        use afd_models::noise::Purpose;
        let drawn = |first_block: Option<Vec<f32>>| {
            let trained = TrainedLevels {
                levels: vec![1.0, 0.5],
                first_block,
            };
            let mut draw = Noise::new(3, Purpose::Sigma, 0, 0);
            let clips = (0..40).map(|_| draw_block_sigmas(&trained, 5.0, 6, 2, &mut draw));
            clips.collect::<Vec<_>>()
        };
        let own = vec![0.9, 0.8, 0.7];
        let (with, without) = (drawn(Some(own.clone())), drawn(None));
        for clip in &with {
            assert!(own.contains(&clip[0]) && clip[0] == clip[1], "{clip:?}");
            assert!([1.0, 0.5].contains(&clip[2]) && [1.0, 0.5].contains(&clip[4]));
        }
        let seen = |level: &f32| with.iter().any(|clip| clip[0] == *level);
        assert!(own.iter().all(seen));
        assert!(without.iter().all(|clip| [1.0, 0.5].contains(&clip[0])));
        let others = |clips: &[Vec<f32>]| clips.iter().map(|c| c[2..].to_vec()).collect::<Vec<_>>();
        assert_eq!(others(&with), others(&without));
    }
}

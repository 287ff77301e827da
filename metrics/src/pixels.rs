//! Pixel energy distance: do the student's clips, as pictures, have the teacher's distribution?

use super::{EvalError, energy_distance::energy_distance};
use afd_clips::video::Clip;

/// Energy distance between clips as flat vectors; the norm is the root-mean-square pixel
/// difference, pixels in [-1, 1].
///
/// In [0, 4] up to sampling noise around zero; lower is better. Blind to small motion errors and
/// sensitive to any shift of brightness.
///
/// # Errors
/// Those of [`energy_distance`].
pub fn pixel_energy_distance(teacher: &[Clip], student: &[Clip]) -> Result<f64, EvalError> {
    let values = teacher.first().map_or(1, |clip| clip.pixels.len()).max(1);
    Ok(energy_distance(&flat(teacher), &flat(student))? / (values as f64).sqrt())
}

fn flat(clips: &[Clip]) -> Vec<&[f32]> {
    clips.iter().map(|clip| clip.pixels.as_slice()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::shape;
    use super::*;

    #[test]
    fn black_against_white_is_twice_the_root_mean_square_difference_at_any_size() {
        for side in [2, 16] {
            let flat = |value: f32| {
                vec![
                    Clip {
                        shape: shape(3, side),
                        pixels: vec![value; 3 * side * side * 3]
                    };
                    2
                ]
            };
            assert!((pixel_energy_distance(&flat(-1.0), &flat(1.0)).unwrap() - 4.0).abs() < 1e-9);
            assert_eq!(pixel_energy_distance(&flat(0.5), &flat(0.5)).unwrap(), 0.0);
        }
    }
}

//! Trajectory energy distance: do the student's bodies go where the teacher's go, sample after
//! sample?

use super::{EvalError, energy_distance::energy_distance, tracking::Track};

/// Energy distance between clips seen as the centres of all their bodies over all frames (one
/// vector of `bodies * T * 2` pixels per clip).
///
/// In pixels (Euclidean over the whole vector, so it grows with the square root of the frames);
/// lower is better, and two sets of samples of one teacher scatter around zero. `teacher[i]` and
/// `student[i]` are the tracks of one clip, from the same tracker.
///
/// # Errors
/// Those of [`energy_distance`].
pub fn trajectory_energy_distance(
    teacher: &[Vec<Track>],
    student: &[Vec<Track>],
) -> Result<f64, EvalError> {
    energy_distance(&vectors(teacher), &vectors(student))
}

/// One vector per clip: the centres of all bodies over all frames, `bodies * T * 2` pixels.
pub fn vectors(clips: &[Vec<Track>]) -> Vec<Vec<f32>> {
    clips
        .iter()
        .map(|tracks| {
            tracks
                .iter()
                .flat_map(|track| track.centres.iter().flatten().copied())
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, y: f32) -> Vec<Track> {
        vec![
            Track {
                centres: vec![[x, y]; 4],
                masses: vec![5.0; 4],
                visible: vec![true; 4]
            };
            2
        ]
    }

    #[test]
    fn a_constant_offset_counts_over_all_bodies_and_frames() {
        // Identical clips within each set; 2 bodies x 4 frames, each off by (3, 4): norm 5 sqrt(8),
        // twice.
        let distance = trajectory_energy_distance(
            &[at(1.0, 1.0), at(1.0, 1.0)],
            &[at(4.0, 5.0), at(4.0, 5.0)],
        )
        .unwrap();
        assert!((distance - 2.0 * 5.0 * 8f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_single_clip_is_refused() {
        assert!(
            trajectory_energy_distance(&[at(1.0, 1.0)], &[at(1.0, 1.0), at(2.0, 2.0)]).is_err()
        );
    }
}

//! Temporal flickering (VBench): how little neighbouring frames differ.

use super::{frame_bytes, mean};
use afd_clips::video::Clip;

/// `(255 - mean_t MAE(f_t, f_{t+1})) / 255` on 8-bit frames, averaged over clips: in [0, 1], 1 for
/// still clips.
///
/// VBench's definition, meant for prompts of still scenes. Moving bodies lower it legitimately, so
/// compare it with the teacher's value ([`temporal_flicker_gap`]). `None` without a clip of at
/// least two frames.
pub fn temporal_flicker(clips: &[Clip]) -> Option<f64> {
    mean(clips.iter().filter_map(|clip| {
        let frames: Vec<Vec<u8>> = (0..clip.shape.frames)
            .map(|frame| frame_bytes(clip, frame))
            .collect();
        let error = mean(
            frames
                .windows(2)
                .map(|pair| mean_absolute_error(&pair[0], &pair[1])),
        )?;
        Some((255.0 - error) / 255.0)
    }))
}

/// `|flicker(student) - flicker(teacher)|`, in [0, 1]; lower is better. `None` where either side
/// has none.
pub fn temporal_flicker_gap(teacher: &[Clip], student: &[Clip]) -> Option<f64> {
    Some((temporal_flicker(student)? - temporal_flicker(teacher)?).abs())
}

/// Mean absolute difference of two frames of one size, in 8-bit levels.
fn mean_absolute_error(a: &[u8], b: &[u8]) -> f64 {
    mean(a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)))).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{drifting, shape};
    use super::*;

    /// Uniform frames, one 8-bit level each.
    fn uniform(levels: &[u8]) -> Clip {
        let pixels = levels
            .iter()
            .flat_map(|&level| [afd_clips::video::from_byte(level); 12])
            .collect();
        Clip {
            shape: shape(levels.len(), 2),
            pixels,
        }
    }

    #[test]
    fn constant_clips_do_not_flicker() {
        assert_eq!(temporal_flicker(&[uniform(&[7, 7, 7])]), Some(1.0));
    }

    #[test]
    fn alternating_frames_lose_their_amplitude() {
        assert!((temporal_flicker(&[uniform(&[100, 151, 100])]).unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(temporal_flicker(&[uniform(&[0, 255])]), Some(0.0));
    }

    #[test]
    fn motion_lowers_the_value_and_the_gap_is_measured_from_the_teacher() {
        let (still, moving) = (
            [drifting([8.0, 8.0], [0.0, 0.0])],
            [drifting([2.0, 8.0], [1.0, 0.0])],
        );
        let gap = temporal_flicker_gap(&moving, &still).unwrap();
        assert!((gap - (1.0 - temporal_flicker(&moving).unwrap())).abs() < 1e-12 && gap > 0.0);
        assert_eq!(temporal_flicker_gap(&moving, &moving), Some(0.0));
    }

    #[test]
    fn single_frames_have_no_flicker() {
        assert_eq!(temporal_flicker(&[uniform(&[3])]), None);
    }
}

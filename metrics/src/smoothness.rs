//! Motion smoothness, proxy: can dropped frames be interpolated from their neighbours?

use super::{frame_bytes, mean};
use afd_clips::video::Clip;

/// Drops the odd frames, puts the mean of the two even neighbours in their place and gives `(255 -
/// MAE) / 255` over the dropped frames, on 8-bit values, averaged over clips: in [0, 1], higher is
/// smoother.
///
/// A proxy of VBench's motion smoothness, which interpolates with the network AMT-S: a linear blend
/// cannot follow motion, so fast but smooth motion lowers it and its numbers are not comparable
/// with VBench's. `None` without a clip of at least three frames.
pub fn motion_smoothness(clips: &[Clip]) -> Option<f64> {
    mean(clips.iter().filter_map(|clip| {
        let odd_frames = (1..clip.shape.frames.saturating_sub(1)).step_by(2);
        let error = mean(odd_frames.map(|frame| interpolation_error(clip, frame)))?;
        Some((255.0 - error) / 255.0)
    }))
}

/// Mean absolute difference, in 8-bit levels, between a frame and the mean of its two neighbours.
fn interpolation_error(clip: &Clip, frame: usize) -> f64 {
    let [before, dropped, after] =
        [frame - 1, frame, frame + 1].map(|frame| frame_bytes(clip, frame));
    let neighbours = before
        .iter()
        .zip(&after)
        .map(|(&a, &b)| (f64::from(a) + f64::from(b)) / 2.0);
    mean(
        neighbours
            .zip(&dropped)
            .map(|(guess, &value)| (guess - f64::from(value)).abs()),
    )
    .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::shape;
    use super::*;

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
    fn constant_and_linearly_changing_clips_are_perfectly_smooth() {
        assert_eq!(motion_smoothness(&[uniform(&[9; 5])]), Some(1.0));
        assert_eq!(
            motion_smoothness(&[uniform(&[10, 20, 30, 40, 50])]),
            Some(1.0)
        );
    }

    #[test]
    fn a_frame_off_the_line_costs_its_distance() {
        // Frame 1 is 51 levels off its neighbours' mean; frame 3 has no right neighbour and does
        // not count.
        assert!(
            (motion_smoothness(&[uniform(&[100, 151, 100, 255])]).unwrap() - 0.8).abs() < 1e-12
        );
    }

    #[test]
    fn two_frames_cannot_be_measured() {
        assert_eq!(motion_smoothness(&[uniform(&[1, 2])]), None);
    }
}

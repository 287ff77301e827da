//! Object permanence: do the bodies stay there, at their size?

use super::{mean, tracking::Track};

/// A body counts as itself while its mass stays between these multiples of its mean mass in the
/// teacher's clips.
pub const MASS_RANGE: [f32; 2] = [0.5, 1.75];

/// The share of (clip, body, frame) with the body visible and of about its usual mass
/// ([`MASS_RANGE`]): in [0, 1], higher is better.
///
/// `clips[i]` are the tracks of one clip and `mean_masses` the teacher's mean masses, both from one
/// tracker. `None` without a frame.
pub fn object_permanence(clips: &[Vec<Track>], mean_masses: &[f32]) -> Option<f64> {
    let bodies = clips
        .iter()
        .flat_map(|tracks| tracks.iter().zip(mean_masses));
    mean(bodies.flat_map(|(track, &usual)| {
        let range = MASS_RANGE[0] * usual..=MASS_RANGE[1] * usual;
        track
            .masses
            .iter()
            .zip(&track.visible)
            .map(move |(mass, &visible)| {
                if visible && range.contains(mass) {
                    1.0
                } else {
                    0.0
                }
            })
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{
        synthetic::{Disc, RED, clip},
        tracking::Tracker,
    };
    use super::*;

    fn permanence_of(path: Vec<Option<[f32; 2]>>, radius: f32) -> f64 {
        let whole = (0..12).map(|t| Some([3.0 + 0.8 * t as f32, 8.0])).collect();
        let teacher = clip(
            12,
            16,
            &[Disc {
                path: whole,
                radius: 1.6,
                colour: RED,
            }],
        );
        let tracker = Tracker::for_prompt("a red ball", &[teacher]).unwrap();
        let student = clip(
            12,
            16,
            &[Disc {
                path,
                radius,
                colour: RED,
            }],
        );
        object_permanence(&[tracker.track(&student)], tracker.mean_masses()).unwrap()
    }

    #[test]
    fn a_disc_that_stays_is_permanent_and_one_that_vanishes_is_not() {
        let mut path: Vec<_> = (0..12)
            .map(|t| Some([12.0 - 0.7 * t as f32, 6.0]))
            .collect();
        assert_eq!(permanence_of(path.clone(), 1.6), 1.0);
        path[9..].fill(None);
        assert_eq!(permanence_of(path, 1.6), 0.75);
    }

    #[test]
    fn a_disc_that_doubles_or_halves_its_size_is_another_disc() {
        let path: Vec<_> = (0..12).map(|t| Some([4.0 + 0.7 * t as f32, 8.0])).collect();
        assert_eq!(permanence_of(path.clone(), 2.4), 0.0);
        assert_eq!(permanence_of(path, 0.9), 0.0);
    }

    #[test]
    fn no_clips_have_no_permanence() {
        assert_eq!(object_permanence(&[], &[]), None);
    }
}

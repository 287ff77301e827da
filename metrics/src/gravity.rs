//! Gravity error: do the student's bodies fall as fast as the teacher's?
//!
//! In free flight the second difference of a body's height, `y(t+1) - 2 y(t) + y(t-1)`, is its
//! acceleration in px/frame^2, whatever its speed. A clip's acceleration is the median over its
//! second differences (y points down, so falling is positive) after leaving out
//!
//! - those with a frame in which the body is not visible;
//! - those that share an interval with a bounce: velocity turns from downward to upward by more
//!   than 1/32 of the image height per frame, and both intervals around the turn count, since the
//!   hit lies in one of them;
//! - those with a frame in the contact zone, where the floor carries the body: less than 1/16 of
//!   the image height above the lowest centre in the teacher's clips, if that is in the lowest
//!   quarter of the image (else there is no floor in sight).
//!
//! Hits on walls leave the vertical speed alone; what else disturbs single frames is the median's
//! business.

use super::{mean, median, tracking::Track};

/// A clip with fewer second differences in free flight has no acceleration.
const FEWEST_SECOND_DIFFERENCES: usize = 2;

/// `|mean acceleration of the student's clips - mean acceleration of the teacher's|` in px/frame^2,
/// mean over bodies; lower is better.
///
/// `teacher[i]` and `student[i]` are the tracks of one clip of one prompt, from the same tracker.
/// Bodies that are never in free flight in the teacher's clips are left out; `None` if that leaves
/// none. A student that never shows a body in free flight counts as weightless.
pub fn gravity_error(
    teacher: &[Vec<Track>],
    student: &[Vec<Track>],
    image_height: usize,
) -> Option<f64> {
    let bodies = teacher.first().map_or(0, Vec::len);
    mean((0..bodies).filter_map(|body| {
        let contact = contact_level(teacher, body, image_height);
        let expected = mean_acceleration(teacher, body, contact, image_height)?;
        Some(
            (mean_acceleration(student, body, contact, image_height).unwrap_or(0.0) - expected)
                .abs(),
        )
    }))
}

/// Mean over clips of [`free_flight_acceleration`] of one body, px/frame^2; `None` if no clip shows
/// free flight.
pub fn mean_acceleration(
    clips: &[Vec<Track>],
    body: usize,
    contact: Option<f32>,
    image_height: usize,
) -> Option<f64> {
    mean(
        clips
            .iter()
            .filter_map(|tracks| free_flight_acceleration(tracks.get(body)?, contact, image_height))
            .map(f64::from),
    )
}

/// Height (y of the centre, px) from which on a body may touch the floor, or `None` if the clips
/// show no floor.
pub fn contact_level(clips: &[Vec<Track>], body: usize, image_height: usize) -> Option<f32> {
    let height = image_height as f32;
    let tracks = clips.iter().filter_map(|tracks| tracks.get(body));
    let seen = tracks.flat_map(|track| {
        track
            .centres
            .iter()
            .zip(&track.visible)
            .filter(|(_, visible)| **visible)
            .map(|(centre, _)| centre[1])
    });
    let lowest = seen.fold(f32::NEG_INFINITY, f32::max);
    (lowest >= 0.75 * height).then_some(lowest - height / 16.0)
}

/// Vertical acceleration of one body in one clip, px/frame^2, positive downward; see the module's
/// text. `None` below two second differences.
pub fn free_flight_acceleration(
    track: &Track,
    contact: Option<f32>,
    image_height: usize,
) -> Option<f32> {
    let y: Vec<f32> = track.centres.iter().map(|centre| centre[1]).collect();
    let velocities: Vec<f32> = y.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let sharp = image_height as f32 / 32.0;
    let mut bounces = vec![false; velocities.len()];
    for interval in 1..velocities.len() {
        let (before, after) = (velocities[interval - 1], velocities[interval]);
        if before > 0.0 && after < 0.0 && before - after > sharp {
            bounces[interval - 1..=interval].fill(true);
        }
    }
    let touches = |frame: usize| contact.is_some_and(|level| y[frame] > level);
    let in_flight = |frame: usize| {
        !bounces[frame - 1]
            && !bounces[frame]
            && (frame - 1..=frame + 1).all(|near| track.visible[near] && !touches(near))
    };
    let middle_frames = 1..y.len().saturating_sub(1);
    let mut accelerations: Vec<f32> = middle_frames
        .filter(|&frame| in_flight(frame))
        .map(|frame| velocities[frame] - velocities[frame - 1])
        .collect();
    if accelerations.len() < FEWEST_SECOND_DIFFERENCES {
        None
    } else {
        median(&mut accelerations)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        synthetic::{Disc, RED, clip},
        tracking::Tracker,
    };
    use super::*;
    use afd_clips::video::Clip;

    const FLOOR: f32 = 14.4;

    /// A ball of radius 1.6 px thrown with (vx, vy), bouncing off the floor with restitution 0.8,
    /// exact between bounces.
    fn throw(gravity: f32, mut y: f32, mut vy: f32, vx: f32) -> Clip {
        let steps = 1000;
        let mut path = Vec::new();
        for frame in 0..12 {
            path.push(Some([4.0 + vx * frame as f32, y]));
            for _ in 0..steps {
                vy += gravity / steps as f32;
                y += vy / steps as f32;
                if y > FLOOR && vy > 0.0 {
                    vy *= -0.8;
                }
            }
        }
        clip(
            12,
            16,
            &[Disc {
                path,
                radius: 1.6,
                colour: RED,
            }],
        )
    }

    /// Twelve samples with different heights and speeds.
    fn samples(gravity: f32) -> Vec<Clip> {
        (0..12)
            .map(|sample| {
                throw(
                    gravity,
                    3.0 + 0.37 * sample as f32,
                    -0.8 + 0.17 * (sample % 5) as f32,
                    0.1 + 0.05 * sample as f32,
                )
            })
            .collect()
    }

    fn tracks(tracker: &Tracker, clips: &[Clip]) -> Vec<Vec<Track>> {
        clips.iter().map(|clip| tracker.track(clip)).collect()
    }

    #[test]
    fn gravity_is_recovered_from_bouncing_discs_of_sixteen_pixels() {
        for gravity in [0.1, 0.2, 0.4, 0.6] {
            let clips = samples(gravity);
            let tracks = tracks(
                &Tracker::for_prompt("a red ball falls", &clips).unwrap(),
                &clips,
            );
            let measured =
                mean_acceleration(&tracks, 0, contact_level(&tracks, 0, 16), 16).unwrap();
            assert!(
                (measured - f64::from(gravity)).abs() < 0.03,
                "{measured} instead of {gravity}"
            );
        }
    }

    #[test]
    fn the_error_is_the_difference_of_the_two_gravities() {
        let (teacher, student) = (samples(0.5), samples(0.2));
        let tracker = Tracker::for_prompt("a red ball falls", &teacher).unwrap();
        let (teacher, student) = (tracks(&tracker, &teacher), tracks(&tracker, &student));
        let error = gravity_error(&teacher, &student, 16).unwrap();
        assert!((error - 0.3).abs() < 0.05, "{error}");
        assert_eq!(gravity_error(&teacher, &teacher, 16), Some(0.0));
    }

    /// A track that is always seen, from its heights alone.
    fn heights(y: &[f32]) -> Track {
        Track {
            centres: y.iter().map(|&y| [8.0, y]).collect(),
            masses: vec![8.0; y.len()],
            visible: vec![true; y.len()],
        }
    }

    #[test]
    fn bounces_contacts_and_missing_frames_are_left_out() {
        // Exact parabola with g = 0.5, one bounce between frames 4 and 5, then upwards with the
        // same g.
        let y = [2.0, 2.25, 3.0, 4.25, 6.0, 5.25, 2.25, -0.25, -2.25];
        assert_eq!(free_flight_acceleration(&heights(&y), None, 16), Some(0.5));
        // Rest on the floor after a fall: only the fall counts.
        let rest = [
            2.0, 2.25, 3.0, 4.25, 6.0, 14.0, 14.0, 14.0, 14.0, 14.0, 14.0, 14.0, 14.0,
        ];
        assert_eq!(
            free_flight_acceleration(&heights(&rest), Some(13.0), 16),
            Some(0.5)
        );
        let mut hidden = heights(&y);
        hidden.visible[1..7].fill(false);
        assert_eq!(free_flight_acceleration(&hidden, None, 16), None);
    }

    #[test]
    fn weightless_drift_has_no_gravity_and_no_floor() {
        let drift: Vec<Track> = vec![heights(&[8.0, 7.9, 8.1, 8.0, 7.9, 8.1, 8.0, 7.9])];
        assert_eq!(contact_level(std::slice::from_ref(&drift), 0, 16), None);
        assert!(free_flight_acceleration(&drift[0], None, 16).unwrap().abs() < 0.11);
    }

    #[test]
    fn a_student_without_free_flight_counts_as_weightless() {
        let teacher = vec![vec![heights(&[2.0, 2.25, 3.0, 4.25, 6.0])]];
        let mut gone = heights(&[8.0; 5]);
        gone.visible.fill(false);
        assert_eq!(
            gravity_error(&teacher, &[vec![gone.clone()]], 16),
            Some(0.5)
        );
        assert_eq!(gravity_error(&[vec![gone]], &teacher, 16), None);
    }
}

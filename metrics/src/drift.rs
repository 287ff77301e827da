//! Drift: how a student's clips part from the teacher's the longer they last.
//!
//! Long clips are cut into windows of the length that the student was trained on; each window is
//! compared with the same window of the teacher's long clips. A student that rolls on as well as it
//! began has a level curve (the first window is the trained length itself).

use serde::{Deserialize, Serialize};

use super::{
    ClipDefect, EvalError, flicker::temporal_flicker_gap, mean, permanence::object_permanence,
    pixels::pixel_energy_distance, table::check, tracking::Track, tracking::Tracker,
    trajectory::trajectory_energy_distance,
};
use afd_clips::video::{Clip, ClipShape};

/// One point of the curve: a stretch of the trained length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftWindow {
    /// The window's first frame.
    pub first_frame: usize,
    /// Energy distance between the bodies' paths in this window, teacher against student; px; lower
    /// is better.
    pub trajectory_energy_distance: f64,
    /// Energy distance between the windows as pictures; root-mean-square of pixels in [-1, 1];
    /// lower is better.
    pub pixel_energy_distance: f64,
    /// Share of (clip, body, frame) with the body there at its usual size; in [0, 1]; higher is
    /// better.
    pub object_permanence: f64,
    /// Distance of the temporal flickering from the teacher's in this window; in [0, 1]; lower is
    /// better.
    pub temporal_flicker_gap: f64,
}

/// The curve of one prompt: one entry per whole window of `window` frames; frames left over at the
/// end are not looked at.
///
/// # Errors
/// [`EvalError`] below two clips on a side, for mixed shapes, values that are not finite, and
/// windows that the clips do not fill once.
pub fn drift(
    prompt: &str,
    teacher: &[Clip],
    student: &[Clip],
    window: usize,
) -> Result<Vec<DriftWindow>, EvalError> {
    check(prompt, teacher, student, [2, 2])?;
    let frames = teacher[0].shape.frames;
    if window < 2 || window > frames {
        return Err(EvalError::Clip {
            prompt: prompt.into(),
            side: "teacher",
            index: 0,
            defect: ClipDefect::Window { frames, window },
        });
    }
    let tracker = Tracker::for_prompt(prompt, teacher)?;
    let tracks = |clips: &[Clip]| {
        clips
            .iter()
            .map(|clip| tracker.track(clip))
            .collect::<Vec<_>>()
    };
    let (teacher_tracks, student_tracks) = (tracks(teacher), tracks(student));
    let of_window = |first: usize| {
        let cut = |clips: &[Clip]| {
            clips
                .iter()
                .map(|clip| clip_window(clip, first, window))
                .collect::<Vec<_>>()
        };
        let cut_tracks = |clips: &[Vec<Track>]| {
            clips
                .iter()
                .map(|tracks| track_window(tracks, first, window))
                .collect::<Vec<_>>()
        };
        let (teacher, student, student_tracks) =
            (cut(teacher), cut(student), cut_tracks(&student_tracks));
        Ok(DriftWindow {
            first_frame: first,
            trajectory_energy_distance: trajectory_energy_distance(
                &cut_tracks(&teacher_tracks),
                &student_tracks,
            )?,
            pixel_energy_distance: pixel_energy_distance(&teacher, &student)?,
            object_permanence: object_permanence(&student_tracks, tracker.mean_masses())
                .unwrap_or(0.0),
            temporal_flicker_gap: temporal_flicker_gap(&teacher, &student).unwrap_or(0.0),
        })
    };
    (0..frames / window)
        .map(|index| of_window(index * window))
        .collect()
}

/// The mean curve over prompts, as long as the shortest; empty without a prompt.
pub fn average(curves: &[Vec<DriftWindow>]) -> Vec<DriftWindow> {
    let windows = curves.iter().map(Vec::len).min().unwrap_or(0);
    let of = |window: usize| {
        let over = |value: fn(&DriftWindow) -> f64| {
            mean(curves.iter().map(|curve| value(&curve[window]))).unwrap_or(0.0)
        };
        DriftWindow {
            first_frame: curves[0][window].first_frame,
            trajectory_energy_distance: over(|w| w.trajectory_energy_distance),
            pixel_energy_distance: over(|w| w.pixel_energy_distance),
            object_permanence: over(|w| w.object_permanence),
            temporal_flicker_gap: over(|w| w.temporal_flicker_gap),
        }
    };
    (0..windows).map(of).collect()
}

fn clip_window(clip: &Clip, first: usize, frames: usize) -> Clip {
    let values = clip.shape.height * clip.shape.width * 3;
    Clip {
        shape: ClipShape {
            frames,
            ..clip.shape
        },
        pixels: clip.pixels[first * values..(first + frames) * values].to_vec(),
    }
}

fn track_window(tracks: &[Track], first: usize, frames: usize) -> Vec<Track> {
    let cut = |track: &Track| Track {
        centres: track.centres[first..first + frames].to_vec(),
        masses: track.masses[first..first + frames].to_vec(),
        visible: track.visible[first..first + frames].to_vec(),
    };
    tracks.iter().map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{Disc, RED, clip};
    use super::*;

    /// Samples of a slowly drifting disc, 16 frames, whose `late` frames from 8 on are displaced or
    /// missing.
    fn samples(count: usize, late: impl Fn([f32; 2]) -> Option<[f32; 2]>) -> Vec<Clip> {
        let path = |sample: usize| {
            let places = (0..16).map(|t| {
                let place = [3.0 + 0.3 * t as f32 + 0.2 * sample as f32, 5.0];
                if t < 8 { Some(place) } else { late(place) }
            });
            places.collect::<Vec<_>>()
        };
        (0..count)
            .map(|sample| {
                clip(
                    16,
                    16,
                    &[Disc {
                        path: path(sample),
                        radius: 1.6,
                        colour: RED,
                    }],
                )
            })
            .collect()
    }

    #[test]
    fn the_curve_rises_where_the_student_parts_from_the_teacher() {
        let teacher = samples(6, Some);
        let level = drift("a red ball", &teacher, &samples(6, Some), 4).unwrap();
        assert_eq!(
            level
                .iter()
                .map(|window| window.first_frame)
                .collect::<Vec<_>>(),
            [0, 4, 8, 12]
        );
        assert!(
            level
                .iter()
                .all(|window| window.trajectory_energy_distance < 0.1
                    && window.object_permanence == 1.0),
            "{level:?}"
        );
        let drifted = drift(
            "a red ball",
            &teacher,
            &samples(6, |[x, y]| Some([x, y + 4.0])),
            4,
        )
        .unwrap();
        assert_eq!(drifted[..2], level[..2]);
        assert!(
            drifted[2..]
                .iter()
                .all(|window| window.trajectory_energy_distance > 8.0
                    && window.pixel_energy_distance > 0.02),
            "{drifted:?}"
        );
        let lost = drift("a red ball", &teacher, &samples(6, |_| None), 8).unwrap();
        assert_eq!(
            (lost[0].object_permanence, lost[1].object_permanence),
            (1.0, 0.0)
        );
    }

    #[test]
    fn curves_are_averaged_window_by_window() {
        let teacher = samples(4, Some);
        let (level, drifted) = (
            drift("a red ball", &teacher, &samples(4, Some), 8).unwrap(),
            drift(
                "a red ball",
                &teacher,
                &samples(4, |[x, y]| Some([x, y + 4.0])),
                8,
            )
            .unwrap(),
        );
        let mean = average(&[level.clone(), drifted.clone()]);
        let expected =
            (level[1].trajectory_energy_distance + drifted[1].trajectory_energy_distance) / 2.0;
        assert!((mean[1].trajectory_energy_distance - expected).abs() < 1e-12 && mean.len() == 2);
        assert!(average(&[]).is_empty());
    }

    #[test]
    fn windows_longer_than_the_clips_are_refused() {
        let samples = samples(2, Some);
        let error = drift("a red ball", &samples, &samples, 17)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("16 frames, expected at least one window of 17"),
            "{error}"
        );
    }
}

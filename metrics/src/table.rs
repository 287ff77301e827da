//! All metrics of a student in one place, and the table that compares students.

use serde::{Deserialize, Serialize};

use super::{
    ClipDefect, EvalError, dynamics::dynamic_degree, flicker::temporal_flicker,
    flicker::temporal_flicker_gap, gravity::gravity_error, mean, metric::Better, metric::Metric,
    metric::table_of, permanence::object_permanence, pixels::pixel_energy_distance,
    smoothness::motion_smoothness, tracking::Tracker, trajectory::trajectory_energy_distance,
};
use afd_clips::video::{Clip, ClipShape};

/// The fewest clips per prompt and side: an energy distance needs pairs.
const FEWEST_CLIPS: usize = 2;
/// The fewest frames per clip: an acceleration and an interpolated frame need three.
pub const FEWEST_FRAMES: usize = 3;

/// One student's metrics, each the mean over prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Energy distance between the bodies' paths, teacher against student; px; lower is better, 0 =
    /// the teacher's distribution.
    pub trajectory_energy_distance: f64,
    /// Difference of the mean accelerations in free flight; px/frame^2; lower is better. `None`: no
    /// prompt's teacher clips show free flight.
    pub gravity_error: Option<f64>,
    /// Share of (clip, body, frame) with the body there at its usual size; in [0, 1]; higher is
    /// better.
    pub object_permanence: f64,
    /// Energy distance between clips as pictures; root-mean-square of pixels in [-1, 1]; lower is
    /// better, 0 = the teacher's distribution.
    pub pixel_energy_distance: f64,
    /// VBench's temporal flickering; in [0, 1]; 1 = still. Best at the teacher's value: moving
    /// scenes lower it legitimately.
    pub temporal_flicker: f64,
    /// Distance of the temporal flickering from the teacher's; in [0, 1]; lower is better.
    pub temporal_flicker_gap: f64,
    /// Share of clips with clear motion, by block matching (proxy of VBench's dynamic degree); in
    /// [0, 1]; best at the teacher's value.
    pub dynamic_degree: f64,
    /// How well linear interpolation restores dropped frames (proxy of VBench's motion smoothness);
    /// in [0, 1]; best at the teacher's value.
    pub motion_smoothness: f64,
    /// How often an independently trained discriminator ranks the teacher's clip above the
    /// student's; in [0, 1]; lower is better, 0.5 = cannot tell. `None`: not measured.
    pub holdout_pair_accuracy: Option<f64>,
}

/// The student's scores: per-prompt metrics averaged over (prompt, teacher clips, student clips),
/// `holdout_pair_accuracy` left open.
///
/// The teacher's clips should be samples that the student never saw.
///
/// # Errors
/// [`EvalError`] without prompts, below two clips on a side, below three frames, for mixed shapes
/// and for values that are not finite.
pub fn score(prompt_groups: &[(String, Vec<Clip>, Vec<Clip>)]) -> Result<Scores, EvalError> {
    average(
        prompt_groups
            .iter()
            .map(|(prompt, teacher, student)| score_prompt(prompt, teacher, student))
            .collect::<Result<_, _>>()?,
    )
}

/// What a perfect student would score: the second half of each prompt's teacher clips, scored
/// against the first half.
///
/// Distances scatter around zero, permanence shows what the teacher itself reaches. Half the clips
/// make it noisier than [`score`].
///
/// # Errors
/// Those of [`score`]; each prompt needs at least four teacher clips.
pub fn score_teacher(
    prompt_groups: &[(String, Vec<Clip>, Vec<Clip>)],
) -> Result<Scores, EvalError> {
    let floor = |(prompt, teacher, _): &(String, Vec<Clip>, Vec<Clip>)| {
        if teacher.len() < 2 * FEWEST_CLIPS {
            let (prompt, found) = (prompt.clone(), teacher.len());
            return Err(EvalError::TooFewClips {
                prompt,
                side: "teacher",
                found,
                needed: 2 * FEWEST_CLIPS,
            });
        }
        let (first, second) = teacher.split_at(teacher.len() / 2);
        score_prompt(prompt, first, second)
    };
    average(prompt_groups.iter().map(floor).collect::<Result<_, _>>()?)
}

/// The scores of one prompt; see [`score`].
///
/// # Errors
/// Those of [`score`].
pub fn score_prompt(prompt: &str, teacher: &[Clip], student: &[Clip]) -> Result<Scores, EvalError> {
    check(prompt, teacher, student)?;
    let tracker = Tracker::for_prompt(prompt, teacher)?;
    let teacher_tracks: Vec<_> = teacher.iter().map(|clip| tracker.track(clip)).collect();
    let student_tracks: Vec<_> = student.iter().map(|clip| tracker.track(clip)).collect();
    // The checks above leave every proxy at least one measurable clip.
    Ok(Scores {
        trajectory_energy_distance: trajectory_energy_distance(&teacher_tracks, &student_tracks)?,
        gravity_error: gravity_error(&teacher_tracks, &student_tracks, student[0].shape.height),
        object_permanence: object_permanence(&student_tracks, tracker.mean_masses()).unwrap_or(0.0),
        pixel_energy_distance: pixel_energy_distance(teacher, student)?,
        temporal_flicker: temporal_flicker(student).unwrap_or(1.0),
        temporal_flicker_gap: temporal_flicker_gap(teacher, student).unwrap_or(0.0),
        dynamic_degree: dynamic_degree(student).unwrap_or(0.0),
        motion_smoothness: motion_smoothness(student).unwrap_or(1.0),
        holdout_pair_accuracy: None,
    })
}

/// Every clip has the first teacher clip's shape, enough frames, all its values, all of them
/// finite.
pub(crate) fn check(prompt: &str, teacher: &[Clip], student: &[Clip]) -> Result<(), EvalError> {
    for (side, clips) in [("teacher", teacher), ("student", student)] {
        if clips.len() < FEWEST_CLIPS {
            return Err(EvalError::TooFewClips {
                prompt: prompt.into(),
                side,
                found: clips.len(),
                needed: FEWEST_CLIPS,
            });
        }
        for (index, clip) in clips.iter().enumerate() {
            if let Some(defect) = defect(clip, teacher[0].shape) {
                return Err(EvalError::Clip {
                    prompt: prompt.into(),
                    side,
                    index,
                    defect,
                });
            }
        }
    }
    Ok(())
}

/// What keeps a clip from being measured, if anything.
fn defect(clip: &Clip, expected: ClipShape) -> Option<ClipDefect> {
    let shape = clip.shape;
    let values = shape.frames * shape.height * shape.width * 3;
    if shape != expected {
        Some(ClipDefect::Shape {
            found: shape,
            expected,
        })
    } else if shape.frames < FEWEST_FRAMES {
        Some(ClipDefect::Frames {
            frames: shape.frames,
        })
    } else if values == 0 || shape.frames_per_second.is_nan() || shape.frames_per_second <= 0.0 {
        Some(ClipDefect::Empty { found: shape })
    } else if clip.pixels.len() != values {
        Some(ClipDefect::Values {
            found: clip.pixels.len(),
            expected: values,
            shape,
        })
    } else {
        let at = clip.pixels.iter().position(|value| !value.is_finite())?;
        let value = clip.pixels[at];
        Some(ClipDefect::NotFinite { value, at })
    }
}

fn average(scores: Vec<Scores>) -> Result<Scores, EvalError> {
    let over =
        |value: fn(&Scores) -> f64| mean(scores.iter().map(value)).ok_or(EvalError::NoPrompts);
    Ok(Scores {
        trajectory_energy_distance: over(|s| s.trajectory_energy_distance)?,
        gravity_error: mean(scores.iter().filter_map(|s| s.gravity_error)),
        object_permanence: over(|s| s.object_permanence)?,
        pixel_energy_distance: over(|s| s.pixel_energy_distance)?,
        temporal_flicker: over(|s| s.temporal_flicker)?,
        temporal_flicker_gap: over(|s| s.temporal_flicker_gap)?,
        dynamic_degree: over(|s| s.dynamic_degree)?,
        motion_smoothness: over(|s| s.motion_smoothness)?,
        holdout_pair_accuracy: mean(scores.iter().filter_map(|s| s.holdout_pair_accuracy)),
    })
}

/// The rows of the table, the most telling ones first.
pub const METRICS: [Metric<Scores>; 9] = [
    Metric {
        name: "trajectory_energy_distance",
        title: "trajectory energy distance",
        unit: "px",
        better: Better::Lower,
        value: |s| Some(s.trajectory_energy_distance),
    },
    Metric {
        name: "gravity_error",
        title: "gravity error",
        unit: "px/frame^2",
        better: Better::Lower,
        value: |s| s.gravity_error,
    },
    Metric {
        name: "object_permanence",
        title: "object permanence",
        unit: "share",
        better: Better::Higher,
        value: |s| Some(s.object_permanence),
    },
    Metric {
        name: "pixel_energy_distance",
        title: "pixel energy distance",
        unit: "rms of [-1, 1]",
        better: Better::Lower,
        value: |s| Some(s.pixel_energy_distance),
    },
    Metric {
        name: "holdout_pair_accuracy",
        title: "holdout pair accuracy",
        unit: "share",
        better: Better::Lower,
        value: |s| s.holdout_pair_accuracy,
    },
    Metric {
        name: "temporal_flicker_gap",
        title: "flicker gap to teacher",
        unit: "of 1",
        better: Better::Lower,
        value: |s| Some(s.temporal_flicker_gap),
    },
    Metric {
        name: "temporal_flicker",
        title: "temporal flicker",
        unit: "of 1",
        better: Better::LikeTeacher,
        value: |s| Some(s.temporal_flicker),
    },
    Metric {
        name: "dynamic_degree",
        title: "dynamic degree (proxy)",
        unit: "share",
        better: Better::LikeTeacher,
        value: |s| Some(s.dynamic_degree),
    },
    Metric {
        name: "motion_smoothness",
        title: "motion smoothness (proxy)",
        unit: "of 1",
        better: Better::LikeTeacher,
        value: |s| Some(s.motion_smoothness),
    },
];

/// The table of students' scores; see [`table_of`].
pub fn comparison_table(rows: &[(&str, &Scores)]) -> String {
    table_of(&METRICS, rows)
}

#[cfg(test)]
mod tests;

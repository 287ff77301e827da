//! All metrics of a student in one place, and the table that compares students.

use serde::{Deserialize, Serialize};

use super::{
    EvalError, dynamics::dynamic_degree, flicker::temporal_flicker, flicker::temporal_flicker_gap,
    gravity::gravity_error, mean, metric::Better, metric::Metric, metric::table_of,
    permanence::object_permanence, pixels::pixel_energy_distance, smoothness::motion_smoothness,
    tracking::Tracker, trajectory::trajectory_energy_distance,
};
use afd_clips::video::{Clip, ClipShape};

/// The fewest clips per prompt and side: an energy distance needs pairs.
const FEWEST_CLIPS: usize = 2;
/// The fewest frames per clip: an acceleration and an interpolated frame need three.
const FEWEST_FRAMES: usize = 3;

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
            if let Some(reason) = defect(clip, teacher[0].shape) {
                return Err(EvalError::Clip {
                    prompt: prompt.into(),
                    side,
                    index,
                    reason,
                });
            }
        }
    }
    Ok(())
}

/// What keeps a clip from being measured, if anything.
fn defect(clip: &Clip, expected: ClipShape) -> Option<String> {
    let (shape, values) = (
        clip.shape,
        clip.shape.frames * clip.shape.height * clip.shape.width * 3,
    );
    let name = |shape: ClipShape| {
        format!(
            "{} frames of {} x {} px at {} fps",
            shape.frames, shape.width, shape.height, shape.frames_per_second
        )
    };
    if shape != expected {
        Some(format!(
            "has {}, expected {} like the first teacher clip; prepare both sides to one shape",
            name(shape),
            name(expected)
        ))
    } else if shape.frames < FEWEST_FRAMES {
        Some(format!(
            "has {} frames, expected at least {FEWEST_FRAMES}; evaluate longer clips",
            shape.frames
        ))
    } else if values == 0 || shape.frames_per_second.is_nan() || shape.frames_per_second <= 0.0 {
        Some(format!(
            "has {}, expected at least one pixel and a rate above 0; check the clip shape of the \
                recipe",
            name(shape)
        ))
    } else if clip.pixels.len() != values {
        Some(format!(
            "holds {} values, expected {values} for {}",
            clip.pixels.len(),
            name(shape)
        ))
    } else {
        let at = clip.pixels.iter().position(|value| !value.is_finite())?;
        Some(format!(
            "holds {} at value {at}, expected numbers in [-1, 1]; the student has diverged or the \
                clip is damaged",
            clip.pixels[at]
        ))
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
mod tests {
    use super::super::synthetic::drifting;
    use super::*;

    /// Samples of a drifting red disc, `offset` px to the right, spread over 2 px.
    fn samples(count: usize, phase: f32, offset: f32) -> Vec<Clip> {
        (0..count)
            .map(|sample| {
                drifting(
                    [
                        3.0 + offset + 2.0 * (sample as f32 + phase) / count as f32,
                        4.0,
                    ],
                    [0.6, 0.3],
                )
            })
            .collect()
    }

    fn scores(value: f64) -> Scores {
        Scores {
            trajectory_energy_distance: value,
            gravity_error: None,
            object_permanence: value / 10.0,
            pixel_energy_distance: 0.5,
            temporal_flicker: value / 20.0,
            temporal_flicker_gap: 0.0,
            dynamic_degree: 1.0,
            motion_smoothness: 1.0,
            holdout_pair_accuracy: None,
        }
    }

    #[test]
    fn other_samples_of_the_teacher_score_near_zero_and_a_shifted_student_does_not() {
        let prompt = "a red ball drifts".to_string();
        let close = score(&[(prompt.clone(), samples(8, 0.0, 0.0), samples(8, 0.5, 0.0))]).unwrap();
        let far = score(&[(prompt.clone(), samples(8, 0.0, 0.0), samples(8, 0.5, 3.0))]).unwrap();
        // Evenly spread samples repel each other: slightly below zero.
        assert!(close.trajectory_energy_distance.abs() < 1.0, "{close:?}");
        assert!(
            far.trajectory_energy_distance > 5.0
                && far.pixel_energy_distance > close.pixel_energy_distance + 0.02,
            "{far:?}"
        );
        assert_eq!((close.object_permanence, close.dynamic_degree), (1.0, 1.0));
        assert!(close.gravity_error.unwrap() < 0.02);
        let same = samples(4, 0.0, 0.0);
        let floor = score_teacher(&[(prompt, [same.clone(), same].concat(), Vec::new())]).unwrap();
        assert!(
            floor.trajectory_energy_distance < 0.0,
            "an unbiased distance of a set to its copy is negative: {floor:?}"
        );
        assert_eq!(floor.temporal_flicker_gap, 0.0);
    }

    #[test]
    fn prompts_weigh_the_same_whatever_their_number_of_clips() {
        let one = (
            "a red ball".to_string(),
            samples(4, 0.0, 0.0),
            samples(4, 0.0, 4.0),
        );
        let two = (
            "a red ball".to_string(),
            samples(8, 0.0, 0.0),
            samples(8, 0.5, 0.0),
        );
        let separately = [&one, &two].map(|group| {
            score(std::slice::from_ref(group))
                .unwrap()
                .trajectory_energy_distance
        });
        let together = score(&[one, two]).unwrap().trajectory_energy_distance;
        assert!((together - (separately[0] + separately[1]) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn unusable_clips_are_named() {
        let group =
            |student: Vec<Clip>| [("a red ball".to_string(), samples(2, 0.0, 0.0), student)];
        assert_eq!(score(&[]), Err(EvalError::NoPrompts));
        assert!(matches!(
            score(&group(samples(1, 0.0, 0.0))),
            Err(EvalError::TooFewClips {
                side: "student",
                found: 1,
                ..
            })
        ));
        let mut broken = samples(2, 0.0, 0.0);
        broken[1].pixels[7] = f32::NAN;
        let message = score(&group(broken)).unwrap_err().to_string();
        assert!(
            message.contains("student clip 1") && message.contains("NaN at value 7"),
            "{message}"
        );
        let mut reshaped = samples(2, 0.0, 0.0);
        reshaped[0].shape.frames_per_second = 16.0;
        assert!(
            score(&group(reshaped))
                .unwrap_err()
                .to_string()
                .contains("16 fps, expected")
        );
    }

    #[test]
    fn the_table_aligns_shows_directions_and_says_whether_the_last_step_is_better() {
        let (base, distilled) = (scores(6.33), scores(0.64));
        let table = comparison_table(&[
            ("teacher", &scores(0.0)),
            ("base", &base),
            ("distilled", &distilled),
        ]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count()),
            "\n{table}"
        );
        let row = |name: &str| {
            lines
                .iter()
                .find(|line| line.contains(name))
                .copied()
                .unwrap_or("")
        };
        assert!(
            row("trajectory").contains("↓")
                && row("trajectory").contains("6.3300")
                && row("trajectory").contains("-5.6900 better"),
            "\n{table}"
        );
        assert!(
            row("permanence").contains("↑") && row("permanence").contains("-0.5690 worse"),
            "\n{table}"
        );
        assert!(
            row("temporal flicker").contains("≈ teacher")
                && !row("temporal flicker").contains("worse"),
            "\n{table}"
        );
        assert_eq!(
            (row("gravity"), row("holdout")),
            ("", ""),
            "unmeasured rows are left out\n{table}"
        );
    }

    #[test]
    fn scores_survive_json_with_and_without_optional_metrics() {
        let mut one = scores(1.5);
        assert_eq!(
            serde_json::from_str::<Scores>(&serde_json::to_string(&one).unwrap()).unwrap(),
            one
        );
        one.gravity_error = Some(0.25);
        one.holdout_pair_accuracy = Some(0.9);
        assert_eq!(
            serde_json::from_str::<Scores>(&serde_json::to_string(&one).unwrap()).unwrap(),
            one
        );
    }
}

//! Clips of students and their teacher, scored, and the table that compares them.

pub use super::scores::{METRICS, Scores};
use super::{
    ClipDefect, EvalError, cells::table_of, dynamics::dynamic_degree,
    energy_distance::energy_distance, estimate::Column, estimate::PromptScores,
    features::FeatureNetwork, flicker::temporal_flicker, flicker::temporal_flicker_gap,
    gravity::gravity_error, mean, permanence::object_permanence, pixels::pixel_energy_distance,
    smoothness::motion_smoothness, tracking::Tracker, trajectory::trajectory_energy_distance,
};
use afd_clips::video::{Clip, ClipShape};

/// The fewest clips per prompt and side of an energy distance, which needs pairs.
const FEWEST_CLIPS: usize = 2;
/// The fewest frames per clip: an acceleration and an interpolated frame need three.
pub const FEWEST_FRAMES: usize = 3;

/// Clips of one prompt: the prompt, the teacher's, the student's.
pub type PromptGroup = (String, Vec<Clip>, Vec<Clip>);

/// Who filmed the teacher's clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilmedBy {
    /// The built-in world, whose bodies the tracker knows.
    World,
    /// Anybody else: nothing is known of what the clips show.
    Others,
}

/// The student's scores, prompt by prompt, of (prompt, teacher clips, student clips);
/// `holdout_pair_accuracy` is left open.
///
/// The teacher's clips should be samples that the student never saw, each there once. What too few
/// clips do not allow is left out.
///
/// # Errors
/// [`EvalError`] without prompts, for a side without a clip, below three frames, for mixed shapes
/// and for values that are not finite.
pub fn score(
    groups: &[PromptGroup],
    filmed_by: FilmedBy,
) -> Result<Vec<PromptScores<Scores>>, EvalError> {
    let of_group = |(prompt, teacher, student): &PromptGroup| {
        if teacher.is_empty() {
            return Err(EvalError::TooFewClips {
                prompt: prompt.clone(),
                side: "teacher",
                found: 0,
                needed: 1,
            });
        }
        score_prompt(prompt, teacher, student, filmed_by)
    };
    of_all(groups, of_group)
}

/// What a perfect student would score: the second half of each prompt's teacher clips, scored
/// against the first half. No clip stands on both sides, so less is scored of fewer than four.
///
/// Distances scatter around zero, permanence shows what the teacher itself reaches. Half the clips
/// make it noisier than [`score`].
///
/// # Errors
/// Those of [`score`].
pub fn score_teacher(
    groups: &[PromptGroup],
    filmed_by: FilmedBy,
) -> Result<Vec<PromptScores<Scores>>, EvalError> {
    of_all(groups, |(prompt, teacher, _)| {
        let (first, second) = teacher.split_at(teacher.len() / 2);
        score_prompt(prompt, first, second, filmed_by)
    })
}

fn of_all(
    groups: &[PromptGroup],
    score: impl FnMut(&PromptGroup) -> Result<PromptScores<Scores>, EvalError>,
) -> Result<Vec<PromptScores<Scores>>, EvalError> {
    if groups.is_empty() {
        return Err(EvalError::NoPrompts);
    }
    groups.iter().map(score).collect()
}

/// The scores of one prompt; see [`score`]. Without a clip of the teacher only what looks at the
/// student's alone is scored.
fn score_prompt(
    prompt: &str,
    teacher: &[Clip],
    student: &[Clip],
    filmed_by: FilmedBy,
) -> Result<PromptScores<Scores>, EvalError> {
    check(prompt, teacher, student, [0, 1])?;
    let mut scores = Scores {
        temporal_flicker: temporal_flicker(student),
        temporal_flicker_gap: temporal_flicker_gap(teacher, student),
        dynamic_degree: dynamic_degree(student),
        motion_smoothness: motion_smoothness(student),
        ..Scores::default()
    };
    let pairs = teacher.len().min(student.len()) >= FEWEST_CLIPS;
    if pairs {
        let network = FeatureNetwork::new();
        let features = |clips: &[Clip]| -> Vec<Vec<f32>> {
            clips.iter().map(|clip| network.features(clip)).collect()
        };
        scores.pixel_energy_distance = Some(pixel_energy_distance(teacher, student)?);
        scores.feature_energy_distance =
            Some(energy_distance(&features(teacher), &features(student))?);
    }
    if filmed_by == FilmedBy::World && !teacher.is_empty() {
        let tracker = Tracker::for_prompt(prompt, teacher)?;
        let tracks =
            |clips: &[Clip]| -> Vec<_> { clips.iter().map(|clip| tracker.track(clip)).collect() };
        let (of_teacher, of_student) = (tracks(teacher), tracks(student));
        if pairs {
            scores.trajectory_energy_distance =
                Some(trajectory_energy_distance(&of_teacher, &of_student)?);
        }
        scores.gravity_error = gravity_error(&of_teacher, &of_student, student[0].shape.height);
        scores.object_permanence = object_permanence(&of_student, tracker.mean_masses());
    }
    Ok(PromptScores {
        prompt: prompt.to_string(),
        clips: [teacher.len(), student.len()],
        scores,
    })
}

/// Every clip has the first clip's shape, enough frames, all its values, all of them finite; there
/// are at least `fewest` on the teacher's and on the student's side.
pub(crate) fn check(
    prompt: &str,
    teacher: &[Clip],
    student: &[Clip],
    fewest: [usize; 2],
) -> Result<(), EvalError> {
    let sides = [("teacher", teacher), ("student", student)];
    for ((side, clips), needed) in sides.into_iter().zip(fewest) {
        if clips.len() < needed {
            return Err(EvalError::TooFewClips {
                prompt: prompt.into(),
                side,
                found: clips.len(),
                needed,
            });
        }
    }
    let expected = teacher.first().or(student.first()).map(|clip| clip.shape);
    for (side, clips) in sides {
        for (index, clip) in clips.iter().enumerate() {
            if let Some(defect) = expected.and_then(|expected| defect(clip, expected)) {
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

/// The means over prompts of what was scored of them.
pub fn mean_scores(prompts: &[PromptScores<Scores>]) -> Scores {
    let over = |value: fn(&Scores) -> Option<f64>| {
        mean(prompts.iter().filter_map(|prompt| value(&prompt.scores)))
    };
    Scores {
        trajectory_energy_distance: over(|s| s.trajectory_energy_distance),
        gravity_error: over(|s| s.gravity_error),
        object_permanence: over(|s| s.object_permanence),
        pixel_energy_distance: over(|s| s.pixel_energy_distance),
        feature_energy_distance: over(|s| s.feature_energy_distance),
        temporal_flicker: over(|s| s.temporal_flicker),
        temporal_flicker_gap: over(|s| s.temporal_flicker_gap),
        dynamic_degree: over(|s| s.dynamic_degree),
        motion_smoothness: over(|s| s.motion_smoothness),
        holdout_pair_accuracy: over(|s| s.holdout_pair_accuracy),
    }
}

/// The table of students' scores; see [`table_of`].
pub fn comparison_table(columns: &[Column<Scores>]) -> String {
    table_of(&METRICS, columns)
}

#[cfg(test)]
mod tests;

use super::*;
use afd_clips::{prepare::prepare, teacher::Teacher, video::ClipShape};
use afd_world::{World, frames_for};

const SHAPE: ClipShape = ClipShape {
    frames: 12,
    height: 16,
    width: 16,
    frames_per_second: 12.0,
};
const LONG: ClipShape = ClipShape {
    frames: 24,
    ..SHAPE
};
const PROMPTS: [&str; 2] = [
    "a small red ball is thrown to the left on earth",
    "a small red ball and a large blue ball are thrown at each other on jupiter",
];

fn clips(world: World, prompt: &str, samples: std::ops::Range<u64>, shape: ClipShape) -> Vec<Clip> {
    let videos = world
        .lasting(frames_for(shape))
        .videos(prompt, samples)
        .unwrap();
    videos
        .iter()
        .map(|video| prepare(video, shape).unwrap())
        .collect()
}

/// Sixteen samples of a world against sixteen others of the teacher's, and continuations by the
/// world of the teacher's first frames.
fn measured(student: World) -> Measured {
    let teacher = World::new(1);
    let owned: Vec<_> = PROMPTS
        .iter()
        .map(|prompt| {
            let cases = (0..4).map(|sample| Case {
                prefix: 3,
                truth: clips(teacher, prompt, sample..sample + 1, SHAPE).remove(0),
                second_take: clips(teacher.filmed_again(1), prompt, sample..sample + 1, SHAPE)
                    .remove(0),
                generated: clips(student.filmed_again(2), prompt, sample..sample + 1, SHAPE),
            });
            let sides = [SHAPE, LONG].map(|shape| {
                (
                    clips(teacher, prompt, 0..16, shape),
                    clips(student, prompt, 16..32, shape),
                )
            });
            (sides, cases.collect::<Vec<_>>())
        })
        .collect();
    let evidence: Vec<_> = PROMPTS
        .iter()
        .zip(&owned)
        .map(|(prompt, ([short, long], cases))| PromptEvidence {
            prompt,
            teacher: &short.0,
            student: &short.1,
            long_teacher: &long.0,
            long_student: &long.1,
            continuations: cases,
        })
        .collect();
    measure(&evidence).unwrap()
}

#[test]
fn the_teacher_reaches_every_metric_s_best_and_a_world_with_any_physics_none() {
    let (teacher, uncurated) = (
        measured(World::new(1)).scores,
        measured(World::uncurated(1)).scores,
    );
    assert!(
        teacher.continuation_score.unwrap() > 97.0 && uncurated.continuation_score.unwrap() < 85.0,
        "{teacher:?} {uncurated:?}"
    );
    assert!(
        teacher.downwards_momentum_residual.unwrap() < 0.03
            && uncurated.downwards_momentum_residual.unwrap() > 0.1
    );
    assert!(
        teacher.energy_residual.unwrap() < 0.04 && uncurated.energy_residual.unwrap() > 0.06,
        "{teacher:?} {uncurated:?}"
    );
    assert!(
        teacher.restitution_error.unwrap() < 0.08 && uncurated.restitution_error.unwrap() > 0.15
    );
    assert!(teacher.coverage > 0.85 && uncurated.coverage < teacher.coverage);
    assert!(
        teacher.kernel_distance < uncurated.kernel_distance
            && teacher.frechet_distance < uncurated.frechet_distance
    );
    assert!(teacher.last_window_trajectory_energy_distance.unwrap() < 3.0);
    assert!(
        uncurated.last_window_trajectory_energy_distance.unwrap() > 5.0,
        "{uncurated:?}"
    );
    // Horizontal momentum is kept in any gravity.
    assert!(
        uncurated.sideways_momentum_residual.unwrap() < 0.03
            && teacher.sideways_momentum_residual.unwrap() < 0.03
    );
}

#[test]
fn what_was_not_given_is_not_measured_and_a_still_student_is_charged_for_it() {
    let teacher = clips(World::new(1), PROMPTS[0], 0..16, SHAPE);
    let frame = 16 * 16 * 3;
    let still: Vec<Clip> = teacher
        .iter()
        .map(|clip| Clip {
            shape: SHAPE,
            pixels: clip.pixels[..frame].repeat(12),
        })
        .collect();
    let group = PromptEvidence {
        prompt: PROMPTS[0],
        teacher: &teacher,
        student: &still,
        long_teacher: &[],
        long_student: &[],
        continuations: &[],
    };
    let Measured {
        scores,
        drift,
        continuation,
    } = measure(&[group]).unwrap();
    assert!(drift.is_empty() && continuation.is_none());
    assert_eq!(
        (
            scores.continuation_score,
            scores.trajectory_drift,
            scores.collision_momentum_residual
        ),
        (None, None, None)
    );
    assert_eq!(
        (
            scores.restitution,
            scores.restitution_error.map(|error| error as f32)
        ),
        (None, Some(RESTITUTION))
    );
    assert!(
        (scores.downwards_momentum_residual.unwrap() - 0.2725).abs() < 1e-3,
        "{scores:?}"
    );
    assert_eq!(measure(&[]), Err(EvalError::NoPrompts));
}

#[test]
fn prompts_of_other_teachers_are_measured_without_known_physics() {
    let clips = clips(World::new(1), PROMPTS[0], 0..4, SHAPE);
    let group = PromptEvidence {
        prompt: "a red thing",
        teacher: &clips,
        student: &clips,
        long_teacher: &[],
        long_student: &[],
        continuations: &[],
    };
    let scores = measure(&[group]).unwrap().scores;
    assert_eq!(
        (
            scores.sideways_momentum_residual,
            scores.restitution_error,
            scores.coverage
        ),
        (None, None, 1.0)
    );
}

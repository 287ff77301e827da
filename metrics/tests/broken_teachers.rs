//! Teachers that are broken on purpose must be told apart, each by the metric made for it: the test
//! of the metrics' worth.
//!
//! `examples/teacher_control.rs` prints the same at full size; docs/results/metrics.md has the
//! numbers.

use afd_clips::prepare::prepare;
use afd_clips::video::{Clip, ClipShape, Video};
use afd_metrics::physics::{PhysicsScores, PromptEvidence, measure};
use afd_world::{
    FRAMES_PER_SECOND, PIXELS, Place, STEPS_PER_SECOND, Scene, World, draw, frames_for, simulate,
};

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
    "a large blue ball is thrown to the right on earth",
    "a small red ball is dropped on jupiter",
];
const SAMPLES: u64 = 16;

fn filmed(scene: &Scene, shape: ClipShape) -> Clip {
    let motion = simulate(
        scene,
        frames_for(shape),
        STEPS_PER_SECOND / FRAMES_PER_SECOND,
    );
    let frames = motion
        .centres
        .iter()
        .map(|centres| draw(scene, centres))
        .collect();
    prepare(
        &Video {
            width: PIXELS,
            height: PIXELS,
            frames_per_second: f64::from(FRAMES_PER_SECOND),
            frames,
        },
        shape,
    )
    .unwrap()
}

/// Long clips of the samples that `numbers` counts, with `change` applied to their scenes.
fn samples(
    prompt: &str,
    numbers: impl Iterator<Item = u64>,
    change: impl Fn(&mut Scene),
) -> Vec<Clip> {
    let scene = |sample| {
        let mut scene = World::new(0).scene(prompt, sample).unwrap();
        change(&mut scene);
        scene
    };
    numbers.map(|sample| filmed(&scene(sample), LONG)).collect()
}

fn frozen_from(clip: &Clip, frame: usize) -> Clip {
    let values = clip.shape.height * clip.shape.width * 3;
    let mut pixels = clip.pixels[..(frame + 1) * values].to_vec();
    (frame + 1..clip.shape.frames)
        .for_each(|_| pixels.extend_from_within(frame * values..(frame + 1) * values));
    Clip {
        shape: clip.shape,
        pixels,
    }
}

/// Scores of a student that makes these long clips, whose beginnings are its short ones.
fn scores(student: impl Fn(&str) -> Vec<Clip>) -> PhysicsScores {
    let head = |clip: &Clip| Clip {
        shape: SHAPE,
        pixels: clip.pixels[..clip.pixels.len() / 2].to_vec(),
    };
    let heads = |clips: &[Clip]| clips.iter().map(head).collect::<Vec<_>>();
    let sides: Vec<[Vec<Clip>; 2]> = PROMPTS
        .iter()
        .map(|prompt| [samples(prompt, 0..SAMPLES, |_| ()), student(prompt)])
        .collect();
    let short: Vec<[Vec<Clip>; 2]> = sides
        .iter()
        .map(|[teacher, student]| [heads(teacher), heads(student)])
        .collect();
    let evidence: Vec<PromptEvidence> = PROMPTS
        .iter()
        .zip(sides.iter().zip(&short))
        .map(|(prompt, (long, short))| PromptEvidence {
            prompt,
            teacher: &short[0],
            student: &short[1],
            long_teacher: &long[0],
            long_student: &long[1],
            continuations: &[],
        })
        .collect();
    measure(&evidence).unwrap().scores
}

fn others(prompt: &str) -> Vec<Clip> {
    samples(prompt, SAMPLES..2 * SAMPLES, |_| ())
}

#[test]
fn each_broken_teacher_is_told_from_the_teacher_by_the_metric_made_for_it() {
    let floor = scores(others);
    let vertical = |scores: &PhysicsScores| scores.downwards_momentum_residual.unwrap();
    assert!(
        vertical(&floor) < 0.02 && floor.coverage > 0.8 && floor.restitution_error.unwrap() < 0.05,
        "{floor:?}"
    );

    let other_gravity = scores(|prompt| {
        samples(prompt, SAMPLES..2 * SAMPLES, |scene| {
            scene.gravity = Place::Moon.gravity()
        })
    });
    assert!(
        vertical(&other_gravity) > 10.0 * vertical(&floor),
        "{other_gravity:?}"
    );
    assert!(
        other_gravity.energy_residual.unwrap() > 3.0 * floor.energy_residual.unwrap(),
        "{other_gravity:?}"
    );
    assert!(
        other_gravity.coverage < 0.3 && other_gravity.kernel_distance > 0.01,
        "{other_gravity:?}"
    );

    let dull_bounces = scores(|prompt| {
        samples(prompt, SAMPLES..2 * SAMPLES, |scene| {
            scene.restitution = 0.5
        })
    });
    assert!(
        (dull_bounces.restitution.unwrap() - 0.5).abs() < 0.05
            && dull_bounces.restitution_error.unwrap() > 0.25,
        "{dull_bounces:?}"
    );
    assert!(
        vertical(&dull_bounces) < 2.0 * vertical(&floor),
        "flights are as they should be: {dull_bounces:?}"
    );

    let frozen = scores(|prompt| {
        others(prompt)
            .iter()
            .map(|clip| frozen_from(clip, 0))
            .collect()
    });
    assert!(
        vertical(&frozen) > 10.0 * vertical(&floor) && frozen.bounces_per_clip == Some(0.0),
        "{frozen:?}"
    );
    assert!(
        frozen.frechet_distance > 3.0 * floor.frechet_distance && frozen.coverage < 0.3,
        "{frozen:?}"
    );

    let one_sample = scores(|prompt| samples(prompt, (0..SAMPLES).map(|_| SAMPLES), |_| ()));
    assert!(
        one_sample.coverage < 0.5 && one_sample.variance_ratio.unwrap() < 1e-6,
        "{one_sample:?}"
    );
    assert!(
        vertical(&one_sample) < 2.0 * vertical(&floor),
        "what it shows is right: {one_sample:?}"
    );

    let stops_late = scores(|prompt| {
        others(prompt)
            .iter()
            .map(|clip| frozen_from(clip, 14))
            .collect()
    });
    assert!(
        stops_late.trajectory_drift.unwrap() > floor.trajectory_drift.unwrap() + 2.0,
        "{stops_late:?}"
    );
    assert_eq!(
        (stops_late.coverage, stops_late.restitution_error),
        (floor.coverage, floor.restitution_error)
    );
}

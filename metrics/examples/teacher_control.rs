//! What every metric says of the teacher itself, and of teachers that were broken on purpose.
//!
//! ```sh
//! cargo run --release -p afd-metrics --example teacher_control
//! ```
//!
//! Each metric compares samples of the built-in world with other samples of it, five times over:
//! the mean is the metric's noise floor, the standard deviation its spread. Then samples of broken
//! worlds stand in for a student. A metric is worth something where it moves by several spreads.
//! docs/results/metrics.md has the result.

use std::error::Error;
use std::ops::Range;
use std::time::Instant;

use afd_clips::prepare::prepare;
use afd_clips::video::{Clip, ClipShape, Video};
use afd_metrics::conservation::Conservation;
use afd_metrics::continuation::Case;
use afd_metrics::features::FeatureNetwork;
use afd_metrics::flights::KnownPhysics;
use afd_metrics::frechet::{frechet_distance, kernel_distance};
use afd_metrics::metric::Metric;
use afd_metrics::physics::{Measured, PHYSICS_METRICS, PhysicsScores, PromptEvidence, measure};
use afd_metrics::table::{METRICS, Scores, score};
use afd_metrics::tracking::{Track, Tracker};
use afd_noise::{Noise, Purpose};
use afd_world::{
    Ball, FRAMES_PER_SECOND, METRES, PIXELS, Place, STEPS_PER_SECOND, Scene, ScenePrompt, WALL,
    World, draw, frames_for, simulate,
};

const PROMPTS: &str = include_str!("../../recipes/physics-world/prompts-held-out.txt");
/// As `recipes/physics-world/distill.toml` has it.
const SHAPE: ClipShape = ClipShape {
    frames: 12,
    height: 16,
    width: 16,
    frames_per_second: 12.0,
};
const LONG: ClipShape = ClipShape {
    frames: 48,
    ..SHAPE
};
const SAMPLES: u64 = 32;
/// The student's first block.
const PREFIX: usize = 3;
const CONTINUED_SAMPLES: u64 = 8;
const CONTINUATIONS: u64 = 4;
const REPEATS: u64 = 5;

/// Sideways acceleration of [`Broken::Wind`], m/s^2.
const WIND: f32 = 1.5;

/// How a world is broken.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// Gravity of another place: the moon's on earth, earth's on jupiter, jupiter's on the moon.
    OtherGravity,
    /// Bounces that give back 0.4 instead of 0.8.
    DullBounces,
    /// A sideways acceleration of 1.5 m/s^2.
    Wind,
    /// The first frame, all along.
    Frozen,
    /// One sample for all.
    OneSample,
    /// Everything stops after two thirds of the second window.
    StopsLate,
    /// 3 x 3 px box blur: the teacher's motion in a student's blurry pictures.
    Blurred,
    /// The teacher, which draws its restitution anew when it continues a clip: all that a prefix
    /// without a bounce can tell.
    UnknownRestitution,
}

const BROKEN: [(&str, Broken); 8] = [
    ("other gravity", Broken::OtherGravity),
    ("dull bounces", Broken::DullBounces),
    ("wind", Broken::Wind),
    ("frozen", Broken::Frozen),
    ("one sample", Broken::OneSample),
    ("stops late", Broken::StopsLate),
    ("blurred", Broken::Blurred),
    ("new restitution", Broken::UnknownRestitution),
];

/// One prompt's clips, owned.
struct Clips {
    prompt: String,
    teacher: Vec<Clip>,
    student: Vec<Clip>,
    long_teacher: Vec<Clip>,
    long_student: Vec<Clip>,
    continuations: Vec<Case>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let prompts: Vec<&str> = PROMPTS.lines().collect();
    let mut floor = Vec::new();
    for repeat in 0..REPEATS {
        floor.push(run(&prompts, Broken::Nothing, repeat)?);
    }
    let mut broken = Vec::new();
    for (name, how) in BROKEN {
        broken.push((name, run(&prompts, how, 0)?));
    }
    println!(
        "| metric | unit | teacher | spread |{}",
        broken
            .iter()
            .map(|(name, _)| format!(" {name} |"))
            .collect::<String>()
    );
    println!("|---|---|---|---|{}", "---|".repeat(broken.len()));
    rows(
        &METRICS,
        &floor.iter().map(|(scores, _)| scores).collect::<Vec<_>>(),
        &broken
            .iter()
            .map(|(_, (scores, _))| scores)
            .collect::<Vec<_>>(),
    );
    let flat = |measured: &(Scores, Measured)| measured.1.scores.clone();
    let (floor_scores, broken_scores): (Vec<PhysicsScores>, Vec<PhysicsScores>) = (
        floor.iter().map(flat).collect(),
        broken.iter().map(|(_, measured)| flat(measured)).collect(),
    );
    rows(
        &PHYSICS_METRICS,
        &floor_scores.iter().collect::<Vec<_>>(),
        &broken_scores.iter().collect::<Vec<_>>(),
    );
    println!(
        "\nDrift: trajectory energy distance (px) per window of {} frames\n",
        SHAPE.frames
    );
    for (name, measured) in std::iter::once(("teacher", &floor[0]))
        .chain(broken.iter().map(|(name, measured)| (*name, measured)))
    {
        let curve = measured
            .1
            .drift
            .iter()
            .map(|window| format!(" {:.2} |", window.trajectory_energy_distance))
            .collect::<String>();
        println!("| {name} |{curve}");
    }
    tracker_floor(&prompts)?;
    println!(
        "\nSecond takes: {:?}",
        floor[0].1.continuation.map(|scores| scores.second_take)
    );
    Ok(())
}

/// What the residuals are on the tracked centres of the teacher's clips, and on its true ones (in
/// brackets).
fn tracker_floor(prompts: &[&str]) -> Result<(), Box<dyn Error>> {
    println!("\nThe teacher's {SAMPLES} samples per prompt, tracked (true)\n");
    println!(
        "| prompt | tracker error, px | intervals in flight | horizontal residual | vertical \
            residual | energy residual | bounces | restitution | collisions | collision residual |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for prompt in prompts {
        let world = World::new(0);
        let clips = (0..SAMPLES)
            .map(|sample| filmed(&world.scene(prompt, sample)?, SHAPE))
            .collect::<Result<Vec<_>, _>>()?;
        let tracker = Tracker::for_prompt(prompt, &clips)?;
        let tracked: Vec<Vec<Track>> = clips.iter().map(|clip| tracker.track(clip)).collect();
        let true_tracks = |sample: u64| -> Result<Vec<Track>, Box<dyn Error>> {
            let centres = world.motion(prompt, sample)?.centres;
            let scale = SHAPE.height as f32 / METRES;
            let centre = |frame: usize, body: usize| {
                let [x, y] = centres[frame * 2][body];
                [scale * x, scale * (METRES - y)]
            };
            let track = |body: usize| Track {
                centres: (0..SHAPE.frames).map(|frame| centre(frame, body)).collect(),
                masses: vec![1.0; SHAPE.frames],
                visible: vec![true; SHAPE.frames],
            };
            Ok((0..centres[0].len()).map(track).collect())
        };
        let truth = (0..SAMPLES)
            .map(true_tracks)
            .collect::<Result<Vec<_>, _>>()?;
        let pairs = tracked
            .iter()
            .flatten()
            .zip(truth.iter().flatten())
            .flat_map(|(a, b)| a.centres.iter().zip(&b.centres));
        let squares: Vec<f32> = pairs
            .map(|(a, b)| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2))
            .collect();
        let physics = KnownPhysics::of_prompt(prompt, SHAPE)
            .ok_or("the world's prompts have known physics")?;
        let found = [&tracked, &truth].map(|tracks| Conservation::measure(&physics, tracks));
        let both = |value: &dyn Fn(&Conservation) -> Option<f64>| {
            let [tracked, truth] = [0, 1].map(|index| {
                value(&found[index]).map_or("-".into(), |value| format!("{value:.3}"))
            });
            format!("{tracked} ({truth})")
        };
        let bounce = |found: &Conservation| {
            (!found.bounces.is_empty())
                .then(|| found.bounces.iter().sum::<f64>() / found.bounces.len() as f64)
        };
        println!(
            "| {prompt} | {:.3} | {} ({}) of {} | {} | {} | {} | {} ({}) | {} | {} ({}) | {} |",
            (squares.iter().sum::<f32>() / squares.len() as f32).sqrt(),
            found[0].sideways.weight(),
            found[1].sideways.weight(),
            SAMPLES as usize * physics.radii.len() * (SHAPE.frames - 1),
            both(&|found| found.sideways.mean()),
            both(&|found| found.downwards.mean()),
            both(&|found| Some(found.energy_change.mean()? / found.energy.mean()?)),
            found[0].bounces.len(),
            found[1].bounces.len(),
            both(&bounce),
            found[0].collisions.weight(),
            found[1].collisions.weight(),
            both(&|found| found.collisions.mean()),
        );
    }
    Ok(())
}

/// A value beside the floor, and in brackets by how many spreads it is off.
fn rows<S>(metrics: &[Metric<S>], floor: &[&S], broken: &[&S]) {
    for metric in metrics {
        let values: Vec<f64> = floor
            .iter()
            .filter_map(|scores| (metric.value)(scores))
            .collect();
        if values.is_empty() {
            continue;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = (values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / (values.len() as f64 - 1.0))
            .sqrt();
        let cell = |scores: &&S| match (metric.value)(scores) {
            Some(value) if spread > 0.0 => {
                format!(" {value:.4} ({:+.0}) |", (value - mean) / spread)
            }
            Some(value) => format!(" {value:.4} |"),
            None => " - |".into(),
        };
        println!(
            "| {} | {} | {mean:.4} | {spread:.4} |{}",
            metric.title,
            metric.unit,
            broken.iter().map(cell).collect::<String>()
        );
    }
}

fn run(
    prompts: &[&str],
    broken: Broken,
    repeat: u64,
) -> Result<(Scores, Measured), Box<dyn Error>> {
    let began = Instant::now();
    let first = repeat * 1_000;
    let clips: Vec<Clips> = prompts
        .iter()
        .map(|prompt| clips_of(prompt, broken, first))
        .collect::<Result<_, _>>()?;
    let evidence: Vec<PromptEvidence> = clips
        .iter()
        .map(|clips| PromptEvidence {
            prompt: &clips.prompt,
            teacher: &clips.teacher,
            student: &clips.student,
            long_teacher: &clips.long_teacher,
            long_student: &clips.long_student,
            continuations: &clips.continuations,
        })
        .collect();
    let groups: Vec<(String, Vec<Clip>, Vec<Clip>)> = clips
        .iter()
        .map(|clips| {
            (
                clips.prompt.clone(),
                clips.teacher.clone(),
                clips.student.clone(),
            )
        })
        .collect();
    let filmed = began.elapsed();
    let scores = score(&groups)?;
    let scored = began.elapsed();
    let measured = measure(&evidence)?;
    eprintln!(
        "{:.1} s filming, {:.1} s score, {:.1} s measure",
        filmed.as_secs_f64(),
        (scored - filmed).as_secs_f64(),
        (began.elapsed() - scored).as_secs_f64()
    );
    if repeat == 0 && broken == Broken::Nothing {
        time_features(&clips)?;
    }
    Ok((scores, measured))
}

/// How long Fréchet and kernel distances take on a thousand clips.
fn time_features(clips: &[Clips]) -> Result<(), Box<dyn Error>> {
    let network = FeatureNetwork::new();
    let began = Instant::now();
    let features: Vec<Vec<f32>> = clips
        .iter()
        .flat_map(|clips| &clips.teacher)
        .cycle()
        .take(1_000)
        .map(|clip| network.features(clip))
        .collect();
    let made = began.elapsed();
    let (x, y) = features.split_at(500);
    frechet_distance(x, y)?;
    let compared = began.elapsed();
    kernel_distance(x, y)?;
    let [features, frechet, kernel] =
        [made, compared - made, began.elapsed() - compared].map(|time| time.as_secs_f64());
    eprintln!(
        "1,000 clips: {features:.2} s features, {frechet:.3} s Fréchet distance, {kernel:.3} s \
            kernel distance"
    );
    Ok(())
}

fn clips_of(prompt: &str, broken: Broken, first: u64) -> Result<Clips, Box<dyn Error>> {
    let world = World::new(0);
    let long_teacher = samples(prompt, first..first + SAMPLES, Broken::Nothing)?;
    let long_student = samples(prompt, first + SAMPLES..first + 2 * SAMPLES, broken)?;
    let mut continuations = Vec::new();
    for sample in first..first + CONTINUED_SAMPLES {
        let scene = world.scene(prompt, sample)?;
        let truth = filmed(&scene, SHAPE)?;
        let second_take = filmed(&world.filmed_again(1).scene(prompt, sample)?, SHAPE)?;
        let draw = |draw: u64| -> Result<Clip, Box<dyn Error>> {
            Ok(match broken {
                Broken::Nothing | Broken::StopsLate => {
                    filmed(&world.filmed_again(2 + draw).scene(prompt, sample)?, SHAPE)?
                }
                Broken::Blurred => blurred(&filmed(
                    &world.filmed_again(2 + draw).scene(prompt, sample)?,
                    SHAPE,
                )?),
                Broken::Wind => filmed_in_wind(&scene, SHAPE, WIND)?,
                Broken::Frozen => frozen_from(&truth, PREFIX - 1),
                Broken::OneSample => head(&long_student[0], SHAPE.frames),
                Broken::OtherGravity | Broken::DullBounces | Broken::UnknownRestitution => {
                    continued(prompt, &scene, broken, sample * CONTINUATIONS + draw)?
                }
            })
        };
        let generated = (0..CONTINUATIONS).map(draw).collect::<Result<_, _>>()?;
        continuations.push(Case {
            prefix: PREFIX,
            truth,
            second_take,
            generated,
        });
    }
    Ok(Clips {
        prompt: prompt.into(),
        teacher: long_teacher
            .iter()
            .map(|clip| head(clip, SHAPE.frames))
            .collect(),
        student: long_student
            .iter()
            .map(|clip| head(clip, SHAPE.frames))
            .collect(),
        long_teacher,
        long_student,
        continuations,
    })
}

/// Long clips of a broken world.
fn samples(prompt: &str, samples: Range<u64>, broken: Broken) -> Result<Vec<Clip>, Box<dyn Error>> {
    let only = samples.start;
    samples
        .map(|sample| {
            let mut scene = World::new(0).scene(
                prompt,
                if broken == Broken::OneSample {
                    only
                } else {
                    sample
                },
            )?;
            break_physics(prompt, &mut scene, broken, sample)?;
            let clip = filmed_in_wind(
                &scene,
                LONG,
                if broken == Broken::Wind { WIND } else { 0.0 },
            )?;
            Ok(match broken {
                Broken::Frozen => frozen_from(&clip, 0),
                Broken::StopsLate => frozen_from(&clip, 20),
                Broken::Blurred => blurred(&clip),
                _ => clip,
            })
        })
        .collect()
}

fn break_physics(
    prompt: &str,
    scene: &mut Scene,
    broken: Broken,
    index: u64,
) -> Result<(), Box<dyn Error>> {
    match broken {
        Broken::OtherGravity => {
            scene.gravity = match ScenePrompt::parse(prompt)?.place {
                Place::Moon => Place::Jupiter.gravity(),
                Place::Earth => Place::Moon.gravity(),
                Place::Jupiter => Place::Earth.gravity(),
            };
        }
        Broken::DullBounces => scene.restitution = 0.4,
        Broken::UnknownRestitution => {
            scene.restitution = Noise::new(1, Purpose::Evaluation, 0, index).between(0.75, 0.85)
        }
        _ => (),
    }
    Ok(())
}

/// The true prefix, then the broken world going on from where the balls are and how fast they are.
fn continued(
    prompt: &str,
    scene: &Scene,
    broken: Broken,
    index: u64,
) -> Result<Clip, Box<dyn Error>> {
    let steps_per_frame = (f64::from(STEPS_PER_SECOND) / SHAPE.frames_per_second) as usize;
    let now = (PREFIX - 1) * steps_per_frame;
    let path = simulate(scene, now + 1, 1).centres;
    let ball = |(index, ball): (usize, &Ball)| {
        let velocity = [0, 1].map(|axis| {
            (path[now][index][axis] - path[now - 1][index][axis]) * STEPS_PER_SECOND as f32
        });
        Ball {
            position: path[now][index],
            velocity,
            ..*ball
        }
    };
    let mut rest = Scene {
        balls: scene.balls.iter().enumerate().map(ball).collect(),
        ..scene.clone()
    };
    break_physics(prompt, &mut rest, broken, index)?;
    let (mut clip, rest) = (filmed(scene, SHAPE)?, filmed(&rest, SHAPE)?);
    let frame = values_per_frame(&clip);
    // The rest begins with the prefix's last frame.
    clip.pixels[PREFIX * frame..]
        .copy_from_slice(&rest.pixels[frame..(SHAPE.frames - PREFIX + 1) * frame]);
    Ok(clip)
}

fn filmed(scene: &Scene, shape: ClipShape) -> Result<Clip, Box<dyn Error>> {
    filmed_in_wind(scene, shape, 0.0)
}

/// The scene with every ball carried to the right by `wind` m/s^2, as far as the wall.
fn filmed_in_wind(scene: &Scene, shape: ClipShape, wind: f32) -> Result<Clip, Box<dyn Error>> {
    let motion = simulate(
        scene,
        frames_for(shape),
        STEPS_PER_SECOND / FRAMES_PER_SECOND,
    );
    let carried = |frame: usize, centres: &[[f32; 2]]| -> Vec<[f32; 2]> {
        let seconds = frame as f32 / FRAMES_PER_SECOND as f32;
        let shift = wind * seconds * seconds / 2.0;
        let wall = |index: usize| METRES - WALL - scene.balls[index].radius;
        centres
            .iter()
            .enumerate()
            .map(|(index, &[x, y])| {
                [
                    if wind > 0.0 {
                        (x + shift).min(wall(index))
                    } else {
                        x
                    },
                    y,
                ]
            })
            .collect()
    };
    let frames = motion
        .centres
        .iter()
        .enumerate()
        .map(|(frame, centres)| draw(scene, &carried(frame, centres)))
        .collect();
    Ok(prepare(
        &Video {
            width: PIXELS,
            height: PIXELS,
            frames_per_second: f64::from(FRAMES_PER_SECOND),
            frames,
        },
        shape,
    )?)
}

fn values_per_frame(clip: &Clip) -> usize {
    clip.shape.height * clip.shape.width * 3
}

fn head(clip: &Clip, frames: usize) -> Clip {
    Clip {
        shape: ClipShape {
            frames,
            ..clip.shape
        },
        pixels: clip.pixels[..frames * values_per_frame(clip)].to_vec(),
    }
}

fn frozen_from(clip: &Clip, frame: usize) -> Clip {
    let values = values_per_frame(clip);
    let mut frozen = clip.clone();
    for later in frame + 1..clip.shape.frames {
        frozen
            .pixels
            .copy_within(frame * values..(frame + 1) * values, later * values);
    }
    frozen
}

fn blurred(clip: &Clip) -> Clip {
    let (height, width) = (clip.shape.height, clip.shape.width);
    let near = |place: usize, size: usize| place.saturating_sub(1)..(place + 2).min(size);
    let mut pixels = Vec::with_capacity(clip.pixels.len());
    for frame in 0..clip.shape.frames {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column)))
        {
            let around: Vec<[f32; 3]> = near(row, height)
                .flat_map(|row| {
                    near(column, width).map(move |column| clip.pixel(frame, row, column))
                })
                .collect();
            pixels.extend([0, 1, 2].map(|channel| {
                around.iter().map(|pixel| pixel[channel]).sum::<f32>() / around.len() as f32
            }));
        }
    }
    Clip {
        shape: clip.shape,
        pixels,
    }
}

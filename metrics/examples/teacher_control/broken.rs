//! Worlds that were broken on purpose, and their clips.

use std::error::Error;
use std::ops::Range;

use afd_clips::prepare::prepare;
use afd_clips::video::{Clip, ClipShape, Video};
use afd_metrics::continuation::Case;
use afd_noise::{Noise, Purpose};
use afd_world::{
    Ball, FRAMES_PER_SECOND, METRES, PIXELS, Place, STEPS_PER_SECOND, Scene, ScenePrompt, WALL,
    World, draw, frames_for, simulate,
};

use super::{CONTINUATIONS, CONTINUED_SAMPLES, LONG, PREFIX, SAMPLES, SHAPE};

/// Sideways acceleration of [`Broken::Wind`], m/s^2.
const WIND: f32 = 1.5;

/// How a world is broken.
#[derive(Clone, Copy, PartialEq)]
pub enum Broken {
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

pub const BROKEN: [(&str, Broken); 8] = [
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
pub struct Clips {
    pub prompt: String,
    pub teacher: Vec<Clip>,
    pub student: Vec<Clip>,
    pub long_teacher: Vec<Clip>,
    pub long_student: Vec<Clip>,
    pub continuations: Vec<Case>,
}

pub fn clips_of(prompt: &str, broken: Broken, first: u64) -> Result<Clips, Box<dyn Error>> {
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
    let mut continued = Scene {
        balls: scene.balls.iter().enumerate().map(ball).collect(),
        ..scene.clone()
    };
    break_physics(prompt, &mut continued, broken, index)?;
    let (mut clip, continued) = (filmed(scene, SHAPE)?, filmed(&continued, SHAPE)?);
    let frame = values_per_frame(&clip);
    // The continuation begins with the prefix's last frame.
    clip.pixels[PREFIX * frame..]
        .copy_from_slice(&continued.pixels[frame..(SHAPE.frames - PREFIX + 1) * frame]);
    Ok(clip)
}

pub fn filmed(scene: &Scene, shape: ClipShape) -> Result<Clip, Box<dyn Error>> {
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

//! Free flights: the stretches of a track in which nothing but gravity acts on a body.
//!
//! Where a body may have touched something is decided by where it is, never by whether its motion
//! obeys physics: a ball that turns in mid-air is a violation to be measured, not a contact to be
//! left out. The box, the balls' sizes and gravity are those of the built-in world.

use super::tracking::Track;
use afd_clips::video::ClipShape;
use afd_world::{Action, METRES, ScenePrompt, WALL};

/// How near to a wall a centre may be predicted and still be in flight, in pixels: the tracker's
/// usual error.
const WALL_MARGIN: f32 = 0.3;
/// The same between two balls, whose common pixels are harder to share out.
const BALL_MARGIN: f32 = 0.5;

/// Added to that where either ball may touch a wall in the same interval: it turns there, and its
/// way is no straight line.
const TURNING_MARGIN: f32 = 1.5;

/// What a prompt of the built-in world fixes, in the units of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPhysics {
    /// Downward acceleration in px/frame^2.
    pub gravity: f32,
    /// Radius of each body in px, in the prompt's order. Masses are as the squared radii.
    pub radii: Vec<f32>,
    /// Side of the box's inside, from `near` to `far`, in px from the picture's edge.
    near: f32,
    far: f32,
}

impl KnownPhysics {
    /// The physics of a prompt in clips of `shape`; `None` for sentences of other teachers and for
    /// clips that are not square (the world is).
    pub fn of_prompt(prompt: &str, shape: ClipShape) -> Option<Self> {
        let ScenePrompt { action, place } = ScenePrompt::parse(prompt).ok()?;
        if shape.height != shape.width || shape.frames_per_second <= 0.0 {
            return None;
        }
        let pixels_per_metre = shape.height as f32 / METRES;
        let balls = match action {
            Action::Dropped { ball } | Action::Thrown { ball, .. } => vec![ball],
            Action::Collide { first, second } => vec![first, second],
        };
        Some(Self {
            gravity: place.gravity() * pixels_per_metre / (shape.frames_per_second as f32).powi(2),
            radii: balls
                .iter()
                .map(|ball| ball.size.radius() * pixels_per_metre)
                .collect(),
            near: WALL * pixels_per_metre,
            far: (METRES - WALL) * pixels_per_metre,
        })
    }

    /// y of a body's centre when it rests on the floor, in px from the top.
    pub fn floor(&self, body: usize) -> f32 {
        self.far - self.radii[body]
    }
}

/// What a body may have touched between two neighbouring frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touch {
    /// The body is missing in one of the two frames.
    pub hidden: bool,
    /// The floor.
    pub floor: bool,
    /// The ceiling.
    pub ceiling: bool,
    /// The left or the right wall.
    pub side: bool,
    /// Another body.
    pub body: bool,
}

impl Touch {
    /// Nothing touched, body seen.
    pub fn is_free(self) -> bool {
        self == Self::default()
    }
}

/// For each body and each interval between neighbouring frames what the body may have touched in
/// it: `[body][T - 1]`.
///
/// A wall may have been touched when either frame shows the body there, or when flying on from the
/// interval before (or back from the one after) would have taken it there. Bodies may have touched
/// each other when their distance, carried on the same way, falls to the sum of their radii. Empty
/// unless `tracks` has one track per body.
pub fn touches(physics: &KnownPhysics, tracks: &[Track]) -> Vec<Vec<Touch>> {
    if tracks.len() != physics.radii.len() {
        return Vec::new();
    }
    let walls: Vec<Vec<Touch>> = (0..tracks.len())
        .map(|body| wall_touches(physics, tracks, body))
        .collect();
    let with_bodies = |body: usize, t: usize| {
        let near = |other: usize| {
            let turning = !walls[body][t].is_free() || !walls[other][t].is_free();
            let margin = if turning {
                BALL_MARGIN + TURNING_MARGIN
            } else {
                BALL_MARGIN
            };
            nearest_approach(&tracks[body], &tracks[other], t)
                < physics.radii[body] + physics.radii[other] + margin
        };
        Touch {
            body: (0..tracks.len()).any(|other| other != body && near(other)),
            ..walls[body][t]
        }
    };
    (0..tracks.len())
        .map(|body| {
            (0..walls[body].len())
                .map(|t| with_bodies(body, t))
                .collect()
        })
        .collect()
}

fn wall_touches(physics: &KnownPhysics, tracks: &[Track], body: usize) -> Vec<Touch> {
    let track = &tracks[body];
    let radius = physics.radii[body];
    let (near, far) = (
        physics.near + radius + WALL_MARGIN,
        physics.far - radius - WALL_MARGIN,
    );
    let frames = track.centres.len();
    let intervals = 0..frames.saturating_sub(1);
    intervals
        .map(|t| {
            let mut touch = Touch {
                hidden: !(track.visible[t] && track.visible[t + 1]),
                ..Touch::default()
            };
            // Where the body is in both frames, and where free flight from its neighbours would
            // have taken it.
            let mut places = vec![track.centres[t], track.centres[t + 1]];
            if t > 0 && track.visible[t - 1] {
                places.push(carried_on(
                    track.centres[t - 1],
                    track.centres[t],
                    physics.gravity,
                ));
            }
            if t + 2 < frames && track.visible[t + 2] {
                places.push(carried_on(
                    track.centres[t + 2],
                    track.centres[t + 1],
                    physics.gravity,
                ));
            }
            for [x, y] in places {
                touch.side |= x < near || x > far;
                touch.ceiling |= y < near;
                touch.floor |= y > far;
            }
            touch
        })
        .collect()
}

/// One more step from `from` over `to`; the same formula forwards and backwards in time, since y
/// points down.
fn carried_on(from: [f32; 2], to: [f32; 2], gravity: f32) -> [f32; 2] {
    [2.0 * to[0] - from[0], 2.0 * to[1] - from[1] + gravity]
}

/// The least distance of two bodies in interval `t`, also if they flew on as in the interval before
/// or came as in the one after. Gravity acts on both alike, so that their difference moves on a
/// straight line.
fn nearest_approach(one: &Track, other: &Track, t: usize) -> f32 {
    let frames = one.centres.len();
    let difference = |t: usize| {
        [
            one.centres[t][0] - other.centres[t][0],
            one.centres[t][1] - other.centres[t][1],
        ]
    };
    let seen = |t: usize| one.visible[t] && other.visible[t];
    let (start, end) = (difference(t), difference(t + 1));
    let mut least = distance_to_line(start, end);
    if t > 0 && seen(t - 1) {
        least = least.min(distance_to_line(
            start,
            carried_on(difference(t - 1), start, 0.0),
        ));
    }
    if t + 2 < frames && seen(t + 2) {
        least = least.min(distance_to_line(
            end,
            carried_on(difference(t + 2), end, 0.0),
        ));
    }
    least
}

/// Distance of the origin from the stretch between two points.
fn distance_to_line(from: [f32; 2], to: [f32; 2]) -> f32 {
    let way = [to[0] - from[0], to[1] - from[1]];
    let length = way[0] * way[0] + way[1] * way[1];
    let share = if length > 0.0 {
        (-(from[0] * way[0] + from[1] * way[1]) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (from[0] + share * way[0]).hypot(from[1] + share * way[1])
}

/// Maximal stretches of two free intervals or more, as ranges of intervals: range `a..b` spans
/// frames `a..=b`.
///
/// A single free interval between touches is left out: its neighbours' motion says little about
/// what happened in it.
pub fn flights(touches: &[Touch]) -> Vec<std::ops::Range<usize>> {
    let mut flights: Vec<std::ops::Range<usize>> = Vec::new();
    for t in (0..touches.len()).filter(|&t| touches[t].is_free()) {
        match flights.last_mut() {
            Some(last) if last.end == t => last.end = t + 1,
            _ => flights.push(t..t + 1),
        }
    }
    flights.retain(|flight| flight.len() >= 2);
    flights
}

#[cfg(test)]
mod tests {
    use super::*;
    use afd_world::World;

    const SHAPE: ClipShape = ClipShape {
        frames: 12,
        height: 16,
        width: 16,
        frames_per_second: 12.0,
    };

    /// The world's true centres at the clip's rate, and all positions in between at 240 per second.
    fn truth(prompt: &str, sample: u64) -> (Vec<Track>, Vec<Vec<[f32; 2]>>) {
        let scene = World::new(1).scene(prompt, sample).unwrap();
        let steps = afd_world::simulate(&scene, 12 * 20, 1).centres;
        let pixels = |[x, y]: [f32; 2]| [4.0 * x, 16.0 - 4.0 * y];
        let track = |body: usize| Track {
            centres: (0..12)
                .map(|frame| pixels(steps[20 * frame][body]))
                .collect(),
            masses: vec![5.0; 12],
            visible: vec![true; 12],
        };
        (
            (0..scene.balls.len()).map(track).collect(),
            steps
                .iter()
                .map(|now| now.iter().map(|&c| pixels(c)).collect())
                .collect(),
        )
    }

    #[test]
    fn no_flight_has_a_contact_in_it_and_most_other_intervals_are_flights() {
        let (mut contacts, mut free, mut quiet) = (0, 0, 0);
        for prompt in [
            "a small red ball is dropped on jupiter",
            "a large red ball is thrown to the right on jupiter",
            "a small red ball is thrown to the left on earth",
            "a small red ball and a large blue ball are thrown at each other on earth",
            "a large red ball and a large blue ball are thrown at each other on jupiter",
        ] {
            let physics = KnownPhysics::of_prompt(prompt, SHAPE).unwrap();
            for sample in 0..40 {
                let (tracks, steps) = truth(prompt, sample);
                let flights: Vec<_> = touches(&physics, &tracks)
                    .iter()
                    .map(|touches| flights(touches))
                    .collect();
                for (body, t) in (0..tracks.len()).flat_map(|body| (0..11).map(move |t| (body, t)))
                {
                    // A contact changes the velocity within the interval by other than gravity.
                    let jump = |axis: usize, expected: f32| {
                        (20 * t + 1..20 * t + 20).any(|step| {
                            let second = steps[step + 1][body][axis]
                                - 2.0 * steps[step][body][axis]
                                + steps[step - 1][body][axis];
                            (second - expected).abs() > 0.01
                        })
                    };
                    let in_flight = flights[body].iter().any(|flight| flight.contains(&t));
                    if jump(0, 0.0) || jump(1, physics.gravity / 400.0) {
                        contacts += 1;
                        assert!(
                            !in_flight,
                            "{prompt}, sample {sample}, body {body}, interval {t}"
                        );
                    } else {
                        quiet += 1;
                        free += usize::from(in_flight);
                    }
                }
            }
        }
        assert!(
            contacts > 100 && free * 10 > quiet * 6,
            "{contacts} contacts, {free} of {quiet} others free"
        );
    }

    #[test]
    fn a_turn_in_mid_air_is_no_contact() {
        let physics =
            KnownPhysics::of_prompt("a small red ball is thrown to the right on the moon", SHAPE)
                .unwrap();
        let centres = (0..12)
            .map(|t| {
                [
                    if t < 6 {
                        4.0 + t as f32
                    } else {
                        15.0 - t as f32
                    },
                    8.0,
                ]
            })
            .collect();
        let track = Track {
            centres,
            masses: vec![5.0; 12],
            visible: vec![true; 12],
        };
        let touches = touches(&physics, &[track]);
        assert!(touches[0].iter().all(|touch| touch.is_free()));
    }

    #[test]
    fn hidden_frames_end_a_flight() {
        let free = Touch::default();
        let hidden = Touch {
            hidden: true,
            ..free
        };
        assert_eq!(
            flights(&[free, free, hidden, free, hidden, free, free, free]),
            [0..2, 5..8]
        );
        assert_eq!(flights(&[]), []);
    }

    #[test]
    fn other_teachers_prompts_have_no_known_physics() {
        assert_eq!(KnownPhysics::of_prompt("a cat jumps", SHAPE), None);
        let earth = KnownPhysics::of_prompt("a small red ball is dropped on earth", SHAPE).unwrap();
        assert!(
            (earth.gravity - 9.81 * 4.0 / 144.0).abs() < 1e-6
                && (earth.floor(0) - 14.2).abs() < 1e-5
        );
    }
}

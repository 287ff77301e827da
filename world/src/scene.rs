//! Everything a prompt leaves open, drawn at random: where the balls start, how fast, how bouncy
//! they are and how dark the box is.

use super::prompt::{Action, BallLook, Direction, ScenePrompt};
use super::room::{METRES, WALL};
use afd_noise::Noise;

/// Where gravity and restitution come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Physics {
    /// Gravity of the prompt's place, restitution in 0.75..0.85: the teacher.
    OfThePlace,
    /// Gravity in 0..31 m/s^2 and restitution in 0..1, whatever the prompt says: the base student's
    /// pre-training data.
    Any,
}

/// One ball at t = 0. Metres from the lower left corner of the picture: x to the right, y up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ball {
    /// Radius in metres.
    pub radius: f32,
    /// 8-bit RGB.
    pub colour: [u8; 3],
    /// Centre `[x, y]` in metres.
    pub position: [f32; 2],
    /// Velocity `[x, y]` in m/s.
    pub velocity: [f32; 2],
}

/// A scene at t = 0, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// One or two balls, in the order of the prompt.
    pub balls: Vec<Ball>,
    /// Downward acceleration in m/s^2, >= 0.
    pub gravity: f32,
    /// Speed after over speed before a bounce, in 0..=1; the same for balls and walls.
    pub restitution: f32,
    /// 8-bit RGB.
    pub background: [u8; 3],
}

/// The mean of the teacher's restitution; each sample's is somewhere in 0.75..0.85.
pub const RESTITUTION: f32 = 0.8;

impl Scene {
    /// A random scene that the prompt describes. Start and background are drawn before the physics,
    /// so they do not depend on it.
    pub fn random(prompt: &ScenePrompt, physics: Physics, noise: &mut Noise) -> Self {
        let balls = match prompt.action {
            Action::Dropped { ball } => vec![dropped(ball, noise)],
            Action::Thrown { ball, direction } => vec![thrown(ball, direction, noise)],
            Action::Collide { first, second } => colliding(first, second, noise),
        };
        let shade = noise.below(13) as u8;
        // -6..=6 on all three channels alike.
        let background = prompt.place.backdrop().map(|channel| channel + shade - 6);
        let (gravity, restitution) = match physics {
            Physics::OfThePlace => (prompt.place.gravity(), noise.between(0.75, 0.85)),
            Physics::Any => (noise.between(0.0, 31.0), noise.between(0.0, 1.0)),
        };
        Self {
            balls,
            gravity,
            restitution,
            background,
        }
    }
}

/// The free space left between a ball and the nearest wall at the start, in metres.
const CLEARANCE: f32 = 0.05;

/// How far a ball's centre must be from the picture's edge to start clear of the wall.
fn margin(look: BallLook) -> f32 {
    WALL + look.size.radius() + CLEARANCE
}

fn ball(look: BallLook, position: [f32; 2], velocity: [f32; 2]) -> Ball {
    Ball {
        radius: look.size.radius(),
        colour: look.colour.rgb(),
        position,
        velocity,
    }
}

/// At rest, anywhere between the walls, in the upper part of the box.
fn dropped(look: BallLook, noise: &mut Noise) -> Ball {
    let (low, high) = (margin(look), METRES - margin(look));
    ball(
        look,
        [noise.between(low, high), noise.between(2.5, high)],
        [0.0, 0.0],
    )
}

/// From the side opposite to the throw, from middle height, 2 to 4 m/s at 10 to 40 degrees above
/// the horizontal.
fn thrown(look: BallLook, direction: Direction, noise: &mut Noise) -> Ball {
    let from_the_wall = margin(look) + noise.between(0.0, 0.4);
    let height = noise.between(1.4, 2.4);
    let speed = noise.between(2.0, 4.0);
    let [across, up] = velocity(speed, noise.between(10.0, 40.0));
    match direction {
        Direction::Right => ball(look, [from_the_wall, height], [across, up]),
        Direction::Left => ball(look, [METRES - from_the_wall, height], [-across, up]),
    }
}

/// From both sides at similar heights and with similar angles, or they would pass each other: at
/// most 0.2 m and 4 degrees apart.
fn colliding(first: BallLook, second: BallLook, noise: &mut Noise) -> Vec<Ball> {
    let height = noise.between(1.6, 2.4);
    let angle = noise.between(15.0, 35.0);
    let mut side = |look: BallLook| {
        let from_the_wall = margin(look) + noise.between(0.0, 0.3);
        let height = height + noise.between(-0.1, 0.1);
        let speed = noise.between(2.5, 4.0);
        let [across, up] = velocity(speed, angle + noise.between(-2.0, 2.0));
        (from_the_wall, height, across, up)
    };
    let (left, left_height, left_across, left_up) = side(first);
    let (right, right_height, right_across, right_up) = side(second);
    vec![
        ball(first, [left, left_height], [left_across, left_up]),
        ball(
            second,
            [METRES - right, right_height],
            [-right_across, right_up],
        ),
    ]
}

/// `[across, up]` in m/s. Sine and cosine come from `libm`, which gives the same value on every
/// machine.
fn velocity(speed: f32, degrees_above_the_horizontal: f32) -> [f32; 2] {
    let angle = degrees_above_the_horizontal.to_radians();
    [speed * libm::cosf(angle), speed * libm::sinf(angle)]
}

#[cfg(test)]
mod tests {
    use super::super::prompt::Place;
    use super::*;
    use afd_noise::Purpose;

    fn scenes(prompt: &str) -> Vec<Scene> {
        let prompt = ScenePrompt::parse(prompt).unwrap();
        (0..300)
            .map(|sample| {
                Scene::random(
                    &prompt,
                    Physics::OfThePlace,
                    &mut Noise::new(1, Purpose::World, sample, 0),
                )
            })
            .collect()
    }

    #[test]
    fn every_ball_starts_inside_the_box_and_clear_of_everything() {
        for prompt in [
            "a small red ball is dropped on earth",
            "a large red ball is dropped on earth",
            "a large red ball is thrown to the left on earth",
            "a large red ball and a large blue ball are thrown at each other on earth",
        ] {
            for scene in scenes(prompt) {
                for ball in &scene.balls {
                    let reach = WALL + ball.radius;
                    assert!(
                        ball.position
                            .iter()
                            .all(|&place| place > reach && place < METRES - reach),
                        "{prompt}: {ball:?}"
                    );
                }
                if let [first, second] = scene.balls.as_slice() {
                    assert!(
                        second.position[0] - first.position[0] > first.radius + second.radius + 0.5,
                        "{scene:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_throw_starts_opposite_and_flies_mostly_across_and_a_little_up() {
        for (prompt, sign) in [
            ("a small red ball is thrown to the right on earth", 1.0),
            ("a small red ball is thrown to the left on earth", -1.0),
        ] {
            for scene in scenes(prompt) {
                let Ball {
                    position,
                    velocity: [across, up],
                    ..
                } = scene.balls[0];
                assert!((METRES / 2.0 - position[0]) * sign > 0.5, "{position:?}");
                assert!(across * sign > up && up > 0.0, "{across} across, {up} up");
                let speed = (across * across + up * up).sqrt();
                assert!((1.999..4.001).contains(&speed), "{speed}");
            }
        }
    }

    #[test]
    fn a_dropped_ball_starts_at_rest_in_the_upper_part() {
        for scene in scenes("a small red ball is dropped on the moon") {
            assert_eq!(scene.balls[0].velocity, [0.0, 0.0]);
            assert!(scene.balls[0].position[1] > METRES / 2.0);
        }
    }

    #[test]
    fn what_the_prompt_leaves_open_varies_within_its_range() {
        let scenes = scenes("a small red ball is dropped on the moon");
        assert!(
            scenes
                .iter()
                .all(|scene| (0.75..0.85).contains(&scene.restitution))
        );
        for (channel, base) in Place::Moon.backdrop().into_iter().enumerate() {
            assert_eq!(
                scenes.iter().map(|scene| scene.background[channel]).min(),
                Some(base - 6)
            );
            assert_eq!(
                scenes.iter().map(|scene| scene.background[channel]).max(),
                Some(base + 6)
            );
        }
    }
}

//! From a scene's start to where its balls are in every frame, with rapier2d.
//!
//! Fixed small steps and rapier's `enhanced-determinism` make the path the same on every machine.
//! There is no friction: on a plain disc spin could not be seen, so it must not steer the ball
//! either.

use rapier2d::prelude::*;

use super::{
    room::{METRES, WALL},
    scene::Scene,
};

/// Simulation steps per second.
pub const STEPS_PER_SECOND: u32 = 240;

/// Where the balls truly are. Metres from the lower left corner of the picture: x to the right, y
/// up.
#[derive(Debug, Clone, PartialEq)]
pub struct Motion {
    /// Frames per second.
    pub frames_per_second: f64,
    /// `[frame][ball]` -> centre `[x, y]`; balls in the order of the prompt, frame 0 at t = 0.
    pub centres: Vec<Vec<[f32; 2]>>,
}

/// Simulates `frames` frames, `steps_per_frame` steps of 1/240 s apart.
pub fn simulate(scene: &Scene, frames: usize, steps_per_frame: u32) -> Motion {
    let mut world = PhysicsWorld {
        gravity: Vector::new(0.0, -scene.gravity),
        ..Default::default()
    };
    world.integration_parameters.dt = 1.0 / STEPS_PER_SECOND as f32;
    add_walls(&mut world, scene.restitution);
    let handles: Vec<RigidBodyHandle> = scene
        .balls
        .iter()
        .map(|ball| {
            // Mass is density (1) times area, hence proportional to the squared radius.
            let collider = ColliderBuilder::ball(ball.radius)
                .density(1.0)
                .restitution(scene.restitution)
                .friction(0.0);
            let body = RigidBodyBuilder::dynamic()
                .translation(Vector::new(ball.position[0], ball.position[1]))
                .linvel(Vector::new(ball.velocity[0], ball.velocity[1]))
                .ccd_enabled(true)
                .can_sleep(false);
            world.insert(body, collider).0
        })
        .collect();
    let mut centres = Vec::with_capacity(frames);
    for frame in 0..frames {
        if frame > 0 {
            (0..steps_per_frame).for_each(|_| world.step());
        }
        let centre = |handle: &RigidBodyHandle| {
            let place = world.bodies[*handle].translation();
            [place.x, place.y]
        };
        centres.push(handles.iter().map(centre).collect());
    }
    Motion {
        frames_per_second: f64::from(STEPS_PER_SECOND) / f64::from(steps_per_frame),
        centres,
    }
}

/// Floor, ceiling and walls: blocks a metre thick around the box, so that nothing tunnels through.
fn add_walls(world: &mut PhysicsWorld, restitution: f32) {
    let (middle, half) = (METRES / 2.0, 0.5);
    let (before, behind) = (WALL - half, METRES - WALL + half);
    for (centre, half_extents) in [
        ([middle, before], [METRES, half]),
        ([middle, behind], [METRES, half]),
        ([before, middle], [half, METRES]),
        ([behind, middle], [half, METRES]),
    ] {
        let collider = ColliderBuilder::cuboid(half_extents[0], half_extents[1])
            .restitution(restitution)
            .friction(0.0);
        world.insert(
            RigidBodyBuilder::fixed().translation(Vector::new(centre[0], centre[1])),
            collider,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::World;
    use super::*;
    use crate::scene::Ball;

    /// Every step of 1.5 s.
    const STEPS: usize = 360;

    fn every_step(scene: &Scene) -> Vec<Vec<[f32; 2]>> {
        simulate(scene, STEPS, 1).centres
    }

    fn touches_the_box(ball: &Ball, centre: [f32; 2]) -> bool {
        let reach = WALL + ball.radius + 0.03;
        centre
            .iter()
            .any(|&place| place < reach || place > METRES - reach)
    }

    #[test]
    fn before_the_first_contact_a_ball_follows_the_parabola() {
        for place in ["the moon", "earth", "jupiter"] {
            for prompt in [
                format!("a small red ball is dropped on {place}"),
                format!("a large red ball is thrown to the right on {place}"),
            ] {
                for sample in 0..20 {
                    let scene = World::new(2).scene(&prompt, sample).unwrap();
                    let (ball, path) = (scene.balls[0], every_step(&scene));
                    let free = path
                        .iter()
                        .position(|centres| touches_the_box(&ball, centres[0]))
                        .unwrap_or(STEPS);
                    assert!(free > 30, "{prompt}: only {free} steps of free flight");
                    let (last, x0, v0) = (free - 1, ball.position, ball.velocity);
                    let t = last as f32 / STEPS_PER_SECOND as f32;
                    let expected = [
                        x0[0] + v0[0] * t,
                        x0[1] + v0[1] * t - scene.gravity * t * t / 2.0,
                    ];
                    // 1 % of the way travelled under gravity and of the way travelled across.
                    let tolerance = [
                        0.01 * (v0[0] * t).abs() + 1e-4,
                        0.01 * (scene.gravity * t * t / 2.0) + 1e-4,
                    ];
                    for axis in 0..2 {
                        let error = (path[last][0][axis] - expected[axis]).abs();
                        assert!(
                            error <= tolerance[axis],
                            "{prompt}, sample {sample}, axis {axis}: off by {error} m after {t} s"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_bounce_gives_back_the_squared_restitution_of_the_height() {
        for gravity in [9.81, 24.79] {
            for restitution in [0.5, 0.8] {
                let ball = Ball {
                    radius: 0.35,
                    colour: [230, 60, 50],
                    position: [2.0, 2.95],
                    velocity: [0.0, 0.0],
                };
                let scene = Scene {
                    balls: vec![ball],
                    gravity,
                    restitution,
                    background: [40; 3],
                };
                let heights: Vec<f32> = every_step(&scene)
                    .iter()
                    .map(|centres| centres[0][1] - ball.radius - WALL)
                    .collect();
                let bounce = heights
                    .windows(2)
                    .position(|pair| pair[1] > pair[0])
                    .unwrap();
                let apex = bounce
                    + heights[bounce..]
                        .windows(2)
                        .skip(1)
                        .position(|pair| pair[1] < pair[0])
                        .unwrap();
                // A contact is resolved at the end of a step. By then the ball may be up to half a
                // step's way into the floor: 2 cm at the 11 m/s with which it arrives on jupiter.
                // The bounce starts from there.
                let (found, expected) = (heights[apex + 1], restitution * restitution * heights[0]);
                assert!(
                    (found - expected).abs() < 0.02,
                    "gravity {gravity}, restitution {restitution}: {found} m, not {expected} m"
                );
            }
        }
    }

    #[test]
    fn colliding_balls_exchange_momentum_and_lose_none() {
        let mut collisions = 0;
        for (sizes, sample) in [("small", "large"), ("large", "small"), ("small", "small")]
            .into_iter()
            .flat_map(|sizes| (0..10).map(move |sample| (sizes, sample)))
        {
            let prompt = format!(
                "a {} red ball and a {} blue ball are thrown at each other on the moon",
                sizes.0, sizes.1
            );
            let scene = World::new(4).scene(&prompt, sample).unwrap();
            let [first, second] = [scene.balls[0], scene.balls[1]];
            let path = every_step(&scene);
            let free = path
                .iter()
                .position(|now| touches_the_box(&first, now[0]) || touches_the_box(&second, now[1]))
                .unwrap_or(STEPS);
            let across = |ball: usize, step: usize| {
                (path[step][ball][0] - path[step - 1][ball][0]) * STEPS_PER_SECOND as f32
            };
            let turn = (1..free).find(|&step| (across(0, step) - first.velocity[0]).abs() > 0.1);
            let Some(after) = turn.map(|step| step + 2).filter(|&after| after < free) else {
                continue;
            };
            collisions += 1;
            let (heavy, light) = (first.radius.powi(2), second.radius.powi(2));
            let momentum = |step| heavy * across(0, step) + light * across(1, step);
            let scale = heavy * first.velocity[0].abs() + light * second.velocity[0].abs();
            // Velocities are differences of f32 positions near 4 m: 240 * 4 * 2^-24 * 2 = 1e-4 m/s
            // each.
            assert!(
                (momentum(after) - momentum(1)).abs() < 2e-3 * scale,
                "{prompt}, sample {sample}: {} became {}",
                momentum(1),
                momentum(after)
            );
            let exchanged = heavy * (across(0, after) - first.velocity[0]).abs();
            assert!(
                exchanged > 0.2 * scale,
                "{prompt}, sample {sample}: only {exchanged} of {scale} exchanged"
            );
        }
        assert!(
            collisions >= 20,
            "only {collisions} collisions in free flight"
        );
    }

    #[test]
    fn most_samples_of_a_collision_prompt_collide() {
        for place in ["the moon", "earth", "jupiter"] {
            for (first, second) in [("small", "small"), ("small", "large"), ("large", "large")] {
                let prompt = format!(
                    "a {first} red ball and a {second} blue ball are thrown at each other on \
                        {place}"
                );
                let collides = |sample: &u64| {
                    let scene = World::new(4).scene(&prompt, *sample).unwrap();
                    let reach = scene.balls[0].radius + scene.balls[1].radius + 0.02;
                    every_step(&scene)
                        .iter()
                        .any(|now| (now[0][0] - now[1][0]).hypot(now[0][1] - now[1][1]) < reach)
                };
                let count = (0..30).filter(collides).count();
                assert!(count >= 24, "{prompt}: {count} of 30");
            }
        }
    }

    #[test]
    fn nothing_leaves_the_box() {
        let prompt = "a large red ball and a small blue ball are thrown at each other on jupiter";
        for sample in 0..30 {
            let scene = World::uncurated(8).scene(prompt, sample).unwrap();
            for centres in every_step(&scene) {
                for (ball, centre) in scene.balls.iter().zip(centres) {
                    // rapier lets contacts overlap by its linear slop of 5 mm, and more for the
                    // step in which a ball arrives.
                    let reach = WALL + ball.radius - 0.03;
                    assert!(
                        centre
                            .iter()
                            .all(|&place| place > reach && place < METRES - reach),
                        "sample {sample}: {centre:?}"
                    );
                }
            }
        }
    }
}

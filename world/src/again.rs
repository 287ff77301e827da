//! A scene that is filmed again: the same balls in the same box, released once more.

use super::scene::{Ball, Scene};
use afd_noise::Noise;

/// How exactly a release repeats: standard deviation of each coordinate, in metres.
///
/// A clamp or a rail in a room of 4 m puts a ball back to a centimetre. In a picture of 16 px that
/// is 0.04 px, an eighth of what the tracker of `afd-metrics` may be off: the first frames of two
/// filmings look the same.
const POSITION_SPREAD: f32 = 0.01;
/// Standard deviation of each component of the velocity, as a share of the speed: a spring or a
/// ramp repeats to 1 %, about half a degree.
const VELOCITY_SPREAD: f32 = 0.01;
/// Speeds below this spread as if they were this, in m/s: letting go gives a ball at rest a
/// centimetre per second too.
const SLOWEST: f32 = 1.0;
/// Draws are cut off at this many standard deviations: 3 cm is less than the 5 cm that a scene
/// leaves between a ball and the nearest wall.
const FARTHEST: f32 = 3.0;

impl Scene {
    /// The same scene with every ball's start repeated as exactly as a second filming would: 1 cm
    /// and 1 % of the speed (standard deviations).
    ///
    /// Nothing else differs. Small differences grow where balls bounce, most of all off each other:
    /// that growth is the sample-to-sample variance which continuations are measured against.
    pub fn released_again(&self, noise: &mut Noise) -> Self {
        let mut draw = |spread: f32| spread * noise.normal().clamp(-FARTHEST, FARTHEST);
        let again = |ball: &Ball| {
            let [across, up] = ball.velocity;
            let spread = VELOCITY_SPREAD * (across * across + up * up).sqrt().max(SLOWEST);
            Ball {
                position: ball.position.map(|place| place + draw(POSITION_SPREAD)),
                velocity: ball.velocity.map(|speed| speed + draw(spread)),
                ..*ball
            }
        };
        Self {
            balls: self.balls.iter().map(again).collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::{METRES, WALL};
    use super::super::{FRAMES, World};

    const PROMPTS: [&str; 3] = [
        "a large red ball is dropped on the moon",
        "a small red ball is thrown to the left on earth",
        "a large red ball and a large blue ball are thrown at each other on jupiter",
    ];

    #[test]
    fn filming_again_changes_the_start_a_little_and_nothing_else() {
        let (first, again) = (World::new(3), World::new(3).filmed_again(1));
        let mut squares = [0.0, 0.0];
        let mut count = 0.0;
        for (prompt, sample) in PROMPTS
            .into_iter()
            .flat_map(|prompt| (0..100).map(move |sample| (prompt, sample)))
        {
            let (one, other) = (
                first.scene(prompt, sample).unwrap(),
                again.scene(prompt, sample).unwrap(),
            );
            assert_eq!(
                (one.gravity, one.restitution, one.background),
                (other.gravity, other.restitution, other.background)
            );
            for (a, b) in one.balls.iter().zip(&other.balls) {
                assert_eq!((a.radius, a.colour), (b.radius, b.colour));
                assert!(
                    b.position
                        .iter()
                        .all(|&place| place > WALL + b.radius && place < METRES - WALL - b.radius),
                    "{b:?}"
                );
                let speed = a.velocity[0].hypot(a.velocity[1]).max(1.0);
                for axis in 0..2 {
                    squares[0] += (b.position[axis] - a.position[axis]).powi(2);
                    squares[1] += ((b.velocity[axis] - a.velocity[axis]) / speed).powi(2);
                    count += 1.0;
                }
            }
        }
        // 800 draws of standard deviation 0.01: the estimate's relative error is 1 / sqrt(1600) =
        // 2.5 %; four of them.
        assert!(
            squares
                .iter()
                .all(|sum| ((sum / count).sqrt() - 0.01).abs() < 0.001),
            "{squares:?} of {count}"
        );
    }

    #[test]
    fn the_first_filming_is_the_sample_itself_and_repetitions_differ() {
        for prompt in PROMPTS {
            let scene = |again| World::new(3).filmed_again(again).scene(prompt, 7).unwrap();
            assert_eq!(scene(0), World::new(3).scene(prompt, 7).unwrap());
            assert_eq!(scene(2), scene(2));
            assert_ne!(scene(1), scene(2));
        }
    }

    #[test]
    fn a_second_filming_stays_much_closer_than_another_sample() {
        let distance = |one: World, other: World, prompt: &str, samples: [u64; 2]| -> f32 {
            let [one, other] = [
                one.motion(prompt, samples[0]).unwrap(),
                other.motion(prompt, samples[1]).unwrap(),
            ];
            let pairs = one
                .centres
                .iter()
                .flatten()
                .zip(other.centres.iter().flatten());
            pairs
                .map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]))
                .sum::<f32>()
                / (FRAMES * one.centres[0].len()) as f32
        };
        let world = World::new(3);
        for prompt in PROMPTS {
            let again: f32 = (0..20)
                .map(|sample| distance(world, world.filmed_again(1), prompt, [sample, sample]))
                .sum();
            let other: f32 = (0..20)
                .map(|sample| distance(world, world, prompt, [sample, sample + 20]))
                .sum();
            assert!(again < 0.2 * other, "{prompt}: {again} against {other}");
        }
    }
}

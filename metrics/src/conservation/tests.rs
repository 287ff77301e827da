use super::*;
use afd_clips::video::ClipShape;
use afd_world::{Scene, World, simulate};

const SHAPE: ClipShape = ClipShape {
    frames: 24,
    height: 16,
    width: 16,
    frames_per_second: 12.0,
};

/// Two seconds of a scene's true centres at 12 frames per second, in pixels.
fn tracks(scene: &Scene) -> Vec<Track> {
    let motion = simulate(scene, 24, 20);
    let centres = |body: usize| {
        motion
            .centres
            .iter()
            .map(|now| [4.0 * now[body][0], 16.0 - 4.0 * now[body][1]])
            .collect()
    };
    (0..scene.balls.len())
        .map(|body| Track {
            centres: centres(body),
            masses: vec![5.0; 24],
            visible: vec![true; 24],
        })
        .collect()
}

fn measure(prompt: &str, samples: u64, change: impl Fn(&mut Scene)) -> Conservation {
    let physics = KnownPhysics::of_prompt(prompt, SHAPE).unwrap();
    let clips: Vec<Vec<Track>> = (0..samples)
        .map(|sample| {
            let mut scene = World::new(1).scene(prompt, sample).unwrap();
            change(&mut scene);
            tracks(&scene)
        })
        .collect();
    Conservation::measure(&physics, &clips)
}

const THROW: &str = "a small red ball is thrown to the right on earth";
const COLLISION: &str = "a small red ball and a large blue ball are thrown at each other on \
    the moon";

#[test]
fn the_simulation_s_true_motion_has_almost_no_residuals() {
    for prompt in [
        THROW,
        "a large red ball is dropped on jupiter",
        "a small red ball is thrown to the left on the moon",
        COLLISION,
    ] {
        let found = measure(prompt, 30, |_| ());
        assert!(found.sideways.weight() > 100.0, "{prompt}: {found:?}");
        assert!(
            found.sideways.mean().unwrap() < 1e-3 && found.downwards.mean().unwrap() < 4e-3,
            "{prompt}: {found:?}"
        );
        assert!(
            found.energy_change.mean().unwrap() < 0.01 * found.energy.mean().unwrap(),
            "{prompt}: {found:?}"
        );
    }
}

#[test]
fn bounces_give_back_the_restitution() {
    // A large ball on jupiter rises too little at 0.3 for a flight to be seen.
    let jupiter = "a large red ball is dropped on jupiter";
    for (prompt, restitution) in [
        (THROW, 0.3f32),
        (THROW, 0.6),
        (THROW, 0.8),
        (jupiter, 0.6),
        (jupiter, 0.8),
    ] {
        let found = measure(prompt, 30, |scene| scene.restitution = restitution);
        assert!(found.bounces.len() >= 8, "{prompt}: {found:?}");
        let mean = found.bounces.iter().sum::<f64>() / found.bounces.len() as f64;
        assert!(
            (mean - f64::from(restitution)).abs() < 0.03,
            "{prompt}: {mean} instead of {restitution}"
        );
    }
}

#[test]
fn collisions_keep_the_momentum_of_the_true_motion_and_not_of_a_ball_that_stops_dead() {
    let found = measure(COLLISION, 30, |_| ());
    assert!(
        found.collisions.weight() >= 10.0 && found.collisions.mean().unwrap() < 0.02,
        "{found:?}"
    );
    // The blue ball is replaced by one that stays where it is hit.
    let physics = KnownPhysics::of_prompt(COLLISION, SHAPE).unwrap();
    let clips: Vec<Vec<Track>> = (0..30)
        .map(|sample| {
            let mut both = tracks(&World::new(1).scene(COLLISION, sample).unwrap());
            let distance = |t: usize| {
                (both[0].centres[t][0] - both[1].centres[t][0])
                    .hypot(both[0].centres[t][1] - both[1].centres[t][1])
            };
            let hit = (0..24)
                .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
                .unwrap_or(0);
            let held = both[1].centres[hit];
            both[1].centres[hit..].fill(held);
            both
        })
        .collect();
    let broken = Conservation::measure(&physics, &clips);
    assert!(broken.collisions.mean().unwrap() > 0.2, "{broken:?}");
}

#[test]
fn another_place_s_gravity_breaks_vertical_momentum_and_energy_but_not_sideways_momentum() {
    let found = measure(THROW, 30, |scene| scene.gravity = 24.79);
    // (24.79 - 9.81) * 4 / 144 = 0.416 px/frame^2.
    assert!(
        (found.downwards.mean().unwrap() - 0.416).abs() < 0.01
            && found.sideways.mean().unwrap() < 1e-3,
        "{found:?}"
    );
    assert!(
        found.energy_change.mean().unwrap() > 0.1 * found.energy.mean().unwrap(),
        "{found:?}"
    );
}

#[test]
fn a_ball_that_hangs_in_the_air_keeps_its_energy_but_not_its_vertical_momentum() {
    let physics = KnownPhysics::of_prompt(THROW, SHAPE).unwrap();
    let still = Track {
        centres: vec![[8.0, 8.0]; 24],
        masses: vec![5.0; 24],
        visible: vec![true; 24],
    };
    let found = Conservation::measure(&physics, &[vec![still]]);
    assert!(
        found.sideways.mean().unwrap() < 1e-9 && found.energy_change.mean() == Some(0.0),
        "{found:?}"
    );
    assert!(
        (found.downwards.mean().unwrap() - f64::from(physics.gravity)).abs() < 1e-9
            && found.bounces.is_empty()
    );
}

#[test]
fn parabolas_have_their_acceleration_and_lines_have_none() {
    let parabola: Vec<f64> = (0..7)
        .map(|t| 3.0 - 0.7 * f64::from(t) + 0.15 * f64::from(t * t))
        .collect();
    assert!((acceleration(&parabola) - 0.3).abs() < 1e-12);
    assert!(acceleration(&[1.0, 2.5, 4.0, 5.5]).abs() < 1e-12);
}

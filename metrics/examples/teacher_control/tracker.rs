//! What the tracker adds to the residuals.

use std::error::Error;

use afd_metrics::conservation::Conservation;
use afd_metrics::flights::KnownPhysics;
use afd_metrics::tracking::{Track, Tracker};
use afd_world::{METRES, World};

use super::broken::filmed;
use super::{SAMPLES, SHAPE};

/// What the residuals are on the tracked centres of the teacher's clips, and on its true ones (in
/// brackets).
pub fn tracker_floor(prompts: &[&str]) -> Result<(), Box<dyn Error>> {
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

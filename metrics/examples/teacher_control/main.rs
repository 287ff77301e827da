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

mod broken;
mod tracker;

use std::error::Error;
use std::time::Instant;

use afd_clips::video::{Clip, ClipShape};
use afd_metrics::features::FeatureNetwork;
use afd_metrics::frechet::{frechet_distance, kernel_distance};
use afd_metrics::metric::Metric;
use afd_metrics::physics::{Measured, PHYSICS_METRICS, PhysicsScores, PromptEvidence, measure};
use afd_metrics::table::{FilmedBy, METRICS, Scores, mean_scores, score};

use broken::{BROKEN, Broken, Clips, clips_of};
use tracker::tracker_floor;

const PROMPTS: &str = include_str!("../../../recipes/physics-world/prompts-held-out.txt");
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
    let scores = mean_scores(&score(&groups, FilmedBy::World)?);
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

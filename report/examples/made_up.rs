//! A report of made-up numbers, to look at the page without training anything. Nothing in it was
//! measured.
//!
//! `cargo run -p afd-report --example made_up` writes `target/example-report/report.html`.

use std::{collections::BTreeMap, error::Error, fs::File, path::Path};

use afd_report::{
    Benchmark, Better, Cost, Curve, Method, Metric, Named, Preview, Role, Run, State,
};
use image::{Delay, Frame, Rgba, RgbaImage, codecs::gif::GifEncoder, codecs::gif::Repeat};

/// Name, title, what it is, and how far from the teacher the made-up numbers put it.
const METHODS: [(&str, &str, Role, f64, &str); 10] = [
    (
        "teacher",
        "Teacher",
        Role::Teacher,
        0.0,
        "The world's own clips: what a perfect student would score.",
    ),
    (
        "base",
        "Base student",
        Role::Base,
        8.2,
        "Before any distillation.",
    ),
    (
        "sft-teacher-forced",
        "SFT, teacher-forced",
        Role::Method,
        4.1,
        "Flow matching on teacher clips, clean context.",
    ),
    (
        "sft-diffusion-forced",
        "SFT, diffusion-forced",
        Role::Method,
        4.7,
        "Flow matching on teacher clips, noised context.",
    ),
    (
        "adversarial",
        "Direct adversarial",
        Role::Method,
        3.9,
        "The discriminator's gradient through the exit step.",
    ),
    (
        "grpo",
        "Reverse-chain RL",
        Role::Method,
        5.2,
        "Consistency-kernel GRPO on the discriminator's score.",
    ),
    (
        "offline-nft",
        "Offline NFT",
        Role::Method,
        4.9,
        "Rollouts and scores of the base student, computed once.",
    ),
    (
        "frozen",
        "Frozen discriminator",
        Role::Method,
        4.4,
        "AFD whose discriminator rests after its warm-up.",
    ),
    (
        "afd",
        "AFD",
        Role::Method,
        2.9,
        "On-policy adversarial advantages as forward-process updates.",
    ),
    (
        "score-distillation",
        "Score distillation",
        Role::Method,
        0.0,
        "DMD and its kin.",
    ),
];

const ABLATIONS: [(&str, &str, &str, f64); 4] = [
    (
        "beta-0.1",
        "beta 0.1",
        "Strength of the forward-process update",
        3.3,
    ),
    (
        "beta-0.5",
        "beta 0.5",
        "Strength of the forward-process update",
        3.0,
    ),
    ("plain-gan", "GAN loss", "Discriminator's loss", 3.8),
    ("shuffled", "Shuffled prompts", "Discriminator's loss", 5.9),
];

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    let out = Path::new(&target).join("example-report");
    std::fs::create_dir_all(&out)?;
    let mut benchmark = frame();
    for (family, family_offset) in [("chunk", 0.0), ("frame", 0.6)] {
        for (name, _, role, distance, _) in METHODS
            .into_iter()
            .filter(|method| method.0 != "score-distillation")
        {
            if role != Role::Method {
                benchmark.runs.push(run(
                    &out,
                    name,
                    family,
                    None,
                    None,
                    distance
                        + if role == Role::Base {
                            family_offset
                        } else {
                            0.0
                        },
                )?);
                continue;
            }
            for (regime, scarcity) in [("8", 1.6), ("32", 1.25), ("200", 1.0)] {
                // Made up too: SFT suffers less from scarce clips.
                let scarcity = if name.starts_with("sft") {
                    1.0 + (scarcity - 1.0) / 2.0
                } else {
                    scarcity
                };
                for seed in 0..3 {
                    benchmark.runs.push(run(
                        &out,
                        name,
                        family,
                        Some(regime),
                        Some(seed),
                        (distance + family_offset) * scarcity,
                    )?);
                }
            }
        }
    }
    for (name, _, _, distance) in ABLATIONS {
        for seed in 0..3 {
            benchmark
                .runs
                .push(run(&out, name, "chunk", Some("200"), Some(seed), distance)?);
        }
    }
    spoil(&mut benchmark);
    let written = benchmark.write(&out, &out)?;
    println!("{}", written.html.display());
    Ok(())
}

/// Everything but the runs.
fn frame() -> Benchmark {
    let named = |name: &str, title: &str| Named {
        name: name.into(),
        title: title.into(),
    };
    let metric = |name: &str, title: &str, unit: &str, better, main, about: &str| Metric {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        better,
        about: about.into(),
        main,
    };
    let curve = |name: &str, title: &str, x: &str, about: &str| Curve {
        name: name.into(),
        title: title.into(),
        x_title: x.into(),
        y_title: "Trajectory energy distance (px)".into(),
        about: about.into(),
    };
    let refused =
        |name: &str| (name == "score-distillation").then(|| "a black box has no score".to_string());
    let methods = METHODS.map(|(name, title, role, _, about)| Method {
        name: name.into(),
        title: title.into(),
        about: about.into(),
        role,
        group: None,
        refused: refused(name),
    });
    let ablations = ABLATIONS.map(|(name, title, group, _)| Method {
        name: name.into(),
        title: title.into(),
        about: String::new(),
        role: Role::Method,
        group: Some(group.into()),
        refused: None,
    });
    Benchmark {
        name: "example".into(),
        title: "EXAMPLE: methods on a physics world (made-up numbers)".into(),
        summary: vec![
            "Every number, curve and clip on this page is made up, to show what a report looks \
                like. Nothing here was measured."
                .into(),
        ],
        created: "2026-11-23".into(),
        commit: None,
        machine: "none: nothing was run".into(),
        command: "cargo run -p afd-report --example made_up".into(),
        wall_seconds: 0.0,
        budget: "made up: 12 000 student forward-backward clips per run".into(),
        reference: "afd".into(),
        methods: methods.into_iter().chain(ablations).collect(),
        families: vec![named("chunk", "Chunk-wise"), named("frame", "Frame-wise")],
        regimes: vec![
            named("8", "8 clips"),
            named("32", "32 clips"),
            named("200", "200 clips"),
        ],
        regime_title: "teacher clips".into(),
        seeds: vec![0, 1, 2],
        metrics: vec![
            metric(
                "trajectory",
                "Trajectory energy distance",
                "px",
                Better::Lower,
                true,
                "Energy distance between the bodies' paths.",
            ),
            metric(
                "gravity",
                "Gravity error",
                "px/frame\u{b2}",
                Better::Lower,
                true,
                "Difference of the mean accelerations in free flight.",
            ),
            metric(
                "permanence",
                "Object permanence",
                "",
                Better::Higher,
                true,
                "Share of frames with the body there at its usual size.",
            ),
            metric(
                "physics-iq",
                "Physics-IQ",
                "%",
                Better::Higher,
                true,
                "Four measures of the continuation, normalised by the world's variance.",
            ),
            metric(
                "dynamic",
                "Dynamic degree",
                "",
                Better::Teacher,
                true,
                "Share of clips with clear motion.",
            ),
            metric(
                "pair-accuracy",
                "Holdout pair accuracy",
                "",
                Better::Target(0.5),
                true,
                "How often a fresh discriminator is right.",
            ),
            metric(
                "coverage",
                "Mode coverage",
                "",
                Better::Higher,
                false,
                "Share of the teacher's outcomes that the student shows.",
            ),
        ],
        curves: vec![
            curve(
                "learning",
                "Learning curves",
                "student forward-backward clips",
                "On the held-out prompts, while training.",
            ),
            curve(
                "drift",
                "Drift against rollout length",
                "rollout length / trained length",
                "Rollouts of up to four times the trained length.",
            ),
        ],
        runs: Vec::new(),
    }
}

fn run(
    out: &Path,
    method: &str,
    family: &str,
    regime: Option<&str>,
    seed: Option<u64>,
    distance: f64,
) -> Result<Run, Box<dyn Error>> {
    let directory = format!(
        "runs/example/{method}-{family}-{}-{}",
        regime.unwrap_or("all"),
        seed.map_or("once".into(), |seed| seed.to_string())
    );
    let mut noise = Noise(directory.bytes().fold(7, |sum, byte| {
        sum ^ (u64::from(byte)).rotate_left(byte as u32)
    }));
    let trained = seed.is_some();
    let distance = (distance
        + if distance > 0.0 {
            0.35 * noise.next()
        } else {
            0.0
        })
    .max(0.0);
    let share = distance / 8.2;
    let values = [
        ("trajectory", distance - 0.2),
        ("gravity", 0.009 + 0.21 * share + 0.01 * noise.next()),
        (
            "permanence",
            1.0 - 0.18 * share + 0.008 * noise.next() * share,
        ),
        (
            "physics-iq",
            100.0 * (1.0 - 0.7 * share) + 2.0 * noise.next(),
        ),
        ("dynamic", 0.98 - 0.12 * share + 0.01 * noise.next()),
        ("pair-accuracy", 0.5 + 0.49 * share.sqrt()),
        ("coverage", 1.0 - 0.5 * share + 0.03 * noise.next()),
    ];
    let mut curves = BTreeMap::new();
    let drift = [1.0, 1.5, 2.0, 3.0, 4.0].map(|length: f64| {
        [
            length,
            distance * length.powf(0.8) + 0.2 * noise.next().abs(),
        ]
    });
    curves.insert("drift".to_string(), drift.to_vec());
    if trained {
        let point = |step: i32| {
            [
                f64::from(step) * 120.0,
                distance + (8.2 - distance) * (-f64::from(step) / 22.0).exp() + 0.25 * noise.next(),
            ]
        };
        curves.insert("learning".into(), (0..=100).map(point).collect());
    }
    let mut previews = Vec::new();
    if seed.is_none_or(|seed| seed == 0)
        && (family, regime.unwrap_or("200")) == ("chunk", "200")
        && !directory.contains("beta")
    {
        let path = format!("{}.gif", directory.replace('/', "-"));
        ball(&out.join(&path), share)?;
        previews.push(Preview {
            label: "a small red ball is dropped on the moon".into(),
            path,
        });
    }
    let passes = if trained { 12_000 } else { 0 };
    Ok(Run {
        method: method.into(),
        family: family.into(),
        regime: regime.map(String::from),
        seed,
        state: State::Done,
        command: format!(
            "afd bench example.toml --only {method}/{family}/{}",
            regime.unwrap_or("all")
        ),
        directory,
        commit: None,
        values: values
            .map(|(name, value)| (name.to_string(), Some(value)))
            .into(),
        cost: Cost {
            student_forward_backward: passes,
            student_rollouts: if ["afd", "grpo", "adversarial", "frozen"].contains(&method) {
                2 * passes
            } else {
                0
            },
            discriminator_forward_backward: if ["afd", "grpo", "adversarial"].contains(&method) {
                passes
            } else {
                0
            },
            teacher_clips: regime
                .and_then(|regime| regime.parse().ok())
                .filter(|_| trained)
                .unwrap_or(0),
            wall_seconds: if trained {
                310.0 + 20.0 * noise.next()
            } else {
                0.0
            },
        },
        curves,
        previews,
    })
}

/// A failed run, a missing one and a metric without a value.
fn spoil(benchmark: &mut Benchmark) {
    let find = |run: &&mut Run, method: &str, seed| {
        run.method == method && run.seed == Some(seed) && run.regime.as_deref() == Some("8")
    };
    if let Some(run) = benchmark
        .runs
        .iter_mut()
        .find(|run| find(run, "adversarial", 1))
    {
        run.state = State::Failed("loss is not finite in round 212".into());
    }
    if let Some(run) = benchmark.runs.iter_mut().find(|run| find(run, "grpo", 2)) {
        (run.state, run.values, run.curves) = (
            State::Missing("the time limit came first".into()),
            BTreeMap::new(),
            BTreeMap::new(),
        );
    }
    if let Some(run) = benchmark
        .runs
        .iter_mut()
        .find(|run| find(run, "offline-nft", 0))
    {
        run.values.insert("gravity".into(), None);
    }
}

/// Three falling balls, the further off the more `wrong`.
fn ball(path: &Path, wrong: f64) -> Result<(), Box<dyn Error>> {
    let mut encoder = GifEncoder::new(File::create(path)?);
    encoder.set_repeat(Repeat::Infinite)?;
    for step in 0..16 {
        let mut picture = RgbaImage::from_pixel(3 * 68 + 4, 68, Rgba([32, 36, 42, 255]));
        for clip in 0..3u32 {
            for (x, y) in (0..16u32).flat_map(|y| (0..16u32).map(move |x| (x, y))) {
                let time = f64::from(step) / 15.0;
                let (across, down) = (
                    4.0 + 3.0 * f64::from(clip) + 3.0 * time,
                    2.0 + 11.0 * time * time * (1.0 - 0.5 * wrong),
                );
                let off = ((f64::from(x) - across).powi(2) + (f64::from(y) - down).powi(2)).sqrt();
                let red = (1.0 - (off - 1.5) / (0.5 + 3.0 * wrong)).clamp(0.0, 1.0);
                let colour = Rgba([
                    (225.0 - 25.0 * red) as u8,
                    (225.0 * (1.0 - red)) as u8,
                    (230.0 * (1.0 - red)) as u8,
                    255,
                ]);
                for (dx, dy) in (0..4).flat_map(|dy| (0..4).map(move |dx| (dx, dy))) {
                    picture.put_pixel(4 + clip * 68 + 4 * x + dx, 2 + 4 * y + dy, colour);
                }
            }
        }
        encoder.encode_frame(Frame::from_parts(
            picture,
            0,
            0,
            Delay::from_numer_denom_ms(120, 1),
        ))?;
    }
    Ok(())
}

/// Numbers in -1..1 that only need to look irregular.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    }
}

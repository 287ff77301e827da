//! What was compared: methods, metrics and curves.

use afd_report::{Benchmark, Better, Curve, Method, Metric, Named, Role};

/// Name, title, what it is, and how far from the teacher the made-up numbers put it.
pub const METHODS: [(&str, &str, Role, f64, &str); 10] = [
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
        "AFD whose discriminator is frozen after its warm-up.",
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

pub const ABLATIONS: [(&str, &str, &str, f64); 4] = [
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

/// Everything but the runs.
pub fn frame() -> Benchmark {
    let named = |name: &str, title: &str| Named {
        name: name.into(),
        title: title.into(),
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
        metrics: metrics(),
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

fn metrics() -> Vec<Metric> {
    let metric = |name: &str, title: &str, unit: &str, better, main, about: &str| Metric {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        better,
        about: about.into(),
        main,
    };
    vec![
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
    ]
}

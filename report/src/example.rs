//! A small made-up benchmark for the tests of this crate: every kind of row, gap and verdict.

use std::collections::BTreeMap;

use crate::benchmark::{
    Benchmark, Better, Cost, Curve, Method, Metric, Named, Preview, Role, Run, State,
};

/// Two families, two regimes, three seeds. SFT is 2 worse than AFD in "distance" and 0.1 better in
/// "presence", whatever the seed.
pub(crate) fn small() -> Benchmark {
    let mut runs = Vec::new();
    for family in ["chunk", "frame"] {
        runs.push(run("teacher", family, None, None, [0.0, 1.0, 0.98]));
        runs.push(run("base", family, None, None, [8.0, 0.8, 0.9]));
        for regime in ["8", "200"] {
            let worse = if regime == "8" { 1.0 } else { 0.0 };
            for (seed, noise) in [(0, 0.0), (1, -0.3), (2, 0.4)] {
                let afd = [
                    3.0 + worse + noise,
                    0.85 + 0.01 * noise,
                    0.95 + 0.01 * noise,
                ];
                runs.push(run("afd", family, Some(regime), Some(seed), afd));
                runs.push(run(
                    "sft",
                    family,
                    Some(regime),
                    Some(seed),
                    [afd[0] + 2.0, afd[1] + 0.1, afd[2] + noise * 0.02],
                ));
            }
        }
    }
    runs.push(run("gan", "chunk", Some("200"), Some(0), [4.0, 0.83, 0.94]));
    runs.push(Run {
        state: State::Failed("loss is NaN in round 40".into()),
        ..run("gan", "chunk", Some("200"), Some(1), [9.0, 0.1, 0.2])
    });
    let missing = State::Missing("stopped before".into());
    runs.push(Run {
        state: missing,
        values: BTreeMap::new(),
        ..run("gan", "chunk", Some("200"), Some(2), [0.0; 3])
    });
    for (seed, value) in [(0, 3.6), (1, 3.0), (2, 3.9)] {
        runs.push(run(
            "no-warm-up",
            "chunk",
            Some("200"),
            Some(seed),
            [value, 0.84, 0.95],
        ));
    }
    // Flicker could not be measured in one run.
    if let Some(run) = runs.iter_mut().find(|run| run.method == "afd") {
        run.values.insert("flicker".into(), None);
    }
    Benchmark {
        name: "small".into(),
        title: "A small made-up benchmark".into(),
        summary: vec!["Made-up numbers for the tests.".into()],
        created: "2026-11-23".into(),
        commit: Some("0123abc".into()),
        machine: "2 CPU cores".into(),
        command: "afd bench small.toml".into(),
        wall_seconds: 3725.5,
        budget: "400 student forward-backward clips each".into(),
        reference: "afd".into(),
        methods: methods(),
        families: vec![named("chunk", "Chunk-wise"), named("frame", "Frame-wise")],
        regimes: vec![named("8", "8 clips"), named("200", "200 clips")],
        regime_title: "teacher clips".into(),
        seeds: vec![0, 1, 2],
        metrics: vec![
            metric("distance", "Trajectory distance", "px", Better::Lower, true),
            metric("presence", "Object presence", "", Better::Higher, true),
            metric("flicker", "Flicker", "", Better::Teacher, false),
        ],
        curves: vec![Curve {
            name: "drift".into(),
            title: "Drift".into(),
            x_title: "rollout length / trained length".into(),
            y_title: "px".into(),
            about: "How far the bodies are from where they should be.".into(),
        }],
        runs,
    }
}

fn methods() -> Vec<Method> {
    let method = |name: &str, title: &str, role| Method {
        name: name.into(),
        title: title.into(),
        about: format!("About {title}."),
        role,
        group: None,
        refused: None,
    };
    vec![
        method("teacher", "Teacher", Role::Teacher),
        method("base", "Base", Role::Base),
        method("sft", "SFT", Role::Method),
        method("gan", "GAN", Role::Method),
        method("afd", "AFD", Role::Method),
        Method {
            refused: Some("a black box has no score".into()),
            ..method("dmd", "Score distillation", Role::Method)
        },
        Method {
            group: Some("Warm-up".into()),
            ..method("no-warm-up", "No warm-up", Role::Method)
        },
    ]
}

fn named(name: &str, title: &str) -> Named {
    Named {
        name: name.into(),
        title: title.into(),
    }
}

fn metric(name: &str, title: &str, unit: &str, better: Better, main: bool) -> Metric {
    Metric {
        name: name.into(),
        title: title.into(),
        unit: unit.into(),
        better,
        about: format!("About {title}."),
        main,
    }
}

fn run(
    method: &str,
    family: &str,
    regime: Option<&str>,
    seed: Option<u64>,
    values: [f64; 3],
) -> Run {
    let names = ["distance", "presence", "flicker"].map(String::from);
    let place = format!(
        "{method}-{family}-{}-{}",
        regime.unwrap_or("all"),
        seed.map_or("once".into(), |seed| seed.to_string())
    );
    Run {
        method: method.into(),
        family: family.into(),
        regime: regime.map(String::from),
        seed,
        state: State::Done,
        directory: format!("runs/{place}"),
        command: format!("afd distill {place}.toml"),
        commit: None,
        values: names.into_iter().zip(values.map(Some)).collect(),
        cost: Cost {
            student_forward_backward: 400,
            student_rollouts: if method == "afd" { 1600 } else { 0 },
            discriminator_forward_backward: 0,
            teacher_clips: regime.and_then(|regime| regime.parse().ok()).unwrap_or(0),
            wall_seconds: 61.0,
        },
        curves: BTreeMap::from([(
            "drift".into(),
            vec![
                [1.0, values[0]],
                [2.0, values[0] * 1.5],
                [4.0, values[0] * 2.5],
            ],
        )]),
        previews: vec![Preview {
            label: "a red ball on the moon".into(),
            path: format!("{place}.gif"),
        }],
    }
}

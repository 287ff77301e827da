//! A report of made-up numbers, to look at the page without training anything. Nothing in it was
//! measured.
//!
//! `cargo run -p afd-report --example made_up` writes `target/example-report/report.html`.

mod frame;
mod runs;

use std::{collections::BTreeMap, error::Error, path::Path};

use afd_report::{Benchmark, Role, Run, State};

use frame::{ABLATIONS, METHODS, frame};
use runs::run;

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

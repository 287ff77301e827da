//! A small benchmark end to end: two methods, killed, stopped and gone on with, then the report.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{afd, command, fails, repository, succeeds};
use serde_json::Value;

/// A benchmark of the golden recipe's size, with clips long enough to measure.
fn benchmark(directory: &Path) -> String {
    let golden = fs::read_to_string(repository().join("tests/golden/recipe.toml")).unwrap();
    let recipe = golden.replace("frames_per_block = 2", "frames_per_block = 3");
    let recipe = recipe.replace("height = 8\nwidth = 8", "height = 16\nwidth = 16");
    assert_ne!(recipe, golden);
    fs::write(directory.join("recipe.toml"), recipe).unwrap();
    let path = directory.join("benchmark.toml");
    fs::write(
        &path,
        r#"
name = "small"
title = "A small benchmark"
budget = "32 clips"
reference = "afd"
seeds = [1, 2]
set = [
    "afd.alternations=4",
    "afd.warmup_steps=2",
    "run.checkpoint_every=2",
    "run.keep=10",
    "evaluation.clips_per_prompt=4",
    "evaluation.holdout_steps=0",
]
measure_set = ["evaluation.clips_per_prompt=6", "evaluation.holdout_steps=2"]
regime_title = "teacher clips"
main_metrics = ["trajectory_energy_distance"]
[[families]]
name = "chunk"
title = "chunk-wise"
recipe = "recipe.toml"
[[regimes]]
name = "fresh"
title = "fresh"
[[methods]]
name = "afd"
title = "AFD"
[[methods]]
name = "sft"
title = "SFT"
set = ["method=supervised", "supervised.steps=4", "supervised.batch=8"]
[[methods]]
name = "broken"
title = "broken"
about = "Diverges."
set = ["optimizer.learning_rate=1e30"]
seeds = [1]
[[methods]]
name = "scores"
title = "score distillation"
set = ["method=score-distillation"]
refused = true
"#,
    )
    .unwrap();
    path.display().to_string()
}

/// Prompts, clips and an interval about the value, for means over prompts and for the others.
fn every_number_says_what_it_rests_on(file: &Path) {
    let measured: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let values = measured["values"].as_object().unwrap();
    let known = values.iter().filter(|(_, value)| !value.is_null());
    for (name, value) in known {
        let estimate = &measured["estimates"][name];
        let number = |of: &Value| of.as_f64().unwrap_or_else(|| panic!("{name}: {estimate}"));
        assert_eq!(number(&estimate["value"]), number(value), "{name}");
        // The only prompt with a value has no interval.
        if estimate["prompts"] != 1 {
            let [low, high] = [0, 1].map(|end| number(&estimate["interval"][end]));
            assert!(
                low <= number(value) && number(value) <= high,
                "{name}: {estimate}"
            );
        }
        assert!(number(&estimate["clips"][1]) > 0.0, "{name}: {estimate}");
    }
    for name in [
        "frechet_distance",
        "continuation_score",
        "trained_discriminator_pair_accuracy",
    ] {
        assert!(values[name].is_number(), "{name} is measured");
    }
}

fn report(place: &Path) -> Value {
    serde_json::from_slice(&fs::read(place.join("runs/small/report/benchmark.json")).unwrap())
        .unwrap()
}

fn run<'a>(report: &'a Value, method: &str, seed: u64) -> &'a Value {
    report["runs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|run| run["method"] == method && run["seed"] == seed)
        .unwrap()
}

fn wait_for(file: &Path, hope: &mut dyn FnMut() -> bool) {
    while !file.exists() {
        assert!(hope(), "{} never came", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_benchmark_is_made_in_pieces_and_reports_what_is_there_and_what_failed() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let file = benchmark(place);
    let bench = ["bench", &file, "--backend", "flex", "--jobs", "2"];

    let listed = succeeds(place, &[&bench[..2], &["--dry-run"]].concat());
    assert_eq!(listed.lines().count(), 2 * 4 + 1, "{listed}");
    assert!(
        listed.lines().all(|line| line.trim_end().ends_with(" -")),
        "{listed}"
    );

    // The report of nothing says that everything is missing.
    succeeds(place, &[&bench[..2], &["--report-only"]].concat());
    assert!(run(&report(place), "afd", 1)["state"]["missing"].is_string());

    // Killed at some moment, with its children left to themselves; then asked to stop; then to the
    // end.
    let mut child = command(place, &[&bench[..], &["--only", "s2"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let measured = place.join("runs/small/measured");
    wait_for(
        &measured.join("base.chunk.any.s2/measured.json"),
        &mut || child.try_wait().unwrap().is_none(),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // What the killed program had started may still hold its run: wait for it.
    let begun = place.join("runs/small/runs/afd.chunk.fresh.s2");
    if begun.exists() {
        // A minute is a hundred times as long as it takes.
        let started = std::time::Instant::now();
        wait_for(&begun.join("report.json"), &mut || {
            started.elapsed() < Duration::from_secs(60)
        });
    }
    let stopped = afd(place, &[&bench[..], &["--minutes", "0"]].concat());
    assert_eq!(
        stopped.status.code(),
        Some(75),
        "{}",
        String::from_utf8_lossy(&stopped.stderr)
    );

    let ended = afd(place, &bench);
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned()
        + &String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "one run fails: {printed}");
    assert!(
        printed.contains("8 of 9 runs made and measured, 1 failed"),
        "{printed}"
    );

    let report = report(place);
    assert!(
        run(&report, "broken", 1)["state"]["failed"]
            .as_str()
            .unwrap()
            .contains("not finite"),
        "{report}"
    );
    let methods = report["methods"].as_array().unwrap();
    let scores = methods
        .iter()
        .find(|method| method["name"] == "scores")
        .unwrap();
    assert!(scores["refused"].as_str().unwrap().contains("has no score"));
    for (method, passes) in [("afd", 4 * 8), ("sft", 4 * 8)] {
        let run = run(&report, method, 1);
        assert_eq!(run["cost"]["student_forward_backward"], passes, "{run}");
        assert!(
            run["values"]["trajectory_energy_distance"].is_number()
                && run["values"]["trained_discriminator_pair_accuracy"].is_number(),
            "{run}"
        );
        // The base, and checkpoints after some and after all updates.
        let learning = run["curves"]["learning"].as_array().unwrap();
        assert!(
            learning.len() >= 3
                && learning[0][0] == 0.0
                && learning.last().unwrap()[0] == f64::from(passes),
            "{learning:?}"
        );
        assert_eq!(run["curves"]["drift"].as_array().unwrap().len(), 4);
    }
    assert_ne!(run(&report, "afd", 1)["cost"]["student_rollouts"], 0);
    assert_eq!(run(&report, "sft", 1)["cost"]["student_rollouts"], 0);
    // Nobody trained the controls.
    assert_eq!(
        run(&report, "base", 1)["cost"]["student_forward_backward"],
        0
    );
    let of = |method| {
        run(&report, method, 1)["values"]["trajectory_energy_distance"]
            .as_f64()
            .unwrap()
    };
    assert!(
        of("teacher") < of("base"),
        "other samples of the teacher are closer to it than an untrained student"
    );
    let page = fs::read_to_string(place.join("runs/small/report/report.html")).unwrap();
    assert!(page.contains("data:image/gif;base64,"));
    every_number_says_what_it_rests_on(&measured.join("afd.chunk.fresh.s1/measured.json"));

    // The same numbers, compared with another method.
    let against = afd(
        place,
        &[&bench[..2], &["--report-only", "--reference", "sft"]].concat(),
    );
    assert_eq!(
        against.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&against.stderr)
    );
    let page = fs::read_to_string(place.join("runs/small/report-against-sft/report.md")).unwrap();
    assert!(
        page.contains("worse than SFT") && !page.contains("worse than AFD"),
        "{page}"
    );
    let error = fails(
        place,
        &[&bench[..2], &["--report-only", "--reference", "sgd"]].concat(),
        2,
    );
    assert!(error.contains("none of [[methods]]"), "{error}");

    // Again for nothing: everything is there, the failed run fails again.
    let again = afd(place, &bench);
    assert_eq!(again.status.code(), Some(1));

    // Numbers of one recipe are not taken for those of another, trained or measured.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("afd.warmup_steps=2", "afd.warmup_steps=1"),
    )
    .unwrap();
    let error = fails(place, &[&bench[..2], &["--report-only"]].concat(), 1);
    assert!(
        error.contains("was measured with another recipe") && error.contains("--again"),
        "{error}"
    );
    fs::remove_file(place.join("runs/small/measured/afd.chunk.fresh.s1/measured.json")).unwrap();
    let one = [&bench[..], &["--only", "afd.chunk.fresh.s1"]].concat();
    let other = afd(place, &one);
    assert!(
        String::from_utf8_lossy(&other.stdout)
            .contains("was started with another recipe: afd.warmup_steps"),
        "{}",
        String::from_utf8_lossy(&other.stdout)
    );
}

#[test]
fn students_of_other_teachers_are_not_measured() {
    let place = tempfile::tempdir().unwrap();
    let recipe = common::golden();
    let error = fails(
        place.path(),
        &[
            "measure",
            &recipe,
            "--set",
            "teacher.kind=folder",
            "--set",
            "teacher.path=.",
            "--out",
            "m",
        ],
        2,
    );
    assert!(error.contains("built-in world"), "{error}");
    assert!(!place.path().join("m").exists());
}

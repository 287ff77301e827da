//! The examples: what they print and write, run as functions.

// Two examples share their settings, as programs of their own do.
#![allow(clippy::duplicate_mod)]

mod common;

#[allow(dead_code)]
#[path = "../examples/from_settings.rs"]
mod from_settings;
#[allow(dead_code)]
#[path = "../examples/own_discriminator.rs"]
mod own_discriminator;
#[allow(dead_code)]
#[path = "../examples/afd_in_one_page.rs"]
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use afd_models::kernels::Trainable;
use burn::backend::{Autodiff, Flex, NdArray};
use common::{final_state, largest_difference, repository};

/// Set in the process that a test does its work in.
const CHILD: &str = "AFD_TEST_EXAMPLE";

/// Does the work of the test called `test` in a process of its own, whose standard output is no
/// terminal.
///
/// burn-autodiff's graphs belong to the process: one thread's backward pass may free what another
/// thread is building (see `afd::engine::step`). And live progress takes a terminal over.
fn alone(test: &str, work: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return work();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn keys(line: &str) -> BTreeSet<String> {
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    line.into_iter().map(|(key, _)| key).collect()
}

/// The page, against the metrics of the golden run.
fn page_equals_the_golden_run<B: Trainable>(golden: &str) {
    let mut found = String::new();
    page::distill::<B>(&Default::default(), |line| found += &format!("{line}\n")).unwrap();
    let golden = repository().join(format!("tests/golden/{golden}.metrics.jsonl"));
    let golden = fs::read_to_string(golden).unwrap();
    assert_eq!(golden.lines().count(), 23);
    // The page cannot freeze the discriminator, so its lines do not say whether it is frozen.
    let golden = golden.replace("\"discriminator_frozen\":0.0,", "");
    for (golden, found) in golden.lines().zip(found.lines()) {
        assert_eq!(keys(golden), keys(found));
        let phase =
            |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["phase"].clone();
        assert_eq!(phase(golden), phase(found));
    }
    // Sums in another order, as between backends; the golden run has two shards.
    let gap = largest_difference(&golden, &found);
    assert!(gap < 1e-4, "{gap}");
}

#[test]
fn the_method_on_one_page_has_the_numbers_of_the_golden_run_on_ndarray() {
    alone(
        "the_method_on_one_page_has_the_numbers_of_the_golden_run_on_ndarray",
        || page_equals_the_golden_run::<Autodiff<NdArray>>("ndarray"),
    );
}

#[test]
fn the_method_on_one_page_has_the_numbers_of_the_golden_run_on_flex() {
    alone(
        "the_method_on_one_page_has_the_numbers_of_the_golden_run_on_flex",
        || page_equals_the_golden_run::<Autodiff<Flex>>("flex.x86-64-v4"),
    );
}

/// Numbers of a run's metrics, round by round.
fn metrics(run: &Path) -> Vec<BTreeMap<String, f64>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let numbers = |line: &str| {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let number = |(name, value): (String, serde_json::Value)| Some((name, value.as_f64()?));
        line.into_iter().filter_map(number).collect()
    };
    text.lines().map(numbers).collect()
}

#[test]
fn a_discriminator_of_ones_own_trains_block_by_block_and_twice_to_the_same_bytes() {
    alone(
        "a_discriminator_of_ones_own_trains_block_by_block_and_twice_to_the_same_bytes",
        || {
            let place = tempfile::tempdir().unwrap();
            let run =
                |name: &str| own_discriminator::train_and_score(&place.path().join(name)).unwrap();
            let (once, again) = (run("once"), run("again"));
            assert_eq!(once.state.round, 3);
            assert_eq!(once.state.warm_up_rounds, Some(1));
            let rounds = metrics(&once.run);
            assert_eq!(rounds.len(), 3);
            for round in &rounds {
                for name in ["discriminator_loss", "pair_accuracy", "r1", "r_std"] {
                    assert!(round[name].is_finite(), "{name}: {round:?}");
                }
                assert!((round["mean_r"] - 0.5).abs() < 1e-9);
            }
            assert!(rounds[2]["flow_loss"].is_finite());
            // 2 prompts x 2 teacher clips x 4 rollouts x 3 blocks: pairs of blocks, not of clips.
            let pairs = rounds[2]["pair_accuracy"] * 48.0;
            assert!((pairs - pairs.round()).abs() < 1e-9);

            // One r per block; the group of each block has its own mean of one half.
            for clip in &once.r[0] {
                assert_eq!(clip.len(), 3);
                assert!(
                    clip.windows(2).all(|r| (r[0] - r[1]).abs() > 1e-3),
                    "{clip:?}"
                );
            }
            for block in 0..3 {
                let mean = once.r[0].iter().map(|clip| clip[block]).sum::<f64>() / 4.0;
                assert!((mean - 0.5).abs() < 1e-9);
            }
            assert_eq!(once.r, again.r);
            assert!(final_state(&once.run) == final_state(&again.run));
        },
    );
}

#[test]
fn settings_that_another_program_made_train_roll_out_and_evaluate() {
    alone(
        "settings_that_another_program_made_train_roll_out_and_evaluate",
        || {
            let place = tempfile::tempdir().unwrap();
            let run =
                |name: &str| from_settings::train_and_evaluate(&place.path().join(name)).unwrap();
            let (once, again) = (run("once"), run("again"));
            assert_eq!(once.updates, 20);
            let losses: Vec<f64> = metrics(&once.run)
                .iter()
                .map(|line| line["supervised_loss"])
                .collect();
            assert_eq!(losses.len(), 20);
            assert!(losses.iter().all(|loss| loss.is_finite()));
            assert_eq!(once.rollout, [2, 6, 12, 4, 4]);
            assert_eq!(once.scores.len(), 2);
            assert!(once.scores == again.scores);
            assert!(once.run.join("samples/held-out.gif").is_file());
            assert!(final_state(&once.run) == final_state(&again.run));
        },
    );
}

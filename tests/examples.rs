//! The examples: what they print and write, run as functions.

mod common;

#[allow(dead_code)]
#[path = "../examples/afd_in_one_page.rs"]
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use afd_models::kernels::Trainable;
use burn::backend::{Autodiff, Flex, NdArray};
use common::{largest_difference, repository};

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
fn page_equals_the_golden_run<B: Trainable>(backend: &str) {
    let mut found = String::new();
    page::distill::<B>(&Default::default(), |line| found += &format!("{line}\n")).unwrap();
    let golden = repository().join(format!("tests/golden/{backend}.metrics.jsonl"));
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
        || page_equals_the_golden_run::<Autodiff<Flex>>("flex"),
    );
}

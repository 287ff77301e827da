//! Driving the built program in a temporary directory.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `afd` in `directory`.
pub fn afd(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments)
        .output()
        .expect("the program starts")
}

/// `afd` in `directory`, not started yet. One thread, so that a test does not depend on the
/// machine's cores.
pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afd"));
    command
        .current_dir(directory)
        .args(arguments)
        .env("RAYON_NUM_THREADS", "1");
    command
}

/// Standard output of a run that must succeed.
pub fn succeeds(directory: &Path, arguments: &[&str]) -> String {
    let output = afd(directory, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "afd {arguments:?} failed with {:?}: {error}",
        output.status.code()
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The one sentence of a run that must fail with `code`.
pub fn fails(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = afd(directory, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "afd {arguments:?}: {error}"
    );
    assert!(!error.contains("panicked"), "{error}");
    assert_eq!(error.trim().lines().count(), 1, "one sentence: {error}");
    error
}

/// The golden recipe.
pub fn golden() -> String {
    repository()
        .join("tests/golden/recipe.toml")
        .display()
        .to_string()
}

/// Every file below `directory` but those that hold times or places, with its contents.
pub fn final_state(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "metrics.jsonl".to_string(),
        std::fs::read(run.join("metrics.jsonl")).expect("metrics"),
    )];
    let checkpoints = run.join("checkpoints");
    let newest = std::fs::read_to_string(checkpoints.join("latest")).expect("latest");
    let newest = checkpoints.join(newest.trim());
    for name in [
        "student/model.safetensors",
        "student/config.json",
        "training_state/model.safetensors",
        "training_state/optimizers.safetensors",
        "training_state/rounds.json",
        "MANIFEST.json",
    ] {
        files.push((
            name.to_string(),
            std::fs::read(newest.join(name)).expect("checkpoint file"),
        ));
    }
    files
}

/// The weights of a run's newest student.
pub fn newest_student(run: &Path) -> PathBuf {
    let checkpoints = run.join("checkpoints");
    let newest = std::fs::read_to_string(checkpoints.join("latest")).expect("latest");
    checkpoints
        .join(newest.trim())
        .join("student/model.safetensors")
}

/// Largest difference between two metric files, relative to the larger of 1 and the golden's value.
pub fn largest_difference(golden: &str, found: &str) -> f64 {
    assert_eq!(golden.lines().count(), found.lines().count());
    let mut largest = 0.0f64;
    for (golden, found) in golden.lines().zip(found.lines()) {
        let golden: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(golden).unwrap();
        let found: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(found).unwrap();
        for (name, value) in golden {
            if let Some(expected) = value.as_f64() {
                largest = largest.max(
                    (found[&name].as_f64().unwrap() - expected).abs() / expected.abs().max(1.0),
                );
            }
        }
    }
    largest
}

/// The ffmpeg that the program would use; tests of films need one.
pub fn ffmpeg() -> PathBuf {
    afd_clips::video_io::find_ffmpeg().expect("ffmpeg, which these tests make their films with")
}

/// Whether there is one; says so where a test is skipped for want of it.
pub fn has_ffmpeg(test: &str) -> bool {
    let found = afd_clips::video_io::find_ffmpeg().is_some();
    if !found {
        println!("skipped, no ffmpeg on this machine: {test}");
    }
    found
}

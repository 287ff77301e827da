//! The golden run: 20 alternations of the smallest recipe, exact on ndarray everywhere and on flex
//! at every level of processor, and exact again after a SIGKILL.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites ndarray's goldens and flex's of this
//! machine's level; `scripts/exactness.py --write-flex-goldens` those of the levels that can be
//! emulated.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{afd, command, final_state, golden, largest_difference, repository, succeeds};

fn weights_hash(run: &Path) -> String {
    let weights = final_state(run)
        .into_iter()
        .find(|(name, _)| name == "training_state/model.safetensors")
        .unwrap()
        .1;
    blake3::hash(&weights).to_hex().to_string()
}

fn reproduces_the_golden(backend: &str) {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    succeeds(
        place.path(),
        &["distill", &recipe, "--runs", "a", "--backend", backend],
    );
    let run = place.path().join("a/golden");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    // 20 alternations and at most 3 warm-up rounds.
    assert!((21..=23).contains(&metrics.lines().count()), "{metrics}");

    // Exact on this machine, whatever it is.
    succeeds(
        place.path(),
        &["distill", &recipe, "--runs", "b", "--backend", backend],
    );
    assert!(
        final_state(&run) == final_state(&place.path().join("b/golden")),
        "two runs of the same recipe differ"
    );

    // ndarray's bits are those of every machine; flex's are those of its level.
    let name = match backend {
        "flex" => format!("flex.{}", afd_exact::processor_level()),
        _ => backend.to_string(),
    };
    let (metrics_path, exact_path) = golden_files(&name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&metrics_path, &metrics).unwrap();
        fs::write(&exact_path, format!("{}\n", weights_hash(&run))).unwrap();
    }
    if backend == "flex" && !metrics_path.exists() {
        let known = fs::read_to_string(golden_files("flex.x86-64-v4").0).unwrap();
        println!("no golden of {name}: compared with another level's, within 1e-4");
        assert!(largest_difference(&known, &metrics) < 1e-4);
        return;
    }
    assert_eq!(metrics, fs::read_to_string(&metrics_path).unwrap());
    assert_eq!(
        fs::read_to_string(&exact_path).unwrap().trim_end(),
        weights_hash(&run)
    );
}

/// Metrics of every round, and the hash of the weights after the last.
fn golden_files(name: &str) -> (PathBuf, PathBuf) {
    let files = repository().join("tests/golden");
    let file = |kind: &str| files.join(format!("{name}.{kind}"));
    (file("metrics.jsonl"), file("exact.txt"))
}

#[test]
fn the_goldens_of_all_backends_and_levels_agree() {
    let metrics = |name: &str| fs::read_to_string(golden_files(name).0).unwrap();
    for level in ["x86-64-v2", "x86-64-v3", "x86-64-v4"] {
        // Kernels that share nothing are 1e-5 apart.
        let flex = metrics(&format!("flex.{level}"));
        assert!(
            largest_difference(&metrics("ndarray"), &flex) < 1e-4,
            "{level}"
        );
    }
}

#[test]
fn the_golden_run_is_exact_on_ndarray() {
    reproduces_the_golden("ndarray");
}

#[test]
fn the_golden_run_is_exact_on_flex() {
    reproduces_the_golden("flex");
}

#[test]
fn how_a_batch_is_split_does_not_matter() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let metrics = |shards: &str| {
        let options = [
            "--set",
            "afd.teacher_positives=1",
            "--set",
            "discriminator.mismatch_weight=0.5",
            "--set",
            "afd.final_rate=0.1",
        ];
        let split = [
            "--set",
            shards,
            "--set",
            "afd.alternations=8",
            "--runs",
            shards,
            "--backend",
            "flex",
        ];
        succeeds(
            place.path(),
            &[&["distill", &recipe], &options[..], &split[..]].concat(),
        );
        fs::read_to_string(place.path().join(shards).join("golden/metrics.jsonl")).unwrap()
    };
    let (whole, halves) = (metrics("run.shards=1"), metrics("run.shards=2"));
    assert!(
        whole
            .lines()
            .last()
            .unwrap()
            .contains("\"prompt_accuracy\"")
    );
    // Old policy and student are one at first, so their velocities are too, on rollouts as on the
    // teacher clips stacked below them; 1e-5 squared.
    let first: serde_json::Value = serde_json::from_str(
        whole
            .lines()
            .find(|line| line.contains("policy_shift"))
            .unwrap(),
    )
    .unwrap();
    assert!(first["policy_shift"].as_f64().unwrap() < 1e-9, "{first}");
    // Sums in another order: a few rounding errors per round, as between backends.
    assert!(largest_difference(&whole, &halves) < 1e-4);
}

#[test]
fn a_context_read_block_by_block_from_the_cache_gives_the_numbers_of_the_parallel_one() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let metrics = |context: &str| {
        let options = [
            "--set",
            context,
            "--set",
            "afd.detach_context=true",
            "--set",
            "afd.alternations=4",
            "--runs",
            context,
            "--backend",
            "flex",
        ];
        succeeds(
            place.path(),
            &[&["distill", &recipe], &options[..]].concat(),
        );
        fs::read_to_string(place.path().join(context).join("golden/metrics.jsonl")).unwrap()
    };
    // The same sums in another order.
    assert!(
        largest_difference(
            &metrics("afd.context=own-clean"),
            &metrics("afd.context=cached")
        ) < 1e-4
    );
}

/// Kills the run at a few moments and resumes it; `scripts/kill-resume.sh` does it fifty times.
#[cfg(unix)]
fn survives_sigkill(backend: &str) {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let started = std::time::Instant::now();
    succeeds(
        place.path(),
        &["distill", &recipe, "--runs", "whole", "--backend", backend],
    );
    let whole = started.elapsed();
    let expected = final_state(&place.path().join("whole/golden"));
    let queries = teacher_queries(&place.path().join("whole/golden"));
    assert!(queries > 0);
    for share in [0.2, 0.5, 0.8] {
        let runs = format!("killed-{share}");
        let mut child = command(
            place.path(),
            &["distill", &recipe, "--runs", &runs, "--backend", backend],
        )
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * share));
        // SIGKILL; an error means that it has ended already, which is as good a moment as any.
        let _ = child.kill();
        child.wait().unwrap();
        let run = place.path().join(&runs).join("golden");
        let resume: &[&str] = if run.exists() { &["--resume"] } else { &[] };
        succeeds(
            place.path(),
            &[
                &["distill", &recipe, "--runs", &runs, "--backend", backend],
                resume,
            ]
            .concat(),
        );
        assert!(
            final_state(&run) == expected,
            "killed after {share} of the run and resumed, the state differs"
        );
        assert!(
            teacher_queries(&run) >= queries,
            "killed after {share} of the run: the queries before the kill are forgotten"
        );
    }
}

#[cfg(unix)]
fn teacher_queries(run: &Path) -> u64 {
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    report["teacher_queries"].as_u64().unwrap()
}

#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_bytes_on_ndarray() {
    survives_sigkill("ndarray");
}

#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_bytes_on_flex() {
    survives_sigkill("flex");
}

#[cfg(unix)]
#[test]
fn sigterm_saves_the_state_and_exits_75() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let child = command(
        place.path(),
        &[
            "distill",
            &recipe,
            "--set",
            "afd.alternations=100000",
            "--backend",
            "flex",
        ],
    )
    .stdout(std::process::Stdio::null())
    .stderr(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    let run = place.path().join("runs/golden");
    let metrics = run.join("metrics.jsonl");
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 5 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = std::process::Command::new("kill")
        .arg("-TERM")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(75),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rounds = fs::read_to_string(&metrics).unwrap().lines().count();
    let newest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    assert_eq!(
        newest.trim().parse::<usize>().unwrap(),
        rounds,
        "the last finished round is saved"
    );
}

#[test]
fn a_number_that_is_not_finite_stops_the_run_in_that_round_and_keeps_the_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let output = afd(
        place.path(),
        &[
            "distill",
            &recipe,
            "--set",
            "optimizer.learning_rate=1e38",
            "--set",
            "optimizer.clip_norm=1e38",
            "--set",
            "run.checkpoint_every=1",
        ],
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let sentence = error.lines().last().unwrap();
    assert!(
        sentence.contains("is not finite in round")
            && (sentence.contains("student.") || sentence.contains("_loss")),
        "{error}"
    );
    // The newest checkpoint is intact, and from before.
    let checkpoints = place.path().join("runs/golden/checkpoints");
    let newest = fs::read_to_string(checkpoints.join("latest")).unwrap();
    succeeds(
        place.path(),
        &[
            "inspect",
            &checkpoints.join(newest.trim()).display().to_string(),
        ],
    );
}

#[test]
fn holding_less_at_once_changes_the_last_bits_only() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let metrics = |name: &str, limits: &[&str]| {
        let options = [
            &[
                "--set",
                "afd.alternations=4",
                "--runs",
                name,
                "--backend",
                "flex",
            ],
            limits,
        ]
        .concat();
        succeeds(
            place.path(),
            &[&["distill", &recipe], &options[..]].concat(),
        );
        fs::read_to_string(place.path().join(name).join("golden/metrics.jsonl")).unwrap()
    };
    let plain = metrics("plain", &[]);
    let limits = [
        "--set",
        "run.recompute_blocks=true",
        "--set",
        "run.attention_queries=5",
    ];
    assert!(largest_difference(&plain, &metrics("limited", &limits)) < 1e-4);
    // Clips one after another, teacher clips among them, whatever their portions.
    let positives = ["--set", "afd.teacher_positives=1"];
    let whole = metrics("positives", &positives);
    assert!(
        largest_difference(
            &whole,
            &metrics(
                "portions",
                &[&positives[..], &["--set", "run.micro_batch=3"]].concat()
            )
        ) < 1e-4
    );
    // And block by block through the cache, the least memory of all.
    let cached = ["--set", "afd.context=cached"];
    let whole = metrics("cached", &cached);
    assert!(
        largest_difference(
            &whole,
            &metrics("cached-limited", &[&cached[..], &limits].concat())
        ) < 1e-4
    );
}

#[test]
fn a_register_discriminator_in_pieces_gives_the_rounds_of_one_graph() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let metrics = |name: &str, limits: &[&str]| {
        let registers = [
            "--set",
            "discriminator.kind=registers",
            "--set",
            "discriminator.layers=[0]",
            "--set",
            "discriminator.width=32",
        ];
        let options = [
            "--set",
            "discriminator.mismatch_weight=0.5",
            "--set",
            "afd.alternations=4",
            "--runs",
            name,
            "--backend",
            "flex",
        ];
        succeeds(
            place.path(),
            &[&["distill", &recipe], &registers[..], &options[..], limits].concat(),
        );
        fs::read_to_string(place.path().join(name).join("golden/metrics.jsonl")).unwrap()
    };
    let plain = metrics("plain", &[]);
    assert!(plain.contains("\"r1\"") && plain.contains("\"mismatch_loss\""));
    // Sums in another order, clip by clip, as between backends. Two shards of unequal size have
    // different numbers of graphs.
    assert!(
        largest_difference(
            &plain,
            &metrics("pieces", &["--set", "run.recompute_blocks=true"])
        ) < 1e-4
    );
    let shards = [
        "--set",
        "run.shards=2",
        "--set",
        "afd.prompts_per_alternation=3",
    ];
    let whole = metrics("shards", &shards);
    assert!(
        largest_difference(
            &whole,
            &metrics(
                "shards-pieces",
                &[&shards[..], &["--set", "run.recompute_blocks=true"]].concat()
            )
        ) < 1e-4
    );
}

#[test]
fn prepared_latents_train_to_the_bits_of_clips_encoded_when_they_are_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let data = format!("data.path={}", place.path().join("prepared").display());
    let few = [
        "--set",
        "teacher.samples_per_prompt=3",
        "--set",
        "afd.alternations=4",
    ];
    let asked = [
        &["distill", &recipe, "--runs", "asked", "--backend", "flex"],
        &few[..],
    ]
    .concat();
    succeeds(place.path(), &asked);
    let prepared = ["--set", data.as_str()];
    succeeds(
        place.path(),
        &[
            &["data", "prepare", &recipe, "--backend", "flex"],
            &few[..],
            &prepared,
        ]
        .concat(),
    );
    succeeds(
        place.path(),
        &[
            &[
                "distill",
                &recipe,
                "--runs",
                "prepared",
                "--backend",
                "flex",
            ],
            &few[..],
            &prepared,
        ]
        .concat(),
    );
    let state = |runs: &str| {
        let files = final_state(&place.path().join(runs).join("golden"));
        files
            .into_iter()
            .filter(|(name, _)| name == "metrics.jsonl" || name.starts_with("training_state"))
            .collect::<Vec<_>>()
    };
    assert!(state("asked") == state("prepared"));
}

//! What one would use instead of AFD, each end to end on the golden recipe: exact after a SIGKILL,
//! whatever the batch is split into.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{command, fails, final_state, golden, largest_difference, newest_student, succeeds};
use serde_json::Value;

/// Rounds of every run below, warm-up included: at most.
const ROUNDS: usize = 11;

fn options(method: &str) -> Vec<String> {
    let method = format!("method={method}");
    let set = [
        method.as_str(),
        "afd.alternations=8",
        "afd.warmup_steps=3",
        "afd.offline_rounds=3",
        "afd.old_policy_decay=0",
        "supervised.steps=8",
        "supervised.batch=4",
        "reverse_chain.divergence_weight=0.1",
        "run.checkpoint_every=3",
    ];
    set.iter()
        .flat_map(|set| ["--set".to_string(), (*set).to_string()])
        .collect()
}

fn distil(place: &Path, runs: &str, method: &str, more: &[&str]) -> String {
    train(place, ["distill", &golden(), runs], method, more)
}

fn train(place: &Path, [verb, recipe, runs]: [&str; 3], method: &str, more: &[&str]) -> String {
    let options = options(method);
    let mut arguments = vec![verb, recipe, "--runs", runs, "--backend", "flex"];
    arguments.extend(options.iter().map(String::as_str));
    arguments.extend(more);
    succeeds(place, &arguments);
    fs::read_to_string(place.join(runs).join("golden/metrics.jsonl")).unwrap()
}

fn lines(metrics: &str) -> Vec<Value> {
    metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn works_and_resumes(method: &str, loss: &str, more: &[&str]) {
    works_and_resumes_as(["distill", &golden()], method, loss, more);
}

fn works_and_resumes_as([verb, recipe]: [&str; 2], method: &str, loss: &str, more: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let train = |runs: &str, more: &[&str]| train(place, [verb, recipe, runs], method, more);
    let metrics = train("whole", more);
    let last = lines(&metrics).pop().unwrap();
    assert!(
        last[loss].as_f64().is_some_and(f64::is_finite),
        "{method}: {last}"
    );
    assert!(
        last["student_gradient_norm"].as_f64().unwrap() > 0.0,
        "{method}: {last}"
    );
    let expected = final_state(&place.join("whole/golden"));

    let halves = train("halves", &[more, &["--set", "run.shards=2"]].concat());
    // The same sums in another order, carried on through the run.
    assert!(
        largest_difference(&metrics, &halves) < 1e-4,
        "{method}: how the batch is split matters"
    );
    let micro_batches = train(
        "portions",
        &[more, &["--set", "run.micro_batch=3"]].concat(),
    );
    assert!(
        largest_difference(&metrics, &micro_batches) < 1e-4,
        "{method}: clips at once matter"
    );

    let options = options(method);
    let mut arguments = vec![verb, recipe, "--runs", "killed", "--backend", "flex"];
    arguments.extend(options.iter().map(String::as_str));
    arguments.extend(more);
    let mut child = command(place, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = place.join("killed/golden");
    while fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
        < ROUNDS / 2
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    // SIGKILL; an error means that it has ended already.
    let _ = child.kill();
    child.wait().unwrap();
    arguments.push("--resume");
    succeeds(place, &arguments);
    assert!(
        final_state(&run) == expected,
        "{method}: killed and resumed, the state differs"
    );
}

#[test]
fn direct_adversarial_training_runs_to_the_same_bytes_after_a_kill() {
    works_and_resumes("direct-adversarial", "direct_loss", &[]);
}

#[test]
fn reverse_chain_learning_runs_to_the_same_bytes_after_a_kill() {
    works_and_resumes("reverse-chain", "reverse_chain_loss", &[]);
}

const FIRST_BLOCK: [&str; 2] = [
    "--set",
    "sampler.denoising_step_list_first_chunk=[1000,750,500,250]",
];

#[test]
fn a_first_block_with_steps_of_its_own_is_trained_by_every_method() {
    works_and_resumes("afd", "flow_loss", &FIRST_BLOCK);
    works_and_resumes("direct-adversarial", "direct_loss", &FIRST_BLOCK);
    works_and_resumes("reverse-chain", "reverse_chain_loss", &FIRST_BLOCK);
}

#[test]
fn supervised_training_of_a_base_student_runs_to_the_same_bytes_after_a_kill() {
    works_and_resumes("supervised", "supervised_loss", &[]);
}

#[test]
fn a_few_step_student_of_its_own_trajectories_runs_to_the_same_bytes_after_a_kill() {
    let place = tempfile::tempdir().unwrap();
    distil(place.path(), "flow", "supervised", &[]);
    let student = newest_student(&place.path().join("flow/golden"));
    let recipe = fs::read_to_string(golden()).unwrap();
    let (before, sizes) = recipe.split_once("[student.sizes]").unwrap();
    let after = &sizes[sizes.find("[teacher]").unwrap()..];
    let recipe = format!("{before}checkpoint = {student:?}\n\n{after}")
        .replace("kind = \"distill\"", "kind = \"pretrain\"");
    let path = place.path().join("few-step.toml");
    fs::write(&path, recipe).unwrap();
    let path = path.display().to_string();
    let more = ["--set", "supervised.trajectory_steps=4"];
    works_and_resumes_as(["pretrain", &path], "afd", "supervised_loss", &more);

    let refused = |set: &str| {
        fails(
            place.path(),
            &[
                "validate",
                &path,
                "--set",
                "supervised.trajectory_steps=4",
                "--set",
                set,
            ],
            2,
        )
    };
    for (set, problem) in [
        ("supervised.trajectory_steps=3", "miss 500"),
        ("supervised.batch=3", "multiple of the 2 entries"),
        ("kind=distill", "kind = \"pretrain\""),
    ] {
        let error = refused(set);
        assert!(error.contains(problem), "{set}: {error}");
    }
}

#[test]
fn a_frozen_discriminator_learns_in_the_warm_up_only() {
    works_and_resumes("frozen-discriminator", "flow_loss", &[]);
    let place = tempfile::tempdir().unwrap();
    for line in lines(&distil(place.path(), "runs", "frozen-discriminator", &[])) {
        assert_eq!(
            line.get("discriminator_loss").is_some(),
            line["phase"] == "warm-up",
            "{line}"
        );
    }
}

#[test]
fn offline_rounds_come_round_again_with_the_same_clips_and_scores() {
    works_and_resumes("offline", "flow_loss", &[]);
    let place = tempfile::tempdir().unwrap();
    let rounds: Vec<Value> = lines(&distil(place.path(), "runs", "offline", &[]))
        .into_iter()
        .filter(|line| line["phase"] == "alternation")
        .collect();
    for measurement in ["score_std", "mean_r", "r_std", "fresh_pair_accuracy"] {
        let values: Vec<f64> = rounds
            .iter()
            .map(|round| round[measurement].as_f64().unwrap())
            .collect();
        assert_eq!(values[0..3], values[3..6], "{measurement}");
    }
    let deviations: Vec<f64> = rounds
        .iter()
        .map(|round| round["score_std"].as_f64().unwrap())
        .collect();
    assert!(
        deviations[0] != deviations[1],
        "rounds of one cycle are different data"
    );
    // The student moves nevertheless.
    assert!(
        rounds[7]["policy_shift"].as_f64().unwrap() > rounds[1]["policy_shift"].as_f64().unwrap()
    );
}

#[test]
fn a_supervised_start_hands_its_student_over() {
    let start = [
        "--set",
        "afd.supervised_rounds=3",
        "--set",
        "afd.warmup_steps=2",
        "--set",
        "afd.flow_steps=1",
        "--set",
        "afd.old_policy_decay=0.5",
    ];
    works_and_resumes("afd", "flow_loss", &start);
    let place = tempfile::tempdir().unwrap();
    let rounds = lines(&distil(place.path(), "runs", "afd", &start));
    let phases: Vec<&str> = rounds
        .iter()
        .map(|round| round["phase"].as_str().unwrap())
        .collect();
    assert_eq!(
        phases[..6],
        [
            "supervised",
            "supervised",
            "supervised",
            "warm-up",
            "warm-up",
            "alternation"
        ]
    );
    // The old policy is the student that was made: the first alternation starts where it stands,
    // but for the rounding of mean squares.
    let shift = |round: usize| rounds[round]["policy_shift"].as_f64().unwrap();
    assert!(
        shift(5) < 1e-15 && shift(6) > 1e-12,
        "{} {}",
        shift(5),
        shift(6)
    );
}

#[test]
fn ablations_change_what_they_name() {
    let place = tempfile::tempdir().unwrap();
    // An old policy that lags: one that does not is the student itself.
    let lagging = ["--set", "afd.old_policy_decay=0.5"];
    let plain = distil(place.path(), "plain", "afd", &lagging);
    for (index, set) in [
        "discriminator.loss=non-saturating",
        "afd.shuffled_pairs=true",
        "discriminator.penalty_target=0.5",
        "afd.context=uniform-noise",
        "afd.advantage=batch",
        "afd.sigmas=shifted",
        "afd.loss=velocity",
        "afd.old_policy=stop-gradient",
    ]
    .into_iter()
    .enumerate()
    {
        let changed = distil(
            place.path(),
            &format!("changed-{index}"),
            "afd",
            &[&lagging[..], &["--set", set]].concat(),
        );
        assert!(changed != plain, "{set}");
    }
    // Teacher clips as positives in the second half only: nothing differs before it.
    let half = [
        "--set",
        "afd.teacher_positives=1",
        "--set",
        "afd.teacher_positives_span=[0.5, 1]",
    ];
    let half = distil(place.path(), "half", "afd", &[&lagging[..], &half].concat());
    let same = plain
        .lines()
        .zip(half.lines())
        .take_while(|(plain, half)| plain == half)
        .count();
    let warm_up = plain
        .lines()
        .filter(|line| line.contains("warm-up"))
        .count();
    assert_eq!(same, warm_up + 4);
}

#[test]
fn score_distillation_is_refused_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let error = fails(
        place.path(),
        &["distill", &golden(), "--set", "method=score-distillation"],
        2,
    );
    assert!(error.contains("has no score"), "{error}");
}

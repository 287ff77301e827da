//! What a run reports: numbers of the built-in world for its clips only, every number with what it
//! rests on, no clip compared with itself, time and cost of the whole run.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{afd, golden, succeeds};
use serde_json::{Value, json};

/// Few rounds of the golden recipe.
const SHORT: [&str; 6] = [
    "--set",
    "afd.alternations=2",
    "--set",
    "afd.warmup_steps=1",
    "--backend",
    "flex",
];
const HELD_OUT: &str = "a small blue ball is dropped on jupiter";

/// A recording of the golden recipe's world, `clips` of each of its four prompts.
fn recorded(place: &Path, clips: &str) -> PathBuf {
    let arguments = ["--out", "clips", "--clips", clips, "--format", "gif"];
    succeeds(
        place,
        &[&["teacher", "record", &golden()], &arguments[..]].concat(),
    );
    place.join("clips")
}

/// The lines of a folder's manifest that `kept` keeps, as anybody would write them: prompts and
/// paths, and no record of where the clips come from.
fn as_anybody_s(folder: &Path, kept: impl Fn(&Value) -> bool) {
    fs::remove_file(folder.join("store.json")).unwrap();
    let path = folder.join("manifest.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines = lines
        .filter(kept)
        .map(|line: Value| json!({"prompt": line["prompt"], "video": line["video"]}).to_string());
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// Distils from a folder: what it printed, what it said on standard error, and its report.
fn distilled(place: &Path, name: &str, folder: &Path, more: &[&str]) -> (String, String, Value) {
    let recipe = golden();
    let path = format!("teacher.path={}", folder.display());
    let teacher = [
        "--set",
        "teacher.kind=folder",
        "--set",
        &path,
        "--name",
        name,
    ];
    let start = ["distill", recipe.as_str()];
    let output = afd(place, &[&start[..], &SHORT, &teacher, more].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let report = fs::read(place.join("runs").join(name).join("report.json")).unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        said,
        serde_json::from_slice(&report).unwrap(),
    )
}

/// A column's means.
fn means<'a>(report: &'a Value, column: &str) -> &'a Value {
    let columns = report["scores"].as_array().unwrap();
    &columns.iter().find(|found| found[0] == column).unwrap()[1]
}

#[test]
fn numbers_of_the_world_are_for_clips_that_the_world_recorded() {
    let place = tempfile::tempdir().unwrap();
    let folder = recorded(place.path(), "4");
    let (printed, _, report) = distilled(place.path(), "world", &folder, &[]);
    assert!(
        printed.contains("trajectory energy distance") && !printed.contains("not known to be"),
        "{printed}"
    );
    assert!(means(&report, "distilled")["object_permanence"].is_number());

    // A line that somebody added: no longer the world's recording.
    let manifest = folder.join("manifest.jsonl");
    let before = fs::read_to_string(&manifest).unwrap();
    let first: Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    let added = json!({"prompt": first["prompt"], "video": first["video"], "sample": 9});
    fs::write(&manifest, format!("{before}{added}\n")).unwrap();
    let (printed, _, _) = distilled(place.path(), "added", &folder, &[]);
    assert!(
        !printed.contains("| trajectory energy distance"),
        "{printed}"
    );

    fs::write(&manifest, before).unwrap();
    as_anybody_s(&folder, |_| true);
    let (printed, _, report) = distilled(place.path(), "anybody", &folder, &[]);
    for world in [
        "trajectory energy distance",
        "gravity error",
        "object permanence",
    ] {
        assert!(
            !printed.contains(&format!("| {world}")),
            "{world}: {printed}"
        );
    }
    for any in [
        "pixel energy distance",
        "feature energy distance",
        "holdout pair accuracy",
        "flicker gap to teacher",
        "dynamic degree",
    ] {
        assert!(printed.contains(&format!("| {any}")), "{any}: {printed}");
    }
    assert!(
        printed.contains("not known to be the built-in world's"),
        "{printed}"
    );
    assert_eq!(
        means(&report, "distilled")["trajectory_energy_distance"],
        Value::Null
    );
    assert_eq!(means(&report, "teacher")["object_permanence"], Value::Null);
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("not known to be the built-in world's"),
        "{notes}"
    );
    let html = fs::read_to_string(place.path().join("runs/anybody/report.html")).unwrap();
    assert!(!html.contains("<td>trajectory energy distance"));
}

#[test]
fn a_teacher_with_few_clips_fills_no_sample_with_copies() {
    let place = tempfile::tempdir().unwrap();
    let folder = recorded(place.path(), "3");
    // One clip of each prompt, and a copy of the held-out one's under another name.
    as_anybody_s(&folder, |line| {
        line["video"].to_string().contains("-00000.")
    });
    let manifest = folder.join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let line: Value = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["prompt"] == HELD_OUT)
        .unwrap();
    let original = folder.join(line["video"].as_str().unwrap());
    fs::copy(original, folder.join("clips/copy.gif")).unwrap();
    let copy = json!({"prompt": HELD_OUT, "video": "clips/copy.gif"});
    fs::write(&manifest, format!("{text}\n{copy}\n")).unwrap();

    let (printed, said, report) = distilled(
        place.path(),
        "few",
        &folder,
        &["--set", "evaluation.clips_per_prompt=16"],
    );
    let (teacher, student) = (means(&report, "teacher"), means(&report, "distilled"));
    for distance in ["pixel_energy_distance", "feature_energy_distance"] {
        assert_eq!(
            (&teacher[distance], &student[distance]),
            (&Value::Null, &Value::Null)
        );
    }
    assert_eq!(
        student["holdout_pair_accuracy"],
        Value::Null,
        "one clip has no second half"
    );
    assert_eq!(teacher["temporal_flicker_gap"], Value::Null);
    assert!(student["temporal_flicker_gap"].is_number());
    let gap = &report["summary"]["estimates"]["temporal_flicker_gap"]["distilled"];
    assert_eq!(
        (&gap["clips"], &gap["prompts"]),
        (&json!([1, 16]), &json!(1))
    );
    assert_eq!(gap["interval"], Value::Null, "one prompt tells of no other");
    assert!(printed.contains("n 1+16"), "{printed}");
    assert!(
        printed.contains("evaluation.clips_per_prompt is 16, and the teacher has fewer different")
            && printed.contains(", 1 at the least"),
        "{printed}"
    );
    // Before training: of batches that repeat clips, and of the table.
    assert!(
        said.contains("afd.teacher_clips_per_prompt is 2")
            && said.contains("of 3 of 3 prompts of prompts.train")
            && said.contains("evaluation.clips_per_prompt is 16"),
        "{said}"
    );

    // With enough clips nothing is said, and every distance is there.
    let enough = tempfile::tempdir().unwrap();
    let folder = recorded(enough.path(), "4");
    as_anybody_s(&folder, |_| true);
    let (printed, said, report) = distilled(enough.path(), "enough", &folder, &[]);
    assert!(
        !said.contains("clips_per_prompt is") && !printed.contains("clips_per_prompt is"),
        "{said}{printed}"
    );
    let estimates = &report["summary"]["estimates"]["pixel_energy_distance"];
    assert_eq!(estimates["teacher"]["clips"], json!([2, 2]));
    assert_eq!(estimates["distilled"]["clips"], json!([4, 4]));
    let halves = &report["summary"]["estimates"]["holdout_pair_accuracy"]["distilled"];
    assert_eq!(halves["clips"], json!([2, 2]));
}

#[test]
fn held_out_prompts_that_were_trained_on_are_named_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let trained = "a small red ball is dropped on earth";
    let held_out = format!("prompts.held_out=[{trained:?}, {HELD_OUT:?}, {HELD_OUT:?}]");
    let validated = succeeds(place.path(), &["validate", &recipe, "--set", &held_out]);
    assert!(
        validated.contains("1 of 2 prompts of prompts.held_out are trained on")
            && validated.contains(trained)
            && validated.contains("lists 1 of its prompts again"),
        "{validated}"
    );
    let start = ["distill", recipe.as_str(), "--set", &held_out];
    let printed = succeeds(place.path(), &[&start[..], &SHORT].concat());
    assert!(
        printed.contains("are trained on (\"a small red ball"),
        "{printed}"
    );
    let report = fs::read(place.path().join("runs/golden/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert!(report["notes"].to_string().contains("are trained on"));
    // Listed twice, compared once.
    assert_eq!(report["columns"][1]["prompts"].as_array().unwrap().len(), 2);

    // Another recipe's list names none of its own, but the checkpoint was trained on one.
    let other = place.path().join("other.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let text = text.replacen(trained, "a large red ball is dropped on earth", 1);
    let text = text.replacen(HELD_OUT, trained, 1);
    fs::write(&other, text).unwrap();
    let other = other.display().to_string();
    let evaluated = succeeds(
        place.path(),
        &[
            "eval",
            "--checkpoint",
            "runs/golden",
            "--recipe",
            &other,
            "--backend",
            "flex",
        ],
    );
    assert!(
        evaluated.contains("1 of 1 prompts of prompts.held_out are trained on"),
        "{evaluated}"
    );
}

#[test]
fn every_number_has_its_interval_over_prompts() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let prompts: Vec<String> = ["small blue", "large blue", "small red"]
        .iter()
        .flat_map(|ball| {
            ["jupiter", "earth"].map(|place| format!("a {ball} ball is dropped on {place}"))
        })
        .filter(|prompt| prompt != "a small red ball is dropped on earth")
        .chain(["a small green ball is dropped on earth".to_string()])
        .collect();
    let held_out = format!("prompts.held_out={prompts:?}");
    let start = ["distill", recipe.as_str(), "--set", &held_out];
    let printed = succeeds(place.path(), &[&start[..], &SHORT].concat());
    assert!(
        printed.contains("bootstrapped over the 6 prompts"),
        "{printed}"
    );
    assert!(
        printed.contains(", n 24+24") && printed.contains(", n 12+12"),
        "{printed}"
    );
    let report = fs::read(place.path().join("runs/golden/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let summary = &report["summary"];
    let columns = report["columns"].as_array().unwrap();
    for (name, of_metric) in summary["estimates"].as_object().unwrap() {
        for (column, estimate) in of_metric.as_object().unwrap() {
            let value = estimate["value"].as_f64().unwrap();
            assert_eq!(
                means(&report, column)[name].as_f64(),
                Some(value),
                "{name} {column}"
            );
            let prompts = estimate["prompts"].as_u64().unwrap();
            if prompts >= 2 {
                let ends = [0, 1].map(|end| estimate["interval"][end].as_f64().unwrap());
                assert!(
                    ends[0] <= value + 1e-9 && value <= ends[1] + 1e-9,
                    "{name} {estimate}"
                );
            }
            let found = columns
                .iter()
                .find(|found| found["name"] == **column)
                .unwrap();
            let there = found["prompts"].as_array().unwrap().iter();
            let there = there
                .filter(|prompt| prompt["scores"][name].is_number())
                .count();
            assert_eq!(there as u64, prompts, "{name} {column}");
        }
    }
    let change = &summary["changes"]["pixel_energy_distance"];
    assert!(
        change["interval"][0].is_number() && change["verdict"].is_string(),
        "{change}"
    );
    let differs = change["interval"][0].as_f64().unwrap() > 0.0
        || change["interval"][1].as_f64().unwrap() < 0.0;
    assert!(differs || change["verdict"] == "unsure", "{change}");

    // The same from the saved student, for programs.
    let json = succeeds(
        place.path(),
        &[
            "eval",
            "--checkpoint",
            "runs/golden",
            "--json",
            "--backend",
            "flex",
        ],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["summary"]["estimates"]["pixel_energy_distance"]["checkpoint"],
        summary["estimates"]["pixel_energy_distance"]["distilled"]
    );
    assert_eq!(
        json["checkpoint"]["motion_smoothness"],
        means(&report, "distilled")["motion_smoothness"]
    );
    assert!(json["notes"].to_string().contains("bootstrapped"));
}

#[test]
fn wall_time_and_command_are_those_of_the_whole_run() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let start = ["distill", recipe.as_str(), "--set", "run.shards=1"];
    let arguments = [&start[..], &SHORT].concat();
    succeeds(place.path(), &arguments);
    let run = place.path().join("runs/golden");
    // As if the first round had been made by a process that took 5,000 seconds for it.
    let timings = run.join("timings.jsonl");
    let text = fs::read_to_string(&timings).unwrap();
    let mut lines = text.lines();
    let mut first: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    first["milliseconds"] = json!({"rollout": 5e6});
    let rest: Vec<&str> = lines.collect();
    fs::write(&timings, format!("{first}\n{}\n", rest.join("\n"))).unwrap();
    fs::remove_file(run.join("report.json")).unwrap();
    succeeds(place.path(), &[&arguments[..], &["--resume"]].concat());
    let report: Value =
        serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap();
    let seconds = report["wall_seconds"].as_f64().unwrap();
    assert!(seconds > 5000.0, "{seconds}");
    let command = report["command"].as_str().unwrap();
    assert!(
        command.starts_with("afd distill ") && command.contains("run.shards=1"),
        "{command}"
    );
    assert!(!command.contains("--resume"), "{command}");
}

#[test]
fn costs_of_direct_adversarial_training_count_the_student_s_passes_through_the_discriminator() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let start = [
        "distill",
        recipe.as_str(),
        "--set",
        "method=direct-adversarial",
    ];
    let none = [
        "--set",
        "afd.old_policy_decay=0",
        "--set",
        "evaluation.clips_per_prompt=0",
    ];
    succeeds(place.path(), &[&start[..], &SHORT, &none].concat());
    let timings = fs::read_to_string(place.path().join("runs/golden/timings.jsonl")).unwrap();
    let lines: Vec<Value> = timings
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let passes = |phase: &str| {
        let line = lines.iter().find(|line| line["phase"] == phase).unwrap();
        ["discriminator_passes", "student_passes"].map(|name| line["cost"][name].as_u64().unwrap())
    };
    // The warm-up has the discriminator's own updates alone.
    let ([own, none], [all, student]) = (passes("warm-up"), passes("alternation"));
    assert!(
        own > 0 && none == 0 && student == 8,
        "{own} {none} {student}"
    );
    assert_eq!(all, own + student);
}

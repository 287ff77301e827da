//! A folder of anybody's clips as the teacher: hostile files are refused by name, quickly and in
//! little memory, and the rest is used.

#[path = "common/mod.rs"]
mod common;
#[path = "folder/hostile.rs"]
mod hostile;

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use common::{command, fails, golden, succeeds};

/// What the issue allows: seconds and MiB, children included.
const SECONDS: f64 = 2.0;
const MIB: u64 = 512;

/// Ends a run of `afd` and everything it started, watched from outside: its output, its seconds and
/// its peak of memory in MiB.
fn watched(directory: &Path, arguments: &[&str]) -> (Output, f64, u64) {
    let started = Instant::now();
    let child = command(directory, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let watch = watch(&child);
    let output = child.wait_with_output().expect("the program ends");
    (
        output,
        started.elapsed().as_secs_f64(),
        watch.join().expect("the watch ends"),
    )
}

/// The largest sum seen of the peaks of a process and its children, from /proc; 0 where there is
/// none.
fn watch(child: &Child) -> std::thread::JoinHandle<u64> {
    let pid = child.id();
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(own) = peak_kib(pid) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten();
            let lists =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            let children: Vec<u32> = lists
                .flat_map(|list| {
                    list.split_whitespace()
                        .filter_map(|pid| pid.parse().ok())
                        .collect::<Vec<_>>()
                })
                .collect();
            peak = peak.max(own + children.into_iter().filter_map(peak_kib).sum::<u64>());
            std::thread::sleep(Duration::from_millis(3));
        }
        peak / 1024
    })
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .ok()
}

#[test]
fn every_hostile_file_is_refused_by_name_in_two_seconds_and_half_a_gibibyte() {
    if !common::has_ffmpeg("every_hostile_file_is_refused") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let all = hostile::corpus(place.path());
    assert!(all.len() >= 70, "{}", all.len());
    let mut wrong = Vec::new();
    let (mut slowest, mut largest) = ((0.0, ""), (0, ""));
    for hostile in &all {
        let mut best = f64::INFINITY;
        // The machine may be busy with other things: the best of three counts.
        for _ in 0..3 {
            let (output, seconds, mib) = check(place.path(), hostile.name);
            let said = [
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            ]
            .concat();
            let refused = matches!(output.status.code(), Some(1 | 2))
                && said.contains(hostile.names)
                && said.contains(hostile.reason);
            if !refused || said.contains("panicked") || mib > MIB {
                wrong.push(format!(
                    "{}: {:?}, {mib} MiB, expected {:?} and {:?}: {said}",
                    hostile.name,
                    output.status.code(),
                    hostile.names,
                    hostile.reason
                ));
                break;
            }
            if mib > largest.0 {
                largest = (mib, hostile.name);
            }
            best = best.min(seconds);
            if best < SECONDS {
                break;
            }
        }
        if best > slowest.0 {
            slowest = (best, hostile.name);
        }
    }
    println!(
        "{} hostile folders; slowest {:.2} s ({}), largest {} MiB ({})",
        all.len(),
        slowest.0,
        slowest.1,
        largest.0,
        largest.1
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(slowest.0 < SECONDS, "{slowest:?}");
}

fn check(place: &Path, name: &str) -> (Output, f64, u64) {
    let journal = place.join(name).join(".afd-check.jsonl");
    let _ = fs::remove_file(journal);
    watched(place, &["data", "check", name])
}

/// Clips of the golden recipe's teacher, with hostile ones among them in every kind of place; the
/// manifest's lines, good and bad.
fn mixed(place: &Path) -> (usize, usize) {
    let folder = place.join("clips");
    succeeds(
        place,
        &[
            "teacher",
            "record",
            &golden(),
            "--out",
            "clips",
            "--clips",
            "5",
            "--format",
            "gif",
        ],
    );
    let manifest = folder.join("manifest.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&manifest)
        .unwrap()
        .lines()
        .map(str::to_string)
        .collect();
    let good = lines.len();
    let corpus = place.join("corpus");
    fs::create_dir(&corpus).unwrap();
    let prompt = "a small red ball is dropped on earth";
    for hostile in hostile::corpus(&corpus) {
        let source = corpus.join(hostile.name);
        let Ok(listed) = fs::read_to_string(source.join("manifest.jsonl")) else {
            continue;
        };
        // One manifest's line each; those that no reader gets past are no part of another manifest.
        if listed.len() > 1000 || listed.contains("..") || listed.contains("/etc") {
            continue;
        }
        fs::rename(&source, folder.join(hostile.name)).unwrap();
        lines.push(
            listed
                .trim()
                .replace("\"p\"", &format!("{prompt:?}"))
                .replace("\"video\": \"", &format!("\"video\": \"{}/", hostile.name)),
        );
    }
    lines.push(format!(
        "{{\"prompt\": {prompt:?}, \"video\": \"../corpus/a.gif\"}}"
    ));
    lines.push(format!(
        "{{\"prompt\": {prompt:?}, \"video\": \"/etc/passwd\"}}"
    ));
    let bad = lines.len() - good;
    // The bad ones first: whoever numbers samples must not count them.
    lines.rotate_left(good);
    fs::write(&manifest, lines.join("\n")).unwrap();
    (good, bad)
}

/// What was left out and why, but for ffmpeg's own words, whose order its threads decide.
fn quarantined(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("quarantine.jsonl")).unwrap();
    text.lines()
        .map(|line| line.split(" and said: ").next().unwrap().to_string())
        .collect()
}

#[test]
fn a_run_over_the_rest_succeeds_and_goes_on_after_a_kill_to_the_same_files() {
    if !common::has_ffmpeg("a_run_over_the_rest_succeeds") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let (good, bad) = mixed(place);
    assert!(good == 20 && bad > 40, "{good} and {bad}");

    // The check names every one.
    let output = common::afd(place, &["data", "check", "clips", "--json", "report.json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(place.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["clips"], good + bad);
    assert_eq!(report["problems"].as_array().unwrap().len(), bad);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed
            .lines()
            .filter(|line| line.starts_with("bad "))
            .count(),
        bad
    );

    // More than the recipe allows: refused, with the way on.
    let recipe = golden();
    let folder = [
        "--set",
        "teacher.kind=folder",
        "--set",
        "teacher.path=FOLDER",
        "--set",
        "data.path=DATA",
        "--set",
        "data.clips_per_shard=4",
    ];
    let with = |data: &str, share: &str| -> Vec<String> {
        let paths = |text: &&str| {
            text.replace("FOLDER", &place.join("clips").display().to_string())
                .replace("DATA", &place.join(data).display().to_string())
        };
        folder
            .iter()
            .map(paths)
            .chain([
                "--set".to_string(),
                format!("teacher.max_bad_share={share}"),
            ])
            .collect()
    };
    let run = |verb: &[&str], sets: &[String]| -> Vec<String> {
        verb.iter()
            .map(ToString::to_string)
            .chain([recipe.clone()])
            .chain(sets.iter().cloned())
            .collect()
    };
    let call = |arguments: &[String]| {
        succeeds(
            place,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    let refused = run(&["data", "prepare"], &with("data", "0.01"));
    let error = fails(
        place,
        &refused.iter().map(String::as_str).collect::<Vec<_>>(),
        1,
    );
    assert!(
        error.contains(&format!("{bad} of {} clips", good + bad))
            && error.contains("--set teacher.max_bad_share=0."),
        "{error}"
    );
    assert!(!place.join("data/quarantine.jsonl").exists());

    // The share that it names is enough.
    let share = error
        .rsplit("teacher.max_bad_share=")
        .next()
        .unwrap()
        .trim()
        .to_string();
    let printed = call(&run(&["data", "prepare"], &with("data", &share)));
    assert!(
        printed.contains(&format!("left out  {bad} clips and 0 prompts")),
        "{printed}"
    );
    let quarantine = quarantined(&place.join("data"));
    assert_eq!(quarantine.len(), bad);
    let index = fs::read_to_string(place.join("data/latents/index.json")).unwrap();

    // Killed at some moments, another preparation ends in the same files.
    let mut kills = 0;
    for milliseconds in (20..).step_by(60) {
        let arguments = run(&["data", "prepare"], &with("killed", &share));
        let mut child = command(
            place,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        if child
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success())
        {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(quarantined(&place.join("killed")), quarantine);
    assert_eq!(
        fs::read_to_string(place.join("killed/latents/index.json")).unwrap(),
        index
    );

    // Training on what is left, from prepared latents and from the folder itself.
    let short = [
        "--set",
        "afd.alternations=1",
        "--set",
        "afd.warmup_steps=1",
        "--set",
        "evaluation.clips_per_prompt=0",
    ]
    .map(str::to_string);
    call(
        &[
            run(&["distill"], &with("data", &share)),
            short.to_vec(),
            vec!["--name".into(), "prepared".into()],
        ]
        .concat(),
    );
    let direct: Vec<String> = with("data", &share)
        .into_iter()
        .filter(|text| !text.starts_with("data."))
        .collect();
    let direct: Vec<String> = direct
        .windows(2)
        .filter(|pair| pair[0] == "--set" && pair[1] != "--set")
        .flatten()
        .cloned()
        .collect();
    call(
        &[
            run(&["distill"], &direct),
            short.to_vec(),
            vec!["--name".into(), "direct".into()],
        ]
        .concat(),
    );
    assert_eq!(quarantined(&place.join("runs/direct")), quarantine);
    assert_eq!(quarantined(&place.join("runs/prepared")), quarantine);
}

#[test]
fn one_bad_clip_in_twenty_says_how_to_go_on_and_no_clip_at_all_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    succeeds(
        place,
        &[
            "teacher",
            "record",
            &golden(),
            "--out",
            "clips",
            "--clips",
            "5",
            "--format",
            "gif",
        ],
    );
    let first = fs::read_dir(place.join("clips/clips"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .min()
        .unwrap();
    fs::write(&first, "GIF89a").unwrap();
    let path = format!("teacher.path={}", place.join("clips").display());
    let error = fails(
        place,
        &[
            "distill",
            &golden(),
            "--set",
            "teacher.kind=folder",
            "--set",
            &path,
        ],
        1,
    );
    assert!(
        error.contains("1 of 20 clips")
            && error.contains("(5.0 %, teacher.max_bad_share allows 1.0 %)"),
        "{error}"
    );
    let name = first.file_name().unwrap().to_string_lossy();
    assert!(
        error.contains(&*name) && error.contains("--set teacher.max_bad_share=0.05"),
        "{error}"
    );
    assert!(
        !place.join("runs").exists(),
        "nothing is created for a request that is refused"
    );

    for entry in fs::read_dir(place.join("clips/clips")).unwrap() {
        fs::write(entry.unwrap().path(), "GIF89a").unwrap();
    }
    let all = [
        "distill",
        &golden(),
        "--set",
        "teacher.kind=folder",
        "--set",
        &path,
        "--set",
        "teacher.max_bad_share=1",
    ];
    let error = fails(place, &all, 1);
    assert!(
        error.contains("no clip of") && error.contains("is left for prompts.train"),
        "{error}"
    );
    fs::write(place.join("clips/manifest.jsonl"), "\n").unwrap();
    let error = fails(place, &["data", "check", "clips"], 2);
    assert!(error.contains("lists no clip at all"), "{error}");
}

//! How commands end: readers that leave, disks that are full, signals, terminals that are gone.
//! Nothing is lost at the end, and nothing panics.

#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use common::{afd, command, fails, golden, repository, succeeds};

/// The golden run cut down to a moment.
const SHORT: [&str; 4] = ["--set", "afd.alternations=2", "--set", "afd.warmup_steps=1"];
/// The same without the comparison.
const NO_TABLE: [&str; 2] = ["--set", "evaluation.clips_per_prompt=0"];
/// More rollouts than a test waits for, one at a time.
const ENDLESS: [&str; 4] = [
    "--set",
    "afd.rollouts_per_prompt=4096",
    "--set",
    "run.micro_batch=1",
];

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A device without room; not every system has one.
fn full() -> Option<Stdio> {
    let device = File::options().write(true).open("/dev/full");
    device.ok().map(Stdio::from)
}

fn error_of(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// Commands that print a little or much.
fn printing() -> Vec<Vec<String>> {
    let base = repository().join("recipes/physics-world/base.safetensors");
    let base = base.display().to_string();
    let golden = golden();
    let benchmark = "recipes/evidence/benchmark.toml";
    let words: [&[&str]; 9] = [
        &["recipes"],
        &["recipes", "fields"],
        &["recipes", "schema"],
        &["validate", &golden],
        &["plan", &golden, "--memory", "1GB"],
        &["inspect", &base],
        &["teacher", "adapters"],
        &["teacher", "adapters", "kling"],
        &["bench", benchmark, "--dry-run", "--runs", "/nowhere"],
    ];
    let owned = |words: &&[&str]| words.iter().map(ToString::to_string).collect();
    words.iter().map(owned).collect()
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is_said() {
    for words in printing() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = command(&repository(), &words)
            .stdout(closed())
            .output()
            .unwrap();
        let error = error_of(&output);
        assert!(output.status.success(), "{words:?}: {error}");
        let Some(full) = full() else { continue };
        let output = command(&repository(), &words)
            .stdout(full)
            .output()
            .unwrap();
        let error = error_of(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains("cannot write to standard output"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    // Nobody hears the sentence; the status still tells.
    let ended = |words: &[&str]| {
        let mut command = command(&repository(), words);
        command
            .stdout(closed())
            .stderr(closed())
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(ended(&["validate", "nowhere.toml"]), Some(2));
    assert_eq!(ended(&["validate", &golden()]), Some(0));
}

#[test]
fn a_run_whose_reader_left_has_its_report() {
    let place = tempfile::tempdir().unwrap();
    let run = |name: &str, output: Stdio, error: Stdio| {
        let recipe = golden();
        let words = [&["distill", recipe.as_str(), "--name", name], &SHORT[..]].concat();
        let status = command(place.path(), &words)
            .stdout(output)
            .stderr(error)
            .status()
            .unwrap();
        let run = place.path().join("runs").join(name);
        for file in ["report.json", "report.html", "samples/held-out.gif"] {
            assert!(run.join(file).is_file(), "{name}: {file}");
        }
        status.code()
    };
    assert_eq!(run("closed", closed(), closed()), Some(0));
    if let Some(full) = full() {
        assert_eq!(run("full", full, Stdio::null()), Some(1));
    }
}

/// A folder name that is no text: what is printed of it is for people, everything else is exact.
#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_not_utf_8_is_a_path() {
    let place = tempfile::tempdir().unwrap();
    let runs = place
        .path()
        .join(std::ffi::OsStr::from_bytes(b"r\xffns\x1b"));
    let recipe = golden();
    let words = [&["distill", recipe.as_str()], &SHORT[..]].concat();
    let output = command(place.path(), &words)
        .arg("--runs")
        .arg(&runs)
        .output()
        .unwrap();
    let error = error_of(&output);
    assert!(output.status.success(), "{error}");
    let report = fs::read_to_string(runs.join("golden/report.json")).unwrap();
    assert!(report.contains("--runs"), "{report}");
    assert!(
        !output.stdout.contains(&0x1b),
        "{:?}",
        String::from_utf8_lossy(&output.stdout)
    );
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Starts a run, with what it says on standard error in hand.
fn started(place: &Path, words: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = command(place, words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    (child, said)
}

/// The child's exit status, and the rest of what it said.
fn ended(mut child: Child, mut said: BufReader<ChildStderr>) -> (Option<i32>, String) {
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
    (child.wait().unwrap().code(), rest)
}

/// Waits until there is such a file, which the process makes before its first round.
fn wait_for(path: &Path, child: &mut Child) {
    while !path.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_signal_leaves_a_round_that_has_changed_nothing_and_a_hang_up_saves_as_sigterm_does() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    for signal in ["-TERM", "-HUP"] {
        let words = [
            &["distill", &recipe, "--name", signal],
            &NO_TABLE[..],
            &ENDLESS[..],
        ]
        .concat();
        let words = words
            .iter()
            .map(|word| if *word == signal { &word[1..] } else { word });
        let words: Vec<&str> = words.collect();
        let (mut child, said) = started(place.path(), &words);
        let run = place.path().join("runs").join(&signal[1..]);
        wait_for(&run.join("metrics.jsonl"), &mut child);
        send(signal, &child);
        // A second one changes nothing.
        send(signal, &child);
        let (code, said) = ended(child, said);
        assert_eq!(code, Some(75), "{said}");
        assert!(
            said.contains("stopped after round 0, state saved"),
            "{said}"
        );
        assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), b"");
    }
}

#[test]
fn a_run_that_a_hang_up_stopped_ends_as_one_that_was_not() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let words = |name| {
        let one_by_one = ["--set", "run.micro_batch=1"];
        [
            &["distill", recipe.as_str(), "--name", name],
            &NO_TABLE[..],
            &one_by_one[..],
        ]
        .concat()
    };
    succeeds(place.path(), &words("straight"));
    let run = |name: &str| place.path().join("runs").join(name);
    let (mut child, said) = started(place.path(), &words("stopped"));
    wait_for(&run("stopped").join("metrics.jsonl"), &mut child);
    while fs::metadata(run("stopped").join("metrics.jsonl"))
        .unwrap()
        .len()
        == 0
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    send("-HUP", &child);
    let (code, said) = ended(child, said);
    // A quick machine may have been done already.
    assert!(code == Some(75) || code == Some(0), "{said}");
    succeeds(
        place.path(),
        &[&words("stopped")[..], &["--resume"]].concat(),
    );
    assert!(common::final_state(&run("straight")) == common::final_state(&run("stopped")));
}

#[test]
fn a_signal_is_heard_during_the_comparison() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let many = ["--set", "evaluation.clips_per_prompt=4000"];
    let words = [&["distill", recipe.as_str()], &SHORT[..], &many[..]].concat();
    let (child, mut said) = started(place.path(), &words);
    let mut line = String::new();
    while !line.contains("comparing with the teacher") {
        line.clear();
        assert_ne!(
            said.read_line(&mut line).unwrap(),
            0,
            "it ended before it compared"
        );
    }
    assert!(
        line.contains("state saved") && line.contains("--resume"),
        "{line}"
    );
    send("-TERM", &child);
    let (code, said) = ended(child, said);
    assert_eq!(code, Some(75), "{said}");
    let run = place.path().join("runs/golden");
    assert!(!run.join("report.json").exists());
}

/// `script` holds a terminal; killing it takes the terminal away, with a hang-up.
#[test]
fn a_run_whose_terminal_is_gone_saves_its_state() {
    let has_script = Command::new("script")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !has_script || cfg!(not(target_os = "linux")) {
        println!("skipped, no script(1) of util-linux on this machine: the terminal that is gone");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_afd");
    let set = [
        "--set run.checkpoint_every=1000",
        "--set afd.alternations=100000",
    ];
    let line = format!(
        "exec {program} distill {} {} {}",
        golden(),
        set.join(" "),
        NO_TABLE.join(" ")
    );
    let mut holder = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(place.path())
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = place.path().join("runs/golden");
    wait_for(&run.join("metrics.jsonl"), &mut holder);
    while fs::metadata(run.join("metrics.jsonl")).unwrap().len() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    // Nobody waits for the orphan but its lock.
    let lock = File::open(run.join("run.lock")).unwrap();
    lock.lock().unwrap();
    let rounds = fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .count();
    let newest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    assert_eq!(newest.trim().parse::<usize>().unwrap(), rounds);
    assert!((1..100_000).contains(&rounds), "{rounds}");
}

#[test]
fn a_file_of_another_kind_names_the_verb_that_takes_it() {
    let place = tempfile::tempdir().unwrap();
    let plan = repository().join("recipes/evidence/benchmark.toml");
    let error = fails(place.path(), &["distill", plan.to_str().unwrap()], 2);
    assert!(
        error.contains("is a benchmark plan; `afd bench` takes it"),
        "{error}"
    );
    let error = fails(place.path(), &["bench", &golden()], 2);
    assert!(
        error.contains("is a recipe; `afd distill` or `afd pretrain` takes it"),
        "{error}"
    );
}

#[test]
fn a_recording_needs_no_preview_and_no_table() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let record = [
        "teacher", "record", &recipe, "--out", "clips", "--clips", "1",
    ];
    let shape = [
        "--set",
        "clip.frames_per_second=60",
        "--set",
        "clip.frames=2",
    ];
    succeeds(place.path(), &[&record[..], &shape[..]].concat());
}

/// What no allocation could answer is refused before one is tried.
#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_and_too_many_numbers_are_one_sentence() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let limited = |kibibytes: u64, words: &str| {
        let program = env!("CARGO_BIN_EXE_afd");
        let line = format!("ulimit -v {kibibytes} && exec {program} {words}");
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .current_dir(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    for kibibytes in [50_000, 200_000] {
        let said = limited(kibibytes, &format!("distill {recipe}"));
        assert!(said.contains("MiB of address space"), "{said}");
    }
    let sizes = "--set text.length=65536 --set text.width=65536";
    let said = limited(6_000_000, &format!("validate {recipe} {sizes}"));
    assert!(
        said.contains("text.length x text.width is 4294967296"),
        "{said}"
    );
}

#[test]
fn what_can_be_refused_is_refused_before_training() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let refused = |set: &[&str], code| {
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let error = fails(
            place.path(),
            &[&["distill", recipe.as_str()], &set[..]].concat(),
            code,
        );
        assert!(!place.path().join("runs").exists(), "{error}");
        error
    };
    let error = refused(&["clip.frames_per_second=60"], 2);
    assert!(
        error.contains("GIF") && error.contains("evaluation.preview_clips = 0"),
        "{error}"
    );
    let error = refused(&["clip.frames=2"], 2);
    assert!(
        error.contains("clip.frames is 2") && error.contains("at least 3"),
        "{error}"
    );
    let error = refused(&["clip.frames=7"], 2);
    assert!(error.contains("make it 6 or 8 latent frames"), "{error}");
    // Petabytes, which no disk here has.
    let huge = ["student.sizes.width=65536", "student.sizes.heads=1024"];
    let deep = [
        "student.sizes.layers=1024",
        "student.sizes.feed_forward_width=262144",
    ];
    let error = refused(&[&huge[..], &deep[..]].concat(), 1);
    assert!(
        error.contains("the checkpoints in") && error.contains("run.keep"),
        "{error}"
    );
    // What is asked for instead works.
    let words = [&["distill", recipe.as_str()], &SHORT[..]].concat();
    let without = [
        "--set",
        "clip.frames_per_second=60",
        "--set",
        "evaluation.preview_clips=0",
    ];
    let printed = succeeds(place.path(), &[&words[..], &without[..]].concat());
    assert!(
        printed.contains("distilled") && !printed.contains("held-out.gif"),
        "{printed}"
    );
    assert!(place.path().join("runs/golden/report.html").is_file());
}

#[test]
fn only_one_of_several_that_start_the_same_run_does() {
    let place = tempfile::tempdir().unwrap();
    let recipe = golden();
    let words = [&["distill", recipe.as_str()], &SHORT[..], &NO_TABLE[..]].concat();
    let start = |_| {
        let mut command = command(place.path(), &words);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let started: Vec<Child> = (0..4).map(start).collect();
    let mut codes = Vec::new();
    for child in started {
        let output = child.wait_with_output().unwrap();
        let error = error_of(&output);
        if !output.status.success() {
            assert!(
                error.contains("exists already") && error.lines().count() == 1,
                "{error}"
            );
        }
        codes.push(output.status.code());
    }
    codes.sort();
    assert_eq!(codes, [Some(0), Some(2), Some(2), Some(2)]);
}

#[test]
fn what_was_read_does_not_steer_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let escape = "\u{1b}]0;title\u{7}\u{202e}";
    let quiet = |words: &[&str], code| {
        let output = afd(place.path(), words);
        let said = [output.stdout.clone(), output.stderr.clone()].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
        said
    };
    // A file's own name, and text of a file that a message quotes.
    let named = format!("{escape}.toml");
    assert!(quiet(&["validate", &named], 2).contains("\\u001b]0;title\\u0007\\u202e.toml"));
    let path = place.path().join("recipe.toml");
    for text in [
        format!("kind = \"{escape}\""),
        format!("\"{escape}\" = 1"),
        format!("kind = {escape}"),
    ] {
        fs::write(&path, text).unwrap();
        quiet(&["validate", "recipe.toml"], 2);
    }
    // Names and metadata of a weights file.
    let header = serde_json::json!({
        "__metadata__": {"about": escape},
        escape: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    });
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], header.as_bytes(), &[0; 4]].concat();
    fs::write(place.path().join("a.safetensors"), file).unwrap();
    let listed = quiet(&["inspect", "a.safetensors"], 0);
    assert!(
        listed.contains("title") && listed.contains("1 tensors"),
        "{listed}"
    );
}

//! `afd` with an API as its teacher, against a mock of a provider on the loopback interface that
//! hands out the physics world's clips.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use afd::data::video_io::write_gif_bytes;
use afd::teacher::{Teacher, world::World};
use afd_api::adapter::BUILT_IN;
use afd_mock_api::{Dialect, Faults, MockServer, Options};
use common::{command, final_state, golden};

/// The issuer and the secret of a key that must turn up nowhere.
const CANARY: [&str; 2] = ["AKcanary4f1c9e", "SKcanary77e2b0d4"];

fn server(faults: f64) -> MockServer {
    let world = World::new(5);
    let maker = move |prompt: &str, seed: u64| {
        world
            .videos(prompt, seed..seed + 1)
            .ok()
            .and_then(|videos| write_gif_bytes(&videos[0]).ok())
            .unwrap_or_default()
    };
    MockServer::start(Options {
        key: CANARY.join(":"),
        faults: Faults::all(faults),
        maker: Arc::new(maker),
        ..Options::new(Dialect::Kling)
    })
}

/// The golden recipe, short, with an API as its teacher; `more` goes into `[teacher.api]`.
fn recipe(place: &Path, url: &str, more: &str) -> String {
    let text = fs::read_to_string(golden()).unwrap();
    let teacher = format!(
        "[teacher]\nkind = \"api\"\npath = \"store\"\nsamples_per_prompt = \
            3\n\n[teacher.api]\nadapter = \"kling\"\nmodel = \"m\"\nbase_url = \"{url}\"\nkey = {{ \
            env = \"AFD_CANARY\" }}\nbudget = 10\nprice = {{ per_second = 0.02 }}\nparameters = {{ \
            seed = \"{{seed}}\", duration = \"5\" }}\npace = {{ first_secs = 0.02, growth = 1.5, \
            longest_secs = 0.1, jitter = 0.5 }}\ntimeouts = {{ connect_secs = 5.0, answer_secs = \
            1.0, clip_secs = 2.0 }}\n{more}\n"
    );
    let text = text.replacen("[teacher]\nkind = \"world\"\nseed = 5\n", &teacher, 1);
    let text = text
        .replacen("alternations = 20", "alternations = 4", 1)
        .replacen("warmup_steps = 3", "warmup_steps = 1", 1);
    assert!(text.contains("kind = \"api\"") && text.contains("alternations = 4"));
    // The server hands out GIF files.
    let adapter = BUILT_IN
        .iter()
        .find(|(name, _)| *name == "kling")
        .unwrap()
        .1;
    let adapter = adapter.replacen("[result]\n", "[result]\nneeds_ffmpeg = false\n", 1);
    fs::write(place.join("gif.toml"), adapter).unwrap();
    let text = text.replacen("adapter = \"kling\"", "adapter = \"gif.toml\"", 1);
    let path = place.join("recipe.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn afd(place: &Path, arguments: &[&str]) -> Output {
    command(place, arguments)
        .env("AFD_CANARY", CANARY.join(":"))
        .output()
        .unwrap()
}

/// What a run that must succeed printed, on both streams; without the canary.
fn succeeds(place: &Path, arguments: &[&str]) -> String {
    let output = afd(place, arguments);
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat();
    assert!(
        output.status.success(),
        "afd {arguments:?} ended with {:?}: {text}",
        output.status.code()
    );
    assert_no_canary(Path::new("output"), text.as_bytes());
    text
}

fn fails(place: &Path, arguments: &[&str], code: i32) -> String {
    let output = afd(place, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "afd {arguments:?}: {text}"
    );
    assert_no_canary(Path::new("output"), text.as_bytes());
    text
}

fn assert_no_canary(place: &Path, bytes: &[u8]) {
    for part in CANARY.iter().chain(&["S3CRET"]) {
        assert!(
            !bytes
                .windows(part.len())
                .any(|window| window == part.as_bytes()),
            "{part} is in {}",
            place.display()
        );
    }
}

/// Looks for the canary, and for the signatures of addresses, in every file below a place.
fn search(place: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(place).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        assert_no_canary(&path, path.display().to_string().as_bytes());
        files += if path.is_dir() {
            search(&path)
        } else {
            assert_no_canary(&path, &fs::read(&path).unwrap());
            1
        };
    }
    files
}

#[test]
fn a_bill_first_then_clips_then_a_run_that_replays_them() {
    let place = tempfile::tempdir().unwrap();
    let server = server(0.0);
    let recipe = recipe(place.path(), &server.url(), "");
    let bill = succeeds(place.path(), &["teacher", "fetch", &recipe, "--dry-run"]);
    // 3 prompts x 3 samples to train on, 1 x 4 held out, 0.10 each.
    for part in [
        "13 wanted",
        "0.10 a clip",
        "1.30 for 13 clips",
        "covers the bill",
        "terms",
    ] {
        assert!(bill.contains(part), "{part}: {bill}");
    }
    assert!(!place.path().join("store").exists() && server.log().submissions == 0);
    succeeds(place.path(), &["validate", &recipe]);
    assert!(!place.path().join("store").exists());
    // Without its clips a run that replays does not start.
    let error = fails(place.path(), &["distill", &recipe], 1);
    assert!(error.contains("afd teacher fetch"), "{error}");

    let fetched = succeeds(place.path(), &["teacher", "fetch", &recipe]);
    assert!(
        fetched.contains("13 of 13") && fetched.contains("1.30 of 10.00"),
        "{fetched}"
    );
    let status = succeeds(place.path(), &["teacher", "status", &recipe]);
    assert!(
        status.contains("13 there") && status.contains("1.30 of 10.00"),
        "{status}"
    );
    let submissions = server.log().submissions;
    drop(server);
    let printed = succeeds(place.path(), &["distill", &recipe, "--name", "replay"]);
    assert!(
        printed.contains("distilled") && submissions == 13,
        "{printed}"
    );
    // The store is a folder of clips like any other.
    let folder = [
        "--set",
        "teacher.kind=folder",
        "--set",
        "teacher.samples_per_prompt=0",
        "--set",
        "evaluation.first_sample=0",
    ];
    let text = fs::read_to_string(&recipe).unwrap();
    let (before, after) = text.split_once("[teacher.api]").unwrap();
    let folder_recipe = place.path().join("folder.toml");
    fs::write(
        &folder_recipe,
        format!("{before}{}", &after[after.find("[prompts]").unwrap()..]),
    )
    .unwrap();
    succeeds(
        place.path(),
        &[
            &[
                "distill",
                folder_recipe.to_str().unwrap(),
                "--name",
                "folder",
            ],
            &folder[..],
        ]
        .concat(),
    );
    assert!(search(place.path()) > 20);
}

#[test]
fn a_live_run_asks_while_it_trains_and_equals_its_replay_whatever_came_when() {
    let place = tempfile::tempdir().unwrap();
    let server = server(0.03);
    let recipe = recipe(place.path(), &server.url(), "live = true\nahead = 3");
    let printed = succeeds(place.path(), &["distill", &recipe, "--name", "live"]);
    assert!(printed.contains("distilled"), "{printed}");
    let log = server.log();
    let jobs = log.jobs.len();
    assert_eq!((jobs, log.duplicates()), (13, 0));
    drop(log);
    let live = final_state(&place.path().join("runs/live"));
    // Another arrival: clips fetched before.
    succeeds(
        place.path(),
        &[
            "distill",
            &recipe,
            "--name",
            "replay",
            "--set",
            "teacher.api.live=false",
        ],
    );
    assert!(
        live == final_state(&place.path().join("runs/replay")),
        "live and replay differ"
    );
    assert_eq!(server.log().jobs.len(), jobs, "a replay asks nobody");

    // Killed at some moment and resumed, with a store and an account of its own that fill anew, in
    // another order of faults.
    let second = self::server(0.06);
    let address = format!("teacher.api.base_url={}", second.url());
    let store = ["--set", "teacher.path=other", "--set", &address];
    let arguments = [&["distill", &recipe, "--name", "killed"], &store[..]].concat();
    for wait in [300, 900] {
        let mut arguments = arguments.clone();
        if place.path().join("runs/killed").exists() {
            arguments.push("--resume");
        }
        let mut child = command(place.path(), &arguments)
            .env("AFD_CANARY", CANARY.join(":"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resume = if place.path().join("runs/killed").exists() {
        &["--resume"][..]
    } else {
        &[]
    };
    succeeds(place.path(), &[&arguments[..], resume].concat());
    assert!(
        live == final_state(&place.path().join("runs/killed")),
        "the killed run differs"
    );
    let log = second.log();
    assert_eq!((log.jobs.len(), log.duplicates()), (jobs, 0));
    drop(log);
    // A third store at the same account asks for the jobs that are there already.
    let third = ["teacher", "fetch", &recipe, "--set", "teacher.path=third"];
    assert!(succeeds(place.path(), &third).contains("13 of 13"));
    assert_eq!(server.log().jobs.len(), jobs);
    assert!(search(place.path()) > 20);
}

/// Starts the program, sends SIGTERM when `ready` says so, and gives its exit status.
#[cfg(unix)]
fn terminated(place: &Path, arguments: &[&str], ready: &dyn Fn() -> bool) -> Option<i32> {
    let mut child = command(place, arguments)
        .env("AFD_CANARY", CANARY.join(":"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !ready() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::process::Command::new("kill")
        .arg("-TERM")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    child.wait().unwrap().code()
}

#[cfg(unix)]
#[test]
fn a_signal_while_the_provider_is_waited_for_saves_the_state() {
    let place = tempfile::tempdir().unwrap();
    let server = server(0.0);
    // No job is ever done.
    server.change(|options| options.polls = u32::MAX);
    let recipe = recipe(place.path(), &server.url(), "live = true");
    let polled = || server.log().jobs.iter().any(|job| job.polls > 0);
    assert_eq!(
        terminated(place.path(), &["teacher", "fetch", &recipe], &polled),
        Some(75)
    );
    let jobs = server.log().jobs.len();
    assert!(jobs > 0);
    let submissions = || server.log().requests;
    let before = submissions();
    // Past the start of the run: its first poll comes from there.
    let waits = || submissions() > before && place.path().join("runs/live").exists();
    assert_eq!(
        terminated(
            place.path(),
            &["distill", &recipe, "--name", "live"],
            &waits
        ),
        Some(75)
    );
    server.change(|options| options.polls = 2);
    succeeds(
        place.path(),
        &["distill", &recipe, "--name", "live", "--resume"],
    );
    succeeds(
        place.path(),
        &[
            "distill",
            &recipe,
            "--name",
            "replay",
            "--set",
            "teacher.api.live=false",
        ],
    );
    assert!(
        final_state(&place.path().join("runs/live"))
            == final_state(&place.path().join("runs/replay"))
    );
    let log = server.log();
    assert_eq!((log.jobs.len(), log.duplicates()), (13, 0));
}

#[test]
fn refused_prompts_and_takes_do_not_stop_a_run() {
    let place = tempfile::tempdir().unwrap();
    let server = server(0.0);
    let recipe = recipe(
        place.path(),
        &server.url(),
        "live = true\nrefused_share = 0.5",
    );
    let text = fs::read_to_string(&recipe).unwrap().replacen(
        "train = [",
        "train = [\"a forbidden ball is dropped on earth\", ",
        1,
    );
    let text = text.replacen(
        "held_out = [",
        "held_out = [\"an unsafe ball is dropped on earth\", ",
        1,
    );
    fs::write(&recipe, text).unwrap();
    let printed = succeeds(place.path(), &["distill", &recipe, "--name", "live"]);
    assert!(printed.contains("distilled"), "{printed}");
    let status = succeeds(place.path(), &["teacher", "status", &recipe]);
    assert!(
        status.contains("7 refused") && status.contains("forbidden"),
        "{status}"
    );
    // A fetch that leaves clips missing is no success.
    let error = fails(place.path(), &["teacher", "fetch", &recipe], 1);
    assert!(
        error.contains("7 of 20 clips are not there") && error.contains("7 refused"),
        "{error}"
    );
    succeeds(
        place.path(),
        &[
            "distill",
            &recipe,
            "--name",
            "replay",
            "--set",
            "teacher.api.live=false",
        ],
    );
    assert!(
        final_state(&place.path().join("runs/live"))
            == final_state(&place.path().join("runs/replay"))
    );
    // Above the share it does stop, by name.
    let share = [
        "distill",
        &recipe,
        "--name",
        "strict",
        "--set",
        "teacher.api.live=false",
        "--set",
        "teacher.api.refused_share=0.1",
    ];
    let error = fails(place.path(), &share, 1);
    assert!(
        error.contains("refused_share") && error.contains("7 of 20"),
        "{error}"
    );
}

#[test]
fn wrong_requests_name_the_field_and_never_the_key() {
    let place = tempfile::tempdir().unwrap();
    let server = server(0.0);
    let recipe = recipe(place.path(), &server.url(), "");
    for (set, part) in [
        ("teacher.api.adapter=klang", "klang"),
        (
            "teacher.api.key=SKcanary77e2b0d4",
            "never stands in a recipe",
        ),
        ("teacher.api.budget=-1", "-1"),
        (
            "teacher.samples_per_prompt=0",
            "teacher.samples_per_prompt is 0",
        ),
        ("teacher.api.base_url=http://example.com", "https"),
        ("teacher.api.bugdet=1", "budget"),
        ("teacher.kind=world", "[teacher.api]"),
    ] {
        let error = fails(place.path(), &["validate", &recipe, "--set", set], 2);
        assert!(error.contains(part), "{set}: {error}");
    }
    let fetch = |set: &str, code| {
        fails(
            place.path(),
            &["teacher", "fetch", &recipe, "--set", set],
            code,
        )
    };
    assert!(fetch("teacher.api.key={ env = \"AFD_NO_SUCH\" }", 2).contains("AFD_NO_SUCH"));
    assert!(fetch("teacher.api.budget=0.25", 1).contains("teacher.api.budget"));
    let live = [
        "distill",
        &recipe,
        "--set",
        "teacher.api.live=true",
        "--set",
        "teacher.api.budget=0.25",
    ];
    assert!(fails(place.path(), &live, 2).contains("teacher.api.budget"));
    // A wrong key, which the provider's answer quotes.
    fs::write(
        place.path().join("key"),
        "AKcanary4f1c9e:SKcanary77e2b0d4x\n",
    )
    .unwrap();
    let error = fetch("teacher.api.key={ file = \"key\" }", 1);
    assert!(error.contains("401"), "{error}");
    let listed = succeeds(place.path(), &["teacher", "adapters"]);
    assert!(
        listed.lines().count() == 7 && listed.contains("kling"),
        "{listed}"
    );
    assert!(succeeds(place.path(), &["teacher", "adapters", "fal"]).contains("queue.fal.run"));
    assert!(fails(place.path(), &["teacher", "adapters", "klang"], 2).contains("kling"));
    fs::remove_file(place.path().join("key")).unwrap();
    search(place.path());
}

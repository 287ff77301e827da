//! SIGKILL at random moments of a fetch: nothing is paid twice, nothing is lost, and the store ends
//! as if nothing had happened.
//!
//! `scripts/kill-api-fetch.sh` runs 100 kills of a 200-prompt fetch; without it there are 10 of 40.

mod common;

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use afd_api::{
    engine::fetch,
    ledger::{Ledger, Sample, State},
    money::Money,
    service::Service,
};
use afd_mock_api::{Dialect, Faults, MockServer, Options};
use common::{Place, change_adapter, contents, samples};

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn wanted(prompts: u64) -> Vec<Sample> {
    let prompts: Vec<String> = (0..prompts)
        .map(|number| format!("prompt {number}"))
        .collect();
    samples(&prompts.iter().map(String::as_str).collect::<Vec<_>>(), 1)
}

/// Not a test: the process that is killed. Its settings come in its environment.
#[test]
#[ignore = "the process that the other tests kill"]
fn client() {
    let Ok(folder) = env::var("AFD_KILL_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    let text = std::fs::read_to_string(folder.join("settings.json")).unwrap();
    let service = Service::new(
        &serde_json::from_str(&text).unwrap(),
        &folder.join("store"),
        folder,
    )
    .unwrap();
    fetch(
        &service,
        &wanted(number("AFD_KILL_WANTED", 0)),
        &|| false,
        &mut |_| {},
    )
    .unwrap();
}

fn start(place: &Place, prompts: u64) -> Child {
    std::fs::write(
        place.folder.path().join("settings.json"),
        serde_json::to_string(&place.settings).unwrap(),
    )
    .unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["client", "--exact", "--ignored"])
        .env("AFD_KILL_FOLDER", place.folder.path())
        .env("AFD_KILL_WANTED", prompts.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts the client again and again, and kills it a random time after a random number of its
/// requests (0 to 20). The moments so fall all over the fetch, on a slow machine as on a fast one.
/// Gives how many kills met it alive.
fn kill_again_and_again(
    server: &MockServer,
    place: &Place,
    prompts: u64,
    kills: u64,
    seed: u64,
) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut met = 0;
    for _ in 0..kills {
        let last = server.log().requests + random.usize(0..=20);
        let mut child = start(place, prompts);
        while server.log().requests < last && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        met += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    met
}

/// The files of a store but the ledger, whose times and order differ.
fn clips(place: &Place) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = contents(&place.store());
    files.retain(|(path, _)| path.as_os_str() != "submissions.jsonl");
    files
}

/// A store that nothing happened to.
fn undisturbed(
    dialect: Dialect,
    adapter: impl Fn(&mut Place),
    prompts: u64,
) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let server = MockServer::start(Options::new(dialect));
    let mut place = Place::new(&server, dialect);
    adapter(&mut place);
    place.fetch(&wanted(prompts));
    clips(&place)
}

fn faulty(dialect: Dialect) -> Options {
    Options {
        faults: Faults::all(0.02),
        latency_ms: 15,
        idempotency_key: true,
        ..Options::new(dialect)
    }
}

fn idempotent(place: &mut Place) {
    let header = "[handle]\nkind = \"repeat\"\nheader = \"Idempotency-Key\"";
    change_adapter(
        place.folder.path(),
        &place.settings.adapter,
        "[handle]\nkind = \"none\"",
        header,
    );
}

/// Kills, one run to the end, and the account.
fn survives(dialect: Dialect, adapter: impl Fn(&mut Place), seed: u64) {
    let (kills, prompts) = (number("AFD_KILLS", 10), number("AFD_PROMPTS", 40));
    let server = MockServer::start(faulty(dialect));
    let mut place = Place::new(&server, dialect);
    adapter(&mut place);
    // To the cent: paying anything twice would leave some clip unpaid.
    place.settings.budget = Money::parse("0.10").unwrap().times(prompts);
    let met = kill_again_and_again(&server, &place, prompts, kills, seed);
    let before = server.log().jobs.len();
    let fetch = place.fetch(&wanted(prompts));
    let log = server.log();
    println!(
        "{dialect:?}, {kills} kills ({met} met the client alive, {before} of {prompts} clips \
            submitted by then), seed {seed}: {} submissions, {} jobs, {} duplicates, {} repeated \
            handles, {} clips there, {} of {} spent",
        log.submissions,
        log.jobs.len(),
        log.duplicates(),
        log.repeated,
        fetch.progress.counts.there,
        fetch.progress.spent,
        place.settings.budget
    );
    assert_eq!(met, kills, "the fetch ended before the kills did");
    assert_eq!(log.duplicates(), 0);
    assert_eq!(log.jobs.len() as u64, prompts);
    assert_eq!(fetch.progress.counts.there as u64, prompts, "{fetch:?}");
    assert!(fetch.progress.spent <= place.settings.budget);
    drop(log);
    assert!(
        clips(&place) == undisturbed(dialect, adapter, prompts),
        "the store differs from an undisturbed one"
    );
}

#[test]
fn a_fetch_with_handles_to_ask_for_survives_kills() {
    survives(Dialect::Kling, |_| {}, 1);
}

#[test]
fn a_fetch_with_an_idempotency_header_survives_kills() {
    survives(Dialect::V1Videos, idempotent, 2);
}

#[test]
fn a_fetch_without_handles_pays_nothing_twice_and_says_what_it_does_not_know() {
    let (kills, prompts) = (number("AFD_KILLS", 10), number("AFD_PROMPTS", 40));
    let server = MockServer::start(faulty(Dialect::Fal));
    let mut place = Place::new(&server, Dialect::Fal);
    place.settings.budget = Money::parse("0.10").unwrap().times(prompts);
    let met = kill_again_and_again(&server, &place, prompts, kills, 3);
    let counts = place.fetch(&wanted(prompts)).progress.counts;
    let log = server.log();
    println!(
        "Fal, {kills} kills ({met} met the client alive), seed 3: {} submissions, {} jobs, {} \
            duplicates, {} clips there, {} unknown",
        log.submissions,
        log.jobs.len(),
        log.duplicates(),
        counts.there,
        counts.unknown
    );
    assert_eq!(log.duplicates(), 0);
    assert!(log.jobs.len() as u64 <= prompts);
    assert_eq!((counts.there + counts.unknown) as u64, prompts);
    drop(log);
    // The user decides; what is then submitted again may be there twice at the provider, and is
    // counted twice here.
    server.change(|options| options.faults = Faults::default());
    place.settings.budget = place.settings.budget.times(2);
    let mut ledger = Ledger::open(&place.store(), place.settings.budget).unwrap();
    ledger
        .release(&|state| *state == State::Unanswered)
        .unwrap();
    drop(ledger);
    assert_eq!(
        place.fetch(&wanted(prompts)).progress.counts.there as u64,
        prompts
    );
    assert!(clips(&place) == undisturbed(Dialect::Fal, |_| {}, prompts));
}

#[test]
fn a_budget_below_the_need_holds_under_kills_too() {
    let server = MockServer::start(Options {
        latency_ms: 5,
        ..Options::new(Dialect::Kling)
    });
    let mut place = Place::new(&server, Dialect::Kling);
    place.settings.budget = Money::parse("0.75").unwrap();
    kill_again_and_again(&server, &place, 20, 5, 4);
    let fetch = place.fetch(&wanted(20));
    assert_eq!(
        (server.log().jobs.len(), fetch.progress.counts.there),
        (7, 7),
        "{fetch:?}"
    );
}

//! Providers that answer nothing of use, or mean harm: what was certainly not accepted costs
//! nothing, little is lost before the fetch stops, paid jobs stay, and secrets stay secret.

mod common;

use std::{fs, sync::Arc, thread, time::Duration};

use afd_api::{
    engine::{Fetch, fetch},
    ledger::{End, FILE_NAME, Ledger, State, Submissions},
    money::Money,
};
use afd_clips::store::ClipStore;
use afd_mock_api::{Dialect, Hostile, MockServer, Options};
use common::{Place, contents, samples};

fn cents(count: u64) -> Money {
    Money::parse("0.10").unwrap().times(count)
}

fn start(dialect: Dialect, hostile: Hostile) -> (MockServer, Place) {
    let server = MockServer::start(Options {
        hostile: Some(hostile),
        ..Options::new(dialect)
    });
    let place = Place::new(&server, dialect);
    (server, place)
}

fn behave(server: &MockServer) {
    server.change(|options| {
        options.hostile = None;
        options.polls = 2;
    });
}

/// Fetches until the provider has accepted a job and was asked about it.
fn fetch_until_polled(server: &MockServer, place: &Place) -> Fetch {
    server.change(|options| options.polls = u32::MAX);
    let polled = || server.log().jobs.iter().any(|job| job.polls > 2);
    let fetch = fetch(&place.service(), &samples(&["a"], 1), &polled, &mut |_| {});
    fetch.unwrap()
}

fn ledger(place: &Place) -> String {
    fs::read_to_string(place.store().join(FILE_NAME)).unwrap()
}

#[test]
fn a_few_answers_that_say_nothing_stop_the_fetch_and_what_was_lost_can_be_given_back() {
    let wanted = samples(&["a", "b", "c"], 10);
    for hostile in [
        Hostile::Submissions(502),
        Hostile::Submissions(303),
        Hostile::Pages,
        Hostile::LongIds(3_000_000),
    ] {
        let (server, mut place) = start(Dialect::V1Videos, hostile.clone());
        let fetch = place.fetch(&wanted);
        let (counts, reason) = (fetch.progress.counts, fetch.halted.unwrap());
        assert!(
            reason.starts_with("5 submissions in a row") && reason.len() < 500,
            "{hostile:?}: {reason}"
        );
        assert_eq!(server.log().posts, 5, "{hostile:?}");
        assert_eq!((counts.unknown, counts.missing), (5, 25), "{hostile:?}");
        assert_eq!(fetch.progress.spent, cents(5));
        assert!(server.log().jobs.iter().all(|job| job.polls == 0));
        assert!(ledger(&place).len() < 5000);
        // A budget that is used up by lost answers is not simply to be raised.
        place.settings.budget = cents(5);
        let reason = place.fetch(&wanted).halted.unwrap();
        assert!(reason.contains("--again not-accepted"), "{reason}");
        place.settings.budget = cents(30);
        behave(&server);
        let mut ledger = Ledger::open(&place.store(), place.settings.budget).unwrap();
        assert_eq!(ledger.give_back().unwrap(), 5);
        drop(ledger);
        let fetch = place.fetch(&wanted);
        assert!(fetch.halted.is_none(), "{fetch:?}");
        assert_eq!(fetch.progress.counts.there, 30, "{hostile:?}");
    }
}

#[test]
fn a_redirect_is_no_acceptance() {
    for status in [301, 302, 307, 308] {
        for dialect in [Dialect::V1Videos, Dialect::Fal, Dialect::Kling] {
            let (server, place) = start(dialect, Hostile::Redirects(status));
            let fetch = place.fetch(&samples(&["a", "b"], 3));
            let reason = fetch.halted.unwrap();
            assert!(
                reason.contains("a redirect to /") && !reason.contains("S3CRET"),
                "{reason}"
            );
            assert_eq!(fetch.progress.spent, Money::ZERO);
            assert_eq!((server.log().posts, fetch.progress.counts.missing), (1, 6));
        }
    }
}

#[test]
fn what_was_certainly_not_sent_costs_nothing_and_the_fetch_says_so() {
    for dialect in [Dialect::Fal, Dialect::Kling] {
        let server = MockServer::start(Options::new(dialect));
        let mut place = Place::new(&server, dialect);
        // No TLS is spoken there.
        place.settings.base_url = Some(server.url().replace("http:", "https:"));
        let secure = place.fetch(&samples(&["a", "b"], 3));
        place.settings.base_url = Some(server.url());
        drop(server);
        for fetch in [secure, place.fetch(&samples(&["a", "b"], 3))] {
            let reason = fetch.halted.unwrap();
            assert!(
                reason.contains("12 times in a row") && reason.contains("nothing is spent"),
                "{reason}"
            );
            assert_eq!(fetch.progress.spent, Money::ZERO);
            assert_eq!(fetch.progress.counts.missing, 6);
        }
    }
}

#[test]
fn the_time_in_which_nobody_asked_is_not_counted() {
    let server = MockServer::start(Options::new(Dialect::V1Videos));
    let mut place = Place::new(&server, Dialect::V1Videos);
    place.settings.deadline_secs = 2;
    assert!(fetch_until_polled(&server, &place).stopped);
    // The deadline passes while nothing runs, and the first answers say nothing of the job.
    thread::sleep(Duration::from_millis(2500));
    server.change(|options| {
        options.hostile = Some(Hostile::Questions(503));
        options.polls = 2;
    });
    let before = server.log().requests;
    let fetch = thread::scope(|scope| {
        scope.spawn(|| {
            while server.log().requests < before + 4 {
                thread::sleep(Duration::from_millis(5));
            }
            behave(&server);
        });
        place.fetch(&samples(&["a"], 1))
    });
    assert_eq!(fetch.progress.counts.there, 1, "{fetch:?}");
}

#[test]
fn a_job_that_nobody_can_ask_about_stays() {
    let server = MockServer::start(Options::new(Dialect::Runway));
    let mut place = Place::new(&server, Dialect::Runway);
    fetch_until_polled(&server, &place);
    place.settings.deadline_secs = 1;
    for hostile in [
        Hostile::Questions(503),
        Hostile::Questions(402),
        Hostile::Pages,
    ] {
        server.change(|options| options.hostile = Some(hostile.clone()));
        let fetch = place.fetch(&samples(&["a"], 1));
        let reason = fetch.halted.as_ref().unwrap();
        assert!(reason.contains("under way"), "{hostile:?}: {reason}");
        assert_eq!(fetch.progress.counts.open, 1, "{hostile:?}: {fetch:?}");
    }
    behave(&server);
    assert_eq!(place.fetch(&samples(&["a"], 1)).progress.counts.there, 1);
    assert_eq!(server.log().jobs.len(), 1);
}

#[test]
fn the_time_of_asking_is_remembered_from_process_to_process() {
    let server = MockServer::start(Options::new(Dialect::Fal));
    let mut place = Place::new(&server, Dialect::Fal);
    place.settings.deadline_secs = 3;
    server.change(|options| options.polls = u32::MAX);
    let fetch_for = |millis: u64| {
        let begun = std::time::Instant::now();
        let stop = move || begun.elapsed() > Duration::from_millis(millis);
        fetch(&place.service(), &samples(&["a"], 1), &stop, &mut |_| {}).unwrap()
    };
    assert_eq!(fetch_for(2000).progress.counts.open, 1);
    let read = Submissions::read(&place.store()).unwrap();
    let waited = read.of_sample("a", 0).unwrap().waited;
    assert!((1..3).contains(&waited), "{waited}");
    let fetch = fetch_for(60_000);
    assert_eq!(fetch.progress.counts.overdue, 1, "{fetch:?}");
}

#[test]
fn a_state_that_the_adapter_does_not_know_is_named_and_the_job_stays() {
    let state = "CO\u{1b}[31mMPLETED";
    let (server, place) = start(Dialect::V1Videos, Hostile::State(state));
    server.change(|options| options.polls = u32::MAX);
    let fetch = place.fetch(&samples(&["a"], 1));
    let reason = fetch.halted.unwrap();
    assert!(
        reason.contains("MPLETED") && reason.contains("poll.states") && reason.contains("20 times"),
        "{reason}"
    );
    assert!(!reason.contains('\u{1b}'));
    assert_eq!(
        (fetch.progress.counts.open, server.log().jobs.len()),
        (1, 1)
    );
    behave(&server);
    assert_eq!(place.fetch(&samples(&["a"], 1)).progress.counts.there, 1);
}

#[test]
fn one_job_for_several_samples_is_noticed_and_stored_once() {
    for dialect in [Dialect::V1Videos, Dialect::Kling] {
        let (server, place) = start(dialect, Hostile::OneJob);
        let fetch = place.fetch(&samples(&["a", "b"], 3));
        let reason = fetch.halted.unwrap();
        assert!(reason.contains("the same job, \"job\""), "{reason}");
        assert_eq!(fetch.progress.counts.there, 1);
        assert_eq!(ClipStore::list(&place.store()).unwrap().len(), 1);
        assert!(server.log().posts <= 5, "{}", server.log().posts);
    }
}

#[test]
fn one_clip_for_several_samples_is_noticed_and_stored_once() {
    let server = MockServer::start(Options::new(Dialect::Fal));
    let clip = (Options::new(Dialect::Fal).maker)("x", 0);
    server.change(|options| options.maker = Arc::new(move |_, _| clip.clone()));
    let place = Place::new(&server, Dialect::Fal);
    let fetch = place.fetch(&samples(&["a", "b"], 5));
    let reason = fetch.halted.unwrap();
    assert!(reason.contains("byte for byte"), "{reason}");
    assert_eq!(fetch.progress.counts.there, 1);
    assert!(server.log().jobs.len() <= 8, "{}", server.log().jobs.len());
}

#[test]
fn keys_and_tokens_that_a_provider_sends_back_are_not_stored_and_do_not_hinder() {
    for (dialect, hostile) in [
        (Dialect::V1Videos, Hostile::Echo),
        (Dialect::Kling, Hostile::Echo),
        (Dialect::Fal, Hostile::Tokens),
        (Dialect::Fal, Hostile::OtherHost),
    ] {
        let (server, place) = start(dialect, hostile.clone());
        assert!(fetch_until_polled(&server, &place).stopped, "{hostile:?}");
        let text = ledger(&place);
        for secret in ["canary", "1234567890", "S3CRET", "elsewhere"] {
            assert!(!text.contains(secret), "{hostile:?}: {secret} in {text}");
        }
        // Another process finds the job all the same.
        server.change(|options| options.polls = 2);
        let fetch = place.fetch(&samples(&["a", "b"], 1));
        assert_eq!(fetch.progress.counts.there, 2, "{hostile:?}: {fetch:?}");
        for (path, bytes) in contents(&place.store()) {
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains("1234567890") && !text.contains("S3CRET"),
                "{hostile:?}: {}",
                path.display()
            );
        }
    }
}

#[test]
fn what_a_terminal_obeys_is_not_stored() {
    let (_server, place) = start(Dialect::V1Videos, Hostile::Escapes);
    place.fetch(&samples(&["a"], 1));
    let read = Submissions::read(&place.store()).unwrap();
    let State::Ended(End::Refused, reason) = &read.of_sample("a", 0).unwrap().state else {
        panic!("{read:?}");
    };
    assert!(reason.contains("U+202E"), "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}

#[test]
fn clips_are_not_fetched_from_where_they_have_no_business_and_the_job_stays() {
    for address in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/clip",
        "http://example.invalid/clip",
        "file:///etc/passwd",
    ] {
        let hostile = Hostile::ClipsAt(address.to_string());
        let (server, place) = start(Dialect::V1Videos, hostile);
        let fetch = place.fetch(&samples(&["a"], 1));
        let reason = fetch.halted.unwrap();
        assert!(reason.contains("the clip is at"), "{reason}");
        assert_eq!(fetch.progress.counts.open, 1);
        behave(&server);
        assert_eq!(place.fetch(&samples(&["a"], 1)).progress.counts.there, 1);
    }
}

#[test]
fn a_redirect_to_another_server_of_this_machine_gets_no_key() {
    let other = MockServer::start(Options::new(Dialect::V1Videos));
    let address = format!("{}/v1/videos/job-0/content", other.url());
    let (_server, place) = start(Dialect::V1Videos, Hostile::ClipsAt(address));
    let fetch = place.fetch(&samples(&["a"], 1));
    assert_eq!(fetch.progress.counts.there, 0);
    let log = other.log();
    assert!(log.requests > 0 && log.unauthorised == log.requests);
}

//! Every shipped adapter against a server that speaks its provider's shape.

mod common;

use std::{fs, sync::Arc, time::Instant};

use afd_api::{
    ledger::{End, State, Submissions},
    money::Money,
    survey::Survey,
};
use afd_clips::{
    store::ClipStore,
    teacher::{Teacher, folder::FolderTeacher},
    video::Video,
    video_io::{VideoError, write_video},
};
use afd_mock_api::{Dialect, Faults, MockServer, Options};
use common::{Place, change_adapter, contents, samples};

#[test]
fn every_adapter_fetches_clips_refusals_and_failures() {
    for dialect in Dialect::ALL {
        let server = MockServer::start(Options::new(dialect));
        let place = Place::new(&server, dialect);
        // A server that never accepted anything may be refusing the request, not the prompt.
        place.fetch(&samples(&["first"], 1));
        let wanted = samples(
            &[
                "first",
                "a {model} \"b\" \u{e9}\n",
                "forbidden",
                "unsafe",
                "broken",
                "flaky",
            ],
            2,
        );
        let fetch = place.fetch(&wanted);
        let (counts, log) = (fetch.progress.counts, server.log());
        assert!(fetch.halted.is_none(), "{dialect:?}: {fetch:?}");
        assert_eq!(
            (counts.there, counts.refused, counts.failed, counts.missing),
            (6, 4, 2, 0),
            "{dialect:?}: {fetch:?}"
        );
        assert_eq!(
            (log.duplicates(), log.leaks, log.unauthorised),
            (0, 0, 0),
            "{dialect:?}"
        );
        assert!(
            (2..=4).contains(&log.most_open),
            "{dialect:?}: {} at once",
            log.most_open
        );
        assert_eq!(log.refused, 2);
        // 2 + 2 clips, 2 unsafe, 2 broken, 2 x 2 flaky; what was refused when submitted costs
        // nothing.
        assert_eq!(log.jobs.len(), 12);
        assert_eq!(fetch.progress.spent, Money::parse("1.20").unwrap());
        drop(log);
        // A refusal is never repeated, and what is there is not asked for again.
        let submissions = server.log().submissions;
        assert_eq!(place.fetch(&wanted).progress.counts, counts);
        assert_eq!(server.log().submissions, submissions);
        // Clips are those of the prompts and seeds, and the store is a folder teacher.
        let teacher = FolderTeacher::open(&place.store()).unwrap();
        assert_eq!(teacher.clip_count("first"), 2);
        let videos = teacher.videos("first", 0..2).unwrap();
        assert_ne!(videos[0], videos[1]);
        let reason = |prompt: &str| match &Submissions::read(&place.store())
            .unwrap()
            .of_sample(prompt, 0)
            .unwrap()
            .state
        {
            State::Ended(end, reason) => (*end, reason.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason("unsafe").0, End::Refused, "{dialect:?}");
        assert_eq!(reason("broken").0, End::Failed, "{dialect:?}");
        assert!(
            reason("forbidden").1.starts_with("HTTP "),
            "{dialect:?}: {:?}",
            reason("forbidden")
        );
    }
}

#[test]
fn every_adapter_comes_through_faults_without_paying_twice() {
    let prompts: Vec<String> = (0..12).map(|number| format!("prompt {number}")).collect();
    let names: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let wanted = samples(&names, 1);
    for dialect in Dialect::ALL {
        let server = MockServer::start(Options {
            faults: Faults::all(0.04),
            ..Options::new(dialect)
        });
        let place = Place::new(&server, dialect);
        let fetch = place.fetch(&wanted);
        let (counts, log) = (fetch.progress.counts, server.log());
        assert_eq!((log.duplicates(), log.leaks), (0, 0), "{dialect:?}");
        assert!(fetch.halted.is_none(), "{dialect:?}: {fetch:?}");
        // What is not there is a submission whose answer was lost, at a provider that cannot be
        // asked about it.
        assert_eq!(counts.there + counts.unknown, 12, "{dialect:?}: {fetch:?}");
        if dialect == Dialect::Kling {
            assert_eq!(counts.there, 12, "{fetch:?}");
        }
        assert!(
            fetch.progress.spent >= Money::parse("0.10").unwrap().times(log.jobs.len() as u64),
            "{dialect:?}: {fetch:?}"
        );
    }
}

#[test]
fn clips_are_the_same_with_and_without_faults() {
    let wanted = samples(&["a", "b", "c", "d", "e", "f"], 2);
    let stores = [0.0, 0.08].map(|share| {
        let server = MockServer::start(Options {
            faults: Faults::all(share),
            ..Options::new(Dialect::Kling)
        });
        let place = Place::new(&server, Dialect::Kling);
        assert_eq!(place.fetch(&wanted).progress.counts.there, 12);
        let mut files = contents(&place.store());
        files.retain(|(path, _)| path.as_os_str() != "submissions.jsonl");
        files
    });
    assert_eq!(stores[0].len(), 12 + 3);
    assert!(stores[0] == stores[1]);
}

#[test]
fn a_lost_answer_is_found_by_handle_repeated_by_header_or_left_to_the_user() {
    let lost = Faults {
        drop_answer: 0.5,
        ..Faults::default()
    };
    let wanted = samples(&["a", "b", "c", "d", "e", "f", "g", "h"], 1);
    // By asking for the handle.
    let server = MockServer::start(Options {
        faults: lost,
        ..Options::new(Dialect::Kling)
    });
    assert_eq!(
        Place::new(&server, Dialect::Kling)
            .fetch(&wanted)
            .progress
            .counts
            .there,
        8
    );
    let log = server.log();
    assert_eq!((log.jobs.len(), log.duplicates()), (8, 0));
    drop(log);

    // By a header that the server honours.
    let server = MockServer::start(Options {
        faults: lost,
        idempotency_key: true,
        ..Options::new(Dialect::V1Videos)
    });
    let place = Place::new(&server, Dialect::V1Videos);
    let header = "[handle]\nkind = \"repeat\"\nheader = \"Idempotency-Key\"";
    change_adapter(
        place.folder.path(),
        &place.settings.adapter,
        "[handle]\nkind = \"none\"",
        header,
    );
    assert_eq!(place.fetch(&wanted).progress.counts.there, 8);
    let log = server.log();
    assert!(
        log.jobs.len() == 8 && log.duplicates() == 0 && log.repeated > 0,
        "{} jobs, {} repeated",
        log.jobs.len(),
        log.repeated
    );
    drop(log);

    // By nobody: it counts as spent, is not sent again, and the user may release it.
    let server = MockServer::start(Options {
        faults: lost,
        ..Options::new(Dialect::V1Videos)
    });
    let place = Place::new(&server, Dialect::V1Videos);
    // Several lost in a row end a fetch early.
    let mut first = place.fetch(&wanted).progress;
    while first.counts.missing > 0 {
        first = place.fetch(&wanted).progress;
    }
    assert!(
        first.counts.unknown > 0 && first.counts.there + first.counts.unknown == 8,
        "{first:?}"
    );
    assert_eq!(first.spent, Money::parse("0.80").unwrap());
    server.change(|options| options.faults = Faults::default());
    let submissions = server.log().submissions;
    assert_eq!(place.fetch(&wanted).progress.counts, first.counts);
    assert_eq!(server.log().submissions, submissions);
    let mut ledger = afd_api::ledger::Ledger::open(&place.store(), place.settings.budget).unwrap();
    assert_eq!(
        ledger
            .release(&|state| *state == State::Unanswered)
            .unwrap(),
        first.counts.unknown
    );
    drop(ledger);
    let second = place.fetch(&wanted).progress;
    assert_eq!(second.counts.there, 8);
    assert_eq!(
        second.spent,
        Money::parse("0.10")
            .unwrap()
            .times(8 + first.counts.unknown as u64)
    );
}

#[test]
fn the_budget_is_kept_and_raising_it_goes_on() {
    let server = MockServer::start(Options {
        faults: Faults {
            busy: 0.2,
            ..Faults::default()
        },
        ..Options::new(Dialect::Runway)
    });
    let mut place = Place::new(&server, Dialect::Runway);
    let wanted = samples(&["a", "b", "c", "d", "e", "f", "g"], 1);
    place.settings.budget = Money::parse("0.35").unwrap();
    let fetch = place.fetch(&wanted);
    assert_eq!(
        (fetch.progress.counts.there, fetch.progress.counts.missing),
        (3, 4),
        "{fetch:?}"
    );
    assert!(fetch.halted.unwrap().contains("teacher.api.budget"));
    assert_eq!(server.log().jobs.len(), 3);
    place.settings.budget = Money::parse("0.70").unwrap();
    assert_eq!(place.fetch(&wanted).progress.counts.there, 7);
    assert_eq!(server.log().jobs.len(), 7);
}

#[test]
fn a_wrong_key_stops_at_once_costs_nothing_and_is_never_quoted() {
    for dialect in Dialect::ALL {
        let server = MockServer::start(Options::new(dialect));
        let place = Place::new(&server, dialect);
        fs::write(place.folder.path().join("key"), "wrong:0987654321").unwrap();
        let fetch = place.fetch(&samples(&["a", "b", "c"], 1));
        let reason = fetch.halted.unwrap();
        assert!(
            reason.contains("401") && !reason.contains("0987654321"),
            "{dialect:?}: {reason}"
        );
        assert_eq!(fetch.progress.spent, Money::ZERO);
        assert!(server.log().unauthorised <= 4, "one try each");
        for (path, bytes) in contents(&place.store()) {
            assert!(
                !String::from_utf8_lossy(&bytes).contains("0987654321"),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_job_that_is_never_done_is_given_up_at_its_deadline() {
    let server = MockServer::start(Options::new(Dialect::Fal));
    let mut place = Place::new(&server, Dialect::Fal);
    place.settings.deadline_secs = 2;
    let fetch = place.fetch(&samples(&["a", "endless"], 1));
    assert_eq!(
        (fetch.progress.counts.there, fetch.progress.counts.overdue),
        (1, 1),
        "{fetch:?}"
    );
    // Given up is given up: another fetch neither waits nor pays again.
    let polls = server.log().jobs.iter().map(|job| job.polls).sum::<u32>();
    assert_eq!(
        place.fetch(&samples(&["a", "endless"], 1)).progress.counts,
        fetch.progress.counts
    );
    assert_eq!(
        server.log().jobs.iter().map(|job| job.polls).sum::<u32>(),
        polls
    );
}

#[test]
fn retry_after_is_waited_for() {
    let faults = Faults {
        busy_date: 1.0,
        ..Faults::default()
    };
    let server = MockServer::start(Options {
        faults,
        ..Options::new(Dialect::Kling)
    });
    let place = Place::new(&server, Dialect::Kling);
    let service = place.service();
    let begun = Instant::now();
    let stop = move || begun.elapsed().as_secs() >= 3;
    let fetch = afd_api::engine::fetch(&service, &samples(&["a"], 1), &stop, &mut |_| {}).unwrap();
    assert!(
        fetch.stopped && fetch.progress.counts.missing == 1 && fetch.progress.spent == Money::ZERO,
        "{fetch:?}"
    );
    // A date a second ahead is up to a second away; with waits of 0.05 seconds there would be
    // dozens.
    assert_eq!(server.log().submissions, 0);
    server.change(|options| options.faults = Faults::default());
    assert_eq!(place.fetch(&samples(&["a"], 1)).progress.counts.there, 1);
}

#[test]
fn clips_that_never_become_whole_are_failures_and_leave_nothing() {
    let server = MockServer::start(Options {
        faults: Faults {
            corrupt: 1.0,
            ..Faults::default()
        },
        ..Options::new(Dialect::DashScope)
    });
    let place = Place::new(&server, Dialect::DashScope);
    let fetch = place.fetch(&samples(&["a"], 1));
    assert_eq!(fetch.progress.counts.failed, 1, "{fetch:?}");
    assert_eq!(
        fs::read_dir(place.store().join("clips")).unwrap().count(),
        0
    );
    let survey = Survey::of(&place.service(), &samples(&["a"], 1)).unwrap();
    let reason = survey.troubles[0].1.unavailable().unwrap().to_string();
    assert!(
        reason.contains("downloads") && !reason.contains("S3CRET"),
        "{reason}"
    );
}

#[test]
fn mp4_clips_come_through_truncation_and_damage_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let frames = (0..12).map(|frame| vec![frame * 20; 16 * 16 * 3]).collect();
    let video = Video {
        width: 16,
        height: 16,
        frames_per_second: 12.0,
        frames,
    };
    if let Err(error @ VideoError::FfmpegMissing { .. }) = write_video(&path, &video) {
        println!("skipped: {error}");
        return;
    }
    let bytes = fs::read(&path).unwrap();
    // A box that players skip tells clips apart.
    let mark = |bytes: &[u8], prompt: &str, seed: u64| {
        let mark = blake3::hash(format!("{prompt} {seed}").as_bytes());
        [bytes, &[0, 0, 0, 40], b"free", mark.as_bytes()].concat()
    };
    let (made, faults) = (
        bytes.clone(),
        Faults {
            // A clip is given up after eight bad downloads in a row: 1 in 65,536.
            truncated: 0.15,
            corrupt: 0.1,
            ..Faults::default()
        },
    );
    let server = MockServer::start(Options {
        faults,
        maker: Arc::new(move |prompt, seed| mark(&made, prompt, seed)),
        ..Options::new(Dialect::Runway)
    });
    let place = Place::new(&server, Dialect::Runway);
    let wanted = samples(&["a", "b"], 5);
    let fetch = place.fetch(&wanted);
    let survey = Survey::of(&place.service(), &wanted).unwrap();
    assert_eq!(
        fetch.progress.counts.there, 10,
        "{fetch:?} {:?}",
        survey.troubles
    );
    for record in ClipStore::list(&place.store()).unwrap().values() {
        assert!(
            record.video.ends_with(".mp4")
                && fs::read(place.store().join(&record.video))
                    .unwrap()
                    .starts_with(&bytes)
        );
        assert_eq!(
            (
                record.width,
                record.height,
                record.frames,
                record.frames_per_second
            ),
            (16, 16, 12, 12.0)
        );
    }
}

#[test]
fn a_provider_that_rejects_everything_stops_the_fetch_and_refuses_no_prompt() {
    let server = MockServer::start(Options::new(Dialect::Runway));
    let place = Place::new(&server, Dialect::Runway);
    let fetch = place.fetch(&samples(&["forbidden"], 1));
    assert!(fetch.halted.unwrap().contains("check model and parameters"));
    assert_eq!(
        (fetch.progress.counts.missing, fetch.progress.spent),
        (1, Money::ZERO)
    );
}

#[test]
fn a_store_of_other_parameters_is_refused() {
    let server = MockServer::start(Options::new(Dialect::Kling));
    let mut place = Place::new(&server, Dialect::Kling);
    place.fetch(&samples(&["a"], 1));
    place
        .settings
        .parameters
        .insert("mode".to_string(), "pro".into());
    let error = afd_api::engine::fetch(
        &place.service(),
        &samples(&["a"], 1),
        &|| false,
        &mut |_| {},
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("\"mode\":\"pro\"") && error.contains("another directory"),
        "{error}"
    );
    assert!(Survey::of(&place.service(), &[]).is_err());
    assert_eq!(ClipStore::list(&place.store()).unwrap().len(), 1);
}

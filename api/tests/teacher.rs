//! An API as a teacher: live and replayed, ahead of need and within its cap.

mod common;

use std::{fs, thread, time::Duration};

use afd_api::{survey::Survey, teacher::ApiTeacher};
use afd_clips::{
    store::ClipStore,
    teacher::{Teacher, TeacherError},
    video::Video,
};
use afd_mock_api::{Dialect, MockServer, Options};
use common::{Place, samples};

fn open(place: &Place, announced: &[(&str, std::ops::Range<u64>)]) -> ApiTeacher {
    let announced: Vec<_> = announced
        .iter()
        .map(|(prompt, samples)| (prompt.to_string(), samples.clone()))
        .collect();
    ApiTeacher::open(&place.service(), &announced, || false).unwrap()
}

fn live(dialect: Dialect) -> (MockServer, Place) {
    let server = MockServer::start(Options::new(dialect));
    let mut place = Place::new(&server, dialect);
    place.settings.live = true;
    place.settings.refused_share = 1.0;
    (server, place)
}

#[test]
fn a_live_teacher_asks_ahead_of_need_and_no_further() {
    let (server, mut place) = live(Dialect::Kling);
    place.settings.ahead = 2;
    let teacher = open(&place, &[("a", 0..10)]);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(
        server.log().jobs.len(),
        0,
        "nothing is asked for before somebody says that it will be needed"
    );
    teacher.expect(samples(&["a"], 10));
    let jobs_settle = |expected: usize| {
        for _ in 0..500 {
            if server.log().jobs.len() >= expected {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Long enough for one too many.
        thread::sleep(Duration::from_millis(150));
        assert_eq!(server.log().jobs.len(), expected);
    };
    jobs_settle(2);
    teacher.videos("a", 0..1).unwrap();
    jobs_settle(3);
    teacher.videos("a", 4..5).unwrap();
    jobs_settle(7);
}

#[test]
fn a_sample_that_will_not_come_is_replaced_by_the_next_that_does_live_and_replayed() {
    let (server, mut place) = live(Dialect::Fal);
    let all = |teacher: &ApiTeacher| -> Vec<Video> {
        (0..8)
            .flat_map(|sample| teacher.videos("picky", sample..sample + 1).unwrap())
            .collect()
    };
    let teacher = open(&place, &[("picky", 0..8), ("unsafe", 0..2), ("a", 0..1)]);
    // In no order: what answers for a sample does not depend on it.
    let third = teacher.videos("picky", 3..4).unwrap();
    let first = all(&teacher);
    assert_eq!(first[3], third[0]);
    assert!(teacher.refuses("unsafe").unwrap() && !teacher.refuses("picky").unwrap());
    let error = teacher.videos("unsafe", 0..1).unwrap_err();
    assert!(
        matches!(&error, TeacherError::Prompt { .. }) && error.to_string().contains("2 samples"),
        "{error}"
    );
    drop(teacher);
    let wanted = samples(&["picky"], 8);
    let survey = Survey::of(&place.service(), &wanted).unwrap();
    assert!(
        survey.counts.there > 0 && survey.counts.refused > 0,
        "{:?}",
        survey.counts
    );
    let there: Vec<u64> = (0..8)
        .filter(|sample| survey.clips.contains_key(&("picky".to_string(), *sample)))
        .collect();
    for sample in 0..8 {
        let expected = there
            .iter()
            .find(|there| **there >= sample)
            .unwrap_or(&there[0]);
        assert_eq!(first[sample as usize], first[*expected as usize]);
    }
    place.settings.live = false;
    let submissions = server.log().submissions;
    assert!(all(&open(&place, &[("picky", 0..8)])) == first);
    assert_eq!(server.log().submissions, submissions);
}

#[test]
fn too_much_that_will_not_come_is_an_error() {
    let (_server, mut place) = live(Dialect::Fal);
    place.settings.refused_share = 0.1;
    let error = open(&place, &[("picky", 0..8)])
        .videos("picky", 0..8)
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused_share = 0.1"), "{error}");
}

#[test]
fn a_replay_says_what_it_lacks_and_notices_what_was_changed() {
    let (_server, mut place) = live(Dialect::Kling);
    open(&place, &[("a", 0..1)]).videos("a", 0..1).unwrap();
    place.settings.live = false;
    let teacher = open(&place, &[("a", 0..2)]);
    let error = teacher.videos("a", 1..2).unwrap_err().to_string();
    assert!(
        error.contains("sample 1 of \"a\"") && error.contains("afd teacher fetch"),
        "{error}"
    );
    let record = ClipStore::list(&place.store())
        .unwrap()
        .into_values()
        .next()
        .unwrap();
    let path = place.store().join(&record.video);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = teacher.videos("a", 0..1).unwrap_err().to_string();
    assert!(
        error.contains(&record.video) && error.contains("BLAKE3"),
        "{error}"
    );
}

#[test]
fn a_live_teacher_locks_its_store_and_stops_when_asked() {
    let (_server, place) = live(Dialect::Fal);
    let teacher = open(&place, &[("endless", 0..1)]);
    let announced = [("endless".to_string(), 0..1)];
    let error = ApiTeacher::open(&place.service(), &announced, || true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(teacher);
    let teacher = ApiTeacher::open(&place.service(), &announced, || true).unwrap();
    assert!(matches!(
        teacher.videos("endless", 0..1),
        Err(TeacherError::Stopped)
    ));
}

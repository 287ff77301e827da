use super::*;

const CENT: Money = Money { micros: 10_000 };

fn sample(prompt: &str) -> Sample {
    (prompt.to_string(), 3)
}

fn job(id: &str) -> Job {
    Job {
        id: id.to_string(),
        poll: None,
        result: None,
    }
}

#[test]
fn a_ledger_read_again_after_any_line_says_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), CENT.times(10)).unwrap();
    let check = |ledger: &Ledger| {
        let read = Submissions::read(folder.path()).unwrap();
        assert!(read.latest().eq(ledger.submissions().latest()));
        assert_eq!(read.spent(), ledger.submissions().spent());
    };
    ledger.reserve(&sample("a"), 0, "a0", CENT).unwrap();
    check(&ledger);
    assert_eq!(
        ledger.submissions().of_sample("a", 3).unwrap().state,
        State::Unanswered
    );
    ledger.accepted("a0", &job("1"), &job("1")).unwrap();
    check(&ledger);
    assert_eq!(
        ledger.submissions().of_sample("a", 3).unwrap().state,
        State::Open(job("1"))
    );
    ledger.ended("a0", End::FailedRetry, "busy", false).unwrap();
    ledger.reserve(&sample("a"), 1, "a1", CENT).unwrap();
    check(&ledger);
    assert_eq!(ledger.submissions().of_sample("a", 3).unwrap().attempt, 1);
    // The end of an earlier attempt says nothing of the later one.
    ledger.ended("a0", End::Failed, "late", false).unwrap();
    assert_eq!(
        ledger.submissions().of_sample("a", 3).unwrap().state,
        State::Unanswered
    );
    ledger.unsent("a1").unwrap();
    check(&ledger);
    assert_eq!(ledger.submissions().spent(), CENT);
    // The attempt before counts again, so that the next one gets a handle of its own.
    assert_eq!(ledger.submissions().of_sample("a", 3).unwrap().attempt, 0);
}

#[test]
fn the_budget_is_never_exceeded_and_what_was_not_accepted_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), CENT.times(2)).unwrap();
    ledger.reserve(&sample("a"), 0, "a0", CENT).unwrap();
    ledger.reserve(&sample("b"), 0, "b0", CENT).unwrap();
    let message = ledger
        .reserve(&sample("c"), 0, "c0", Money { micros: 1 })
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("0.02") && message.contains("budget"),
        "{message}"
    );
    ledger.unsent("b0").unwrap();
    assert!(
        ledger
            .reserve(&sample("c"), 0, "c0", CENT.times(2))
            .is_err()
    );
    ledger.reserve(&sample("c"), 0, "c0", CENT).unwrap();
    // A free clip fits into a full budget.
    ledger.reserve(&sample("d"), 0, "d0", Money::ZERO).unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path(), CENT).unwrap();
    assert_eq!(ledger.submissions().spent(), CENT.times(2));
}

#[test]
fn released_samples_stay_paid_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), CENT.times(9)).unwrap();
    for name in ["a", "b", "c"] {
        ledger.reserve(&sample(name), 0, name, CENT).unwrap();
    }
    ledger.accepted("b", &job("1"), &job("1")).unwrap();
    ledger.ended("c", End::Refused, "no", true).unwrap();
    assert_eq!(
        ledger
            .release(&|state| *state == State::Unanswered)
            .unwrap(),
        1
    );
    assert_eq!(
        ledger.submissions().of_sample("a", 3).unwrap().state,
        State::Released
    );
    // The refusal cost nothing; the rest may have.
    assert_eq!(ledger.submissions().spent(), CENT.times(2));
    assert_eq!(
        Submissions::read(folder.path()).unwrap().spent(),
        CENT.times(2)
    );
}

#[test]
fn what_was_lost_can_be_given_back_also_after_it_was_released() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), CENT.times(9)).unwrap();
    for name in ["a", "b", "c"] {
        ledger.reserve(&sample(name), 0, name, CENT).unwrap();
    }
    ledger.accepted("b", &job("1"), &job("1")).unwrap();
    ledger
        .release(&|state| *state == State::Unanswered)
        .unwrap();
    ledger.reserve(&sample("a"), 1, "a1", CENT).unwrap();
    let hint = way_out(CENT.times(2));
    assert!(
        hint.contains("0.02") && hint.contains("--again not-accepted"),
        "{hint}"
    );
    // Both of a and the one of c; that of b is a job.
    assert_eq!(ledger.give_back().unwrap(), 3);
    assert_eq!(ledger.submissions().spent(), CENT);
    let read = Submissions::read(folder.path()).unwrap();
    assert_eq!(read.spent(), CENT);
    assert!(read.of_sample("a", 3).is_none() && read.of_sample("b", 3).is_some());
}

#[test]
fn what_stays_in_memory_and_how_long_was_asked_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), CENT).unwrap();
    ledger.reserve(&sample("a"), 0, "a", CENT).unwrap();
    ledger
        .accepted("a", &job("1-S3CRET"), &job("1-[key 0]"))
        .unwrap();
    ledger.waited("a", 90).unwrap();
    let of = |submissions: &Submissions| {
        let latest = submissions.of_sample("a", 3).unwrap();
        (latest.state.clone(), latest.waited)
    };
    assert_eq!(of(ledger.submissions()), (State::Open(job("1-S3CRET")), 90));
    assert!(
        ledger
            .submissions()
            .other_of_job("1-[key 0]", &sample("b"))
            .is_some()
    );
    drop(ledger);
    let read = Submissions::read(folder.path()).unwrap();
    assert_eq!(of(&read), (State::Open(job("1-[key 0]")), 90));
}

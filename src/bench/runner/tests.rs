use super::*;
use std::os::unix::process::ExitStatusExt;

/// As wait(2) reports it: the signal, or the status times 256.
fn ended_as(raw: i32) -> Ended {
    ended(ExitStatus::from_raw(raw), false, Path::new("no such log"))
}

#[test]
fn a_run_that_a_signal_stopped_has_not_failed() {
    assert!(matches!(ended_as(0), Ended::Well));
    for raw in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, 75 << 8, 130 << 8] {
        assert!(matches!(ended_as(raw), Ended::Stopped), "{raw}");
    }
    // A crash and a kill for memory have.
    for raw in [1 << 8, 101 << 8, 9, 11] {
        assert!(matches!(ended_as(raw), Ended::Badly(_)), "{raw}");
    }
}

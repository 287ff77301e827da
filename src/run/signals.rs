//! Ending a run on request: the first signal asks for a checkpoint at the next step, a second
//! Ctrl-C leaves at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::ExitStatus;

/// The exit status of a run that a signal stopped after its state was saved: EX_TEMPFAIL, "try
/// again".
pub const STOPPED: u8 = 75;

/// The exit status of a process that ended at a second Ctrl-C: 128 + SIGINT, as shells report it.
pub const INTERRUPTED_STATUS: i32 = 130;

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The system did not accept a signal handler.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not install the signal handlers ({0}); without them Ctrl-C would lose the steps since \
        the last checkpoint"
)]
pub struct SignalError(io::Error);

impl ExitStatus for SignalError {}

/// Installs the handlers for SIGINT (Ctrl-C), SIGTERM and, on Unix, SIGUSR1 (what Slurm sends ahead
/// of a time limit).
///
/// Each sets what [`stop_requested`] returns. A second SIGINT ends the process at once with status
/// 130, which is safe for the files of a run: they are complete or absent. Calling this again
/// changes nothing.
pub fn install() -> Result<(), SignalError> {
    let mut first = false;
    let stop = STOP.get_or_init(|| {
        first = true;
        Arc::new(AtomicBool::new(false))
    });
    if first {
        register(stop).map_err(SignalError)
    } else {
        Ok(())
    }
}

/// Whether a signal has asked this process to save and stop; always false before [`install`].
pub fn stop_requested() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::SeqCst))
}

fn register(stop: &Arc<AtomicBool>) -> io::Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // Handlers run in the order they were registered: the first Ctrl-C must not see its own mark.
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED_STATUS, Arc::clone(&interrupted))?;
    flag::register(SIGINT, interrupted)?;
    flag::register(SIGINT, Arc::clone(stop))?;
    flag::register(SIGTERM, Arc::clone(stop))?;
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGUSR1, Arc::clone(stop))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ROLE: &str = "AFD_TEST_RAISE";

    /// Runs this very test again in a child process, which raises `signals`; returns the child's
    /// exit status.
    fn status_after(test: &str, signals: &[i32]) -> Option<i32> {
        let module = module_path!()
            .split_once("::")
            .map_or("", |(_, module)| module);
        let list: Vec<_> = signals.iter().map(i32::to_string).collect();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", &format!("{module}::{test}")])
            .env(ROLE, list.join(","));
        child.output().unwrap().status.code()
    }

    /// In the child: raises the signals and exits with 42 if a stop was requested, and only then.
    fn play_child() {
        let Ok(list) = std::env::var(ROLE) else {
            return;
        };
        install().unwrap();
        install().unwrap();
        assert!(!stop_requested());
        for signal in list.split(',') {
            signal_hook::low_level::raise(signal.parse().unwrap()).unwrap();
        }
        std::process::exit(if stop_requested() { 42 } else { 43 });
    }

    #[test]
    fn the_first_signal_requests_a_stop_and_the_process_goes_on() {
        play_child();
        let name = "the_first_signal_requests_a_stop_and_the_process_goes_on";
        assert_eq!(status_after(name, &[SIGINT]), Some(42));
        assert_eq!(status_after(name, &[SIGTERM, SIGTERM]), Some(42));
        assert_eq!(status_after(name, &[SIGTERM, SIGINT]), Some(42));
        #[cfg(unix)]
        assert_eq!(
            status_after(name, &[signal_hook::consts::SIGUSR1]),
            Some(42)
        );
    }

    #[test]
    fn a_second_interrupt_leaves_at_once() {
        play_child();
        assert_eq!(
            status_after("a_second_interrupt_leaves_at_once", &[SIGINT, SIGINT]),
            Some(INTERRUPTED_STATUS)
        );
    }
}

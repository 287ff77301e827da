//! Ending a run on request: the first signal asks for a checkpoint at the next step, a second
//! Ctrl-C leaves at once. A terminal or connection that is gone (SIGHUP) asks as SIGTERM does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::ExitStatus;

/// The exit status of a run that a signal stopped after its state was saved: EX_TEMPFAIL, "try
/// again".
pub const STOPPED: u8 = 75;

/// The exit status of a process that ended at a second Ctrl-C: 128 + SIGINT, as shells report it.
pub const INTERRUPTED_STATUS: i32 = 130;

/// What the handlers set and read.
#[derive(Debug, Default)]
struct Flags {
    /// A signal has asked for a stop.
    stop: Arc<AtomicBool>,
    /// There is nothing to save: a signal ends the process with [`STOPPED`] at once.
    at_once: Arc<AtomicBool>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// The system did not accept a signal handler.
#[derive(Debug, thiserror::Error)]
#[error(
    "could not install the signal handlers ({0}); without them Ctrl-C would lose the steps since \
        the last checkpoint"
)]
pub struct SignalError(io::Error);

impl ExitStatus for SignalError {}

/// Installs the handlers for SIGINT (Ctrl-C), SIGTERM and, on Unix, SIGHUP (the terminal or the
/// connection is gone; left alone under nohup) and SIGUSR1 (what Slurm sends ahead of a time
/// limit).
///
/// Each sets what [`stop_requested`] returns. A second SIGINT ends the process at once with status
/// 130, which is safe for the files of a run: they are complete or absent. Calling this again
/// changes nothing.
pub fn install() -> Result<(), SignalError> {
    let mut first = false;
    let flags = FLAGS.get_or_init(|| {
        first = true;
        Flags::default()
    });
    if first {
        register(flags).map_err(SignalError)
    } else {
        Ok(())
    }
}

/// Whether a signal has asked this process to save and stop; always false before [`install`].
pub fn stop_requested() -> bool {
    FLAGS
        .get()
        .is_some_and(|flags| flags.stop.load(Ordering::SeqCst))
}

/// From here on, a signal ends the process at once with status [`STOPPED`]: everything is saved,
/// and what goes on is made again by the same command. A signal that came before counts too.
pub fn leave_at_once() {
    let Some(flags) = FLAGS.get() else { return };
    flags.at_once.store(true, Ordering::SeqCst);
    if stop_requested() {
        std::process::exit(i32::from(STOPPED));
    }
}

fn register(flags: &Flags) -> io::Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = vec![SIGINT, SIGTERM];
    #[cfg(unix)]
    {
        signals.push(SIGUSR1);
        if !ignored(SIGHUP) {
            signals.push(SIGHUP);
        }
    }
    for signal in signals {
        // Handlers run in the order they were registered: the first Ctrl-C must not see its own
        // mark.
        let at_once = Arc::clone(&flags.at_once);
        flag::register_conditional_shutdown(signal, i32::from(STOPPED), at_once)?;
        if signal == SIGINT {
            let again = Arc::clone(&interrupted);
            flag::register_conditional_shutdown(SIGINT, INTERRUPTED_STATUS, again)?;
            flag::register(SIGINT, Arc::clone(&interrupted))?;
        }
        flag::register(signal, Arc::clone(&flags.stop))?;
    }
    Ok(())
}

/// Whether the signal was being ignored when the program started, as nohup arranges it. Only Linux
/// says so without unsafe code.
#[cfg(unix)]
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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
        play_child_that(|| ());
    }

    /// The same where the child has done something between its handlers and the signals.
    fn play_child_that(before: fn()) {
        let Ok(list) = std::env::var(ROLE) else {
            return;
        };
        install().unwrap();
        install().unwrap();
        assert!(!stop_requested());
        before();
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
        for signal in [SIGUSR1, SIGHUP] {
            assert_eq!(status_after(name, &[signal]), Some(42));
            assert_eq!(status_after(name, &[signal, SIGTERM, signal]), Some(42));
        }
    }

    #[test]
    fn a_second_interrupt_leaves_at_once() {
        play_child();
        assert_eq!(
            status_after("a_second_interrupt_leaves_at_once", &[SIGINT, SIGINT]),
            Some(INTERRUPTED_STATUS)
        );
    }

    #[test]
    fn where_everything_is_saved_any_signal_leaves_at_once_and_says_that_it_can_go_on() {
        play_child_that(leave_at_once);
        let name = "where_everything_is_saved_any_signal_leaves_at_once_and_says_that_it_can_go_on";
        let mut signals = vec![SIGINT, SIGTERM];
        #[cfg(unix)]
        signals.extend([SIGHUP, SIGUSR1]);
        for signal in signals {
            assert_eq!(status_after(name, &[signal]), Some(i32::from(STOPPED)));
        }
    }
}

//! A child process that reads what strangers made: it gets so much memory and so much time, and
//! does not outlive its parent's interest.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tempfile::tempfile;

use super::VideoError;

/// Most memory of a reading child's own (its heap and stacks): 384 MiB.
#[cfg(target_os = "linux")]
const MEMORY_BYTES: u64 = 384 << 20;

/// Most processor time of a reading child.
#[cfg(target_os = "linux")]
const PROCESSOR_SECONDS: u64 = 60;

/// Longest wait for a reading child, which may have to share the machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Most bytes of a description that are read.
const DESCRIPTION_BYTES: u64 = 1 << 20;

/// Most bytes of messages that are kept.
const MESSAGE_BYTES: u64 = 2000;

/// Why a child process did not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChildError {
    #[error("ffmpeg could not be awaited: {0}")]
    Awaited(io::Error),
    #[error("ffmpeg ended with {status} and said: {}", or_nothing(said))]
    Ended {
        status: ExitStatus,
        /// Its messages, on one line.
        said: String,
    },
}

fn or_nothing(said: &str) -> &str {
    match said.trim() {
        "" => "nothing",
        said => said,
    }
}

/// A child process that does not outlive this value.
pub(super) struct Running {
    child: Arc<Mutex<Child>>,
    messages: Messages,
    /// Dropping it tells the watch that all is well.
    watch: Option<mpsc::Sender<()>>,
}

/// What a child says: an unread pipe would block it.
enum Messages {
    Kept(File),
    /// Heard as they come, and what was kept of them.
    Heard(Option<JoinHandle<Vec<u8>>>),
}

impl Running {
    pub fn start(command: Command, stdin: Stdio, stdout: Stdio) -> io::Result<Self> {
        let messages = tempfile()?;
        let stderr = messages.try_clone()?.into();
        Self::spawn(command, [stdin, stdout, stderr], Messages::Kept(messages))
    }

    /// Starts a reader whose every message `hear` is shown first. Errors that it does not take are
    /// kept.
    pub fn heard(
        command: Command,
        hear: impl FnMut(&str) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let pipes = [Stdio::null(), Stdio::piped(), Stdio::piped()];
        let mut running = Self::spawn(command, pipes, Messages::Heard(None))?;
        let stderr = running.lock(|child| child.stderr.take());
        let thread = stderr.map(|stderr| std::thread::spawn(move || listen(stderr, hear)));
        running.messages = Messages::Heard(thread);
        Ok(running)
    }

    fn spawn(
        mut command: Command,
        [stdin, stdout, stderr]: [Stdio; 3],
        messages: Messages,
    ) -> io::Result<Self> {
        // Ctrl-C at a terminal is the program's to answer: the video in hand is finished first.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
        Ok(Self {
            child: Arc::new(Mutex::new(child)),
            messages,
            watch: None,
        })
    }

    /// Its standard input, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.lock(|child| child.stdin.take())
    }

    /// Bounds the child's memory and time, and gives its standard output. What it allocated in the
    /// moment before is a few pages.
    pub fn guard(&mut self) -> Option<ChildStdout> {
        #[cfg(target_os = "linux")]
        self.lock(|child| {
            use rustix::process::{Pid, Resource, Rlimit, prlimit};
            let exactly = |value| Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            let pid = Some(Pid::from_child(child));
            // A child that has ended already needs no limits.
            let _ = prlimit(pid, Resource::Data, exactly(MEMORY_BYTES));
            let _ = prlimit(pid, Resource::Cpu, exactly(PROCESSOR_SECONDS));
            let _ = prlimit(pid, Resource::Core, exactly(0));
        });
        let (sender, receiver) = mpsc::channel();
        let child = Arc::clone(&self.child);
        std::thread::spawn(move || {
            if receiver.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        });
        self.watch = Some(sender);
        self.lock(|child| child.stdout.take())
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<(), ChildError> {
        let status = self.wait().map_err(ChildError::Awaited)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.ended(status))
        }
    }

    /// As [`Running::finish`], for a child that read `path`.
    pub fn finish_reading(mut self, path: &Path) -> Result<(), VideoError> {
        let status = self.wait().map_err(VideoError::io("read", path))?;
        if status.success() {
            return Ok(());
        }
        if let Some(seconds) = ran_out(status) {
            return Err(VideoError::Slow {
                path: path.to_path_buf(),
                seconds,
            });
        }
        Err(VideoError::unreadable(path, self.ended(status)))
    }

    /// Runs a program that describes `path` to its end: what it wrote to standard output and to
    /// standard error.
    pub fn described(command: Command, path: &Path) -> Result<(Vec<u8>, Vec<u8>), VideoError> {
        let error = VideoError::io("read", path);
        let mut running = Self::start(command, Stdio::null(), Stdio::piped()).map_err(error)?;
        let mut written = Vec::new();
        if let Some(pipe) = running.guard() {
            pipe.take(DESCRIPTION_BYTES)
                .read_to_end(&mut written)
                .map_err(error)?;
        }
        let status = running.wait().map_err(error)?;
        match ran_out(status) {
            Some(seconds) => Err(VideoError::Slow {
                path: path.to_path_buf(),
                seconds,
            }),
            None => Ok((written, running.messages(DESCRIPTION_BYTES))),
        }
    }

    /// The first of its messages, up to `most` bytes.
    fn messages(&mut self, most: u64) -> Vec<u8> {
        match &mut self.messages {
            Messages::Kept(file) => {
                let mut said = Vec::new();
                let _ = file
                    .rewind()
                    .and_then(|()| (&*file).take(most).read_to_end(&mut said));
                said
            }
            Messages::Heard(thread) => thread
                .take()
                .and_then(|thread| thread.join().ok())
                .unwrap_or_default(),
        }
    }

    fn ended(&mut self, status: ExitStatus) -> ChildError {
        // The first tell; the rest of a long log would bury them.
        let said = self.messages(MESSAGE_BYTES);
        ChildError::Ended {
            status,
            said: tidy(&String::from_utf8_lossy(&said)),
        }
    }

    /// Waits without holding the child, so that the watch can end it.
    fn wait(&mut self) -> io::Result<ExitStatus> {
        let mut pause = Duration::from_micros(200);
        loop {
            // A child whose output nobody reads any more would wait for ever.
            let ended = self.lock(|child| {
                drop((child.stdin.take(), child.stdout.take()));
                child.try_wait()
            })?;
            if let Some(status) = ended {
                return Ok(status);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Child) -> T) -> T {
        act(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads what a child says to its end; gives the errors among it that `hear` did not take.
fn listen(stderr: ChildStderr, mut hear: impl FnMut(&str) -> bool) -> Vec<u8> {
    let (mut stderr, mut kept, mut line) = (BufReader::new(stderr), Vec::new(), Vec::new());
    loop {
        line.clear();
        // A line may be as long as a stranger made it: it is read in parts.
        match stderr
            .by_ref()
            .take(MESSAGE_BYTES)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let is_error = ["[error] ", "[fatal] ", "[panic] "]
            .iter()
            .find(|level| text.contains(**level));
        if let (false, Some(level)) = (hear(&text), is_error)
            && (kept.len() as u64) < MESSAGE_BYTES
        {
            kept.extend_from_slice(text.replacen(level, "", 1).as_bytes());
        }
    }
}

/// Messages on one line, without the addresses that differ from run to run: `[mov,mp4 @ 0x55d0c8]`.
pub(super) fn tidy(messages: &str) -> String {
    let words: Vec<&str> = messages.split_whitespace().collect();
    let mut kept = String::new();
    for (index, word) in words.iter().enumerate() {
        let address = word.starts_with("0x") && index > 0 && words[index - 1] == "@";
        kept.push_str(if index == 0 { "" } else { " " });
        kept.push_str(if address {
            word.trim_start_matches(|letter: char| letter.is_ascii_hexdigit() || letter == 'x')
        } else {
            word
        });
    }
    kept.replace(" @ ]", "]")
}

/// The limit in seconds that ended a child, if one did.
fn ran_out(status: ExitStatus) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::ExitStatusExt;
        // SIGXCPU, or SIGKILL from the watch; nobody else kills children of this program.
        match status.signal() {
            Some(24) => return Some(PROCESSOR_SECONDS),
            Some(9) => return Some(PATIENCE.as_secs().min(PROCESSOR_SECONDS)),
            _ => {}
        }
    }
    let _ = status;
    None
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both are without effect once the child has been awaited.
        self.lock(|child| {
            let _ = child.kill();
            let _ = child.wait();
        });
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_child_says_comes_without_addresses() {
        let mut running = Running::start(
            shell("echo '[mov,mp4 @ 0x55d0] moov atom @ 0x55d0] gone' >&2; exit 3"),
            Stdio::null(),
            Stdio::null(),
        )
        .unwrap();
        assert!(running.guard().is_none());
        let message = running
            .finish_reading(Path::new("a.mp4"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("[mov,mp4] moov atom] gone") && message.contains("exit status: 3"),
            "{message}"
        );
    }

    #[test]
    fn a_child_that_wants_too_much_memory_does_not_get_it() {
        // A heap of 1 GiB; dd says so and fails.
        let mut running = Running::start(
            shell("sleep 0.2; dd if=/dev/zero of=/dev/null bs=1G count=1"),
            Stdio::null(),
            Stdio::null(),
        )
        .unwrap();
        running.guard();
        let message = running
            .finish_reading(Path::new("a.mp4"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("memory"), "{message}");
    }

    #[test]
    fn a_long_description_is_cut_and_its_writer_ended() {
        let (written, _) = Running::described(shell("yes"), Path::new("a.mp4")).unwrap();
        assert_eq!(written.len() as u64, DESCRIPTION_BYTES);
    }
}

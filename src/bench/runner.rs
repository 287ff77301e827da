//! Makes and measures a benchmark's runs: child processes of this program, several at once, each
//! resumable.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::BenchError;
use super::places::Places;
use super::plan::{PlannedRun, Trainee};
use crate::out::say;
use crate::run::files::{FileError, remove_directory, write_atomically};
use crate::run::signals::{self, INTERRUPTED_STATUS, STOPPED};
use crate::session::measure::{self, Measured};
use crate::session::state::weights_of_run;

/// How often children and signals are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How the runs are made.
#[derive(Debug, Clone)]
pub struct Runner {
    /// This program.
    pub program: PathBuf,
    /// Where everything goes.
    pub places: Places,
    /// `--backend` of each of the runs at once, which compute on one thread each (see
    /// [`super::lanes`]).
    pub lanes: Vec<Option<String>>,
    /// Stop after this long, saving what runs.
    pub limit: Option<Duration>,
}

/// How much of a benchmark is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Runs made and measured.
    pub done: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Runs in all.
    pub total: usize,
}

impl Runner {
    /// Makes what is missing, in order; a run that failed before is tried again.
    ///
    /// # Errors
    /// Measurements of another recipe; what the disk says.
    pub fn run(&self, runs: &[PlannedRun]) -> Result<Progress, BenchError> {
        self.places.create()?;
        let started = Instant::now();
        let before = wall_seconds(&self.places);
        let mut missing = VecDeque::new();
        for run in runs {
            if found(&self.places, run)?.is_none() {
                missing.push_back(run);
            }
        }
        let queue = Mutex::new(missing);
        let stop = || {
            signals::stop_requested() || self.limit.is_some_and(|limit| started.elapsed() >= limit)
        };
        let worker = |lane: Option<&str>| -> Result<(), FileError> {
            while !stop() {
                let Some(run) = queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front()
                else {
                    break;
                };
                self.make(run, lane, &stop)?;
                let seconds = before + started.elapsed().as_secs_f64();
                write_atomically(&self.places.wall(), format!("{seconds:.0}\n").as_bytes())?;
            }
            Ok(())
        };
        let worker = &worker;
        let result: Result<(), FileError> = std::thread::scope(|scope| {
            let workers: Vec<_> = (self.lanes.iter())
                .map(|lane| scope.spawn(move || worker(lane.as_deref())))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        result?;
        let mut progress = Progress {
            done: 0,
            failed: 0,
            total: runs.len(),
        };
        for run in runs {
            match found(&self.places, run)? {
                Some(_) => progress.done += 1,
                None => progress.failed += usize::from(self.places.failure(run).exists()),
            }
        }
        Ok(progress)
    }

    /// Trains, or goes on training, and measures.
    fn make(
        &self,
        run: &PlannedRun,
        backend: Option<&str>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), FileError> {
        let started = Instant::now();
        let failure = self.places.failure(run);
        if failure.exists() {
            fs::remove_file(&failure).map_err(|error| FileError::new("remove", &failure, error))?;
        }
        say!("{} ...", run.id());
        for arguments in self.steps(run, backend) {
            match self.child(run, &arguments, stop)? {
                Ended::Well => {}
                Ended::Stopped => return Ok(()),
                Ended::Badly(reason) => {
                    say!("{} failed: {reason}", run.id());
                    return write_atomically(&failure, reason.as_bytes());
                }
            }
        }
        say!(
            "{} done in {:.0} s",
            run.id(),
            started.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// The command lines that make and measure a run.
    fn steps(&self, run: &PlannedRun, backend: Option<&str>) -> Vec<Vec<String>> {
        let recipe = run.recipe.display().to_string();
        let mut common: Vec<String> = run
            .set
            .iter()
            .flat_map(|set| ["--set".to_string(), set.clone()])
            .collect();
        let backend = backend.map_or_else(Vec::new, |backend| {
            vec!["--backend".to_string(), backend.to_string()]
        });
        common.extend(backend.iter().cloned());
        let measured = self.places.measured(run).display().to_string();
        let mut measure = vec![
            "measure".to_string(),
            recipe.clone(),
            "--out".into(),
            measured,
        ];
        measure.extend(common.iter().cloned());
        measure.extend(
            run.measure_set
                .iter()
                .flat_map(|set| ["--set".to_string(), set.clone()]),
        );
        match run.trainee {
            Trainee::Base => vec![measure],
            Trainee::Teacher => {
                measure.push("--teacher".into());
                vec![measure]
            }
            Trainee::Method(_) => {
                let mut train = train_command(run, &self.places.runs());
                train.extend(backend);
                let directory = self.places.run(run);
                if directory.exists() {
                    train.push("--resume".into());
                }
                measure.extend(["--run".into(), directory.display().to_string()]);
                // A run that has ended is resumed too: that is how one which was made from another
                // recipe is noticed.
                vec![train, measure]
            }
        }
    }

    fn child(
        &self,
        run: &PlannedRun,
        arguments: &[String],
        stop: &dyn Fn() -> bool,
    ) -> Result<Ended, FileError> {
        let path = self.places.log(run);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| FileError::new("open", &path, error))?;
        let copy = log
            .try_clone()
            .map_err(|error| FileError::new("open", &path, error))?;
        let start = Command::new(&self.program)
            .args(arguments)
            // Several runs share the machine: one thread each.
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn();
        let mut child = start.map_err(|error| FileError::new("start", &self.program, error))?;
        let mut asked = false;
        let status = loop {
            if let Some(status) = child
                .try_wait()
                .map_err(|error| FileError::new("wait for", &self.program, error))?
            {
                break status;
            }
            if stop() && !asked {
                // It saves its state and exits with 75.
                ask_to_stop(&child);
                asked = true;
            }
            std::thread::sleep(LOOK);
        };
        Ok(ended(status, asked || stop(), &path))
    }
}

/// The command line that trains a run.
pub fn train_command(run: &PlannedRun, runs: &Path) -> Vec<String> {
    let mut train = vec!["distill".to_string(), run.recipe.display().to_string()];
    train.extend(
        run.set
            .iter()
            .flat_map(|set| ["--set".to_string(), set.clone()]),
    );
    train.extend([
        "--runs".to_string(),
        runs.display().to_string(),
        "--name".into(),
        run.id(),
    ]);
    train
}

/// Seconds that the benchmark has taken so far.
pub fn wall_seconds(places: &Places) -> f64 {
    fs::read_to_string(places.wall())
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0.0)
}

/// A run's measurements; `None` if there are none yet.
///
/// # Errors
/// Measurements that were made with another recipe than the benchmark now asks for, or of another
/// student than the run's directory now holds, or that cannot be read.
pub fn found(places: &Places, run: &PlannedRun) -> Result<Option<Measured>, BenchError> {
    let measured = measure::read(&places.measured(run))?;
    if measured
        .as_ref()
        .is_some_and(|measured| measured.recipe != run.recipe_hash)
    {
        return Err(BenchError::OtherRecipe(run.id()));
    }
    if let Some(measured) = measured.as_ref().filter(|found| !found.student.is_empty()) {
        // A run that was tidied away is not asked.
        let now = match places.run(run).join("checkpoints").is_dir() {
            true => weights_of_run(&places.run(run))?,
            false => Vec::new(),
        };
        if !now.is_empty() && now != measured.student {
            return Err(BenchError::OtherStudent(run.id()));
        }
    }
    Ok(measured)
}

/// Forgets a run, so that it is made anew.
pub fn forget(places: &Places, run: &PlannedRun) -> Result<(), FileError> {
    [places.run(run), places.measured(run)]
        .iter()
        .filter(|path| path.exists())
        .try_for_each(|path| remove_directory(path))
}

enum Ended {
    Well,
    Stopped,
    Badly(String),
}

fn ended(status: ExitStatus, asked: bool, log: &Path) -> Ended {
    if status.success() {
        return Ended::Well;
    }
    let stopped = [i32::from(STOPPED), INTERRUPTED_STATUS];
    if asked || status.code().is_some_and(|code| stopped.contains(&code)) || asked_by_signal(status)
    {
        return Ended::Stopped;
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it printed nothing");
    Ended::Badly(format!("{status}: {last}"))
}

/// Whether a signal ended it that asks for a stop: Ctrl-C and schedulers reach every process of a
/// group, some before they have handlers.
#[cfg(unix)]
fn asked_by_signal(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let asking = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];
    status
        .signal()
        .is_some_and(|signal| asking.contains(&signal))
}

#[cfg(not(unix))]
fn asked_by_signal(_status: ExitStatus) -> bool {
    false
}

#[cfg(unix)]
fn ask_to_stop(child: &Child) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this moment, which is as well.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Without signals it runs to its end.
#[cfg(not(unix))]
fn ask_to_stop(_child: &Child) {}

#[cfg(all(test, unix))]
mod tests;

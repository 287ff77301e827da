//! One run's directory: what was asked for, on which machine, and everything that came of it.
//!
//! ```text
//! runs/<name>/
//!   recipe.resolved.toml   every field, after overrides
//!   inputs.json            what it stands on: weights, codec, text encoder, schedule
//!   teacher.jsonl          the teacher's clips, by file and content
//!   environment.json       the machine and program that started the run
//!   metrics.jsonl          one line per step
//!   events/                TensorBoard
//!   samples/               clips drawn while training
//!   checkpoints/           see `run::checkpoints`
//!   run.lock               held by the process that writes the run
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoints::Checkpoints;
use super::files::{AtPath, FileError, StagedDirectory, remove_leftovers, write_atomically};
use crate::exit::ExitStatus;

/// The recipe of a run, in its directory.
pub const RECIPE_NAME: &str = "recipe.resolved.toml";
const ENVIRONMENT_NAME: &str = "environment.json";
const LOCK_NAME: &str = "run.lock";

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory of a new run is there already.
    #[error("the run {} exists already; continue it with --resume or choose another \
        --name", path.display())]
    Exists {
        /// The existing directory.
        path: PathBuf,
    },
    /// The name cannot be a directory name on every system.
    #[error(
        "found the run name {name:?}, expected 1 to 100 letters, digits, '-', '_' or '.', not \
            starting with '.'; choose another --name"
    )]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// The directory is not one that a run left.
    #[error("{} is not a run directory: it has no {missing}; name the directory that afd created \
        for the run", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// The file that every run has.
        missing: &'static str,
    },
    /// Another process is writing this run.
    #[error("another process is writing the run {}; wait for it, stop it, or start a run with \
        another --name", path.display())]
    InUse {
        /// The run's directory.
        path: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

impl ExitStatus for RunError {
    fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Exists { .. } | Self::Name { .. } | Self::NotARun { .. }
        )
    }
}

/// The machine and program behind a run. Environment variables are never recorded: they hold keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of the `afd` package.
    pub afd_version: String,
    /// The commit that was built, when the build set `AFD_COMMIT`.
    pub git_commit: Option<String>,
    /// Operating system the program was built for, such as "linux".
    pub os: String,
    /// Processor family the program was built for, such as "x86_64".
    pub arch: String,
    /// The processor's own name, where the system tells it.
    pub cpu_model: Option<String>,
    /// The processor's level, such as "x86-64-v4": [`afd_exact::processor_level`]. Missing in runs
    /// of before.
    #[serde(default)]
    pub cpu_level: Option<String>,
    /// Threads that the system lets this process run at once.
    pub cpu_cores: Option<usize>,
    /// The Burn backend's name, such as "cuda".
    pub backend: String,
    /// The device's name.
    pub device: String,
    /// The seed of every random number of the run.
    pub seed: u64,
    /// The command line, program name first.
    pub command_line: Vec<String>,
}

impl Environment {
    /// Describes this process, which computes on `device` of `backend` with `seed`.
    pub fn current(backend: &str, device: &str, seed: u64) -> Self {
        Self {
            afd_version: env!("CARGO_PKG_VERSION").into(),
            git_commit: option_env!("AFD_COMMIT").map(str::to_string),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            cpu_model: cpu_model(),
            cpu_level: Some(afd_exact::processor_level().into()),
            cpu_cores: std::thread::available_parallelism().ok().map(usize::from),
            backend: backend.into(),
            device: device.into(),
            seed,
            command_line: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
        }
    }

    /// What decides the last bits of what is computed here, in words. ndarray's are the same
    /// everywhere, flex's among processors of one level (docs/exactness.md).
    fn arithmetic(&self) -> String {
        match (self.backend.as_str(), &self.cpu_level) {
            ("ndarray", _) => "ndarray".to_string(),
            ("flex", Some(level)) => format!("flex on {level}"),
            ("flex", None) => "flex on a processor that it did not record".to_string(),
            _ => self.backend.clone(),
        }
    }

    fn write(&self, path: &Path) -> Result<(), FileError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .at("write", path)?;
        text.push(b'\n');
        write_atomically(path, &text)
    }
}

/// The directory of one run, locked for this process as long as the value lives.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// The system releases the lock when the file closes, however the process ends.
    _lock: File,
}

impl RunDirectory {
    /// Creates `root/name` with the resolved recipe and the environment in it; it appears complete
    /// or not at all.
    ///
    /// # Errors
    /// [`RunError::Exists`] when the run is there already, [`RunError::Name`] for a name unfit for
    /// a directory, [`RunError::File`] when the disk refuses.
    pub fn create(
        root: &Path,
        name: &str,
        resolved_recipe: &str,
        environment: &Environment,
    ) -> Result<Self, RunError> {
        let path = Self::new_place(root, name)?;
        let staged = StagedDirectory::new(&path)?;
        for subdirectory in ["checkpoints", "events", "samples"] {
            let subdirectory = staged.path().join(subdirectory);
            fs::create_dir(&subdirectory).at("create the directory", &subdirectory)?;
        }
        write_atomically(&staged.path().join(RECIPE_NAME), resolved_recipe.as_bytes())?;
        environment.write(&staged.path().join(ENVIRONMENT_NAME))?;
        // Of several processes that make the same run, one does.
        staged.commit().map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => {
                RunError::Exists { path: path.clone() }
            }
            _ => error.into(),
        })?;
        Ok(Self {
            _lock: lock(&path)?,
            path,
        })
    }

    /// Where [`RunDirectory::create`] would make the run.
    ///
    /// # Errors
    /// [`RunError::Exists`] and [`RunError::Name`], as there.
    pub fn new_place(root: &Path, name: &str) -> Result<PathBuf, RunError> {
        let plain =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain)
        {
            // A name that is too long is not repeated in full.
            let name = name.chars().take(80).collect();
            return Err(RunError::Name { name });
        }
        let path = root.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(RunError::Exists { path });
        }
        Ok(path)
    }

    /// Opens and locks an existing run to continue it, and clears what a killed process left
    /// half-written.
    ///
    /// # Errors
    /// [`RunError::NotARun`] when the files of a run are missing, [`RunError::InUse`] when another
    /// process holds it.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        for missing in [RECIPE_NAME, ENVIRONMENT_NAME] {
            if !path.join(missing).is_file() {
                return Err(RunError::NotARun {
                    path: path.into(),
                    missing,
                });
            }
        }
        let run = Self {
            _lock: lock(path)?,
            path: path.into(),
        };
        for place in [
            run.path.clone(),
            run.checkpoints_directory(),
            run.samples(),
            run.events(),
        ] {
            fs::create_dir_all(&place).at("create the directory", &place)?;
            remove_leftovers(&place)?;
        }
        Ok(run)
    }

    /// The command line that the run was started with, program name first: it repeats the run,
    /// where the one that continues it would not.
    ///
    /// # Errors
    /// A file that cannot be read, or that this program did not write.
    pub fn first_command(&self) -> Result<Vec<String>, FileError> {
        let path = self.path.join(ENVIRONMENT_NAME);
        let bytes = fs::read(&path).at("read", &path)?;
        let environment: Environment = serde_json::from_slice(&bytes)
            .map_err(std::io::Error::from)
            .at("read", &path)?;
        Ok(environment.command_line)
    }

    /// Records the machine that continues the run beside the one that began it:
    /// `environment.resumed-1.json` and on.
    pub fn record_resume(&self, environment: &Environment) -> Result<PathBuf, FileError> {
        let mut number = 1;
        loop {
            let path = self.path.join(format!("environment.resumed-{number}.json"));
            if !path.exists() {
                environment.write(&path)?;
                return Ok(path);
            }
            number += 1;
        }
    }

    /// What the run began on and what it goes on on `now`, where their last bits differ: another
    /// backend, or with flex another processor level.
    ///
    /// # Errors
    /// An `environment.json` that cannot be read.
    pub fn other_arithmetic(&self, now: &Environment) -> Result<Option<[String; 2]>, FileError> {
        let path = self.path.join(ENVIRONMENT_NAME);
        let bytes = fs::read(&path).at("read", &path)?;
        let began: Environment = serde_json::from_slice(&bytes)
            .map_err(std::io::Error::from)
            .at("read", &path)?;
        let both = [began.arithmetic(), now.arithmetic()];
        Ok((both[0] != both[1]).then_some(both))
    }

    /// The run's own directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe as it was resolved when the run began.
    pub fn recipe_path(&self) -> PathBuf {
        self.path.join(RECIPE_NAME)
    }

    /// One line per step, see `run::events`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// TensorBoard's directory.
    pub fn events(&self) -> PathBuf {
        self.path.join("events")
    }

    /// Clips drawn while training.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// The run's checkpoints, of which the newest `keep` stay on disk.
    pub fn checkpoints(&self, keep: usize) -> Checkpoints {
        Checkpoints::new(&self.path, keep)
    }

    fn checkpoints_directory(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
}

fn lock(directory: &Path) -> Result<File, RunError> {
    let path = directory.join(LOCK_NAME);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .at("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse {
            path: directory.into(),
        }),
        Err(TryLockError::Error(reason)) => Err(FileError::new("lock", &path, reason).into()),
    }
}

fn cpu_model() -> Option<String> {
    if cfg!(target_os = "macos") {
        let output = std::process::Command::new("sysctl")
            .args(["-n", "machdep.cpu.brand_string"])
            .output()
            .ok()?;
        return String::from_utf8(output.stdout)
            .ok()
            .map(|name| name.trim().to_string())
            .filter(|name| !name.is_empty());
    }
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':')
        .map(|(_, name)| name.trim().to_string())
}

#[cfg(test)]
mod tests;

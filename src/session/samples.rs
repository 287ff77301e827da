//! A directory of a student's clips that grows clip by clip, and goes on where it was stopped.
//!
//! ```text
//! DIR/samples.json      what makes its clips: another student, seed or setting is refused
//! DIR/manifest.jsonl    one line per clip, appended when the clip is in its place; in the order
//!                       of the prompts when all are there
//! DIR/videos/           the clips and nothing else: VBench takes the ending of any file there for
//!                       that of all
//! DIR/staging/          the clip in the making
//! DIR/lock              held by the one process that adds clips
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use afd_clips::journal::{Journal, JournalError};
use afd_clips::store::hash;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::manifest;
use crate::exit::ExitStatus;
use crate::run::files::{
    AtPath, FileError, STAGING_PREFIX, remove_leftovers, sync_directory, write_atomically,
};

const SETTINGS: &str = "samples.json";
const VIDEOS: &str = "videos";
const STAGING: &str = "staging";
const LOCK: &str = "lock";

/// Why clips cannot be added to a directory.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The directory holds something else.
    #[error("{} is not empty and holds no generated clips; name a new or empty directory, or one \
        that `afd generate` began", .0.display())]
    Foreign(PathBuf),
    /// The directory's clips were made in another way.
    #[error("{} holds clips that were made in another way: {difference}; name another directory \
        for these", path.display())]
    Differs {
        /// The directory.
        path: PathBuf,
        /// Every field that differs, with both values.
        difference: String,
    },
    /// Another process adds clips.
    #[error("{} is in use by another process; wait for it, or stop it", .0.display())]
    Locked(PathBuf),
    /// `samples.json` cannot be understood.
    #[error("{}: {problem}; expected what `afd generate` wrote there: put a backup in its place, \
        or name another directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

impl ExitStatus for SamplesError {
    fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Foreign(_) | Self::Differs { .. } | Self::Locked(_)
        )
    }
}

/// One clip: a line of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it was generated from.
    pub prompt: String,
    /// What it is called, where that is something else: VBench looks for clips of extended prompts
    /// under its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its path inside the directory, with forward slashes.
    pub video: String,
    /// Which of the prompt's clips it is, counted from 0.
    pub sample: u64,
    /// Seed of its noise, which depends on prompt and sample as well.
    pub seed: u64,
    /// BLAKE3 of the prompt's UTF-8 bytes.
    pub prompt_blake3: String,
    /// BLAKE3 of the file, or of the names and hashes of a directory's files in order of their
    /// names.
    pub blake3: String,
    /// BLAKE3 of the files that the student's weights came from: its own first, then those that its
    /// low-rank factors stand beside.
    pub checkpoint_blake3: Vec<String>,
    /// The commit that this program was built from, where the build knew it.
    pub commit: Option<String>,
}

/// How a clip was made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// What from.
    pub prompt: &'a str,
    /// What it is called, where that is something else.
    pub name: Option<&'a str>,
    /// Which of the prompt's clips it is.
    pub sample: u64,
    /// Seed of its noise.
    pub seed: u64,
    /// Hashes of the files that the student's weights came from.
    pub weights: &'a [String],
}

/// A directory of clips, open for adding; the only one on it.
#[derive(Debug)]
pub struct SampleDirectory {
    directory: PathBuf,
    manifest: Journal<Sample>,
    /// By path inside the directory.
    made: BTreeMap<String, Sample>,
    _lock: File,
}

impl SampleDirectory {
    /// Opens the directory whose clips are made as `settings` say, or begins one; what a killed
    /// process left half-done is cleared away.
    ///
    /// # Errors
    /// [`SamplesError`]: it holds something else or clips that were made in another way, another
    /// process has it open, the disk refused.
    pub fn open(directory: &Path, settings: &Map<String, Value>) -> Result<Self, SamplesError> {
        fs::create_dir_all(directory).at("create the directory", directory)?;
        let path = directory.join(SETTINGS);
        if !path.exists() && !only_begun(directory)? {
            return Err(SamplesError::Foreign(directory.to_path_buf()));
        }
        let lock = lock(directory)?;
        let text = format!("{:#}\n", Value::Object(settings.clone()));
        if !path.exists() {
            write_atomically(&path, text.as_bytes())?;
        }
        // What is asked for goes through text as well: reading a number back may change its last
        // bit.
        compare(
            directory,
            &read_settings(&path)?,
            &parse_settings(&path, &text)?,
        )?;
        remove_leftovers(directory)?;
        let staging = directory.join(STAGING);
        if staging.exists() {
            fs::remove_dir_all(&staging).at("remove the leftover", &staging)?;
        }
        for place in [staging, directory.join(VIDEOS)] {
            fs::create_dir_all(&place).at("create the directory", &place)?;
        }
        let (lines, manifest) = Journal::<Sample>::open(&directory.join(manifest::FILE_NAME))?;
        // A clip that somebody removed or changed is made again, and its last line counts.
        let there = lines.into_iter().filter(|sample| {
            hash(&directory.join(&sample.video)).is_ok_and(|found| found == sample.blake3)
        });
        let made = there.map(|sample| (sample.video.clone(), sample)).collect();
        Ok(Self {
            directory: directory.to_path_buf(),
            manifest,
            made,
            _lock: lock,
        })
    }

    fn video(name: &str) -> String {
        format!("{VIDEOS}/{name}")
    }

    /// Whether the clip called `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.made.contains_key(&Self::video(name))
    }

    /// Where to write the clip called `name`, for [`SampleDirectory::publish`].
    pub fn staged(&self, name: &str) -> PathBuf {
        self.directory.join(STAGING).join(name)
    }

    /// Puts a finished clip in its place, then its line into the manifest.
    ///
    /// # Errors
    /// The disk's; the clip is then missing as before.
    pub fn publish(&mut self, name: &str, made: Made) -> Result<(), SamplesError> {
        let (staged, video) = (self.staged(name), Self::video(name));
        let target = self.directory.join(&video);
        let sample = Sample {
            prompt: made.prompt.to_string(),
            name: made.name.map(str::to_string),
            video: video.clone(),
            sample: made.sample,
            seed: made.seed,
            prompt_blake3: blake3::hash(made.prompt.as_bytes()).to_hex().to_string(),
            blake3: hash(&staged).at("read", &staged)?,
            checkpoint_blake3: made.weights.to_vec(),
            commit: option_env!("AFD_COMMIT").map(str::to_string),
        };
        // What stands there without a line is what a kill left between the two.
        match fs::symlink_metadata(&target) {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&target).at("replace", &target)?,
            _ => {}
        }
        fs::rename(&staged, &target).at("create", &target)?;
        sync_directory(&self.directory.join(VIDEOS))?;
        self.manifest.append(&sample)?;
        self.made.insert(video, sample);
        Ok(())
    }

    /// Ends a directory that has all of its clips: the manifest's lines come into the order of
    /// `names`, so that equal clips make equal directories however often they were stopped.
    ///
    /// # Errors
    /// The disk's; the manifest is then as it was.
    pub fn finish(mut self, names: &[String]) -> Result<(), SamplesError> {
        let places: BTreeMap<String, usize> = names
            .iter()
            .enumerate()
            .map(|(place, name)| (Self::video(name), place))
            .collect();
        let mut made: Vec<&Sample> = self.made.values().collect();
        // Clips that were asked for before and are not now come last.
        made.sort_by_key(|sample| places.get(&sample.video).copied().unwrap_or(usize::MAX));
        let lines = Journal::<Sample>::read(&self.directory.join(manifest::FILE_NAME))?;
        if !lines.iter().eq(made.iter().copied()) {
            self.manifest.replace(made)?;
        }
        let staging = self.directory.join(STAGING);
        Ok(fs::remove_dir(&staging).at("remove", &staging)?)
    }
}

/// The lock of a directory, held until the file is closed, however the process ends.
fn lock(directory: &Path) -> Result<File, SamplesError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .at("create", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SamplesError::Locked(directory.to_path_buf())),
        Err(TryLockError::Error(reason)) => Err(FileError::new("lock", &path, reason).into()),
    }
}

/// Whether the directory holds nothing but what a killed process leaves before its settings are
/// there.
fn only_begun(directory: &Path) -> Result<bool, FileError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let name = entry.at("list", directory)?.file_name();
        if name != LOCK && !name.to_string_lossy().starts_with(STAGING_PREFIX) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_settings(path: &Path) -> Result<Map<String, Value>, SamplesError> {
    parse_settings(path, &fs::read_to_string(path).at("read", path)?)
}

fn parse_settings(path: &Path, text: &str) -> Result<Map<String, Value>, SamplesError> {
    serde_json::from_str(text).map_err(|error| SamplesError::Damaged {
        path: path.to_path_buf(),
        problem: error.to_string(),
    })
}

/// Names every field that differs.
fn compare(
    directory: &Path,
    found: &Map<String, Value>,
    asked: &Map<String, Value>,
) -> Result<(), SamplesError> {
    let mut fields: Vec<&String> = found.keys().chain(asked.keys()).collect();
    fields.sort();
    fields.dedup();
    let shown = |value: Option<&Value>| value.map_or("missing".to_string(), Value::to_string);
    let differs = fields
        .into_iter()
        .filter(|field| found.get(*field) != asked.get(*field));
    let difference: Vec<String> = differs
        .map(|field| {
            format!(
                "{field} is {} there, {} was asked for",
                shown(found.get(field)),
                shown(asked.get(field))
            )
        })
        .collect();
    if difference.is_empty() {
        return Ok(());
    }
    Err(SamplesError::Differs {
        path: directory.to_path_buf(),
        difference: difference.join("; "),
    })
}

//! Where recorded, fetched and bought clips end: a directory that
//! [`crate::teacher::folder::FolderTeacher`] opens and that a kill cannot spoil.
//!
//! ```text
//! STORE/store.json       where its clips come from: another origin is refused
//! STORE/manifest.jsonl   one line per clip, appended when the clip is in its place;
//!                        sorted by (prompt, sample) when a job is done
//! STORE/clips/           HASH-SAMPLE.EXTENSION; HASH is of the prompt
//! STORE/lock             held by the one process that adds clips
//! ```
//!
//! A clip is staged, synced and renamed before its line is written: what the manifest names is
//! whole, whichever moment a kill hits. A clip without its line is replaced when it is made again.

mod begin;
mod download;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use download::Shape;
pub use download::{Verified, download_place, hash};

use crate::{
    journal::{Journal, JournalError},
    manifest::FILE_NAME,
    stage,
    video::Video,
    video_io::{VideoError, VideoFormat, write_video},
};

const CLIPS: &str = "clips";

/// One clip of a store: a line of its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipRecord {
    /// What it shows.
    pub prompt: String,
    /// Its path inside the store, with forward slashes.
    pub video: String,
    /// The sample index: which of the prompt's clips it is, from 0.
    pub sample: u64,
    /// BLAKE3 of the file, or of the names and hashes of a directory's files in order of their
    /// names.
    pub blake3: String,
    /// Pixels per row.
    pub width: u32,
    /// Rows per frame.
    pub height: u32,
    /// Frames.
    pub frames: usize,
    /// Frames per second.
    pub frames_per_second: f64,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error(
        "cannot {action} {path}: {source}; check that the disk has space and that the directory is \
            writable"
    )]
    Io {
        /// "read", "write", "lock" or "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error(
        "{0} is not empty and no clip store; name a new or empty directory, or one that such a \
            command began"
    )]
    Foreign(PathBuf),
    /// The store's clips come from elsewhere.
    #[error(
        "{path} holds clips of {found}, and clips of {asked} were asked for; name another \
            directory for them"
    )]
    Origin {
        /// The store.
        path: PathBuf,
        /// Its origin.
        found: String,
        /// The origin asked for.
        asked: String,
    },
    /// Another process adds clips.
    #[error("{0} is in use by another process; wait for it, or stop it")]
    Locked(PathBuf),
    /// `store.json` cannot be understood.
    #[error(
        "{path}: {problem}; expected what this program wrote there, so put a backup in its place \
            or move the directory away"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The manifest.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A clip that cannot be decoded, or written.
    #[error(transparent)]
    Video(#[from] VideoError),
}

impl StoreError {
    /// For `map_err`: the file system refused to `action` `path`.
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// A store, open for adding clips; the only one on its directory.
#[derive(Debug)]
pub struct ClipStore {
    directory: PathBuf,
    manifest: Journal<ClipRecord>,
    clips: BTreeMap<(String, u64), ClipRecord>,
    /// Whether the manifest's lines are in order.
    sorted: bool,
    _lock: File,
}

impl ClipStore {
    /// Opens the store of `origin` in `directory`, or begins one there; what a killed process left
    /// half-done is cleared away.
    ///
    /// # Errors
    /// [`StoreError`]: the directory holds something else or clips of another origin, another
    /// process has it open, or the disk refused.
    pub fn open(directory: &Path, origin: &serde_json::Value) -> Result<Self, StoreError> {
        let lock = begin::lock(directory)?;
        begin::settle_origin(directory, origin)?;
        let clips = directory.join(CLIPS);
        fs::create_dir_all(&clips).map_err(StoreError::io("create", &clips))?;
        for place in [directory, &clips] {
            begin::remove_staged(place).map_err(StoreError::io("write", place))?;
        }
        let (records, manifest) = Journal::open(&directory.join(FILE_NAME))?;
        let key = |record: &ClipRecord| (record.prompt.clone(), record.sample);
        let sorted = records.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]));
        let clips = records
            .into_iter()
            .map(|record| (key(&record), record))
            .collect();
        Ok(Self {
            directory: directory.to_path_buf(),
            manifest,
            clips,
            sorted,
            _lock: lock,
        })
    }

    /// The clips of the store in `directory` as they are now, by (prompt, sample): none where there
    /// is no store. Takes no lock and changes nothing, so it may be asked while another process
    /// adds clips.
    ///
    /// # Errors
    /// [`StoreError::Journal`] for a manifest that cannot be read, or was edited.
    pub fn list(directory: &Path) -> Result<BTreeMap<(String, u64), ClipRecord>, StoreError> {
        let records = Journal::<ClipRecord>::read(&directory.join(FILE_NAME))?;
        Ok(records
            .into_iter()
            .map(|record| ((record.prompt.clone(), record.sample), record))
            .collect())
    }

    /// Where the store's clips come from; `None` where there is no store.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a `store.json` that this program did not write, and
    /// [`StoreError::Io`].
    pub fn origin(directory: &Path) -> Result<Option<serde_json::Value>, StoreError> {
        begin::read_origin(directory)
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The clips, by (prompt, sample).
    pub fn clips(&self) -> &BTreeMap<(String, u64), ClipRecord> {
        &self.clips
    }

    /// The clip of this sample index of `prompt`, if it is there.
    pub fn get(&self, prompt: &str, sample: u64) -> Option<&ClipRecord> {
        self.clips.get(&(prompt.to_string(), sample))
    }

    /// Writes a video as the clip of this sample index of `prompt`. A clip that is there stays.
    ///
    /// # Errors
    /// [`StoreError::Video`] where the video cannot be written in `format`; [`StoreError::Io`] and
    /// [`StoreError::Journal`] where the disk refuses.
    pub fn add_video(
        &mut self,
        prompt: &str,
        sample: u64,
        video: &Video,
        format: VideoFormat,
    ) -> Result<(), StoreError> {
        if self.get(prompt, sample).is_some() {
            return Ok(());
        }
        let name = clip_name(prompt, sample, format.extension());
        let target = self.directory.join(&name);
        let at = StoreError::io("write", &target);
        let staged = stage::directory(&target).map_err(at)?;
        let written = staged
            .path()
            .join(Path::new(&name).file_name().unwrap_or_default());
        write_video(&written, video)?;
        let blake3 = hash(&written).map_err(at)?;
        // What stands there without a line is what a kill left behind.
        match target.symlink_metadata() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&target).map_err(at)?,
            _ => {}
        }
        fs::rename(&written, &target)
            .and_then(|()| stage::sync_directory_of(&target))
            .map_err(at)?;
        self.record(prompt, sample, name, blake3, Shape::of(video))
    }

    /// Publishes a decoded download as the clip of this sample index of `prompt`. A clip that is
    /// there stays.
    ///
    /// # Errors
    /// [`StoreError::Io`] and [`StoreError::Journal`] where the disk refuses.
    pub fn add_download(
        &mut self,
        prompt: &str,
        sample: u64,
        download: Verified,
    ) -> Result<(), StoreError> {
        if self.get(prompt, sample).is_some() {
            return Ok(());
        }
        let name = clip_name(prompt, sample, download.extension);
        let target = self.directory.join(&name);
        stage::replace_file(download.staged, &target).map_err(StoreError::io("write", &target))?;
        self.record(prompt, sample, name, download.blake3, download.shape)
    }

    /// Forgets a clip whose file is no longer there, so that it can be added again.
    pub fn forget_if_gone(&mut self, prompt: &str, sample: u64) {
        let key = (prompt.to_string(), sample);
        let is_gone = |clip: &ClipRecord| !self.directory.join(&clip.video).exists();
        if self.clips.get(&key).is_some_and(is_gone) {
            self.clips.remove(&key);
            // Its old line is in the way of the new one until the manifest is put in order.
            self.sorted = false;
        }
    }

    fn record(
        &mut self,
        prompt: &str,
        sample: u64,
        video: String,
        blake3: String,
        shape: Shape,
    ) -> Result<(), StoreError> {
        let Shape {
            width,
            height,
            frames,
            frames_per_second,
        } = shape;
        let record = ClipRecord {
            prompt: prompt.to_string(),
            video,
            sample,
            blake3,
            width,
            height,
            frames,
            frames_per_second,
        };
        self.manifest.append(&record)?;
        let key = (record.prompt.clone(), sample);
        self.sorted &= self
            .clips
            .last_key_value()
            .is_none_or(|(last, _)| *last < key);
        self.clips.insert(key, record);
        Ok(())
    }

    /// Puts the manifest's lines in order, so that equal clips make equal stores whatever order
    /// they came in.
    ///
    /// # Errors
    /// [`StoreError::Journal`] where the disk refuses; the manifest is then as it was.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if !self.sorted {
            self.manifest.replace(self.clips.values())?;
            self.sorted = true;
        }
        Ok(())
    }
}

fn clip_name(prompt: &str, sample: u64, extension: &str) -> String {
    let hash = blake3::hash(prompt.as_bytes()).to_hex();
    format!("{CLIPS}/{}-{sample:05}.{extension}", &hash[..24])
}

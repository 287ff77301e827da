//! Where recorded, fetched and bought clips end: a directory that [`crate::teacher::folder::FolderTeacher`] opens and that a kill cannot spoil.
//!
//! ```text
//! STORE/store.json       where its clips come from: another origin is refused
//! STORE/manifest.jsonl   one line per clip, appended when the clip is in its place; sorted by (prompt, take) when a job is done
//! STORE/clips/           HASH-TAKE.ending, where HASH is of the prompt
//! STORE/lock             held by the one process that adds clips
//! ```
//!
//! A clip is staged, synced and renamed before its line is written: what the manifest names is whole, whichever moment a kill hits. A clip without
//! its line is replaced when it is made again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    journal::{Journal, JournalError},
    manifest::FILE_NAME,
    stage,
    video::Video,
    video_io::{VideoError, VideoFormat, read_video, write_video},
};

const ORIGIN_FILE: &str = "store.json";
const LOCK_FILE: &str = "lock";
const CLIPS: &str = "clips";

/// One clip of a store: a line of its manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipRecord {
    /// What it shows.
    pub prompt: String,
    /// Its path inside the store, with forward slashes.
    pub video: String,
    /// Which of the prompt's clips it is.
    pub take: u64,
    /// BLAKE3 of the file, or of the names and hashes of a directory's files in order of their names.
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
    #[error("cannot {action} {path}: {source}; check that the disk has space and that the directory is writable")]
    Io {
        /// "read", "write", "lock" or "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error("{0} is not empty and no clip store; name a new or empty directory, or one that such a command began")]
    Foreign(PathBuf),
    /// The store's clips come from elsewhere.
    #[error("{path} holds clips of {found}, and clips of {asked} were asked for; name another directory for them")]
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
    #[error("{path}: {problem}; expected what this program wrote there, so put a backup in its place or move the directory away")]
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

#[derive(Serialize, Deserialize)]
struct Origin {
    format: u32,
    origin: serde_json::Value,
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
    /// Opens the store of `origin` in `directory`, or begins one there; what a killed process left half-done is cleared away.
    ///
    /// # Errors
    /// [`StoreError`]: the directory holds something else or clips of another origin, another process has it open, or the disk refused.
    pub fn open(directory: &Path, origin: &serde_json::Value) -> Result<Self, StoreError> {
        let at = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| StoreError::Io { action, path, source }
        };
        fs::create_dir_all(directory).map_err(at("create", directory))?;
        let origin_path = directory.join(ORIGIN_FILE);
        if !origin_path.exists() && !only_begun(directory).map_err(at("read", directory))? {
            return Err(StoreError::Foreign(directory.to_path_buf()));
        }
        let lock_path = directory.join(LOCK_FILE);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at("lock", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::Locked(directory.to_path_buf())),
            Err(fs::TryLockError::Error(source)) => return Err(at("lock", &lock_path)(source)),
        }
        match read_origin(&origin_path)? {
            Some(found) if found == *origin => {}
            Some(found) => {
                return Err(StoreError::Origin { path: directory.to_path_buf(), found: found.to_string(), asked: origin.to_string() });
            }
            None => {
                let text = serde_json::to_string_pretty(&Origin { format: 1, origin: origin.clone() });
                let write = |text: String| {
                    let staged = stage::file(&origin_path)?;
                    io::Write::write_all(&mut staged.as_file(), (text + "\n").as_bytes())?;
                    stage::publish_file(staged, &origin_path)
                };
                text.map_err(io::Error::from).and_then(write).map_err(at("write", &origin_path))?;
            }
        }
        let clips = directory.join(CLIPS);
        fs::create_dir_all(&clips).map_err(at("create", &clips))?;
        for place in [directory, &clips] {
            remove_staged(place).map_err(at("write", place))?;
        }
        let (records, manifest) = Journal::open(&directory.join(FILE_NAME))?;
        let key = |record: &ClipRecord| (record.prompt.clone(), record.take);
        let sorted = records.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]));
        let clips = records.into_iter().map(|record| (key(&record), record)).collect();
        Ok(Self { directory: directory.to_path_buf(), manifest, clips, sorted, _lock: lock })
    }

    /// The clips of the store in `directory` as they are now, by (prompt, take): none where there is no store. Takes no lock and changes nothing,
    /// so it may be asked while another process adds clips.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(directory: &Path) -> Result<BTreeMap<(String, u64), ClipRecord>, StoreError> {
        let records = Journal::<ClipRecord>::read(&directory.join(FILE_NAME))?;
        Ok(records.into_iter().map(|record| ((record.prompt.clone(), record.take), record)).collect())
    }

    /// Where the store's clips come from; `None` where there is no store.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn origin(directory: &Path) -> Result<Option<serde_json::Value>, StoreError> {
        read_origin(&directory.join(ORIGIN_FILE))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The clips, by (prompt, take).
    pub fn clips(&self) -> &BTreeMap<(String, u64), ClipRecord> {
        &self.clips
    }

    /// This clip, if it is there.
    pub fn get(&self, prompt: &str, take: u64) -> Option<&ClipRecord> {
        self.clips.get(&(prompt.to_string(), take))
    }

    /// Writes a video as this clip. A clip that is there stays.
    ///
    /// # Errors
    /// [`StoreError::Video`] where the video cannot be written in `format`, and the disk's.
    pub fn add_video(&mut self, prompt: &str, take: u64, video: &Video, format: VideoFormat) -> Result<(), StoreError> {
        if self.get(prompt, take).is_some() {
            return Ok(());
        }
        let name = clip_name(prompt, take, format.extension());
        let target = self.directory.join(&name);
        let at = |source| StoreError::Io { action: "write", path: target.clone(), source };
        let staged = stage::directory(&target).map_err(at)?;
        let written = staged.path().join(Path::new(&name).file_name().unwrap_or_default());
        write_video(&written, video)?;
        let blake3 = hash(&written).map_err(at)?;
        // What stands there without a line is what a kill left behind.
        match target.symlink_metadata() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&target).map_err(at)?,
            _ => {}
        }
        fs::rename(&written, &target).and_then(|()| stage::sync_directory_of(&target)).map_err(at)?;
        self.record(prompt, take, name, blake3, Shape::of(video))
    }

    /// Publishes a decoded download as this clip. A clip that is there stays.
    ///
    /// # Errors
    /// The disk's.
    pub fn add_download(&mut self, prompt: &str, take: u64, download: Verified) -> Result<(), StoreError> {
        if self.get(prompt, take).is_some() {
            return Ok(());
        }
        let name = clip_name(prompt, take, download.extension);
        let target = self.directory.join(&name);
        stage::replace_file(download.staged, &target).map_err(|source| StoreError::Io { action: "write", path: target, source })?;
        self.record(prompt, take, name, download.blake3, download.shape)
    }

    fn record(&mut self, prompt: &str, take: u64, video: String, blake3: String, shape: Shape) -> Result<(), StoreError> {
        let Shape { width, height, frames, frames_per_second } = shape;
        let record = ClipRecord { prompt: prompt.to_string(), video, take, blake3, width, height, frames, frames_per_second };
        self.manifest.append(&record)?;
        let key = (record.prompt.clone(), take);
        self.sorted &= self.clips.last_key_value().is_none_or(|(last, _)| *last < key);
        self.clips.insert(key, record);
        Ok(())
    }

    /// Puts the manifest's lines in order, so that equal clips make equal stores whatever order they came in.
    ///
    /// # Errors
    /// The disk's; the manifest is then as it was.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if !self.sorted {
            self.manifest.replace(self.clips.values())?;
            self.sorted = true;
        }
        Ok(())
    }
}

/// A place for a download in the store of `directory`: gone again unless it becomes a clip.
///
/// # Errors
/// The disk's.
pub fn download_place(directory: &Path) -> Result<NamedTempFile, StoreError> {
    let path = directory.join(CLIPS).join("download");
    stage::file(&path).map_err(|source| StoreError::Io { action: "write", path, source })
}

/// A downloaded file that is a video: every frame was decoded.
#[derive(Debug)]
pub struct Verified {
    staged: NamedTempFile,
    extension: &'static str,
    blake3: String,
    shape: Shape,
}

impl Verified {
    /// Decodes a download, whose kind is told from its first bytes, not from what anybody says of it.
    ///
    /// # Errors
    /// [`StoreError::Video`] for what is no MP4, WebM or GIF, or is damaged; the disk's.
    pub fn decode(staged: NamedTempFile) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            |source| StoreError::Io { action: "read", path, source }
        };
        let extension = kind(staged.path()).map_err(at(staged.path()))?.ok_or_else(|| VideoError::Unreadable {
            path: PathBuf::from("the download"),
            problem: "it begins like no MP4, WebM or GIF file".to_string(),
        })?;
        // The reader goes by the name's ending.
        let named = staged.path().with_extension(extension);
        // Some file systems know no second names.
        fs::hard_link(staged.path(), &named).or_else(|_| fs::copy(staged.path(), &named).map(|_| ())).map_err(at(&named))?;
        let video = read_video(&named);
        fs::remove_file(&named).map_err(at(&named))?;
        let shape = Shape::of(&video?);
        let blake3 = hash(staged.path()).map_err(at(staged.path()))?;
        Ok(Self { staged, extension, blake3, shape })
    }
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    width: u32,
    height: u32,
    frames: usize,
    frames_per_second: f64,
}

impl Shape {
    fn of(video: &Video) -> Self {
        Self { width: video.width, height: video.height, frames: video.frames.len(), frames_per_second: video.frames_per_second }
    }
}

/// BLAKE3 of a file, or of a directory's names and hashes.
///
/// # Errors
/// What cannot be read.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    if path.is_dir() {
        let mut files = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        for name in files {
            hasher.update(name.to_string_lossy().as_bytes());
            hasher.update(hash(&path.join(name))?.as_bytes());
        }
    } else {
        hasher.update_reader(File::open(path)?)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The file's kind by its first bytes.
fn kind(path: &Path) -> io::Result<Option<&'static str>> {
    let mut start = Vec::new();
    File::open(path)?.take(12).read_to_end(&mut start)?;
    Ok(match &start[..] {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("mp4"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("webm"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        _ => None,
    })
}

fn clip_name(prompt: &str, take: u64, extension: &str) -> String {
    let hash = blake3::hash(prompt.as_bytes()).to_hex();
    format!("{CLIPS}/{}-{take:05}.{extension}", &hash[..24])
}

/// Whether the directory holds nothing but what a killed process leaves before `store.json` is there.
fn only_begun(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && !name.to_string_lossy().starts_with(stage::PREFIX) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_origin(path: &Path) -> Result<Option<serde_json::Value>, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { path: path.to_path_buf(), problem };
    match fs::read(path) {
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { action: "read", path: path.to_path_buf(), source }),
        Ok(bytes) => match serde_json::from_slice::<Origin>(&bytes).map_err(|error| damaged(error.to_string()))? {
            Origin { format: 1, origin } => Ok(Some(origin)),
            Origin { format, .. } => Err(damaged(format!("its format is {format}, this program knows 1"))),
        },
    }
}

/// What killed processes left half-written. Only under the lock: another process's work looks the same.
fn remove_staged(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(stage::PREFIX) {
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::{
        teacher::{Teacher, folder::FolderTeacher},
        video_io::write_gif_bytes,
    };

    fn video(value: u8) -> Video {
        Video { width: 4, height: 2, frames_per_second: 10.0, frames: vec![vec![value; 24]; 3] }
    }

    fn download(store: &ClipStore, bytes: &[u8]) -> NamedTempFile {
        let mut place = download_place(store.directory()).unwrap();
        place.write_all(bytes).unwrap();
        place
    }

    fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(self::files(&path));
            } else {
                files.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
        files.sort();
        files
    }

    #[test]
    fn a_store_is_a_folder_teacher_at_any_time_and_goes_on_when_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let origin = json!({ "teacher": "test" });
        let mut store = ClipStore::open(folder.path(), &origin).unwrap();
        store.add_video("b", 1, &video(1), VideoFormat::PngFrames).unwrap();
        let verified = Verified::decode(download(&store, &write_gif_bytes(&video(2)).unwrap())).unwrap();
        store.add_download("a", 0, verified).unwrap();
        let teacher = FolderTeacher::open(folder.path()).unwrap();
        assert_eq!(teacher.videos("b", 0..1).unwrap(), [video(1)]);
        assert_eq!(teacher.videos("a", 0..1).unwrap(), [video(2)]);
        drop(store);

        let mut store = ClipStore::open(folder.path(), &origin).unwrap();
        assert_eq!(store.clips().len(), 2);
        let record = store.get("a", 0).unwrap().clone();
        assert_eq!((record.width, record.height, record.frames, record.frames_per_second), (4, 2, 3, 10.0));
        assert_eq!(record.blake3, hash(&folder.path().join(&record.video)).unwrap());
        // A clip that is there stays what it is.
        store.add_video("a", 0, &video(9), VideoFormat::Gif).unwrap();
        assert_eq!(store.get("a", 0), Some(&record));
        store.finish().unwrap();
        assert_eq!(ClipStore::list(folder.path()).unwrap().len(), 2);
        assert_eq!(ClipStore::origin(folder.path()).unwrap(), Some(origin));
    }

    #[test]
    fn the_order_of_arrival_leaves_no_trace_once_finished() {
        let folder = tempfile::tempdir().unwrap();
        let stores = [["a", "b", "c"], ["c", "a", "b"]].map(|order| {
            let directory = folder.path().join(order.concat());
            let mut store = ClipStore::open(&directory, &json!(1)).unwrap();
            order.iter().for_each(|prompt| store.add_video(prompt, 0, &video(prompt.as_bytes()[0]), VideoFormat::Gif).unwrap());
            store.finish().unwrap();
            files(&directory)
                .into_iter()
                .map(|(path, bytes)| (path.strip_prefix(&directory).unwrap().to_path_buf(), bytes))
                .collect::<Vec<_>>()
        });
        assert_eq!(stores[0].len(), 3 + 3);
        assert!(stores[0] == stores[1]);
    }

    #[test]
    fn what_a_kill_leaves_behind_is_cleared_away_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = ClipStore::open(folder.path(), &json!(1)).unwrap();
        store.add_video("a", 0, &video(1), VideoFormat::PngFrames).unwrap();
        let record = store.get("a", 0).unwrap().clone();
        drop(store);
        // Killed after the rename and before the line was whole; and in the midst of a download.
        let manifest = folder.path().join(FILE_NAME);
        let text = fs::read(&manifest).unwrap();
        fs::write(&manifest, &text[..text.len() - 1]).unwrap();
        fs::write(folder.path().join("clips/.staged-x"), "half").unwrap();
        fs::create_dir(folder.path().join(".staged-y")).unwrap();
        let mut store = ClipStore::open(folder.path(), &json!(1)).unwrap();
        assert!(store.clips().is_empty());
        store.add_video("a", 0, &video(1), VideoFormat::PngFrames).unwrap();
        assert_eq!(store.get("a", 0), Some(&record));
        assert_eq!(fs::read_dir(folder.path().join("clips")).unwrap().count(), 1);
        assert_eq!(fs::read(&manifest).unwrap(), text);
    }

    #[test]
    fn downloads_that_are_no_videos_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = ClipStore::open(folder.path(), &json!(1)).unwrap();
        let gif = write_gif_bytes(&video(2)).unwrap();
        for bytes in [&b""[..], b"<html>busy</html>", b"#EXTM3U\n/etc/passwd", &gif[..gif.len() / 2], b"\0\0\0\x18ftypisom but no more"] {
            assert!(matches!(Verified::decode(download(&store, bytes)), Err(StoreError::Video(_))), "{bytes:?}");
        }
        assert_eq!(fs::read_dir(folder.path().join("clips")).unwrap().count(), 0);
    }

    #[test]
    fn foreign_directories_other_origins_and_second_writers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        assert!(matches!(ClipStore::open(folder.path(), &json!(1)), Err(StoreError::Foreign(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let directory = folder.path().join("store");
        let store = ClipStore::open(&directory, &json!({ "seed": 1 })).unwrap();
        assert!(matches!(ClipStore::open(&directory, &json!({ "seed": 1 })), Err(StoreError::Locked(_))));
        drop(store);
        let message = ClipStore::open(&directory, &json!({ "seed": 2 })).unwrap_err().to_string();
        assert!(message.contains("{\"seed\":1}") && message.contains("{\"seed\":2}"), "{message}");
        fs::write(directory.join(ORIGIN_FILE), "{}").unwrap();
        assert!(matches!(ClipStore::open(&directory, &json!({ "seed": 1 })), Err(StoreError::Damaged { .. })));
    }
}

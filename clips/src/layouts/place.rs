//! Where a clip's bytes are, and how they are handed to a decoder.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use tempfile::{Builder, NamedTempFile};

use super::{opened::ordinary, parquet::cell::cell};
use crate::{
    manifest::check_path,
    roots::Roots,
    shown::{shown, shown_path},
    video_io::{Sink, VideoError, VideoHeader, decode_video, extension},
};

/// Most bytes of one clip inside an archive.
const MAX_MEMBER_BYTES: u64 = 1 << 30;

/// Where a clip's bytes are, relative to the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file, or a directory of frames.
    File(PathBuf),
    /// Some bytes of a tar archive.
    Member {
        /// The archive's path.
        archive: PathBuf,
        /// The member's name, as it is shown.
        name: String,
        /// Its first byte in the archive.
        start: u64,
        /// How many there are.
        bytes: u64,
    },
    /// A value of a Parquet file.
    Cell {
        /// The file's path.
        file: PathBuf,
        /// Its row group.
        row_group: usize,
        /// The row in that group.
        row: u64,
        /// The row in the file.
        number: u64,
    },
}

/// As messages and journals name it: invisible and controlling characters, and bytes that are not
/// UTF-8, as escapes.
impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => formatter.write_str(&shown_path(path)),
            Self::Member { archive, name, .. } => {
                write!(formatter, "{}, {name}", shown_path(archive))
            }
            Self::Cell { file, number, .. } => {
                write!(formatter, "{}, row {number}", shown_path(file))
            }
        }
    }
}

impl Place {
    /// The file that holds it, relative to the folder.
    pub fn file(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Member { archive, .. } => archive,
            Self::Cell { file, .. } => file,
        }
    }

    /// The path that messages name: the file in the folder, with its member or row.
    pub fn shown(&self, directory: &Path) -> PathBuf {
        directory.join(self.to_string())
    }

    /// A text that changes when the clip's file does: its size and its time of change (of a
    /// directory: of all files in it). The time is also that of changes to the file's entry, so
    /// that a file which was moved there with its own time is noticed.
    ///
    /// # Errors
    /// The file system's, where the file is gone, say.
    pub fn stamp(&self, directory: &Path) -> io::Result<String> {
        let path = directory.join(self.file());
        let kind = path.metadata()?;
        let time = |kind: &fs::Metadata| {
            kind.modified()
                .ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |time| time.as_nanos())
        };
        let time = |kind: &fs::Metadata| time(kind).max(entry_changed(kind));
        let (mut bytes, mut changed) = (kind.len(), time(&kind));
        if kind.is_dir() {
            bytes = 0;
            for entry in fs::read_dir(&path)? {
                let kind = entry?.metadata()?;
                bytes = bytes.wrapping_add(kind.len());
                changed = changed.max(time(&kind));
            }
        }
        Ok(format!("{bytes}-{changed}"))
    }

    /// BLAKE3 of the clip's bytes: of its file, of a directory's names and hashes of files, or of
    /// a member or a row of an archive.
    ///
    /// # Errors
    /// The file system's, and an archive that cannot be read.
    pub fn content(&self, directory: &Path) -> io::Result<String> {
        match self {
            Self::File(path) => crate::store::hash(&directory.join(path)),
            Self::Member {
                archive,
                start,
                bytes,
                ..
            } => {
                let mut file = File::open(directory.join(archive))?;
                file.seek(SeekFrom::Start(*start))?;
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(file.take(*bytes))?;
                Ok(hasher.finalize().to_hex().to_string())
            }
            Self::Cell {
                file,
                row_group,
                row,
                ..
            } => {
                let bytes = cell(&directory.join(file), *row_group, *row)
                    .map_err(|problem| io::Error::other(problem.to_string()))?;
                Ok(blake3::hash(&bytes).to_hex().to_string())
            }
        }
    }

    /// Decodes the clip; see [`decode_video`]. What lies inside an archive goes through a temporary
    /// file.
    ///
    /// # Errors
    /// As [`decode_video`], and a link that leads out of `directory`.
    pub fn decode(&self, directory: &Path, sink: &mut Sink) -> Result<VideoHeader, VideoError> {
        self.decode_there(directory, sink).map_err(escaped)
    }

    fn decode_there(&self, directory: &Path, sink: &mut Sink) -> Result<VideoHeader, VideoError> {
        let shown = self.shown(directory);
        let error = VideoError::io("read", &shown);
        // Looked at again: the folder may have changed since it was listed.
        let roots = Roots::of(directory).map_err(error)?;
        let copy = match self {
            Self::File(path) => {
                check_path(path, directory, &roots)
                    .map_err(|problem| VideoError::unreadable(&shown, problem))?;
                return decode_video(&directory.join(path), sink);
            }
            Self::Member {
                archive,
                start,
                bytes,
                ..
            } => {
                if *bytes > MAX_MEMBER_BYTES {
                    let problem = format!(
                        "it has {bytes} bytes; at most {MAX_MEMBER_BYTES} are read from an archive"
                    );
                    return Err(VideoError::unreadable(&shown, problem));
                }
                let archive = directory.join(archive);
                ordinary(&archive, &roots)
                    .map_err(|problem| VideoError::unreadable(&shown, problem))?;
                let mut file = File::open(archive).map_err(error)?;
                file.seek(SeekFrom::Start(*start)).map_err(error)?;
                let mut beginning = Vec::new();
                (&file)
                    .take(12.min(*bytes))
                    .read_to_end(&mut beginning)
                    .map_err(error)?;
                let mut copy = self.copy(&beginning).map_err(error)?;
                let rest = bytes - beginning.len() as u64;
                copy.write_all(&beginning).map_err(error)?;
                let copied = io::copy(&mut file.take(rest), &mut copy).map_err(error)?;
                if copied != rest {
                    let problem = "the archive ends before it does";
                    return Err(VideoError::unreadable(&shown, problem));
                }
                copy
            }
            Self::Cell {
                file,
                row_group,
                row,
                ..
            } => {
                let file = directory.join(file);
                ordinary(&file, &roots)
                    .map_err(|problem| VideoError::unreadable(&shown, problem))?;
                let bytes = cell(&file, *row_group, *row)
                    .map_err(|problem| VideoError::unreadable(&shown, problem))?;
                let mut copy = self.copy(&bytes[..bytes.len().min(12)]).map_err(error)?;
                copy.write_all(&bytes).map_err(error)?;
                copy
            }
        };
        decode_video(copy.path(), sink).map_err(|error| error.of_original(copy.path(), &shown))
    }

    /// An empty temporary file that is named as a member is, or as its first bytes say where it has
    /// no name.
    fn copy(&self, beginning: &[u8]) -> io::Result<NamedTempFile> {
        let extension = match self {
            Self::Member { name, .. } => extension(Path::new(name)),
            _ => match beginning {
                [b'G', b'I', b'F', ..] => "gif",
                [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => "avi",
                [b'R', b'I', b'F', b'F', ..] => "webp",
                [0x89, b'P', b'N', b'G', ..] => "apng",
                [0x1a, 0x45, 0xdf, 0xa3, ..] => "mkv",
                _ => "mp4",
            }
            .to_string(),
        };
        Builder::new()
            .prefix("afd-")
            .suffix(&format!(".{extension}"))
            .tempfile()
    }
}

/// When the entry of a file last changed, in nanoseconds since 1970; 0 where that is not known.
#[cfg(unix)]
fn entry_changed(kind: &fs::Metadata) -> u128 {
    use std::os::unix::fs::MetadataExt;
    let (seconds, nanoseconds) = (kind.ctime().max(0), kind.ctime_nsec().max(0));
    seconds as u128 * 1_000_000_000 + nanoseconds as u128
}

#[cfg(not(unix))]
fn entry_changed(_kind: &fs::Metadata) -> u128 {
    0
}

/// The same error with the strangers' names in it as they are shown.
fn escaped(mut error: VideoError) -> VideoError {
    match &mut error {
        VideoError::Unreadable { path, problem } => {
            *problem = shown(problem);
            escape(path);
        }
        VideoError::Format { path, .. }
        | VideoError::Io { path, .. }
        | VideoError::TooLarge { path, .. }
        | VideoError::Slow { path, .. }
        | VideoError::FfmpegMissing { path, .. } => escape(path),
        _ => {}
    }
    error
}

/// Only a path that would be shown otherwise: others, with their backslashes, stay usable.
fn escape(path: &mut PathBuf) {
    let text = path.to_string_lossy();
    if path.to_str().is_none() || shown(&text) != text {
        *path = PathBuf::from(shown_path(path));
    }
}

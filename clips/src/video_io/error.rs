//! Why a video could not be read or written.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

/// Why a video could not be read or written. Every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// The name's extension is not one that is known.
    #[error("{path} ends in {found:?}; expected {expected}")]
    Format {
        /// The path as given.
        path: PathBuf,
        /// Its extension.
        found: String,
        /// The extensions that are known.
        expected: &'static str,
    },
    /// The target exists.
    #[error("{path} exists already and is never overwritten; remove it or choose another name")]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The file is damaged, or not what its name says.
    #[error("{path} cannot be read as a video: {problem}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The video cannot be stored in this format.
    #[error("cannot write {path}: {problem}")]
    Unwritable {
        /// The target.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// The video would not fit in memory.
    #[error(
        "{path} is too large: {what} {found}, and the limit is {limit}; cut or shrink the video"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which quantity.
        what: &'static str,
        /// Its value.
        found: String,
        /// The greatest value allowed.
        limit: String,
    },
    /// Decoding took longer than any clip should.
    #[error(
        "{path} was given up after {seconds} s of decoding; cut or shrink the video, or remove it"
    )]
    Slow {
        /// The file.
        path: PathBuf,
        /// How long it was tried.
        seconds: u64,
    },
    /// This format needs ffmpeg.
    #[error(
        "cannot {action} {path}: ffmpeg was not found ({looked}); install ffmpeg so that it is on \
            PATH, set AFD_FFMPEG to the full path of the program, or use .gif files or .frames \
            directories, which need no ffmpeg"
    )]
    FfmpegMissing {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Where it was looked for.
        looked: String,
    },
}

impl VideoError {
    /// For `map_err`: the file system refused to `action` (read or write) `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// For `map_err`: the file system refused to write `path`, or to replace what is there.
    pub(crate) fn unwritten(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists {
                path: path.to_path_buf(),
            },
            _ => Self::io("write", path)(source),
        }
    }

    /// What was found in `path` is no video.
    pub(crate) fn unreadable(path: &Path, problem: impl Display) -> Self {
        Self::Unreadable {
            path: path.to_path_buf(),
            problem: problem.to_string(),
        }
    }

    /// What cannot be stored in `path`, and why.
    pub(crate) fn unwritable(path: &Path, problem: impl Display) -> Self {
        Self::Unwritable {
            path: path.to_path_buf(),
            problem: problem.to_string(),
        }
    }

    /// Whether the file itself is at fault, so that another try would end the same: not a full
    /// disk, a missing ffmpeg or a busy machine.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ),
            Self::Slow { .. } | Self::FfmpegMissing { .. } => false,
            _ => true,
        }
    }

    /// The same about a clip that was read from the temporary file `copy` but belongs to
    /// `original`.
    #[must_use]
    pub fn of_original(mut self, copy: &Path, original: &Path) -> Self {
        let renamed = |text: &mut String| {
            *text = text.replace(&*copy.to_string_lossy(), &original.to_string_lossy())
        };
        match &mut self {
            Self::Unreadable { path, problem } | Self::Unwritable { path, problem } => {
                renamed(problem);
                *path = original.to_path_buf();
            }
            Self::Format { path, .. }
            | Self::Exists { path }
            | Self::Io { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Slow { path, .. }
            | Self::FfmpegMissing { path, .. } => *path = original.to_path_buf(),
        }
        self
    }
}

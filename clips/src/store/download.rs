//! Files from elsewhere on their way into a store: nothing gets a name before every frame of it was
//! decoded.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use tempfile::NamedTempFile;

use super::{CLIPS, StoreError};
use crate::{
    stage,
    video::Video,
    video_io::{VideoError, read_video},
};

/// A place for a download in the store of `directory`: gone again unless it becomes a clip.
///
/// # Errors
/// [`StoreError::Io`] where the disk refuses.
pub fn download_place(directory: &Path) -> Result<NamedTempFile, StoreError> {
    let path = directory.join(CLIPS).join("download");
    stage::file(&path).map_err(StoreError::io("write", &path))
}

/// A downloaded file that is a video: every frame was decoded.
#[derive(Debug)]
pub struct Verified {
    pub(super) staged: NamedTempFile,
    pub(super) extension: &'static str,
    pub(super) blake3: String,
    pub(super) shape: Shape,
}

impl Verified {
    /// BLAKE3 of the file.
    pub fn blake3(&self) -> &str {
        &self.blake3
    }

    /// Decodes a download, whose kind is told from its first bytes, not from what anybody says of
    /// it.
    ///
    /// # Errors
    /// [`StoreError::Video`] for what is no MP4, WebM or GIF, or is damaged; [`StoreError::Io`].
    pub fn decode(staged: NamedTempFile) -> Result<Self, StoreError> {
        let extension = kind(staged.path())
            .map_err(StoreError::io("read", staged.path()))?
            .ok_or_else(|| {
                let problem = "it begins like no MP4, WebM or GIF file";
                VideoError::unreadable(Path::new("the download"), problem)
            })?;
        // The reader goes by the name's extension.
        let named = staged.path().with_extension(extension);
        // Some file systems know no second names.
        fs::hard_link(staged.path(), &named)
            .or_else(|_| fs::copy(staged.path(), &named).map(|_| ()))
            .map_err(StoreError::io("read", &named))?;
        let video = read_video(&named);
        fs::remove_file(&named).map_err(StoreError::io("read", &named))?;
        let shape = Shape::of(&video?);
        let blake3 = hash(staged.path()).map_err(StoreError::io("read", staged.path()))?;
        Ok(Self {
            staged,
            extension,
            blake3,
            shape,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: usize,
    pub(super) frames_per_second: f64,
}

impl Shape {
    pub(super) fn of(video: &Video) -> Self {
        Self {
            width: video.width,
            height: video.height,
            frames: video.frames.len(),
            frames_per_second: video.frames_per_second,
        }
    }
}

/// BLAKE3 of a file, or of a directory's names and hashes.
///
/// # Errors
/// The file system's, for what cannot be read.
pub fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    if path.is_dir() {
        let mut files = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
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

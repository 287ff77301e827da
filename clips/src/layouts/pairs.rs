//! `a.mp4` and `a.txt`, `b/` (frames) and `b.txt`: videos whose prompts lie beside them, in any
//! directory of the folder.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem, children, one_line};
use crate::{
    manifest::EntryError,
    video_io::{is_frame_directory, is_video_name},
};

/// Directories inside directories that are gone into.
const MAX_DEPTH: usize = 16;

/// Whether there is any video.
pub(super) fn any(directory: &Path) -> Result<bool, LayoutError> {
    let mut found = false;
    walk(directory, MAX_DEPTH, &mut |_| {
        found = true;
        false
    })?;
    Ok(found)
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    walk(folder.directory, MAX_DEPTH, &mut |path| {
        let name = folder.name(path);
        let listed = prompt_of(path).and_then(|prompt| Ok(folder.entry(&prompt, &name, None)?));
        each(listed.map_err(|problem| Problem::new(name, problem)))
    })
    .map(|_| ())
}

/// Videos and directories of frames, in order of their paths.
fn walk(
    directory: &Path,
    depth: usize,
    each: &mut dyn FnMut(&Path) -> bool,
) -> Result<bool, LayoutError> {
    for path in children(directory)? {
        let is_directory = path
            .symlink_metadata()
            .map_err(LayoutError::io(&path))?
            .is_dir();
        let goes_on = match is_directory {
            true if is_frame_directory(&path) => each(&path),
            true if depth > 1 => walk(&path, depth - 1, each)?,
            true => {
                return Err(LayoutError::damaged(
                    &path,
                    "it lies too deep inside other directories",
                ));
            }
            false if is_video_name(&path) => each(&path),
            false => true,
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Why a video has no prompt.
#[derive(Debug, thiserror::Error)]
enum PairError {
    #[error("its prompt's file {0} is missing")]
    Missing(String),
    #[error("its prompt's file {0} is no ordinary file")]
    NoFile(String),
    #[error("its prompt's file {0} has more than {MAX_TEXT_BYTES} bytes")]
    Long(String),
    #[error("its prompt's file {name} cannot be read: {source}")]
    Io { name: String, source: io::Error },
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The prompt beside a video, its line breaks made spaces.
fn prompt_of(video: &Path) -> Result<String, PairError> {
    let path = video.with_extension("txt");
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match path.symlink_metadata() {
        Ok(kind) if kind.is_file() => {}
        Ok(_) => return Err(PairError::NoFile(name)),
        Err(_) => return Err(PairError::Missing(name)),
    }
    let mut text = String::new();
    let read =
        File::open(&path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_TEXT_BYTES => Err(PairError::Long(name)),
        Ok(_) => Ok(one_line(&text)),
        Err(source) => Err(PairError::Io { name, source }),
    }
}

//! `a.mp4` and `a.txt`, `b/` (frames) and `b.txt`: videos whose prompts lie beside them, in any
//! directory of the folder.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem, one_line,
    pictures::is_animated_png,
    walk::{MAX_DEPTH, children},
};
use crate::{
    manifest::EntryError,
    shown::shown_path,
    text::{self, TextError},
    video_io::{extension, is_frame_directory, is_video_name},
};

/// Tells `each` the videos of a folder, in order of their paths, until it says `false`.
pub(super) fn videos(
    directory: &Path,
    each: &mut dyn FnMut(&Path) -> bool,
) -> Result<(), LayoutError> {
    walk(directory, MAX_DEPTH, each).map(|_| ())
}

/// Whether a video has a file for its prompt.
pub(super) fn has_prompt(video: &Path) -> bool {
    video.with_extension("txt").symlink_metadata().is_ok()
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    videos(folder.directory, &mut |path| {
        folder.use_file(path);
        let inside = path.strip_prefix(folder.directory).unwrap_or(path);
        let listed = prompt_of(folder, inside)
            .and_then(|prompt| Ok(folder.entry_at(inside.to_path_buf(), &prompt, None)?));
        each(listed.map_err(|problem| Problem::new(folder.name(path), problem)))
    })
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
            false if is_video(&path) => each(&path),
            false => true,
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

/// By its name; a `.png` by what it holds, and a link to a directory is none.
fn is_video(path: &Path) -> bool {
    let is_animated = || {
        path.metadata().is_ok_and(|kind| kind.is_file())
            && File::open(path).is_ok_and(is_animated_png)
    };
    if extension(path) == "png" {
        is_animated()
    } else {
        is_video_name(path) && !path.is_dir()
    }
}

/// Why a video has no prompt.
#[derive(Debug, thiserror::Error)]
enum PairError {
    #[error("its prompt's file {0} is missing")]
    Missing(String),
    #[error("its prompt's file {0} is no ordinary file of this folder")]
    NoFile(String),
    #[error("its prompt's file {0} has more than {MAX_TEXT_BYTES} bytes")]
    Long(String),
    #[error("its prompt's file {name} cannot be read: {source}")]
    Io { name: String, source: io::Error },
    #[error("its prompt's file {name} cannot be read: {source}")]
    Text { name: String, source: TextError },
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The prompt beside a video, its line breaks made spaces.
fn prompt_of(folder: &Folder, video: &Path) -> Result<String, PairError> {
    let beside = video.with_extension("txt");
    let name = || shown_path(beside.file_name().map_or(&beside, Path::new));
    let path: PathBuf = match folder.present(&beside) {
        Some(found) => folder.directory.join(found),
        None => return Err(PairError::Missing(name())),
    };
    match path.canonicalize() {
        Ok(real) if folder.roots.contains(&real) && real.is_file() => folder.use_file(&path),
        _ => return Err(PairError::NoFile(name())),
    }
    let mut bytes = Vec::new();
    let read =
        File::open(&path).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > MAX_TEXT_BYTES => Err(PairError::Long(name())),
        Ok(_) => text::decoded(&bytes)
            .map(one_line)
            .map_err(|source| PairError::Text {
                name: name(),
                source,
            }),
        Err(source) => Err(PairError::Io {
            name: name(),
            source,
        }),
    }
}

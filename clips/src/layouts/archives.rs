//! Files that hold many clips each, as strangers made them: shards and Parquet files.

use std::{
    fmt::Display,
    fs::Metadata,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::{Folder, LayoutError, Listed, Problem, files};
use crate::video_io::extension;

/// The reader of a file panicked.
#[derive(Debug, thiserror::Error)]
#[error("its reader gave up on it")]
pub(super) struct GaveUp;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no ordinary file; links are not followed")]
    NoFile,
}

/// Lists every file of the folder with this extension, in order of paths. What is wrong with a
/// whole file is a problem of that file.
pub(super) fn list_each<E: From<GaveUp> + Display>(
    folder: &Folder,
    wanted: &str,
    each: &mut dyn FnMut(Listed) -> bool,
    list: impl Fn(&Path, &str, &mut dyn FnMut(Listed) -> bool) -> Result<(), E>,
) -> Result<(), LayoutError> {
    for path in files(folder.directory, 2)?
        .into_iter()
        .filter(|path| extension(path) == wanted)
    {
        let name = folder.name(&path);
        let mut goes_on = true;
        let mut heard = |listed| {
            goes_on = each(listed);
            goes_on
        };
        if let Err(problem) = guarded(|| list(&path, &name, &mut heard)) {
            goes_on = each(Err(Problem::new(name, problem)));
        }
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The file is whatever strangers made; a mistake of its reader must not end the program.
pub(super) fn guarded<T, E: From<GaveUp>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(GaveUp.into()))
}

/// An ordinary file's size and kind.
pub(super) fn ordinary(path: &Path) -> Result<Metadata, OpenError> {
    let kind = path.symlink_metadata()?;
    match kind.is_file() {
        true => Ok(kind),
        false => Err(OpenError::NoFile),
    }
}

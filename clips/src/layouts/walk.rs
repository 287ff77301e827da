//! Going through directories in a fixed order.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::LayoutError;

/// Directories inside directories that are gone into.
pub(super) const MAX_DEPTH: usize = 16;

/// The files of `directory` and of directories inside, in order of their paths. Hidden names are
/// passed over, links to directories are not followed.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let mut found = Vec::new();
    files_inside(directory, MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn files_inside(
    directory: &Path,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), LayoutError> {
    let mut directories = Vec::new();
    for path in children(directory)? {
        let kind = path.symlink_metadata().map_err(LayoutError::io(&path))?;
        if kind.is_dir() {
            directories.push(path)
        } else if !path.is_dir() {
            found.push(path)
        }
    }
    if depth > 1 {
        for inside in directories {
            files_inside(&inside, depth - 1, found)?;
        }
    }
    Ok(())
}

/// What is in a directory, in order of names; hidden names are passed over.
pub(super) fn children(directory: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let error = LayoutError::io(directory);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(&error)? {
        let entry = entry.map_err(&error)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

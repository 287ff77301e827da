//! Nothing is written in place: files and directories are staged beside their target, synced, then
//! renamed.
//!
//! A target that exists is replaced only by [`replace_file`], and a staged file that is dropped
//! before it is published is deleted.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use tempfile::{Builder, NamedTempFile, TempDir};

/// An empty file in the target's directory, on the same file system, so that the rename is atomic.
pub(super) fn file(target: &Path) -> io::Result<NamedTempFile> {
    let mut builder = builder(0o666);
    let suffix = target
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    let made = builder.suffix(&suffix).tempfile_in(parent(target));
    made.map_err(unnamed)
}

/// The error without the hidden name, which says nothing to whoever named the target.
fn unnamed(error: io::Error) -> io::Error {
    error.kind().into()
}

/// Gives the staged file its name; `AlreadyExists` when the name is taken.
pub(super) fn publish_file(staged: NamedTempFile, target: &Path) -> io::Result<()> {
    staged.as_file().sync_all()?;
    staged
        .persist_noclobber(target)
        .map_err(|error| error.error)?;
    sync_directory(parent(target))
}

/// Gives the staged file its name, and replaces what has that name: for files that this program
/// alone writes.
pub(super) fn replace_file(staged: NamedTempFile, target: &Path) -> io::Result<()> {
    staged.as_file().sync_all()?;
    staged.persist(target).map_err(|error| error.error)?;
    sync_directory(parent(target))
}

/// Makes a file's name survive a power cut.
pub(super) fn sync_directory_of(file: &Path) -> io::Result<()> {
    sync_directory(parent(file))
}

/// What the names of staged files and directories begin with.
pub(super) const PREFIX: &str = ".staged-";

/// An empty directory beside the target.
pub(super) fn directory(target: &Path) -> io::Result<TempDir> {
    builder(0o777).tempdir_in(parent(target)).map_err(unnamed)
}

/// Gives the staged directory its name; `AlreadyExists` when the name is taken. The files inside
/// must be synced already.
pub(super) fn publish_directory(staged: TempDir, target: &Path) -> io::Result<()> {
    if target.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    sync_directory(staged.path())?;
    // Between the look and the rename only an empty directory could still be replaced: rename
    // refuses anything else.
    fs::rename(staged.path(), target)?;
    let _ = staged.keep(); // It has moved: there is nothing left to delete.
    sync_directory(parent(target))
}

/// A hidden, random name. tempfile makes private files; published ones get the ordinary mode, less
/// the user's umask.
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the rename itself survive a power cut. Directories can only be opened for this on Unix.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_published_file_has_its_contents_and_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        let mut staged = file(&target).unwrap();
        staged.write_all(b"hello").unwrap();
        assert!(!target.exists());
        publish_file(staged, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn existing_files_and_directories_keep_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::write(&target, "old").unwrap();
        let staged = file(&target).unwrap();
        assert_eq!(
            publish_file(staged, &target).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let staged = directory(&target).unwrap();
        assert_eq!(
            publish_directory(staged, &target).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["taken"]);
    }
}

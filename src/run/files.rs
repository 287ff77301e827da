//! Files and directories that appear whole or not at all: staged beside the target, synced,
//! renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exit::ExitStatus;

/// How every staged file or directory is named; what a killed process leaves behind starts with
/// this.
pub const STAGING_PREFIX: &str = ".staging-";

/// The file system refused: names the path and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}: {reason}; {}", path.display(), advice(reason))]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    reason: io::Error,
}

impl ExitStatus for FileError {}

impl FileError {
    /// `action` completes "could not ...": "write", "read", "create the directory".
    pub fn new(action: &'static str, path: &Path, reason: io::Error) -> Self {
        Self {
            action,
            path: path.to_path_buf(),
            reason,
        }
    }

    /// What kind of refusal this was.
    pub fn kind(&self) -> ErrorKind {
        self.reason.kind()
    }
}

fn advice(reason: &io::Error) -> &'static str {
    match reason.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space there or choose a directory on another disk"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make it writable and readable for this user or choose another directory"
        }
        ErrorKind::NotFound => "check the path, or create the directory that should hold it",
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => {
            "move it away or choose another name: nothing is overwritten"
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            "check the path: a file stands where a directory is needed, or the reverse"
        }
        _ => "check that the disk is healthy and mounted, then try again",
    }
}

/// Adds the path to an `io::Result`.
pub(crate) trait AtPath<T> {
    /// `action` completes "could not ...".
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|reason| FileError::new(action, path, reason))
    }
}

/// Writes `bytes` to `path` so that a reader, or a crash, meets either the old content or all of
/// the new.
///
/// An existing file is replaced as a whole. The parent directory must exist.
///
/// # Errors
/// [`FileError`] when the disk is full, the place is not writable or the parent is missing; the old
/// content is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let parent = parent_of(path);
    let (staged, mut file) = create_staged(parent, |staged| {
        OpenOptions::new().write(true).create_new(true).open(staged)
    })?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .at("write", path);
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&staged, path).at("replace", path)) {
        let _ = fs::remove_file(&staged);
        return Err(error);
    }
    sync_directory(parent)
}

/// A directory filled under a hidden name beside its target; it gets its real name when complete.
///
/// Dropped without [`StagedDirectory::commit`], it is removed. A killed process leaves it behind
/// for [`remove_leftovers`].
#[derive(Debug)]
pub struct StagedDirectory {
    staged: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl StagedDirectory {
    /// Creates an empty directory beside `target`, creating the parent directories where they are
    /// missing.
    ///
    /// # Errors
    /// [`FileError`] when `target` exists already or its parent cannot be written.
    pub fn new(target: &Path) -> Result<Self, FileError> {
        refuse_existing(target)?;
        let parent = parent_of(target);
        fs::create_dir_all(parent).at("create the directory", parent)?;
        let (staged, ()) = create_staged(parent, |staged| fs::create_dir(staged))?;
        Ok(Self {
            staged,
            target: target.to_path_buf(),
            committed: false,
        })
    }

    /// Where to put the files for now.
    pub fn path(&self) -> &Path {
        &self.staged
    }

    /// Syncs everything inside to disk, then gives the directory its real name.
    ///
    /// # Errors
    /// [`FileError`] when the target has appeared meanwhile or the disk refuses; the staged files
    /// are then removed.
    pub fn commit(mut self) -> Result<(), FileError> {
        sync_tree(&self.staged)?;
        // Unix renames a directory over an existing empty one without complaint.
        refuse_existing(&self.target)?;
        fs::rename(&self.staged, &self.target).at("create the directory", &self.target)?;
        self.committed = true;
        sync_directory(parent_of(&self.target))
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if !self.committed {
            // Best effort: what cannot be removed now is a leftover that `remove_leftovers` knows
            // by its name.
            let _ = fs::remove_dir_all(&self.staged);
        }
    }
}

/// Removes a directory so that a crash midway leaves no half directory under its real name.
pub fn remove_directory(path: &Path) -> Result<(), FileError> {
    let (doomed, ()) = create_staged(parent_of(path), |doomed| fs::create_dir(doomed))?;
    // Windows does not rename onto an existing directory, so the reserved name gets the old one as
    // its child.
    fs::rename(path, doomed.join("removed")).at("remove", path)?;
    fs::remove_dir_all(&doomed).at("remove", &doomed)
}

/// Removes what killed processes left half-written directly inside `directory`; returns how many
/// entries that were.
///
/// Call it only while nobody else writes there: it cannot tell a leftover from another process's
/// work.
pub fn remove_leftovers(directory: &Path) -> Result<usize, FileError> {
    let mut removed = 0;
    for entry in fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with(STAGING_PREFIX)
        {
            continue;
        }
        let path = entry.path();
        if entry.file_type().at("inspect", &path)?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        }
        .at("remove the leftover", &path)?;
        removed += 1;
    }
    Ok(removed)
}

fn refuse_existing(target: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(target) {
        Ok(_) => Err(FileError::new(
            "create",
            target,
            ErrorKind::AlreadyExists.into(),
        )),
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(()),
        Err(reason) => Err(FileError::new("inspect", target, reason)),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Tries staging names until `create`, which must refuse existing ones, succeeds.
fn create_staged<T>(
    parent: &Path,
    create: impl Fn(&Path) -> io::Result<T>,
) -> Result<(PathBuf, T), FileError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        // Process ids repeat across containers and reboots; the loop steps over names that are
        // taken.
        let staged = parent.join(format!(
            "{STAGING_PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        match create(&staged) {
            Ok(created) => return Ok((staged, created)),
            Err(reason) if reason.kind() == ErrorKind::AlreadyExists => {}
            Err(reason) => return Err(FileError::new("write into", parent, reason)),
        }
    }
}

fn sync_tree(directory: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        let path = entry.path();
        let kind = entry.file_type().at("inspect", &path)?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            // Windows flushes only files opened for writing; elsewhere a read-only file must do.
            OpenOptions::new()
                .read(true)
                .write(cfg!(windows))
                .open(&path)
                .and_then(|file| file.sync_all())
                .at("sync", &path)?;
        }
    }
    sync_directory(directory)
}

/// Makes renames and new names inside `directory` survive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), FileError> {
    if cfg!(windows) {
        return Ok(()); // Windows has no such call: the journal of NTFS orders the renames.
    }
    match File::open(directory).and_then(|handle| handle.sync_all()) {
        // Some network file systems know no such call for directories.
        Err(reason)
            if matches!(
                reason.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result.at("sync", directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_atomic_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("latest");
        write_atomically(&path, b"a long first content").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(place.path()), ["latest"]);
    }

    #[test]
    fn a_failed_atomic_write_leaves_no_staged_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("occupied");
        fs::create_dir(&path).unwrap(); // a file cannot be renamed over a directory
        let error = write_atomically(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("occupied"), "{error}");
        assert_eq!(names(place.path()), ["occupied"]);
    }

    #[test]
    fn a_staged_directory_is_invisible_until_committed_and_complete_after() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("a/b/000001");
        let staged = StagedDirectory::new(&target).unwrap();
        fs::create_dir(staged.path().join("student")).unwrap();
        fs::write(staged.path().join("student/model"), b"weights").unwrap();
        assert!(!target.exists());
        staged.commit().unwrap();
        assert_eq!(fs::read(target.join("student/model")).unwrap(), b"weights");
        assert_eq!(names(target.parent().unwrap()), ["000001"]);
    }

    #[test]
    fn a_staged_directory_dropped_without_commit_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let staged = StagedDirectory::new(&place.path().join("target")).unwrap();
        fs::write(staged.path().join("file"), b"x").unwrap();
        drop(staged);
        assert_eq!(names(place.path()), [""; 0]);
    }

    #[test]
    fn committing_onto_a_target_that_appeared_meanwhile_is_refused_and_keeps_that_target() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        let staged = StagedDirectory::new(&target).unwrap();
        fs::create_dir(&target).unwrap();
        let error = staged.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(place.path()), ["target"]);
        assert_eq!(
            StagedDirectory::new(&target).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let staged = StagedDirectory::new(&place.path().join("target")).unwrap();
        fs::write(staged.path().join("half"), b"x").unwrap();
        std::mem::forget(staged); // as SIGKILL would
        fs::write(place.path().join(format!("{STAGING_PREFIX}1-0")), b"x").unwrap();
        fs::create_dir(place.path().join("000001")).unwrap();
        assert_eq!(remove_leftovers(place.path()).unwrap(), 2);
        assert_eq!(names(place.path()), ["000001"]);
    }

    #[test]
    fn a_removed_directory_is_gone_with_its_content() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("000001/student")).unwrap();
        remove_directory(&place.path().join("000001")).unwrap();
        assert_eq!(names(place.path()), [""; 0]);
    }

    #[test]
    fn errors_name_the_path_and_what_to_do() {
        let full = FileError::new(
            "write",
            Path::new("/scratch/run"),
            ErrorKind::StorageFull.into(),
        )
        .to_string();
        assert!(
            full.contains("/scratch/run") && full.contains("free some space"),
            "{full}"
        );
        let denied = FileError::new(
            "write",
            Path::new("/scratch/run"),
            ErrorKind::PermissionDenied.into(),
        )
        .to_string();
        assert!(denied.contains("make it writable"), "{denied}");
        let missing = write_atomically(Path::new("/no/such/place/file"), b"x")
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("/no/such/place") && missing.contains("create the directory"),
            "{missing}"
        );
    }
}

//! Whether a disk has room for what will be written, asked before anything is.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::DecimalBytes;

use crate::exit::ExitStatus;

/// A disk has too little room.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "{what} in {} will take {} and {} are free there; {advice}, or free some space",
    path.display(),
    DecimalBytes(*needed),
    DecimalBytes(*free)
)]
pub struct SpaceError {
    /// What is written.
    what: &'static str,
    /// Where.
    path: PathBuf,
    /// Bytes that are still to be written.
    needed: u64,
    /// Bytes that the disk has.
    free: u64,
    /// What to change.
    advice: &'static str,
}

impl ExitStatus for SpaceError {}

/// Refuses to begin on a disk with less room than `bytes`, of which what is in `path` already is no
/// part. A system that does not tell how much room there is refuses nothing.
///
/// # Errors
/// [`SpaceError`]: `what` would be written, and `advice` says what to change.
pub fn require(
    path: &Path,
    bytes: u64,
    what: &'static str,
    advice: &'static str,
) -> Result<(), SpaceError> {
    check(
        path,
        bytes.saturating_sub(used(path)),
        free(path),
        what,
        advice,
    )
}

fn check(
    path: &Path,
    needed: u64,
    free: Option<u64>,
    what: &'static str,
    advice: &'static str,
) -> Result<(), SpaceError> {
    match free {
        Some(free) if free < needed => Err(SpaceError {
            what,
            path: path.to_path_buf(),
            needed,
            free,
            advice,
        }),
        _ => Ok(()),
    }
}

/// Bytes of the files in and below `path`, as far as they can be seen.
fn used(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => used(&entry.path()),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    });
    bytes.sum()
}

/// Bytes that this user can still write where `path` is, or would be.
#[cfg(unix)]
fn free(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let place = path.ancestors().find(|place| place.is_dir())?;
    let system = rustix::fs::statvfs(place).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_already_needs_no_room_and_what_does_not_fit_is_refused_with_both_numbers() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("000001")).unwrap();
        fs::write(place.path().join("000001/model"), [0; 1000]).unwrap();
        assert_eq!(used(place.path()), 1000);
        assert_eq!(used(&place.path().join("nowhere")), 0);
        let said = |needed, free| {
            check(
                place.path(),
                needed,
                free,
                "the checkpoints",
                "lower run.keep",
            )
            .map_err(|error| error.to_string())
        };
        assert_eq!(said(10, Some(10)), Ok(()));
        assert_eq!(said(u64::MAX, None), Ok(()));
        let error = said(11, Some(10)).unwrap_err();
        assert!(
            error.contains("will take 11 B and 10 B are free"),
            "{error}"
        );
        assert!(
            error.ends_with("lower run.keep, or free some space"),
            "{error}"
        );
        #[cfg(unix)]
        {
            assert!(require(place.path(), 1000, "a", "b").is_ok());
            assert!(require(&place.path().join("a/b"), u64::MAX, "a", "b").is_err());
        }
    }
}

//! What makes a directory a store: its lock, and `store.json`, which says where its clips come
//! from.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::stage;

pub(super) const ORIGIN_FILE: &str = "store.json";
const LOCK_FILE: &str = "lock";

/// The contents of `store.json`.
#[derive(Serialize, Deserialize)]
struct Origin {
    format: u32,
    origin: Value,
}

/// Locks a directory that is a store, or can become one; the lock lasts as long as the file is
/// open.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(directory).map_err(StoreError::io("create", directory))?;
    let begun = || only_begun(directory).map_err(StoreError::io("read", directory));
    if !directory.join(ORIGIN_FILE).exists() && !begun()? {
        return Err(StoreError::Foreign(directory.to_path_buf()));
    }
    let path = directory.join(LOCK_FILE);
    let error = StoreError::io("lock", &path);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(directory.to_path_buf())),
        Err(fs::TryLockError::Error(source)) => Err(error(source)),
    }
}

/// Refuses a store of another origin, and writes the origin of a new one.
pub(super) fn settle_origin(directory: &Path, origin: &Value) -> Result<(), StoreError> {
    match read_origin(directory)? {
        Some(found) if found == *origin => Ok(()),
        Some(found) => Err(StoreError::Origin {
            path: directory.to_path_buf(),
            found: found.to_string(),
            asked: origin.to_string(),
        }),
        None => {
            let path = directory.join(ORIGIN_FILE);
            let text = serde_json::to_string_pretty(&Origin {
                format: 1,
                origin: origin.clone(),
            });
            let write = |text: String| {
                let staged = stage::file(&path)?;
                staged.as_file().write_all((text + "\n").as_bytes())?;
                stage::publish_file(staged, &path)
            };
            text.map_err(io::Error::from)
                .and_then(write)
                .map_err(StoreError::io("write", &path))
        }
    }
}

/// Where the clips of the store in `directory` come from; `None` where there is no store.
pub(super) fn read_origin(directory: &Path) -> Result<Option<Value>, StoreError> {
    let path = directory.join(ORIGIN_FILE);
    let damaged = |problem: String| StoreError::Damaged {
        path: path.clone(),
        problem,
    };
    let bytes = match fs::read(&path) {
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(StoreError::io("read", &path))?,
    };
    match serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))? {
        Origin { format: 1, origin } => Ok(Some(origin)),
        Origin { format, .. } => Err(damaged(format!(
            "its format is {format}, this program knows 1"
        ))),
    }
}

/// Whether the directory holds nothing but what a killed process leaves before `store.json` is
/// there.
fn only_begun(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && !name.to_string_lossy().starts_with(stage::PREFIX) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What killed processes left half-written. Only under the lock: another process's work looks the
/// same.
pub(super) fn remove_staged(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(stage::PREFIX)
        {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            }?;
        }
    }
    Ok(())
}

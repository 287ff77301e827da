//! What a clip will need here, looked for before it is paid for.

use std::path::Path;

use afd_clips::video_io::find_ffmpeg;

use crate::{ApiError, service::Service};

/// Bytes that must be free where clips are stored before another one is paid for.
const ROOM: u64 = 256 << 20;

/// Whether clips can be decoded and stored.
///
/// # Errors
/// [`ApiError::Stopped`] says what is missing.
pub(super) fn check(service: &Service) -> Result<(), ApiError> {
    if service.adapter.result.needs_ffmpeg && find_ffmpeg().is_none() {
        return Err(ApiError::Stopped(
            "ffmpeg was not found, and no clip can be decoded without; nothing was submitted: \
                install ffmpeg so that it is on PATH, or set AFD_FFMPEG to the full path of the \
                program"
                .to_string(),
        ));
    }
    room(&service.store).map_err(ApiError::Stopped)
}

/// Whether the disk has room for more clips.
pub(super) fn room(store: &Path) -> Result<(), String> {
    match free(store) {
        Some(free) if free < ROOM => Err(format!(
            "{} MB are free where {} is, and {} MB are kept for clips under way; make room, then \
                run the same again",
            free >> 20,
            store.display(),
            ROOM >> 20
        )),
        // A system that does not tell says so when it is full.
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

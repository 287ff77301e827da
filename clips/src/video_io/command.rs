//! How ffmpeg and ffprobe are called.

use std::{ffi::OsString, path::Path, process::Command};

/// Most bytes that ffmpeg may ask for at once: some frames of the largest size in 16-bit RGBA.
const MAX_ALLOCATION: u64 = 160 << 20;

/// ffmpeg at `program`, quiet and deaf to the terminal.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"]);
    command
}

/// ffmpeg at `program` as a reader, whose filters may speak; every message begins with its level.
pub(super) fn reading(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-nostdin", "-hide_banner", "-nostats", "-xerror"]);
    command.args(["-loglevel", "repeat+level+info"]);
    command
}

/// One input file: no network, no other container than the name says, no single piece of memory
/// over a frame's.
pub(super) fn input(command: &mut Command, path: &Path, demuxer: &str) {
    command
        .args([
            "-max_alloc",
            &MAX_ALLOCATION.to_string(),
            "-protocol_whitelist",
            "file,pipe",
            "-f",
            demuxer,
            "-i",
        ])
        .arg(file_url(path));
}

/// `file:PATH`: a path that holds a colon or starts with a dash stays a path.
pub(super) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

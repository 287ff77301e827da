//! MP4 and its kin, through an installed ffmpeg: a child process without a shell, raw RGB through
//! pipes.

mod writer;

use std::{
    env,
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Sink, VideoError, VideoHeader,
    child::Running,
    command::{command, input},
    limits, probe, quicktime,
};

pub(super) use writer::{Mp4Writer, write};

/// The environment variable that names the ffmpeg program; it goes before PATH.
const VARIABLE: &str = "AFD_FFMPEG";

/// The ffmpeg program: the file that AFD_FFMPEG names, else the first `ffmpeg` on PATH.
///
/// `None` when there is none, or when AFD_FFMPEG is set and names no file (PATH is not searched
/// then).
pub fn find_ffmpeg() -> Option<PathBuf> {
    find_in(
        env::var_os(VARIABLE).as_deref(),
        env::var_os("PATH").as_deref(),
    )
}

/// The first line of `ffmpeg -version`, such as `ffmpeg version 5.1.9 Copyright ...`; `None`
/// without a working ffmpeg.
pub fn ffmpeg_version() -> Option<String> {
    let output = Command::new(find_ffmpeg()?)
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(str::to_string)
}

/// The ffmpeg program, or the error that says how to get one.
pub(super) fn require(action: &'static str, path: &Path) -> Result<PathBuf, VideoError> {
    require_in(
        env::var_os(VARIABLE).as_deref(),
        env::var_os("PATH").as_deref(),
        action,
        path,
    )
}

fn require_in(
    variable: Option<&OsStr>,
    search: Option<&OsStr>,
    action: &'static str,
    path: &Path,
) -> Result<PathBuf, VideoError> {
    find_in(variable, search).ok_or_else(|| {
        let looked = match variable {
            Some(value) => format!("AFD_FFMPEG is {value:?}, which is not a file"),
            None => "AFD_FFMPEG is not set and no directory on PATH holds it".to_string(),
        };
        VideoError::FfmpegMissing {
            action,
            path: path.to_path_buf(),
            looked,
        }
    })
}

fn find_in(variable: Option<&OsStr>, search: Option<&OsStr>) -> Option<PathBuf> {
    let program = format!("ffmpeg{}", env::consts::EXE_SUFFIX);
    let found = match variable {
        Some(value) => Some(PathBuf::from(value)),
        None => env::split_paths(search?)
            .map(|directory| directory.join(&program))
            .find(|candidate| candidate.is_file()),
    };
    found.filter(|program| program.is_file())
}

/// Hands out the frames of the first video stream at its average rate; `demuxer` is ffmpeg's name
/// for the container.
pub(super) fn decode(
    path: &Path,
    demuxer: &str,
    sink: &mut Sink,
) -> Result<VideoHeader, VideoError> {
    let ffmpeg = require("read", path)?;
    if demuxer == "mov" {
        quicktime::check(path)?;
    }
    let stream = probe::stream(&ffmpeg, path, demuxer)?;
    let header = VideoHeader {
        width: stream.width,
        height: stream.height,
        frames_per_second: stream.rate.value(),
    };
    limits::check_rate(path, header.frames_per_second)?;
    // A promise only: frames are counted again as they arrive.
    let promised = stream
        .seconds
        .map_or(1, |seconds| (seconds * stream.rate.value()).floor() as u64);
    limits::check(path, stream.width, stream.height, promised.max(1))?;

    let mut command = command(&ffmpeg);
    // One thread each: clips are decoded beside each other, and every further thread holds frames
    // of its own.
    command.args([
        "-threads",
        "1",
        "-max_pixels",
        &limits::MAX_PIXELS.to_string(),
    ]);
    input(&mut command, path, demuxer);
    // Every frame has the probed size, even when the stream changes it, and comes at the probed
    // rate, even when that varies. Both colour ranges become 0 to 255; the matrix is the stream's
    // own, or where it does not say, the one that players take for that size.
    let matrix = if stream.names_matrix {
        "auto"
    } else {
        probe::usual_matrix(stream.width, stream.height)
    };
    let scale = format!(
        "scale={}:{}:in_color_matrix={matrix}:out_range=pc",
        stream.width, stream.height
    );
    command
        .args([
            "-map",
            "0:v:0",
            "-filter_threads",
            "1",
            "-vf",
            &scale,
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-threads",
            "1",
        ])
        .args(["-r", &stream.rate.to_string(), "pipe:1"]);
    let mut running = Running::start(command, Stdio::null(), Stdio::piped())
        .map_err(VideoError::io("read", path))?;
    let pipe = running.guard();
    let frames = pipe.map_or(Ok(0), |pipe| read_frames(pipe, path, &header, sink))?;
    running.finish_reading(path)?;
    match frames {
        0 => Err(VideoError::unreadable(path, "it has no frames")),
        _ => Ok(header),
    }
}

/// Hands out the frames that ffmpeg writes, and gives their number.
fn read_frames(
    mut pipe: impl Read,
    path: &Path,
    header: &VideoHeader,
    sink: &mut Sink,
) -> Result<u64, VideoError> {
    let bytes = u64::from(header.width) * u64::from(header.height) * 3;
    let mut frame = Vec::with_capacity(bytes as usize);
    for frames in 0.. {
        frame.clear();
        pipe.by_ref()
            .take(bytes)
            .read_to_end(&mut frame)
            .map_err(VideoError::io("read", path))?;
        if frame.is_empty() {
            return Ok(frames);
        }
        if frame.len() as u64 != bytes {
            let problem = format!("frame {frames} has {} bytes; expected {bytes}", frame.len());
            return Err(VideoError::unreadable(path, problem));
        }
        limits::check(path, header.width, header.height, frames + 1)?;
        sink(header, &frame);
    }
    Ok(0)
}

#[cfg(test)]
mod tests;

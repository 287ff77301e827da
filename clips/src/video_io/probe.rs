//! What a video file says about the video stream that players show: from ffprobe where it lies
//! beside ffmpeg, else from ffmpeg's description.

mod ffprobe;
mod text;

use std::{env, path::Path, process::Command};

use super::{
    VideoError,
    child::{Running, tidy},
    command::input,
};

/// One video stream, as the file describes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stream {
    /// Its number among all streams of the file.
    pub index: usize,
    /// Pixels per row as stored, that is before turning.
    pub width: u32,
    /// Rows as stored.
    pub height: u32,
    /// Degrees by which it is to be turned, counterclockwise.
    pub turn: f64,
    /// A stored pixel's width over its height.
    pub pixel_aspect: Option<f64>,
    /// Frames per second: the lower of what the file says on average and at least.
    pub rate: Option<f64>,
    /// Length in seconds, of the stream itself.
    pub seconds: Option<f64>,
    /// The length of the whole file.
    pub file_seconds: Option<f64>,
    pub codec: String,
    /// ffmpeg's name of how its pixels are stored.
    pub pixel_format: String,
    /// The names of its colours' matrix, transfer function and primaries, where it names them.
    pub matrix: Option<String>,
    pub transfer: Option<String>,
    pub primaries: Option<String>,
    /// Whether its frames are two fields, where it says.
    pub interlaced: Option<bool>,
    /// Whether transparency lies in a second picture beside it (VP8 and VP9).
    pub alpha_beside: bool,
    pub is_default: bool,
    pub is_cover: bool,
}

impl Stream {
    /// Quarter turns counterclockwise; `None` for what lies between.
    pub fn quarters(&self) -> Option<i64> {
        let quarters = (self.turn / 90.0).round();
        ((self.turn - quarters * 90.0).abs() < 1.0).then_some(quarters.rem_euclid(4.0) as i64)
    }

    /// Pixels per row, rows, and a pixel's aspect ratio, as shown.
    pub fn upright(&self) -> (u32, u32, f64) {
        let aspect = self.pixel_aspect.unwrap_or(1.0);
        match self.quarters() {
            Some(1 | 3) => (self.height, self.width, 1.0 / aspect),
            _ => (self.width, self.height, aspect),
        }
    }
}

/// What a file says.
pub(super) struct Probed {
    pub stream: Stream,
    /// The first number of ffmpeg's version, where it has one.
    pub ffmpeg_major: Option<u32>,
}

/// What one of the two descriptions holds.
#[derive(Debug, Default, PartialEq)]
struct Described {
    streams: Vec<Stream>,
    ffmpeg_version: String,
}

/// Describes the video stream of `path` that players show: the first that is marked as default, or
/// the first, never a cover picture. `demuxer` is ffmpeg's name for the container.
pub(super) fn stream(ffmpeg: &Path, path: &Path, demuxer: &str) -> Result<Probed, VideoError> {
    let ffprobe = ffmpeg.with_file_name(format!("ffprobe{}", env::consts::EXE_SUFFIX));
    let (program, arguments): (_, &[&str]) = if ffprobe.is_file() {
        (
            ffprobe.as_path(),
            &[
                "-v",
                "error",
                "-select_streams",
                "v",
                "-show_streams",
                "-show_format",
                "-show_program_version",
                "-of",
                "json",
            ],
        )
    } else {
        // Without an output ffmpeg describes the input, then fails.
        (ffmpeg, &["-nostdin"])
    };
    let mut command = Command::new(program);
    command.args(arguments);
    input(&mut command, path, demuxer);
    let (stdout, stderr) = Running::described(command, path)?;
    let said = String::from_utf8_lossy(&stderr);
    let described = if ffprobe.is_file() {
        ffprobe::described(&stdout)
    } else {
        text::described(&said)
    };
    let described = described.unwrap_or_default();
    // A container that claims a size which no picture has is not believed in the rest either,
    // whatever size its pictures turn out to be.
    let absurd = said.contains("Picture size") && said.contains("is invalid");
    let covers = described
        .streams
        .iter()
        .filter(|stream| stream.is_cover)
        .count();
    let stream = shown(described.streams).filter(|_| !absurd);
    let ffmpeg_major = major(&described.ffmpeg_version);
    match stream {
        Some(stream) => Ok(Probed {
            stream,
            ffmpeg_major,
        }),
        None if covers > 0 => {
            let problem = "it holds no video but a cover picture";
            Err(VideoError::unreadable(path, problem))
        }
        None => {
            // What ffmpeg says of itself before is no part of it.
            let of_itself = |line: &&str| line.starts_with("  ") || line.starts_with("ffmpeg ");
            let said: Vec<&str> = said.lines().filter(|line| !of_itself(line)).collect();
            let mut problem =
                format!("no video stream with a size was found in it as a {demuxer} file");
            if !said.is_empty() {
                let said = tidy(&said.join(" "));
                problem += &format!("; {} said: {said}", program.display());
            }
            Err(VideoError::unreadable(path, problem))
        }
    }
}

/// The stream that players show.
fn shown(streams: Vec<Stream>) -> Option<Stream> {
    let videos: Vec<Stream> = streams
        .into_iter()
        .filter(|stream| !stream.is_cover)
        .collect();
    let marked = videos.iter().position(|stream| stream.is_default);
    videos.into_iter().nth(marked.unwrap_or(0))
}

/// The first number of `5.1.9-0+deb12u1` or `n7.1`; none in `N-121000-g32dc9d1`.
fn major(version: &str) -> Option<u32> {
    let number = version.strip_prefix('n').unwrap_or(version);
    number.split('.').next()?.parse().ok()
}

/// `None` for the names that stand for "it does not say".
fn named(name: &str) -> Option<String> {
    let name = name.trim();
    let says = !matches!(name, "" | "unknown" | "unspecified" | "reserved" | "N/A");
    says.then(|| name.to_string())
}

#[cfg(test)]
mod tests;

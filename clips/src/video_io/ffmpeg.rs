//! MP4 and its kin, through an installed ffmpeg: a child process without a shell, raw RGB through
//! pipes.

mod filters;
mod rate;
mod writer;

use std::{
    env,
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
};

use super::{
    Clock, Frame, Sink, VideoError, VideoHeader,
    child::Running,
    command::{input, reading},
    limits, picture,
    probe::{self, Stream},
    quicktime,
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

/// Most that a pixel's sides may differ by, as a ratio.
const MOST_ASPECT: f64 = 16.0;

/// Frames per second of a film that does not say, which only tells how long a single frame lasts.
const USUAL_RATE: f64 = 25.0;

/// Hands out the frames of the stream that players show; `demuxer` is ffmpeg's name for the
/// container.
pub(super) fn decode(
    path: &Path,
    demuxer: &str,
    sink: &mut Sink,
) -> Result<VideoHeader, VideoError> {
    let ffmpeg = require("read", path)?;
    if demuxer == "mov" {
        quicktime::check(path)?;
    }
    let probed = probe::stream(&ffmpeg, path, demuxer)?;
    let header = checked(path, &probed.stream)?;
    let plan =
        filters::plan(&probed.stream).map_err(|problem| VideoError::unreadable(path, problem))?;
    let mut command = reading(&ffmpeg);
    // One thread each: clips are decoded beside each other, and every further thread holds frames
    // of its own.
    command.args([
        "-threads",
        "1",
        "-max_pixels",
        &limits::MAX_PIXELS.to_string(),
    ]);
    command.args(plan.decoder);
    input(&mut command, path, demuxer);
    // Every frame has the probed size, even when the stream changes it.
    let format = if plan.has_alpha { "rgba" } else { "rgb24" };
    command
        .args(["-map", &format!("0:{}", probed.stream.index)])
        .args(["-filter_threads", "1", "-vf", &plan.filters])
        .args(passing_every_frame(probed.ffmpeg_major))
        .args([
            "-f", "rawvideo", "-pix_fmt", format, "-threads", "1", "pipe:1",
        ]);
    let (sender, times) = mpsc::channel();
    let hear = move |line: &str| {
        let time = filters::time(line);
        // Nobody may be listening any more.
        time.is_some_and(|time| sender.send(time).is_ok())
    };
    let mut running = Running::heard(command, hear).map_err(VideoError::io("read", path))?;
    let mut reading = Reading {
        path,
        header: &header,
        has_alpha: plan.has_alpha,
        times,
        clock: Clock::default(),
        first: None,
    };
    if let Some(pipe) = running.guard() {
        reading.frames(pipe, sink)?;
    }
    let clock = reading.clock;
    running
        .finish_reading(path)
        .map_err(|error| explained(path, error))?;
    match (clock.frames(), clock.last()) {
        (0, _) => Err(VideoError::unreadable(path, "it has no frames")),
        (1, _) => Ok(header),
        (frames, last) => {
            limits::check_rate(path, (frames - 1) as f64 / last)?;
            Ok(header)
        }
    }
}

/// The header of what the stream says, if that can be true.
fn checked(path: &Path, stream: &Stream) -> Result<VideoHeader, VideoError> {
    let (width, height, pixel_aspect) = stream.upright();
    if !(1.0 / MOST_ASPECT..=MOST_ASPECT).contains(&pixel_aspect) {
        let problem = format!(
            "its pixels are {pixel_aspect} times as wide as they are high; expected \
                1/{MOST_ASPECT} to {MOST_ASPECT}"
        );
        return Err(VideoError::unreadable(path, problem));
    }
    let rate = stream.rate.unwrap_or(USUAL_RATE);
    limits::check_rate(path, rate)?;
    // A promise only: frames are counted again as they arrive.
    let promised = stream.seconds.or(stream.file_seconds);
    let frames = promised.map_or(1, |seconds| (seconds * rate).floor() as u64);
    limits::check(path, width, height, frames.max(1))?;
    Ok(VideoHeader {
        pixel_aspect,
        seconds: stream.seconds,
        ..VideoHeader::plain(width, height, rate)
    })
}

/// The options by which each frame comes once, whatever its time.
fn passing_every_frame(ffmpeg_major: Option<u32>) -> [&'static str; 2] {
    match ffmpeg_major {
        Some(..=5) => ["-vsync", "passthrough"],
        _ => ["-fps_mode", "passthrough"],
    }
}

/// A missing part of ffmpeg is no damage of the file.
fn explained(path: &Path, error: VideoError) -> VideoError {
    match filters::lacking(&error.to_string()) {
        Some(problem) => VideoError::unreadable(path, problem),
        None => error,
    }
}

/// The frames of one film on their way.
struct Reading<'a> {
    path: &'a Path,
    header: &'a VideoHeader,
    has_alpha: bool,
    /// A frame's time in microseconds, before its pixels have come.
    times: mpsc::Receiver<Option<i64>>,
    clock: Clock,
    /// The first frame's time: however late it is, a clip begins with it.
    first: Option<i64>,
}

impl Reading<'_> {
    /// Hands out the frames that ffmpeg writes.
    fn frames(&mut self, mut pipe: impl Read, sink: &mut Sink) -> Result<(), VideoError> {
        let VideoHeader { width, height, .. } = *self.header;
        let channels = if self.has_alpha { 4 } else { 3 };
        let bytes = u64::from(width) * u64::from(height) * channels;
        let (mut frame, mut flat) = (Vec::with_capacity(bytes as usize), Vec::new());
        loop {
            frame.clear();
            pipe.by_ref()
                .take(bytes)
                .read_to_end(&mut frame)
                .map_err(VideoError::io("read", self.path))?;
            if frame.is_empty() {
                return Ok(());
            }
            let count = self.clock.frames();
            if frame.len() as u64 != bytes {
                let problem = format!("frame {count} has {} bytes; expected {bytes}", frame.len());
                return Err(VideoError::unreadable(self.path, problem));
            }
            limits::check(self.path, width, height, count + 1)?;
            let start = self.start();
            let pixels = if self.has_alpha {
                flat.clear();
                picture::flatten(&frame, &mut flat);
                &flat
            } else {
                &frame
            };
            let frame = Frame { pixels, start };
            self.clock.frame(&frame);
            sink(self.header, frame);
        }
    }

    /// When the frame that has just come begins. One without a time follows the one before it.
    fn start(&mut self) -> f64 {
        let time = self.times.recv().ok().flatten();
        let start = time.map(|time| {
            let first = *self.first.get_or_insert(time);
            (time - first) as f64 / 1e6
        });
        let last = self.clock.last();
        match (start, self.clock.frames()) {
            (_, 0) => 0.0,
            (Some(start), _) => start.max(last),
            (None, _) => last + 1.0 / self.header.frames_per_second,
        }
    }
}

#[cfg(test)]
mod tests;

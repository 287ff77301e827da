//! MP4 and its kin, through an installed ffmpeg: a child process without a shell, raw RGB through
//! pipes.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
};

use tempfile::NamedTempFile;

use super::{Sink, VideoError, VideoHeader, child::Running, limits, probe, quicktime};
use crate::{stage, video::Video};

/// The environment variable that names the ffmpeg program; it goes before PATH.
const VARIABLE: &str = "AFD_FFMPEG";

/// Most bytes that ffmpeg may ask for at once: some frames of the largest size in 16-bit RGBA.
const MAX_ALLOCATION: u64 = 160 << 20;

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
        .map_err(|source| cannot("read", path, source))?;
    let pipe = running.guard();
    let frames = pipe.map_or(Ok(0), |pipe| read_frames(pipe, path, &header, sink))?;
    running.finish_reading(path)?;
    match frames {
        0 => Err(VideoError::Unreadable {
            path: path.to_path_buf(),
            problem: "it has no frames".to_string(),
        }),
        _ => Ok(header),
    }
}

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
            .map_err(|source| cannot("read", path, source))?;
        if frame.is_empty() {
            return Ok(frames);
        }
        if frame.len() as u64 != bytes {
            let problem = format!("frame {frames} has {} bytes; expected {bytes}", frame.len());
            return Err(VideoError::Unreadable {
                path: path.to_path_buf(),
                problem,
            });
        }
        limits::check(path, header.width, header.height, frames + 1)?;
        sink(header, &frame);
    }
    Ok(0)
}

/// Writes all of `video`; see [`Mp4Writer`].
pub(super) fn write(path: &Path, video: &Video) -> Result<(), VideoError> {
    let mut writer = Mp4Writer::create(path, video.width, video.height, video.frames_per_second)?;
    video.frames.iter().for_each(|frame| writer.push(frame));
    writer.finish()
}

/// An MP4 in the making: H.264 (libx264, constant rate factor 18), or MPEG-4 part 2 at quality 2
/// where ffmpeg has no libx264.
///
/// Both store colour at half size (yuv420p) and so need even sides: an odd side is made even by
/// repeating the last row or column, and the video reads back one pixel larger there. The file
/// appears when it is finished.
pub(super) struct Mp4Writer {
    running: Running,
    pipe: Option<io::BufWriter<ChildStdin>>,
    /// What the pipe said when it broke. ffmpeg's own reason, which comes at the end, is better
    /// than "broken pipe".
    broken: Option<io::Error>,
    staged: NamedTempFile,
    path: PathBuf,
    width: u32,
    height: u32,
}

impl Mp4Writer {
    pub(super) fn create(
        path: &Path,
        width: u32,
        height: u32,
        frames_per_second: f64,
    ) -> Result<Self, VideoError> {
        let ffmpeg = require("write", path)?;
        let encoders = Command::new(&ffmpeg)
            .args(["-hide_banner", "-encoders"])
            .stdin(Stdio::null())
            .output();
        let encoders = encoders
            .map_err(|source| cannot("write", path, source))?
            .stdout;
        let has_h264 = String::from_utf8_lossy(&encoders)
            .split_whitespace()
            .any(|word| word == "libx264");
        let codec: &[&str] = if has_h264 {
            &["-c:v", "libx264", "-crf", "18"]
        } else {
            &["-c:v", "mpeg4", "-q:v", "2"]
        };
        Self::with(&ffmpeg, codec, path, (width, height), frames_per_second)
    }

    fn with(
        ffmpeg: &Path,
        codec: &[&str],
        path: &Path,
        (width, height): (u32, u32),
        frames_per_second: f64,
    ) -> Result<Self, VideoError> {
        let error = |source: io::Error| unwritten(path, source);
        let size = format!(
            "{}x{}",
            u64::from(width).next_multiple_of(2),
            u64::from(height).next_multiple_of(2)
        );
        let rate = probe::Rate::from_f64(frames_per_second);
        let staged = stage::file(path).map_err(error)?;
        let mut command = command(ffmpeg);
        command
            .args([
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-video_size",
                &size,
                "-framerate",
                &rate.to_string(),
            ])
            .args(["-i", "pipe:0", "-an"])
            .args(codec)
            // The colour conversion is written into the file, so that readers undo the same one.
            .args([
                "-vf",
                "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
                "-color_range",
                "tv",
            ])
            .args([
                "-colorspace",
                "bt709",
                "-color_primaries",
                "bt709",
                "-color_trc",
                "bt709",
            ])
            // The same video gives the same bytes; the index goes first, so that browsers can start
            // at once.
            .args([
                "-fflags",
                "+bitexact",
                "-flags:v",
                "+bitexact",
                "-movflags",
                "+faststart",
                "-f",
                "mp4",
                "-y",
            ])
            .arg(file_url(staged.path()));
        let mut running = Running::start(command, Stdio::piped(), Stdio::null()).map_err(error)?;
        let pipe = running
            .stdin()
            .map(|pipe| io::BufWriter::with_capacity(1 << 16, pipe));
        Ok(Self {
            running,
            pipe,
            broken: None,
            staged,
            path: path.to_path_buf(),
            width,
            height,
        })
    }

    /// The next frame, `height * width * 3` bytes. What goes wrong is said by
    /// [`Mp4Writer::finish`].
    pub(super) fn push(&mut self, frame: &[u8]) {
        let (width, height) = (self.width, self.height);
        if let (Some(pipe), None) = (&mut self.pipe, &self.broken) {
            self.broken = feed(pipe, frame, width, height).err();
        }
    }

    /// Waits for ffmpeg and gives the file its name.
    pub(super) fn finish(self) -> Result<(), VideoError> {
        let Self {
            running,
            pipe,
            broken,
            staged,
            path,
            ..
        } = self;
        let flushed = pipe.map_or(Ok(()), |mut pipe| pipe.flush());
        running.finish().map_err(|problem| VideoError::Unwritable {
            path: path.clone(),
            problem,
        })?;
        broken
            .map_or(flushed, Err)
            .map_err(|source| unwritten(&path, source))?;
        stage::publish_file(staged, &path).map_err(|source| unwritten(&path, source))
    }
}

/// One frame, sides made even by repeating the last row or column.
fn feed(pipe: &mut impl Write, frame: &[u8], width: u32, height: u32) -> io::Result<()> {
    let row_bytes = width as usize * 3;
    let rows = frame.chunks_exact(row_bytes);
    let repeated = rows.clone().last().filter(|_| height % 2 == 1);
    for row in rows.chain(repeated) {
        pipe.write_all(row)?;
        if width % 2 == 1 {
            pipe.write_all(&row[row_bytes - 3..])?;
        }
    }
    Ok(())
}

fn unwritten(path: &Path, source: io::Error) -> VideoError {
    match source.kind() {
        io::ErrorKind::AlreadyExists => VideoError::Exists {
            path: path.to_path_buf(),
        },
        _ => cannot("write", path, source),
    }
}

/// ffmpeg, quiet and deaf to the terminal.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"]);
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
fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

fn cannot(action: &'static str, path: &Path, source: io::Error) -> VideoError {
    VideoError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests;

//! Video files in and out: GIF, directories of frames, animated WebP and PNG, and, through an
//! installed ffmpeg, MP4 and its kin.
//!
//! | name                        | written by   | read by      | what survives                    |
//! |-----------------------------|--------------|--------------|----------------------------------|
//! | `x.frames`, or no extension | this program | this program | every byte (PNG; reads JPEG too) |
//! | `x.gif`                     | this program | this program | 256 colours; times to 0.01 s     |
//! | `x.webp`, `x.png`, `x.apng` |              | this program | animated ones                    |
//! | `x.mp4`                     | ffmpeg       | ffmpeg       | lossy; odd sides grow by one     |
//! | `x.mov`, `x.webm`, `x.mkv`, |              | ffmpeg       |                                  |
//! | `.avi`, `.mpg`, `.ts`,      |              |              |                                  |
//! | `.wmv`, `.flv`, `.ogv`      |              |              |                                  |
//!
//! Files are whatever strangers made. The first bytes must fit the name; size, rate and number of
//! frames are checked before decoding. Frames are handed out one at a time. ffmpeg is a child
//! without a shell, with one input, no network, and bounded memory and time.

mod animation;
mod child;
mod command;
mod error;
pub mod ffmpeg;
mod frames;
mod gif;
mod limits;
mod probe;
mod quicktime;
mod source;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::video::Video;

pub use error::VideoError;
pub use ffmpeg::{ffmpeg_version, find_ffmpeg};
pub use gif::write_gif_bytes;
pub use limits::{MAX_BYTES, MAX_FRAMES, MAX_PIXELS, MAX_RATE, MAX_SIDE, MIN_RATE};

use source::Source;

/// Size and rate, known before the first frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoHeader {
    /// Pixels per row.
    pub width: u32,
    /// Rows per frame.
    pub height: u32,
    /// Frames per second, finite and above zero.
    pub frames_per_second: f64,
}

/// Who is handed the frames: `height * width * 3` bytes each, RGB, rows from top to bottom.
pub type Sink<'a> = dyn FnMut(&VideoHeader, &[u8]) + 'a;

/// The formats that videos are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VideoFormat {
    /// `.mp4`, H.264 where ffmpeg has libx264 and MPEG-4 part 2 where not. Lossy; needs ffmpeg.
    Mp4,
    /// `.gif`. Lossy in colour: at most 256 per frame, exact up to there.
    Gif,
    /// A directory ending in `.frames`, of numbered PNG files and a `frames.json` with the rate.
    /// Lossless.
    PngFrames,
}

impl VideoFormat {
    /// The name's extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Gif => "gif",
            Self::PngFrames => "frames",
        }
    }

    /// Whether such videos can be written on this machine: an MP4 needs ffmpeg. `path` is for the
    /// message.
    ///
    /// # Errors
    /// [`VideoError::FfmpegMissing`].
    pub fn require(self, path: &Path) -> Result<(), VideoError> {
        if self == Self::Mp4 {
            ffmpeg::require("write", path).map(drop)
        } else {
            Ok(())
        }
    }

    /// The format that a path's extension asks for when writing; a name without one is a directory
    /// of frames.
    ///
    /// # Errors
    /// [`VideoError::Format`] for any other extension.
    pub fn of(path: &Path) -> Result<Self, VideoError> {
        match extension(path).as_str() {
            "mp4" => Ok(Self::Mp4),
            "gif" => Ok(Self::Gif),
            "frames" | "" => Ok(Self::PngFrames),
            found => Err(VideoError::Format {
                path: path.to_path_buf(),
                found: found.to_string(),
                expected: "a name ending in .mp4, .gif or .frames (a directory of PNG frames)",
            }),
        }
    }
}

/// Writes `video` in the format that `path`'s extension asks for.
///
/// The file is staged beside `path` and renamed when complete. Its directory must exist.
///
/// # Errors
/// [`VideoError`]: `path` exists, its extension is unknown, `video` is malformed, ffmpeg is needed
/// and missing, or the disk refused.
pub fn write_video(path: &Path, video: &Video) -> Result<(), VideoError> {
    let format = VideoFormat::of(path)?;
    if path.symlink_metadata().is_ok() {
        return Err(VideoError::Exists {
            path: path.to_path_buf(),
        });
    }
    check_video(video).map_err(|problem| VideoError::unwritable(path, problem))?;
    match format {
        VideoFormat::Mp4 => ffmpeg::write(path, video),
        VideoFormat::Gif => gif::write(path, video),
        VideoFormat::PngFrames => frames::write(path, video),
    }
}

/// A video that is written as its frames come. An MP4 goes to the encoder at once; the other
/// formats are kept until the end.
pub struct VideoWriter {
    path: PathBuf,
    mp4: Option<ffmpeg::Mp4Writer>,
    video: Video,
}

impl VideoWriter {
    /// Starts a video of `height` x `width` pixels; the file appears when it is finished.
    ///
    /// # Errors
    /// [`VideoError`]: `path` exists, its extension is unknown, ffmpeg is needed and missing, or
    /// the disk refused.
    pub fn create(
        path: &Path,
        height: u32,
        width: u32,
        frames_per_second: f64,
    ) -> Result<Self, VideoError> {
        let format = VideoFormat::of(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(VideoError::Exists {
                path: path.to_path_buf(),
            });
        }
        let mp4 = (format == VideoFormat::Mp4)
            .then(|| ffmpeg::Mp4Writer::create(path, width, height, frames_per_second))
            .transpose()?;
        Ok(Self {
            path: path.to_path_buf(),
            mp4,
            video: Video {
                width,
                height,
                frames_per_second,
                frames: Vec::new(),
            },
        })
    }

    /// The next frames, each `height * width * 3` bytes.
    pub fn push(&mut self, frames: Vec<Vec<u8>>) {
        match &mut self.mp4 {
            Some(writer) => frames.iter().for_each(|frame| writer.push(frame)),
            None => self.video.frames.extend(frames),
        }
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`VideoError`]: what went wrong since the start, or the name exists by now.
    pub fn finish(self) -> Result<(), VideoError> {
        match self.mp4 {
            Some(writer) => writer.finish(),
            None => write_video(&self.path, &self.video),
        }
    }
}

/// The whole of a video; see [`decode_video`].
///
/// The result has at least one frame and a finite rate above zero.
///
/// # Errors
/// As for [`decode_video`].
pub fn read_video(path: &Path) -> Result<Video, VideoError> {
    let mut frames = Vec::new();
    let header = decode_video(path, &mut |_, frame| frames.push(frame.to_vec()))?;
    Ok(Video {
        width: header.width,
        height: header.height,
        frames_per_second: header.frames_per_second,
        frames,
    })
}

/// Hands out the frames of a video of any kind that the table above names, one at a time, to the
/// last.
///
/// Videos of more than [`MAX_SIDE`] pixels a side, [`MAX_PIXELS`] a frame, [`MAX_FRAMES`] frames or
/// [`MAX_BYTES`] decoded bytes are refused, where they say so themselves before a frame is decoded.
/// After an error the frames handed out so far are worth nothing.
///
/// # Errors
/// [`VideoError`], which names `path`: missing, not an ordinary file, of an unknown kind, damaged,
/// over a limit, or ffmpeg is needed and missing.
pub fn decode_video(path: &Path, sink: &mut Sink) -> Result<VideoHeader, VideoError> {
    match Source::of(path)? {
        Source::Frames => frames::decode(path, sink),
        Source::Animation(kind) => animation::decode(path, kind, sink),
        Source::Ffmpeg(demuxer) => ffmpeg::decode(path, demuxer, sink),
    }
}

/// Whether [`read_video`] could start on `path`: it exists, its kind is known, and ffmpeg is there
/// if it needs it.
///
/// # Errors
/// The [`VideoError`] that [`read_video`] would give for those reasons. Nothing is decoded.
pub fn check_readable(path: &Path) -> Result<(), VideoError> {
    match Source::of(path)? {
        Source::Frames | Source::Animation(_) => Ok(()),
        Source::Ffmpeg(_) => ffmpeg::require("read", path).map(|_| ()),
    }
}

/// Whether a name ends as a video file's does; directories of frames have no extension.
pub fn is_video_name(path: &Path) -> bool {
    matches!(
        extension(path).as_str(),
        "mp4"
            | "m4v"
            | "mov"
            | "3gp"
            | "webm"
            | "mkv"
            | "avi"
            | "mpg"
            | "mpeg"
            | "vob"
            | "ts"
            | "mts"
            | "m2ts"
            | "wmv"
            | "asf"
            | "flv"
            | "ogv"
            | "gif"
            | "webp"
            | "apng"
    )
}

/// Whether `path` is a directory that holds a numbered picture.
pub fn is_frame_directory(path: &Path) -> bool {
    let holds_frame = |mut entries: std::fs::ReadDir| {
        entries.any(|entry| entry.is_ok_and(|entry| frames::frame_number(&entry.path()).is_some()))
    };
    std::fs::read_dir(path).is_ok_and(holds_frame)
}

/// What is wrong with a video's own numbers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MalformedVideo {
    /// It has no pixels.
    #[error("its size is {width} x {height} pixels; expected both above zero")]
    Size {
        /// Pixels per row.
        width: u32,
        /// Rows per frame.
        height: u32,
    },
    /// It has no frames.
    #[error("it has no frames")]
    NoFrames,
    /// Nothing is shown at its rate, in frames per second.
    #[error("its rate is {0} frames per second; expected more than zero")]
    Rate(f64),
    /// A frame is not `height * width * 3` bytes long.
    #[error(
        "frame {frame} holds {found} bytes; expected {width} x {height} x 3 = {}",
        u64::from(*.width) * u64::from(*.height) * 3
    )]
    Frame {
        /// Which, from 0.
        frame: usize,
        /// Its bytes.
        found: usize,
        /// Pixels per row.
        width: u32,
        /// Rows per frame.
        height: u32,
    },
}

/// Checks a video's own numbers.
///
/// # Errors
/// [`MalformedVideo`]: no pixels, no frames, frames of the wrong length, no rate.
pub(crate) fn check_video(video: &Video) -> Result<(), MalformedVideo> {
    let (width, height) = (video.width, video.height);
    let expected = u64::from(width) * u64::from(height) * 3;
    if expected == 0 {
        return Err(MalformedVideo::Size { width, height });
    }
    if video.frames.is_empty() {
        return Err(MalformedVideo::NoFrames);
    }
    if !video.frames_per_second.is_finite() || video.frames_per_second <= 0.0 {
        return Err(MalformedVideo::Rate(video.frames_per_second));
    }
    let mut lengths = video.frames.iter().map(Vec::len).enumerate();
    match lengths.find(|&(_, length)| length as u64 != expected) {
        None => Ok(()),
        Some((frame, found)) => Err(MalformedVideo::Frame {
            frame,
            found,
            width,
            height,
        }),
    }
}

/// The next bytes of a file.
fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The name's extension in lower case, or nothing.
pub(crate) fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;

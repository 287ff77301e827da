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
//! Frames come as a player shows them: at their own times from the first picture on, upright,
//! whole frames instead of fields, in the colours of an ordinary screen, over black where they are
//! transparent. Pixels stay as they are stored, with their aspect ratio in the header.
//!
//! Files are whatever strangers made. The first bytes must fit the name; size, rate and number of
//! frames are checked before decoding. Frames are handed out one at a time. ffmpeg is a child
//! without a shell, with one input, no network, and bounded memory and time.

mod animation;
mod child;
mod clock;
mod command;
mod error;
pub mod ffmpeg;
mod frames;
mod gif;
mod limits;
mod malformed;
mod picture;
mod probe;
mod quicktime;
mod source;
mod whole;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::video::Video;

pub use error::VideoError;
pub use ffmpeg::{ffmpeg_version, find_ffmpeg};
pub use gif::{GIF_RATES, write_gif_bytes};
pub use limits::{MAX_FRAMES, MAX_HELD_BYTES, MAX_PIXELS, MAX_RATE, MAX_SIDE, MIN_RATE};
pub use malformed::MalformedVideo;
pub(crate) use malformed::check_video;

pub use clock::{Clock, EARLY};
pub use whole::Whole;

use source::Source;

/// What is known of a video before its first frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoHeader {
    /// Pixels per row.
    pub width: u32,
    /// Rows per frame.
    pub height: u32,
    /// Frames per second as the file claims, finite and above zero. When each frame is shown is
    /// said by its own [`Frame::start`].
    pub frames_per_second: f64,
    /// A pixel's width over its height, as shown; 1 for square pixels.
    pub pixel_aspect: f64,
    /// Seconds from the first frame's start to the last one's end, where the file says.
    pub seconds: Option<f64>,
    /// By how many seconds the container may have rounded a frame's time.
    pub rounding: f64,
}

impl VideoHeader {
    /// Square pixels, and frames at exactly this rate.
    pub fn plain(width: u32, height: u32, frames_per_second: f64) -> Self {
        Self {
            width,
            height,
            frames_per_second,
            pixel_aspect: 1.0,
            seconds: None,
            rounding: 0.0,
        }
    }
}

/// One picture of a video.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// `height * width * 3` bytes, RGB, rows from top to bottom.
    pub pixels: &'a [u8],
    /// Seconds from the first frame's start to its own; never less than the frame's before.
    pub start: f64,
}

impl std::ops::Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pixels
    }
}

/// Who is handed the frames.
pub type Sink<'a> = dyn FnMut(&VideoHeader, Frame<'_>) + 'a;

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

    /// Whether a video of this rate can be written to `path`: a GIF knows few.
    ///
    /// # Errors
    /// [`VideoError::Unwritable`].
    pub fn require_rate(self, path: &Path, frames_per_second: f64) -> Result<(), VideoError> {
        match self {
            Self::Gif => gif::check_rate(path, frames_per_second),
            Self::Mp4 | Self::PngFrames => Ok(()),
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

/// The whole of a video in memory, with square pixels and at a constant rate; see [`Whole`].
///
/// The result has at least one frame and a finite rate above zero.
///
/// # Errors
/// As for [`decode_video`] and [`Whole::finish`].
pub fn read_video(path: &Path) -> Result<Video, VideoError> {
    let mut whole = Whole::default();
    decode_video(path, &mut |header, frame| whole.frame(header, frame))?;
    whole.finish(path)
}

/// Hands out the frames of a video of any kind that the table above names, one at a time, to the
/// last.
///
/// Videos of more than [`MAX_SIDE`] pixels a side, [`MAX_PIXELS`] a frame or [`MAX_FRAMES`] frames
/// are refused, where they say so themselves before a frame is decoded; so are pictures that are
/// decoded in this process and hold more pixels than their bytes account for.
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

//! File formats that clips can be asked for in.

use clap::ValueEnum;

use crate::data::video_io::VideoFormat;

/// A file format of clips in a directory.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// H.264 through ffmpeg.
    Mp4,
    /// Animated GIF, 256 colours a frame.
    Gif,
    /// Directories of PNG frames, exact.
    Frames,
}

impl Format {
    /// As the writer of videos calls it.
    pub fn video(self) -> VideoFormat {
        match self {
            Self::Mp4 => VideoFormat::Mp4,
            Self::Gif => VideoFormat::Gif,
            Self::Frames => VideoFormat::PngFrames,
        }
    }
}

//! What is wrong with a video's own numbers.

use crate::video::Video;

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

//! Finished videos into clips of the student's shape: resampled in time, cropped, resized,
//! quantised to 8 bits.
//!
//! Teacher and student must meet after the same preparation, or the discriminator learns the
//! preparation instead of the motion. The last step of [`prepare`] rounds to 8 bits;
//! [`round_to_8_bits`] takes a student's clips through the same 8-bit round trip.

mod resize;

use super::video::{Clip, ClipShape, Video, from_byte, to_byte};
use super::video_io::{Clock, EARLY, Frame, MalformedVideo, VideoHeader, check_video};
use resize::Resizer;

/// Why a video could not become a clip.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrepareError {
    /// The video ends before the clip's last frame.
    #[error(
        "the video lasts {found_seconds:.3} s ({found_frames} frames, {found_rate:.3} per \
            second), but the last of the clip's {needed_frames} frames at {needed_rate} frames per \
            second shows {needed_seconds:.3} s; use longer videos or fewer frames per clip"
    )]
    TooShort {
        /// Seconds from the video's first frame to the end of its last.
        found_seconds: f64,
        /// Frames in the video.
        found_frames: usize,
        /// The video's frames per second, on average.
        found_rate: f64,
        /// The moment that the clip's last frame shows, in seconds.
        needed_seconds: f64,
        /// Frames in the clip.
        needed_frames: usize,
        /// The clip's frames per second.
        needed_rate: f64,
    },
    /// The video contradicts itself: a frame of the wrong length, say.
    #[error("the video is malformed: {0}")]
    Video(#[from] MalformedVideo),
    /// The shape has no pixels, or no rate.
    #[error(
        "a clip of {0:?} holds nothing; frames, height, width and frames_per_second must all be \
            above zero"
    )]
    Shape(ClipShape),
}

/// How a video of another aspect ratio becomes the clip's.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The largest centred rectangle of whole pixels with the clip's aspect ratio; what lies
    /// outside is lost.
    #[default]
    Crop,
    /// The whole picture, centred, between black bars.
    Pad,
}

/// `video` as a clip of `shape`, cropped; see [`Preparer`].
///
/// # Errors
/// [`PrepareError::TooShort`] when the last clip frame falls after the video's end;
/// [`PrepareError::Video`] and [`PrepareError::Shape`] for input that describes no video or no
/// clip.
pub fn prepare(video: &Video, shape: ClipShape) -> Result<Clip, PrepareError> {
    prepare_fitted(video, shape, Fit::Crop)
}

/// `video` as a clip of `shape`; see [`Preparer`].
///
/// # Errors
/// As for [`prepare`].
pub fn prepare_fitted(video: &Video, shape: ClipShape, fit: Fit) -> Result<Clip, PrepareError> {
    check_video(video)?;
    let header = VideoHeader {
        seconds: Some(video.seconds()),
        ..VideoHeader::plain(video.width, video.height, video.frames_per_second)
    };
    let mut preparer = Preparer::new(shape, fit)?;
    for (index, pixels) in video.frames.iter().enumerate() {
        let start = index as f64 / video.frames_per_second;
        preparer.frame(&header, Frame { pixels, start });
    }
    preparer.finish()
}

/// A clip in the making, from frames as they come; one source frame is held at a time.
///
/// * Time: clip frame `k` shows the video at `k / shape.frames_per_second` seconds from its first
///   frame on, that is the latest source frame that has begun, up to [`EARLY`] before its time.
/// * Fit: the largest centred rectangle of whole pixels with the shape's aspect ratio, as it looks
///   where pixels are not square; or all of the picture between black bars.
/// * Size: every output pixel is the mean of the source area it covers; partly covered pixels count
///   by their covered fraction. Shrinking does not alias, and growing gives blocks with exact
///   borders.
/// * Values: rounded to 8 bits, then [-1, 1].
pub struct Preparer {
    shape: ClipShape,
    fit: Fit,
    header: Option<VideoHeader>,
    clock: Clock,
    /// The latest frame: how long it is shown is known when the next one comes.
    held: Vec<u8>,
    resizer: Option<Resizer>,
    pixels: Vec<f32>,
}

impl Preparer {
    /// Starts a clip.
    ///
    /// # Errors
    /// [`PrepareError::Shape`].
    pub fn new(shape: ClipShape, fit: Fit) -> Result<Self, PrepareError> {
        let rate = shape.frames_per_second;
        if shape.frames == 0
            || shape.height == 0
            || shape.width == 0
            || !rate.is_finite()
            || rate <= 0.0
        {
            return Err(PrepareError::Shape(shape));
        }
        Ok(Self {
            shape,
            fit,
            header: None,
            clock: Clock::default(),
            held: Vec::new(),
            resizer: None,
            pixels: Vec::new(),
        })
    }

    /// The next frame of the video.
    pub fn frame(&mut self, header: &VideoHeader, frame: Frame<'_>) {
        if self.clock.frames() > 0 {
            self.show_held_until(frame.start);
        }
        self.header = Some(*header);
        self.clock.frame(&frame);
        if !self.is_full() {
            self.held.clear();
            self.held.extend_from_slice(&frame);
        }
    }

    fn is_full(&self) -> bool {
        self.pixels.len() == self.shape.frames * self.shape.height * self.shape.width * 3
    }

    /// Takes every frame of the clip before `end` from the frame that is held.
    fn show_held_until(&mut self, end: f64) {
        let (Some(header), shape) = (self.header, self.shape) else {
            return;
        };
        let frame_values = shape.height * shape.width * 3;
        let first = self.pixels.len() / frame_values;
        let shown = (first..shape.frames)
            .take_while(|&frame| moment(frame, shape) + EARLY < end)
            .count();
        if shown == 0 {
            return;
        }
        let fit = self.fit;
        self.resizer
            .get_or_insert_with(|| Resizer::new(&header, shape, fit))
            .resize(&self.held, &mut self.pixels);
        // A slower video shows one frame several times.
        for _ in 1..shown {
            self.pixels
                .extend_from_within(self.pixels.len() - frame_values..);
        }
    }

    /// The clip.
    ///
    /// # Errors
    /// [`PrepareError::TooShort`] when the last clip frame falls after the video's end.
    pub fn finish(mut self) -> Result<Clip, PrepareError> {
        let end = self.header.map_or(0.0, |header| self.clock.end(&header));
        self.show_held_until(end);
        if self.is_full() {
            return Ok(Clip {
                shape: self.shape,
                pixels: self.pixels,
            });
        }
        Err(too_short(end, self.clock.frames(), self.shape))
    }
}

/// The moment that a frame of a clip shows, in seconds.
fn moment(frame: usize, shape: ClipShape) -> f64 {
    frame as f64 / shape.frames_per_second
}

/// Whether a video of so many seconds is long enough for a clip; `frames` is for the message.
///
/// # Errors
/// [`PrepareError::TooShort`].
pub fn check_length(seconds: f64, frames: u64, shape: ClipShape) -> Result<(), PrepareError> {
    if moment(shape.frames.saturating_sub(1), shape) + EARLY < seconds {
        Ok(())
    } else {
        Err(too_short(seconds, frames, shape))
    }
}

fn too_short(seconds: f64, frames: u64, shape: ClipShape) -> PrepareError {
    PrepareError::TooShort {
        found_seconds: seconds,
        found_frames: frames as usize,
        found_rate: if seconds > 0.0 {
            frames as f64 / seconds
        } else {
            0.0
        },
        needed_seconds: moment(shape.frames.saturating_sub(1), shape),
        needed_frames: shape.frames,
        needed_rate: shape.frames_per_second,
    }
}

/// `clip` after the same 8-bit round trip that every clip from [`prepare`] has been through.
///
/// A student's clips pass through here before a discriminator or a metric sees them beside a
/// teacher's: otherwise the rounding alone would tell the two apart. Values are clamped to [-1, 1];
/// clips from [`prepare`] come back unchanged.
pub fn round_to_8_bits(clip: &Clip) -> Clip {
    Clip {
        shape: clip.shape,
        pixels: clip
            .pixels
            .iter()
            .map(|&value| from_byte(to_byte(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests;

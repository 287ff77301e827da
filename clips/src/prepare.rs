//! Finished videos into clips of the student's shape: resampled in time, cropped, resized,
//! quantised to 8 bits.
//!
//! Teacher and student must meet after the same preparation, or the discriminator learns the
//! preparation instead of the motion. The last step of [`prepare`] rounds to 8 bits;
//! [`round_to_8_bits`] takes a student's clips through the same 8-bit round trip.

mod resize;

use super::video::{Clip, ClipShape, Video, from_byte, to_byte};
use super::video_io::{MalformedVideo, VideoHeader, check_video};
use resize::Resizer;

/// How far before its start a source frame may be shown, in source frames.
///
/// Containers round frame rates; without this, frame 8 of an 8.000 fps clip read as 7.999 fps would
/// show frame 7.
const EARLY: f64 = 0.01;

/// Why a video could not become a clip.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrepareError {
    /// The video ends before the clip's last frame.
    #[error(
        "the video lasts {found_seconds:.3} s ({found_frames} frames at {found_rate} frames per \
            second), but the last of the clip's {needed_frames} frames at {needed_rate} frames per \
            second shows {needed_seconds:.3} s; use longer videos or fewer frames per clip"
    )]
    TooShort {
        /// Seconds from the video's first frame to the end of its last.
        found_seconds: f64,
        /// Frames in the video.
        found_frames: usize,
        /// The video's frames per second.
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
        width: video.width,
        height: video.height,
        frames_per_second: video.frames_per_second,
    };
    let mut preparer = Preparer::new(shape, fit)?;
    video
        .frames
        .iter()
        .for_each(|frame| preparer.frame(&header, frame));
    preparer.finish()
}

/// A clip in the making, from frames as they come; one source frame is looked at at a time.
///
/// * Time: clip frame `k` shows the video at `k / shape.frames_per_second` seconds, that is the
///   latest source frame that has begun.
/// * Fit: the largest centred rectangle of whole pixels with the shape's aspect ratio; or all of
///   the picture between black bars.
/// * Size: every output pixel is the mean of the source area it covers; partly covered pixels count
///   by their covered fraction. Shrinking does not alias, and growing gives blocks with exact
///   borders.
/// * Values: rounded to 8 bits, then [-1, 1].
pub struct Preparer {
    shape: ClipShape,
    fit: Fit,
    header: Option<VideoHeader>,
    seen: usize,
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
            seen: 0,
            resizer: None,
            pixels: Vec::new(),
        })
    }

    /// The next frame of the video, `height * width * 3` bytes.
    pub fn frame(&mut self, header: &VideoHeader, frame: &[u8]) {
        let shape = self.shape;
        let resizer = self
            .resizer
            .get_or_insert_with(|| Resizer::new(header, shape, self.fit));
        self.header = Some(*header);
        let frame_values = shape.height * shape.width * 3;
        let mut shown = self.pixels.len() / frame_values;
        let first = shown;
        while shown < shape.frames
            && source_frame(shown, shape.frames_per_second, header.frames_per_second) <= self.seen
        {
            if shown == first {
                resizer.resize(frame, &mut self.pixels);
            } else {
                // A slower video shows one frame several times.
                self.pixels
                    .extend_from_within(self.pixels.len() - frame_values..);
            }
            shown += 1;
        }
        self.seen += 1;
    }

    /// The clip.
    ///
    /// # Errors
    /// [`PrepareError::TooShort`] when the last clip frame falls after the video's end.
    pub fn finish(self) -> Result<Clip, PrepareError> {
        let shape = self.shape;
        if self.pixels.len() == shape.frames * shape.height * shape.width * 3 {
            return Ok(Clip {
                shape,
                pixels: self.pixels,
            });
        }
        Err(too_short(
            self.header.map_or(0.0, |header| header.frames_per_second),
            self.seen,
            shape,
        ))
    }
}

/// Whether a video of so many frames is long enough for a clip.
///
/// # Errors
/// [`PrepareError::TooShort`].
pub fn check_length(
    header: &VideoHeader,
    frames: u64,
    shape: ClipShape,
) -> Result<(), PrepareError> {
    let last = source_frame(
        shape.frames.saturating_sub(1),
        shape.frames_per_second,
        header.frames_per_second,
    );
    if (last as u64) < frames {
        Ok(())
    } else {
        Err(too_short(header.frames_per_second, frames as usize, shape))
    }
}

fn too_short(rate: f64, frames: usize, shape: ClipShape) -> PrepareError {
    PrepareError::TooShort {
        found_seconds: if rate > 0.0 {
            frames as f64 / rate
        } else {
            0.0
        },
        found_frames: frames,
        found_rate: rate,
        needed_seconds: (shape.frames - 1) as f64 / shape.frames_per_second,
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

/// The source frame that is on screen when clip frame `frame` is taken.
fn source_frame(frame: usize, clip_rate: f64, source_rate: f64) -> usize {
    let seconds = frame as f64 / clip_rate;
    (seconds * source_rate + EARLY).floor() as usize
}

#[cfg(test)]
mod tests;

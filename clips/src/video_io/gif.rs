//! GIF out, without any other program; [`super::animation`] reads it.
//!
//! Lossy in colour: each frame has a palette of its own of at most 256 colours; a frame with no
//! more than that is exact. Times are whole hundredths of a second.

use std::{io::Write, ops::RangeInclusive, path::Path};

use image::{
    Delay, Frame, ImageError, RgbaImage,
    codecs::gif::{GifEncoder, Repeat},
};

use super::{VideoError, check_video};
use crate::{stage, video::Video};

/// Frames per second of a GIF: players show frames of less than 0.02 s for 0.1 s instead, and
/// delays are stored in 16 bits, so that a frame lasts up to 655.35 s.
pub const GIF_RATES: RangeInclusive<f64> = 1.0 / 655.0..=50.0;

/// Palette search effort of NeuQuant, 1 (best) to 30 (fastest): at 3, a third of the time of 1 for
/// about a fifth more error.
const PALETTE_SPEED: i32 = 3;

/// `video` as the bytes of a GIF that repeats forever, for embedding.
///
/// Colours: at most 256 per frame, see the table in [`crate::video_io`].
///
/// # Errors
/// [`VideoError::Unwritable`] for more than 50 frames per second (players would slow them down) or
/// fewer than 1 in 655 s, for sides above 65535 pixels, and for malformed videos.
pub fn write_gif_bytes(video: &Video) -> Result<Vec<u8>, VideoError> {
    encode(Path::new("a GIF in memory"), video)
}

/// Writes a new file.
pub(super) fn write(path: &Path, video: &Video) -> Result<(), VideoError> {
    let bytes = encode(path, video)?;
    let error = VideoError::unwritten(path);
    let mut staged = stage::file(path).map_err(error)?;
    staged.write_all(&bytes).map_err(error)?;
    stage::publish_file(staged, path).map_err(error)
}

fn encode(path: &Path, video: &Video) -> Result<Vec<u8>, VideoError> {
    let unwritable = |problem: String| VideoError::unwritable(path, problem);
    check_video(video).map_err(|problem| VideoError::unwritable(path, problem))?;
    check_rate(path, video.frames_per_second)?;
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, PALETTE_SPEED);
    let failed = |error: ImageError| unwritable(error.to_string());
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    for (index, frame) in video.frames.iter().enumerate() {
        let opaque = frame
            .chunks_exact(3)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255])
            .collect();
        let picture = RgbaImage::from_raw(video.width, video.height, opaque)
            .ok_or_else(|| unwritable(format!("frame {index} is cut short")))?;
        let delay = Delay::from_numer_denom_ms(delay(index, video.frames_per_second) * 10, 1);
        encoder
            .encode_frame(Frame::from_parts(picture, 0, 0, delay))
            .map_err(failed)?;
    }
    drop(encoder); // Writes the end mark.
    Ok(bytes)
}

/// Refuses a rate that players do not show.
pub(super) fn check_rate(path: &Path, frames_per_second: f64) -> Result<(), VideoError> {
    if GIF_RATES.contains(&frames_per_second) {
        return Ok(());
    }
    let problem = format!(
        "{frames_per_second} frames per second; GIF players show {:.4} to {}",
        GIF_RATES.start(),
        GIF_RATES.end()
    );
    Err(VideoError::unwritable(path, problem))
}

/// Hundredths of a second for frame `index`. Each frame starts at its own time rounded down, so the
/// error never adds up: 8 frames per second become 12, 13, 12, 13, ...
fn delay(index: usize, frames_per_second: f64) -> u32 {
    // The margin keeps a start that is a whole number, such as 3 * 100 / 50, from falling to the
    // one below.
    let start = |index: usize| (index as f64 * 100.0 / frames_per_second + 1e-6).floor();
    (start(index + 1) - start(index)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video_io::read_video as read;

    /// Twelve colours, moving.
    fn few_colours(frames: usize, frames_per_second: f64) -> Video {
        let frame = |t: usize| {
            (0..9 * 6)
                .flat_map(|pixel| [((pixel + t) % 12 * 20) as u8, 200 - (t % 4) as u8 * 50, 7])
                .collect()
        };
        Video {
            width: 9,
            height: 6,
            frames_per_second,
            frames: (0..frames).map(frame).collect(),
        }
    }

    fn round_trip(video: &Video) -> Video {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        write(&path, video).unwrap();
        read(&path).unwrap()
    }

    #[test]
    fn few_colours_and_whole_rates_survive_exactly() {
        for rate in [1.0, 5.0, 7.0, 8.0, 16.0, 24.0, 25.0, 30.0, 50.0] {
            let video = few_colours(33, rate);
            assert_eq!(round_trip(&video), video, "33 frames at {rate}");
            // In a shorter video the hundredths leave several whole rates possible.
            for frames in [1, 2, 5] {
                let video = few_colours(frames, rate);
                let read = round_trip(&video);
                assert_eq!(read.frames, video.frames);
                assert!(
                    (0.0..0.01).contains(&(video.seconds() - read.seconds())),
                    "{frames} frames at {rate}: {}",
                    read.frames_per_second
                );
            }
        }
    }

    #[test]
    fn delays_never_drift_from_the_frame_times() {
        assert_eq!(
            (0..4).map(|index| delay(index, 8.0)).collect::<Vec<_>>(),
            [12, 13, 12, 13]
        );
        for rate in [8.0, 12.5, 24000.0 / 1001.0, 29.97, 50.0] {
            let mut shown = 0.0;
            for index in 0..500 {
                let due = index as f64 / rate;
                assert!(
                    shown <= due + 1e-6 && due - shown < 0.01 + 1e-6,
                    "frame {index} at {rate}: {shown} s for {due} s"
                );
                shown += f64::from(delay(index, rate)) / 100.0;
            }
        }
    }

    #[test]
    fn many_colours_are_approximated_by_256() {
        // 4096 colours on a grid 4 levels apart in red and green. The best palette cuts it into 256
        // squares of 4 x 4 colours, off by 2 or 6 levels per channel: sqrt((4 + 36) / 2 * 2 / 3) =
        // 3.65 root mean square. The search is allowed two and a half times that.
        let frame: Vec<u8> = (0..64u32)
            .flat_map(|row| {
                (0..64u32).flat_map(move |column| [(row * 4) as u8, (column * 4) as u8, 128])
            })
            .collect();
        let video = Video {
            width: 64,
            height: 64,
            frames_per_second: 8.0,
            frames: vec![frame],
        };
        let read = round_trip(&video);
        let squares: f64 = video.frames[0]
            .iter()
            .zip(&read.frames[0])
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum();
        let error = (squares / (64.0 * 64.0 * 3.0)).sqrt();
        assert!(
            (3.6..9.1).contains(&error),
            "root mean square error {error}"
        );
    }

    #[test]
    fn rates_and_sizes_that_gif_cannot_hold_are_errors() {
        assert!(matches!(
            write_gif_bytes(&few_colours(2, 0.001)),
            Err(VideoError::Unwritable { .. })
        ));
        let message = write_gif_bytes(&few_colours(2, 60.0))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("60 frames per second") && message.contains("50"),
            "{message}"
        );
        let wide = Video {
            width: 70_000,
            height: 1,
            frames_per_second: 8.0,
            frames: vec![vec![0; 210_000]],
        };
        assert!(matches!(
            write_gif_bytes(&wide),
            Err(VideoError::Unwritable { .. })
        ));
    }
}

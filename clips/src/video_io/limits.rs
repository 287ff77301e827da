//! The largest videos that are decoded; a file's own numbers are checked against these before
//! memory is set aside.

use std::path::Path;

use super::VideoError;

/// Most pixels per row, and most rows.
pub const MAX_SIDE: u32 = 8192;

/// Most pixels in a frame: 4096 x 2304.
///
/// A decoder holds several frames of its own beside the one that it hands out; 512 MiB have to do
/// for all of them.
pub const MAX_PIXELS: u64 = 4096 * 2304;

/// Most frames per second that a file may claim.
pub const MAX_RATE: f64 = 1000.0;

/// Fewest frames per second that a file may claim.
pub const MIN_RATE: f64 = 0.01;

/// Most frames in one video.
pub const MAX_FRAMES: u64 = 10_000;

/// Most bytes of a decoded video that is held whole (2 GiB): `frames * height * width * 3`. Videos
/// that only pass through, a frame at a time, may have more.
pub const MAX_HELD_BYTES: u64 = 2 << 30;

/// Most pixels that this process itself decodes of one file, whatever the file's size: about a
/// second's work. ffmpeg's processor time is bounded by itself.
const MAX_DECODED: u64 = 128 << 20;

/// Pixels more for every byte of the file. Pictures that somebody drew or filmed need at least a
/// byte for some tens of pixels; what was made to keep decoders busy needs hardly any.
const PIXELS_PER_BYTE: u64 = 100;

/// Most pixels that this process itself decodes of the largest file: 8 s of 24 frames of 4K and
/// some more.
const MAX_DECODED_EVER: u64 = 2 << 30;

/// Refuses a size that is zero or over the limits, and a number of frames of that size that is over
/// them.
///
/// `frames` is the number known or promised so far; readers call again as frames arrive.
pub(super) fn check(path: &Path, width: u32, height: u32, frames: u64) -> Result<(), VideoError> {
    let too_large = |what, found: String, limit: String| {
        Err(VideoError::TooLarge {
            path: path.to_path_buf(),
            what,
            found,
            limit,
        })
    };
    if width == 0 || height == 0 {
        let problem = format!("its size is {width} x {height} pixels");
        return Err(VideoError::unreadable(path, problem));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return too_large(
            "its size in pixels is",
            format!("{width} x {height}"),
            format!("{MAX_SIDE} x {MAX_SIDE}"),
        );
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return too_large(
            "its number of pixels per frame is",
            format!("{pixels} ({width} x {height})"),
            MAX_PIXELS.to_string(),
        );
    }
    if frames > MAX_FRAMES {
        return too_large(
            "its number of frames is at least",
            frames.to_string(),
            MAX_FRAMES.to_string(),
        );
    }
    Ok(())
}

/// Refuses what would take more memory than any video that is held whole.
pub(super) fn check_held(path: &Path, bytes: u64) -> Result<(), VideoError> {
    if bytes <= MAX_HELD_BYTES {
        return Ok(());
    }
    Err(VideoError::TooLarge {
        path: path.to_path_buf(),
        what: "its number of decoded bytes, to be held all at once, is at least",
        found: bytes.to_string(),
        limit: MAX_HELD_BYTES.to_string(),
    })
}

/// Refuses more pixels, of `frames` pictures, than this process decodes of a file of `file_bytes`.
pub(super) fn check_decoded(
    path: &Path,
    (width, height): (u32, u32),
    frames: u64,
    file_bytes: u64,
) -> Result<(), VideoError> {
    let pixels = frames * u64::from(width) * u64::from(height);
    let limit = file_bytes
        .saturating_mul(PIXELS_PER_BYTE)
        .saturating_add(MAX_DECODED)
        .min(MAX_DECODED_EVER);
    if pixels <= limit {
        return Ok(());
    }
    Err(VideoError::TooLarge {
        path: path.to_path_buf(),
        what: "its number of decoded pixels is",
        found: format!("{pixels} ({frames} frames of {width} x {height})"),
        limit: format!("{limit} for pictures of {file_bytes} bytes that need no ffmpeg"),
    })
}

/// Refuses a rate at which nothing is shown.
pub(super) fn check_rate(path: &Path, frames_per_second: f64) -> Result<(), VideoError> {
    if (MIN_RATE..=MAX_RATE).contains(&frames_per_second) {
        return Ok(());
    }
    let problem = format!(
        "its rate is {frames_per_second} frames per second; expected {MIN_RATE} to {MAX_RATE}"
    );
    Err(VideoError::unreadable(path, problem))
}

/// What the `image` crate's decoders may set aside: 128 MiB hold any one 16-bit RGBA picture of the
/// largest size. The sides are left to [`check`], whose message names them.
pub(super) fn for_decoder() -> image::Limits {
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(128 << 20);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_allowed_itself_and_refused_one_beyond() {
        let refused = |width, height, frames| {
            check(Path::new("big.gif"), width, height, frames)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refused(4096, 2304, 10_000), None);
        assert_eq!(refused(16, 16, 10_000), None);
        assert_eq!(refused(8192, 1, 10_000), None);
        let message = refused(8193, 1, 1).unwrap();
        assert!(
            message.contains("big.gif")
                && message.contains("8193 x 1")
                && message.contains("8192 x 8192"),
            "{message}"
        );
        let message = refused(16, 16, 10_001).unwrap();
        assert!(
            message.contains("10001") && message.contains("limit is 10000"),
            "{message}"
        );
        assert!(refused(4096, 2305, 1).unwrap().contains("limit is 9437184"));
        for rate in [0.0, -1.0, 1000.5, f64::NAN, f64::INFINITY] {
            assert!(
                check_rate(Path::new("a.mp4"), rate)
                    .unwrap_err()
                    .to_string()
                    .contains("its rate is")
            );
        }
        assert!(refused(0, 5, 1).unwrap().contains("0 x 5"));
    }

    #[test]
    fn what_is_decoded_here_is_bounded_by_the_bytes_that_it_comes_from() {
        let refused = |frames, bytes| {
            check_decoded(Path::new("bomb.gif"), (4096, 2304), frames, bytes)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(refused(14, 0), None);
        let message = refused(70, 1000).unwrap();
        assert!(
            message.contains("660602880 (70 frames of 4096 x 2304)")
                && message.contains("134317728 for pictures of 1000 bytes"),
            "{message}"
        );
        // 8 s of 4K, as pictures of half a byte a pixel.
        assert_eq!(refused(192, 192 * 4096 * 2304 / 2), None);
        assert!(refused(228, u64::MAX).is_some());
        assert!(check_held(Path::new("a.mkv"), MAX_HELD_BYTES).is_ok());
        assert!(check_held(Path::new("a.mkv"), MAX_HELD_BYTES + 1).is_err());
    }
}

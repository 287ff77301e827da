//! Animated pictures (GIF, WebP, APNG), without any other program: how long each frame is shown,
//! read from the container without decoding; then the frames one after another.

mod times;

use std::{
    fs::File,
    io::{self, BufReader, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use image::{
    AnimationDecoder, Frames, ImageDecoder, ImageError,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use super::{Sink, VideoError, VideoHeader, limits};
use times::{Times, apng_times, gif_times, webp_times};

/// Which container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Animation {
    Gif,
    WebP,
    Apng,
}

/// How long a frame without a delay is shown, in seconds, by custom among players.
const UNSPECIFIED_DELAY: f64 = 0.1;

/// Hands out all frames as a player shows them, over black where they are transparent.
///
/// Frames of even length give the rate `frames / total duration` (the whole number of frames per
/// second where the ticks allow it). Frames of uneven length are repeated on a grid of their
/// greatest common divisor, so each is shown for its time.
pub(super) fn decode(
    path: &Path,
    kind: Animation,
    sink: &mut Sink,
) -> Result<VideoHeader, VideoError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            VideoError::unreadable(path, format!("it is cut short or damaged ({source})"))
        }
        _ => VideoError::io("read", path)(source),
    };
    let mut file = BufReader::new(File::open(path).map_err(error)?);
    let times = match kind {
        Animation::Gif => gif_times(&mut file),
        Animation::WebP => webp_times(&mut file),
        Animation::Apng => apng_times(&mut file),
    }
    .map_err(error)?;
    let (header, repeats) = grid(path, times)?;
    file.rewind().map_err(error)?;
    // The decoders are given whatever strangers made; a mistake of theirs must not end the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        hand_out(file, kind, &header, &repeats, sink)
    }));
    match decoded.unwrap_or(Err(FramesError::GaveUp)) {
        Ok(()) => Ok(header),
        Err(problem) => Err(VideoError::unreadable(path, problem)),
    }
}

/// The rate, and how often each frame is shown at it.
fn grid(path: &Path, times: Times) -> Result<(VideoHeader, Vec<u32>), VideoError> {
    let Times {
        width,
        height,
        per_second,
        mut delays,
    } = times;
    limits::check(path, width, height, delays.len().max(1) as u64)?;
    let unspecified = (UNSPECIFIED_DELAY * f64::from(per_second)).round().max(1.0) as u32;
    delays
        .iter_mut()
        .filter(|delay| **delay == 0)
        .for_each(|delay| *delay = unspecified);
    let (Some(&shortest), Some(&longest)) = (delays.iter().min(), delays.iter().max()) else {
        return Err(VideoError::unreadable(path, "it has no frames"));
    };
    let header = |frames_per_second| VideoHeader {
        width,
        height,
        frames_per_second,
    };
    let (header, repeats) = if longest - shortest <= 1 {
        (
            header(even_rate(&delays, per_second)),
            vec![1; delays.len()],
        )
    } else {
        let step = delays.iter().copied().fold(0, greatest_common_divisor);
        let shown: u64 = delays.iter().map(|&delay| u64::from(delay / step)).sum();
        limits::check(path, width, height, shown)?;
        (
            header(f64::from(per_second) / f64::from(step)),
            delays.iter().map(|delay| delay / step).collect(),
        )
    };
    limits::check_rate(path, header.frames_per_second)?;
    Ok((header, repeats))
}

/// Why the frames of an animated picture cannot be handed out.
#[derive(Debug, thiserror::Error)]
enum FramesError {
    #[error(transparent)]
    Decoder(#[from] ImageError),
    #[error("the decoder gave up on it")]
    GaveUp,
    #[error(
        "its size is {} x {} in one place and {} x {} in another",
        .announced.0, .announced.1, .found.0, .found.1
    )]
    Size {
        announced: (u32, u32),
        found: (u32, u32),
    },
    #[error("it has more than the {0} frames that it announces")]
    More(usize),
    #[error("it announces {announced} frames and holds {found}")]
    Fewer { announced: usize, found: usize },
}

/// Hands out each frame as often as `repeats` says.
fn hand_out(
    file: BufReader<File>,
    kind: Animation,
    header: &VideoHeader,
    repeats: &[u32],
    sink: &mut Sink,
) -> Result<(), FramesError> {
    let announced = (header.width, header.height);
    let same_size = |found: (u32, u32)| match found == announced {
        true => Ok(()),
        false => Err(FramesError::Size { announced, found }),
    };
    let frames: Frames = match kind {
        Animation::Gif => {
            let mut decoder = GifDecoder::new(file)?;
            same_size(decoder.dimensions())?;
            decoder.set_limits(limits::for_decoder())?;
            decoder.into_frames()
        }
        Animation::WebP => {
            let mut decoder = WebPDecoder::new(file)?;
            same_size(decoder.dimensions())?;
            decoder.set_limits(limits::for_decoder())?;
            decoder.into_frames()
        }
        Animation::Apng => {
            let decoder = PngDecoder::with_limits(file, limits::for_decoder())?;
            same_size(decoder.dimensions())?;
            decoder.apng()?.into_frames()
        }
    };
    let mut pixels = Vec::with_capacity(header.width as usize * header.height as usize * 3);
    let mut count = 0;
    for frame in frames {
        let frame = frame?;
        let repeats = *repeats.get(count).ok_or(FramesError::More(repeats.len()))?;
        same_size(frame.buffer().dimensions())?;
        pixels.clear();
        let over_black = |value: u8, alpha: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
        pixels.extend(
            frame
                .buffer()
                .pixels()
                .flat_map(|pixel| [0, 1, 2].map(|channel| over_black(pixel[channel], pixel[3]))),
        );
        (0..repeats).for_each(|_| sink(header, &pixels));
        count += 1;
    }
    if count == repeats.len() {
        Ok(())
    } else {
        Err(FramesError::Fewer {
            announced: repeats.len(),
            found: count,
        })
    }
}

/// Frames over duration; writers round the duration down by up to a tick, so the whole rate just
/// below is taken as meant where that explains it.
fn even_rate(delays: &[u32], per_second: u32) -> f64 {
    let frames = delays.len() as f64 * f64::from(per_second);
    let ticks: f64 = delays.iter().map(|&delay| f64::from(delay)).sum();
    let rate = frames / ticks;
    let whole = rate.floor();
    if whole > 0.0 && frames / whole - ticks < 1.0 {
        whole
    } else {
        rate
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests;

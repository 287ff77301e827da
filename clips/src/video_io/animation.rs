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
    metadata::Orientation,
};

use super::{Frame, Sink, VideoError, VideoHeader, limits, picture};
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

/// Longest tick whose rounding may hide an even rate, in seconds.
const LONGEST_TICK: f64 = 0.01;

/// Hands out all frames as a player shows them, over black where they are transparent, each at the
/// time that the delays before it add up to.
///
/// Delays are rounded to ticks. Where an even rate (a whole one, where the ticks allow it) explains
/// them all, a frame begins at the earlier of the two times.
pub(super) fn decode(
    path: &Path,
    kind: Animation,
    sink: &mut Sink,
) -> Result<VideoHeader, VideoError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => VideoError::unreadable(path, source),
        io::ErrorKind::UnexpectedEof => {
            VideoError::unreadable(path, format!("it is cut short or damaged ({source})"))
        }
        _ => VideoError::io("read", path)(source),
    };
    let file = File::open(path).map_err(error)?;
    let bytes = file.metadata().map_err(error)?.len();
    let mut file = BufReader::new(file);
    let times = match kind {
        Animation::Gif => gif_times(&mut file),
        Animation::WebP => webp_times(&mut file),
        Animation::Apng => apng_times(&mut file),
    }
    .map_err(error)?;
    let orientation = picture::orientation(times.exif.as_deref());
    let stored = (times.width, times.height);
    let (mut header, starts) = schedule(path, times)?;
    limits::check_decoded(path, stored, starts.len() as u64, bytes)?;
    (header.width, header.height) = picture::turned(stored, orientation);
    file.rewind().map_err(error)?;
    let shown = Shown {
        stored,
        orientation,
        header: &header,
        starts: &starts,
    };
    // The decoders are given whatever strangers made; a mistake of theirs must not end the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| shown.hand_out(file, kind, sink)));
    match decoded.unwrap_or(Err(FramesError::GaveUp)) {
        Ok(()) => Ok(header),
        Err(problem) => Err(VideoError::unreadable(path, problem)),
    }
}

/// The header, and when each frame begins.
fn schedule(path: &Path, times: Times) -> Result<(VideoHeader, Vec<f64>), VideoError> {
    let Times {
        width,
        height,
        per_second,
        mut delays,
        pixel_aspect,
        exif: _,
    } = times;
    limits::check(path, width, height, delays.len().max(1) as u64)?;
    let unspecified = (UNSPECIFIED_DELAY * f64::from(per_second)).round().max(1.0) as u32;
    delays
        .iter_mut()
        .filter(|delay| **delay == 0)
        .for_each(|delay| *delay = unspecified);
    if delays.is_empty() {
        return Err(VideoError::unreadable(path, "it has no frames"));
    }
    let tick = 1.0 / f64::from(per_second);
    let mut ticks = 0u64;
    let mut starts: Vec<f64> = delays
        .iter()
        .map(|&delay| {
            let start = ticks as f64 * tick;
            ticks += u64::from(delay);
            start
        })
        .collect();
    let rate = even_rate(&delays, per_second);
    let is_even = tick <= LONGEST_TICK
        && starts
            .iter()
            .enumerate()
            .all(|(index, start)| (start - index as f64 / rate).abs() < tick);
    let mut header = VideoHeader {
        seconds: Some(ticks as f64 * tick),
        ..VideoHeader::plain(width, height, rate)
    };
    if is_even {
        for (index, start) in starts.iter_mut().enumerate() {
            *start = start.min(index as f64 / rate);
        }
        header.rounding = tick;
        header.seconds = header
            .seconds
            .map(|end| end.max(delays.len() as f64 / rate));
    }
    if pixel_aspect > 0.0 {
        header.pixel_aspect = pixel_aspect;
    }
    limits::check_rate(path, header.frames_per_second)?;
    Ok((header, starts))
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

/// How the frames of one file are shown.
struct Shown<'a> {
    /// The size before turning.
    stored: (u32, u32),
    orientation: Orientation,
    header: &'a VideoHeader,
    starts: &'a [f64],
}

impl Shown<'_> {
    fn same_size(&self, found: (u32, u32)) -> Result<(), FramesError> {
        let announced = self.stored;
        match found == announced {
            true => Ok(()),
            false => Err(FramesError::Size { announced, found }),
        }
    }

    fn hand_out(
        &self,
        file: BufReader<File>,
        kind: Animation,
        sink: &mut Sink,
    ) -> Result<(), FramesError> {
        let frames: Frames = match kind {
            Animation::Gif => {
                let mut decoder = GifDecoder::new(file)?;
                self.same_size(decoder.dimensions())?;
                decoder.set_limits(limits::for_decoder())?;
                decoder.into_frames()
            }
            Animation::WebP => {
                let mut decoder = WebPDecoder::new(file)?;
                self.same_size(decoder.dimensions())?;
                decoder.set_limits(limits::for_decoder())?;
                decoder.into_frames()
            }
            Animation::Apng => {
                let decoder = PngDecoder::with_limits(file, limits::for_decoder())?;
                self.same_size(decoder.dimensions())?;
                decoder.apng()?.into_frames()
            }
        };
        let (mut pixels, mut count) = (Vec::new(), 0);
        for frame in frames {
            let frame = frame?.into_buffer();
            let announced = self.starts.len();
            let &start = self.starts.get(count).ok_or(FramesError::More(announced))?;
            self.same_size(frame.dimensions())?;
            let frame = match self.orientation {
                Orientation::NoTransforms => frame,
                orientation => picture::upright(frame, orientation),
            };
            pixels.clear();
            picture::flatten(frame.as_raw(), &mut pixels);
            let pixels = &pixels;
            sink(self.header, Frame { pixels, start });
            count += 1;
        }
        if count == self.starts.len() {
            Ok(())
        } else {
            Err(FramesError::Fewer {
                announced: self.starts.len(),
                found: count,
            })
        }
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

#[cfg(test)]
mod tests;

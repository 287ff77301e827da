//! Animated pictures (GIF, WebP, APNG), without any other program: how long each frame is shown,
//! read from the container without decoding; then the frames one after another.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use image::{
    AnimationDecoder, Frames, ImageDecoder, ImageError,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use super::{Sink, VideoError, VideoHeader, limits};

/// Which container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Animation {
    Gif,
    WebP,
    Apng,
}

/// The container's own times.
#[derive(Debug, Default, PartialEq)]
struct Times {
    width: u32,
    height: u32,
    /// Ticks in a second.
    per_second: u32,
    /// Ticks that each frame is shown.
    delays: Vec<u32>,
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
    let damaged = |problem: String| VideoError::Unreadable {
        path: path.to_path_buf(),
        problem,
    };
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            damaged(format!("it is cut short or damaged ({source})"))
        }
        _ => VideoError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        },
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
    match decoded {
        Ok(Ok(())) => Ok(header),
        Ok(Err(problem)) => Err(damaged(problem)),
        Err(_) => Err(damaged("the decoder gave up on it".to_string())),
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
        return Err(VideoError::Unreadable {
            path: path.to_path_buf(),
            problem: "it has no frames".to_string(),
        });
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

fn hand_out(
    file: BufReader<File>,
    kind: Animation,
    header: &VideoHeader,
    repeats: &[u32],
    sink: &mut Sink,
) -> Result<(), String> {
    let text = |error: ImageError| error.to_string();
    let same_size = |found: (u32, u32)| match found == (header.width, header.height) {
        true => Ok(()),
        false => Err(format!(
            "its size is {} x {} in one place and {} x {} in another",
            header.width, header.height, found.0, found.1
        )),
    };
    let frames: Frames = match kind {
        Animation::Gif => {
            let mut decoder = GifDecoder::new(file).map_err(text)?;
            same_size(decoder.dimensions())?;
            decoder.set_limits(limits::for_decoder()).map_err(text)?;
            decoder.into_frames()
        }
        Animation::WebP => {
            let mut decoder = WebPDecoder::new(file).map_err(text)?;
            same_size(decoder.dimensions())?;
            decoder.set_limits(limits::for_decoder()).map_err(text)?;
            decoder.into_frames()
        }
        Animation::Apng => {
            let decoder = PngDecoder::with_limits(file, limits::for_decoder()).map_err(text)?;
            same_size(decoder.dimensions())?;
            decoder.apng().map_err(text)?.into_frames()
        }
    };
    let mut pixels = Vec::with_capacity(header.width as usize * header.height as usize * 3);
    let mut count = 0;
    for frame in frames {
        let frame = frame.map_err(text)?;
        let repeats = *repeats.get(count).ok_or_else(|| {
            format!(
                "it has more than the {} frames that it announces",
                repeats.len()
            )
        })?;
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
        Err(format!(
            "it announces {} frames and holds {count}",
            repeats.len()
        ))
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

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// One frame more than is allowed is enough to know.
fn is_full(times: &Times) -> bool {
    times.delays.len() as u64 > limits::MAX_FRAMES
}

/// GIF89a: <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>.
fn gif_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
    let header = bytes::<13>(file)?;
    if !header.starts_with(b"GIF8") {
        return Err(invalid("it does not begin as a GIF"));
    }
    let side = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let mut times = Times {
        width: side(6),
        height: side(8),
        per_second: 100,
        delays: Vec::new(),
    };
    let colours = |flags: u8| {
        if flags & 0x80 == 0 {
            0
        } else {
            3 << ((flags & 7) + 1)
        }
    };
    skip(file, colours(header[10]))?;
    let mut delay = 0;
    while !is_full(&times) {
        match bytes::<1>(file)?[0] {
            0x3b => break,
            0x21 if bytes::<1>(file)?[0] == 0xf9 => {
                let control = bytes::<5>(file)?; // length, flags, delay (2), transparent colour
                delay = u32::from(u16::from_le_bytes([control[2], control[3]]));
                skip_blocks(file)?;
            }
            0x21 => skip_blocks(file)?,
            0x2c => {
                let image = bytes::<9>(file)?;
                skip(file, colours(image[8]) + 1)?;
                skip_blocks(file)?;
                times.delays.push(delay);
                delay = 0;
            }
            other => return Err(invalid(&format!("unknown block {other:#04x}"))),
        }
    }
    Ok(times)
}

fn skip_blocks(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        match bytes::<1>(file)?[0] {
            0 => return Ok(()),
            length => skip(file, u64::from(length))?,
        }
    }
}

/// Reads on, so that a file that ends too early is noticed.
fn skip(file: &mut impl BufRead, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut file.by_ref().take(length), &mut io::sink())?;
    if skipped == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// RIFF chunks: <https://developers.google.com/speed/webp/docs/riff_container>.
fn webp_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
    let length = length_of(file)?;
    let header = bytes::<12>(file)?;
    if !(header.starts_with(b"RIFF") && header.ends_with(b"WEBP")) {
        return Err(invalid("it does not begin as a WebP"));
    }
    let end = u64::from(u32::from_le_bytes([
        header[4], header[5], header[6], header[7],
    ])) + 8;
    if end > length {
        return Err(invalid(&format!(
            "it has {length} of the {end} bytes that it announces"
        )));
    }
    let mut times = Times {
        per_second: 1000,
        ..Times::default()
    };
    let three = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    let mut place = 12;
    while place < end && !is_full(&times) {
        let chunk = bytes::<8>(file)?;
        let size = u64::from(u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]));
        let next = place + 8 + size + size % 2;
        if place + 8 + size > length {
            return Err(invalid("a chunk reaches beyond its end"));
        }
        match &chunk[..4] {
            b"VP8X" if size >= 10 => {
                let fields = bytes::<10>(file)?;
                (times.width, times.height) = (three(&fields[4..]) + 1, three(&fields[7..]) + 1);
            }
            b"ANMF" if size >= 16 => times.delays.push(three(&bytes::<16>(file)?[12..])),
            _ => {}
        }
        file.seek(SeekFrom::Start(next))?;
        place = next;
    }
    if times.delays.is_empty() {
        Err(invalid("it is a still picture"))
    } else {
        Ok(times)
    }
}

/// PNG chunks: <https://www.w3.org/TR/png-3/#apng-frame-based-animation>.
fn apng_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
    let length = length_of(file)?;
    if bytes::<8>(file)? != *b"\x89PNG\r\n\x1a\n" {
        return Err(invalid("it does not begin as a PNG"));
    }
    let four = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut times = Times::default();
    let mut fractions: Vec<(u32, u32)> = Vec::new();
    let mut place = 8;
    loop {
        let chunk = bytes::<8>(file)?;
        let size = u64::from(four(&chunk));
        let next = place + 12 + size;
        if next > length {
            return Err(invalid("a chunk reaches beyond its end"));
        }
        match &chunk[4..] {
            b"IHDR" if size == 13 => {
                let fields = bytes::<8>(file)?;
                (times.width, times.height) = (four(&fields), four(&fields[4..]));
            }
            b"fcTL" if size == 26 => {
                let fields = bytes::<24>(file)?;
                let two = |at: usize| u32::from(u16::from_be_bytes([fields[at], fields[at + 1]]));
                // A denominator of zero means hundredths.
                fractions.push((two(20), if two(22) == 0 { 100 } else { two(22) }));
            }
            b"IEND" => break,
            _ => {}
        }
        if fractions.len() as u64 > limits::MAX_FRAMES {
            break;
        }
        file.seek(SeekFrom::Start(next))?;
        place = next;
    }
    let Some(&(_, first)) = fractions.first() else {
        return Err(invalid("it is a still picture"));
    };
    // Mixed denominators are rounded to milliseconds.
    let same = fractions
        .iter()
        .all(|&(_, denominator)| denominator == first);
    times.per_second = if same { first } else { 1000 };
    let ticks = |(numerator, denominator): (u32, u32)| {
        (f64::from(numerator) * f64::from(times.per_second) / f64::from(denominator)).round()
    };
    times.delays = fractions
        .into_iter()
        .map(|fraction| ticks(fraction) as u32)
        .collect();
    Ok(times)
}

fn length_of(file: &mut impl Seek) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(length)
}

#[cfg(test)]
mod tests;

//! How long each frame of an animated picture is shown, read from its container without decoding.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use crate::video_io::{bytes, limits, picture::PngNotes};

/// The container's own times.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Times {
    pub width: u32,
    pub height: u32,
    /// Ticks in a second.
    pub per_second: u32,
    /// Ticks that each frame is shown.
    pub delays: Vec<u32>,
    /// A pixel's width over its height; 0 where nothing is said.
    pub pixel_aspect: f64,
    /// Exif data.
    pub exif: Option<Vec<u8>>,
}

/// Hundredths of a second below which players take a GIF's delay for not meant.
const GIF_LEAST_DELAY: u32 = 2;

/// Most bytes of Exif data that are looked at.
const MAX_EXIF: u64 = 1 << 16;

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// One frame more than is allowed is enough to know.
fn is_full(times: &Times) -> bool {
    times.delays.len() as u64 > limits::MAX_FRAMES
}

/// GIF89a: <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>.
pub(super) fn gif_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
    let header = bytes::<13>(file)?;
    if !header.starts_with(b"GIF8") {
        return Err(invalid("it does not begin as a GIF"));
    }
    let side = |at: usize| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let mut times = Times {
        width: side(6),
        height: side(8),
        per_second: 100,
        // In 64ths from a quarter on (the specification, 18).
        pixel_aspect: match header[12] {
            0 => 0.0,
            aspect => (f64::from(aspect) + 15.0) / 64.0,
        },
        ..Times::default()
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
                times.delays.push(match delay {
                    delay if delay < GIF_LEAST_DELAY => 0,
                    delay => delay,
                });
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
pub(super) fn webp_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
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
            b"EXIF" if size <= MAX_EXIF => {
                let mut exif = Vec::new();
                file.by_ref().take(size).read_to_end(&mut exif)?;
                times.exif = Some(exif);
            }
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
pub(super) fn apng_times(file: &mut (impl BufRead + Seek)) -> io::Result<Times> {
    let length = length_of(file)?;
    if bytes::<8>(file)? != *b"\x89PNG\r\n\x1a\n" {
        return Err(invalid("it does not begin as a PNG"));
    }
    let four = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut times = Times::default();
    let mut notes = PngNotes::default();
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
            kind => notes.chunk(file, kind, size)?,
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
    notes.check_square().map_err(|problem| invalid(&problem))?;
    times.exif = notes.exif;
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

//! What still and animated pictures have in common: black under what is transparent, which side is
//! up, and pixels that are not square.

use std::io::{self, Read, Seek, SeekFrom};

use image::{DynamicImage, RgbaImage, metadata::Orientation};

use super::bytes;

/// Most bytes of Exif data that are looked at; where a PNG keeps it, it may be of any size.
const MAX_EXIF: u64 = 1 << 16;

/// A level over black, to the nearest one.
pub(super) fn over_black(value: u8, alpha: u8) -> u8 {
    ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8
}

/// Appends RGB over black of RGBA pixels.
pub(super) fn flatten(rgba: &[u8], rgb: &mut Vec<u8>) {
    rgb.reserve(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        match pixel[3] {
            255 => rgb.extend_from_slice(&pixel[..3]),
            alpha => rgb.extend([0, 1, 2].map(|channel| over_black(pixel[channel], alpha))),
        }
    }
}

/// A picture's pixels, RGB.
pub(super) fn rgb(image: DynamicImage) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let mut pixels = Vec::new();
    flatten(image.into_rgba8().as_raw(), &mut pixels);
    pixels
}

/// Which way Exif data say that a picture has to be turned.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    // Some writers of WebP and PNG keep the mark that JPEG begins it with.
    exif.and_then(|exif| {
        Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
    })
    .unwrap_or(Orientation::NoTransforms)
}

/// The size after turning.
pub(super) fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

/// The picture upright.
pub(super) fn upright(picture: RgbaImage, orientation: Orientation) -> RgbaImage {
    let mut picture = DynamicImage::ImageRgba8(picture);
    picture.apply_orientation(orientation);
    picture.into_rgba8()
}

/// Refuses pixels that are not square: `across` and `down` of them make the same length. Programs
/// read these numbers in opposite ways (ffmpeg's are the inverse of PNG's), so neither is right.
pub(super) fn check_square(across: u32, down: u32) -> Result<(), String> {
    let is_odd = across > 0 && down > 0 && (f64::from(across) / f64::from(down) - 1.0).abs() > 0.01;
    match is_odd {
        false => Ok(()),
        true => Err(format!(
            "its pixels are not square ({across} to a unit across, {down} down), which programs \
                read in opposite ways; store it with square pixels"
        )),
    }
}

/// What a PNG says beside its pixels, wherever in the file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct PngNotes {
    pub exif: Option<Vec<u8>>,
    /// Pixels to a unit, across and down.
    pub density: Option<(u32, u32)>,
}

impl PngNotes {
    /// Reads on in a chunk that is a note; `kind` and `size` are its head.
    pub fn chunk(&mut self, file: &mut impl Read, kind: &[u8], size: u64) -> io::Result<()> {
        match kind {
            b"pHYs" if size == 9 => {
                let four = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
                self.density = Some((four(bytes(file)?), four(bytes(file)?)));
            }
            b"eXIf" if size <= MAX_EXIF => {
                let mut exif = Vec::new();
                file.by_ref().take(size).read_to_end(&mut exif)?;
                self.exif = Some(exif);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads them all and goes back to the start. What cannot be read says nothing: the decoder
    /// will say so.
    pub fn of(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let mut notes = Self::default();
        let mut place = 8;
        loop {
            file.seek(SeekFrom::Start(place))?;
            let Ok(head) = bytes::<8>(file) else { break };
            let size = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
            if notes.chunk(file, &head[4..], size).is_err() {
                break;
            }
            place += 12 + size;
        }
        file.rewind()?;
        Ok(notes)
    }

    /// As [`check_square`].
    pub fn check_square(&self) -> Result<(), String> {
        self.density
            .map_or(Ok(()), |(across, down)| check_square(across, down))
    }
}

/// The density that a JPEG's first marker (JFIF) claims, across and down; then back to the start.
pub(super) fn jpeg_density(file: &mut (impl Read + Seek)) -> io::Result<Option<(u32, u32)>> {
    let start = bytes::<18>(file).ok();
    file.rewind()?;
    let two = |at: &[u8]| u32::from(u16::from_be_bytes([at[0], at[1]]));
    Ok(start
        .filter(|start| start[..4] == [0xff, 0xd8, 0xff, 0xe0] && start[6..11] == *b"JFIF\0")
        .map(|start| (two(&start[14..]), two(&start[16..]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_is_over_black_and_opaque_pixels_keep_every_level() {
        let mut rgb = Vec::new();
        flatten(
            &[200, 100, 50, 0, 200, 100, 50, 255, 200, 100, 51, 128],
            &mut rgb,
        );
        assert_eq!(rgb, [0, 0, 0, 200, 100, 50, 100, 50, 26]);
    }

    #[test]
    fn densities_that_differ_by_more_than_rounding_are_refused() {
        assert!(check_square(0, 0).is_ok());
        assert!(check_square(2835, 2834).is_ok());
        assert!(
            check_square(4, 3)
                .unwrap_err()
                .contains("4 to a unit across, 3 down")
        );
    }
}

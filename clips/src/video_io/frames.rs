//! A video as a directory: `00000.png`, `00001.png`, ... and `frames.json` with the rate. Lossless.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder,
    codecs::{jpeg, png},
};

use super::{Frame, Sink, VideoError, VideoHeader, extension, limits, picture};
use crate::{stage, text, video::Video};

const RATE_FILE: &str = "frames.json";

/// Most bytes of one picture's file.
const MAX_PICTURE_BYTES: u64 = 64 << 20;

/// The contents of `frames.json`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Rate {
    frames_per_second: f64,
}

/// Writes a new directory; `video` is well formed.
pub(super) fn write(path: &Path, video: &Video) -> Result<(), VideoError> {
    let error = VideoError::unwritten(path);
    let staged = stage::directory(path).map_err(error)?;
    for (index, frame) in video.frames.iter().enumerate() {
        write_synced(&staged.path().join(format!("{index:05}.png")), |file| {
            png::PngEncoder::new(file)
                .write_image(frame, video.width, video.height, ExtendedColorType::Rgb8)
                .map_err(io::Error::other)
        })
        .map_err(error)?;
    }
    let rate = Rate {
        frames_per_second: video.frames_per_second,
    };
    write_synced(&staged.path().join(RATE_FILE), |file| {
        Ok(serde_json::to_writer(file, &rate)?)
    })
    .map_err(error)?;
    stage::publish_directory(staged, path).map_err(error)
}

/// Hands out the numbered PNG or JPEG files in number order. The first number is free; each further
/// one must be the next. Greyscale and 16-bit pictures are converted, pictures turned as their Exif
/// data say, and what is transparent is over black.
pub(super) fn decode(path: &Path, sink: &mut Sink) -> Result<VideoHeader, VideoError> {
    let files = numbered_files(path)?;
    if files.is_empty() {
        return Err(VideoError::unreadable(
            path,
            "it holds no numbered .png or .jpg file; expected 00000.png, 00001.png, ...",
        ));
    }
    let frames_per_second = read_rate(&path.join(RATE_FILE))?;
    if let Some(pair) = files.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        let problem = format!(
            "frame {} is followed by frame {}; expected frame {}",
            pair[0].0,
            pair[1].0,
            pair[0].0 + 1
        );
        return Err(VideoError::unreadable(path, problem));
    }
    let seconds = files.len() as f64 / frames_per_second;
    let (mut header, mut bytes): (Option<VideoHeader>, u64) = (None, 0);
    for (index, (_, file)) in files.iter().enumerate() {
        let opened = open_picture(file)?;
        bytes += opened.1;
        // What is held is one picture; what passes through is bounded by what it is made from.
        let size = |size| limits::check_decoded(path, size, index as u64 + 1, bytes);
        let picture = decode_picture(file, opened.0, header.as_ref(), &size)?;
        let (width, height) = (picture.width(), picture.height());
        let header = *header.get_or_insert(VideoHeader {
            seconds: Some(seconds),
            ..VideoHeader::plain(width, height, frames_per_second)
        });
        let pixels = &picture::rgb(picture);
        let start = index as f64 / frames_per_second;
        sink(&header, Frame { pixels, start });
    }
    header.ok_or_else(|| VideoError::unreadable(path, "it has no frames"))
}

/// A picture's file, and its bytes.
fn open_picture(file: &Path) -> Result<(BufReader<File>, u64), VideoError> {
    let error = VideoError::io("read", file);
    let kind = file.symlink_metadata().map_err(error)?;
    if !kind.is_file() || kind.len() > MAX_PICTURE_BYTES {
        let problem = format!("expected an ordinary file of at most {MAX_PICTURE_BYTES} bytes");
        return Err(VideoError::unreadable(file, problem));
    }
    Ok((BufReader::new(File::open(file).map_err(error)?), kind.len()))
}

/// One frame, upright, its size compared with the frames before it and with what `allowed` says of
/// it prior to decoding.
fn decode_picture(
    file: &Path,
    mut opened: BufReader<File>,
    before: Option<&VideoHeader>,
    allowed: &dyn Fn((u32, u32)) -> Result<(), VideoError>,
) -> Result<DynamicImage, VideoError> {
    let error = VideoError::io("read", file);
    let unreadable = |problem| VideoError::unreadable(file, problem);
    let checked = |stored: (u32, u32), orientation| {
        let (width, height) = picture::turned(stored, orientation);
        limits::check(file, width, height, 1)?;
        match before {
            Some(before) if (width, height) != (before.width, before.height) => {
                Err(unreadable(format!(
                    "it is {width} x {height} pixels; the frames before it are {} x {}",
                    before.width, before.height
                )))
            }
            _ => allowed(stored),
        }
    };
    let damaged = |error: image::ImageError| unreadable(error.to_string());
    let (decoded, orientation) = if extension(file) == "png" {
        let notes = picture::PngNotes::of(&mut opened).map_err(error)?;
        notes.check_square().map_err(unreadable)?;
        let orientation = picture::orientation(notes.exif.as_deref());
        let decoder =
            png::PngDecoder::with_limits(opened, limits::for_decoder()).map_err(damaged)?;
        checked(decoder.dimensions(), orientation)?;
        (DynamicImage::from_decoder(decoder), orientation)
    } else {
        if let Some((across, down)) = picture::jpeg_density(&mut opened).map_err(error)? {
            picture::check_square(across, down).map_err(unreadable)?;
        }
        let mut decoder = jpeg::JpegDecoder::new(opened).map_err(damaged)?;
        let exif = decoder.exif_metadata().map_err(damaged)?;
        let orientation = picture::orientation(exif.as_deref());
        checked(decoder.dimensions(), orientation)?;
        decoder.set_limits(limits::for_decoder()).map_err(damaged)?;
        (DynamicImage::from_decoder(decoder), orientation)
    };
    let mut image = decoded.map_err(damaged)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

fn read_rate(path: &Path) -> Result<f64, VideoError> {
    let error = VideoError::io("read", path);
    // Opening a pipe that calls itself frames.json would wait for ever.
    if !path.symlink_metadata().map_err(error)?.is_file() {
        return Err(VideoError::unreadable(path, "it is not an ordinary file"));
    }
    let mut written = String::new();
    File::open(path)
        .map_err(error)?
        .take(1000)
        .read_to_string(&mut written)
        .map_err(error)?;
    let expected = "expected such as {\"frames_per_second\": 8.0}, from 0.01 to 1000";
    let unreadable = |problem: String| VideoError::unreadable(path, problem);
    let rate: Rate = serde_json::from_str(text::unmarked(&written))
        .map_err(|error| unreadable(format!("{error}; {expected}")))?;
    if (limits::MIN_RATE..=limits::MAX_RATE).contains(&rate.frames_per_second) {
        Ok(rate.frames_per_second)
    } else {
        Err(unreadable(format!(
            "frames_per_second is {}; {expected}",
            rate.frames_per_second
        )))
    }
}

/// The directory's PNG and JPEG files whose names end in a number (`00012.png`, `frame_12.jpg`), in
/// number order. Other files are ignored.
fn numbered_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, VideoError> {
    let error = VideoError::io("read", directory);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if let Some(number) = frame_number(&path) {
            files.push((number, path));
            limits::check(directory, 1, 1, files.len() as u64)?;
        }
    }
    files.sort();
    Ok(files)
}

/// The number that a frame's name ends in; `None` for other files.
pub(super) fn frame_number(path: &Path) -> Option<u64> {
    if !matches!(extension(path).as_str(), "png" | "jpg" | "jpeg") {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let digits = stem.len()
        - stem
            .trim_end_matches(|letter: char| letter.is_ascii_digit())
            .len();
    stem[stem.len() - digits..]
        .parse::<u32>()
        .ok()
        .map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video_io::read_video as read;

    fn video() -> Video {
        let frame = |t: usize| {
            (0..7 * 5 * 3)
                .map(|value| ((value * 37 + t * 101) % 256) as u8)
                .collect()
        };
        Video {
            width: 7,
            height: 5,
            frames_per_second: 24000.0 / 1001.0,
            frames: (0..12).map(frame).collect(),
        }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("a.frames");
        write(&path, &video()).unwrap();
        path
    }

    #[test]
    fn every_byte_and_the_rate_survive_the_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&written(folder.path())).unwrap(), video());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn frames_are_ordered_by_number_and_other_files_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        for index in 0..12 {
            // 1.png .. 12.png: in order of names, 10 would come before 2.
            fs::rename(
                path.join(format!("{index:05}.png")),
                path.join(format!("{}.png", index + 1)),
            )
            .unwrap();
        }
        fs::write(path.join("thumbnail.png"), "x").unwrap();
        fs::write(path.join("3.txt"), "x").unwrap();
        assert_eq!(read(&path).unwrap(), video());
    }

    #[test]
    fn a_missing_frame_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        fs::remove_file(path.join("00004.png")).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("frame 3 is followed by frame 5; expected frame 4")
        );
    }

    #[test]
    fn a_truncated_frame_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let frame = path.join("00002.png");
        let bytes = fs::read(&frame).unwrap();
        // Every cut up to the end of the picture data; the 12 bytes of the end mark hold no
        // picture.
        for length in 0..=bytes.len() - 13 {
            fs::write(&frame, &bytes[..length]).unwrap();
            let message = read(&path)
                .expect_err(&format!("{length} of {} bytes", bytes.len()))
                .to_string();
            assert!(message.contains("00002.png"), "{message}");
        }
    }

    #[test]
    fn a_png_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let frame = path.join("00000.png");
        let mut bytes = fs::read(&frame).unwrap();
        // Width in the header chunk, with its checksum (CRC-32, RFC 2083 section 3.4) made to
        // match.
        bytes[16..20].copy_from_slice(&1_000_000u32.to_be_bytes());
        let mut checksum = u32::MAX;
        for &byte in &bytes[12..29] {
            checksum ^= u32::from(byte);
            for _ in 0..8 {
                checksum = (checksum >> 1) ^ (0xEDB8_8320 * (checksum & 1));
            }
        }
        bytes[29..33].copy_from_slice(&(!checksum).to_be_bytes());
        fs::write(&frame, bytes).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(
            message.contains("1000000 x 5") && message.contains("8192 x 8192"),
            "{message}"
        );
    }

    #[test]
    fn frames_of_different_sizes_and_unusable_rates_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let other = folder.path().join("b.frames");
        write(
            &other,
            &Video {
                width: 1,
                height: 1,
                frames_per_second: 8.0,
                frames: vec![vec![0; 3]],
            },
        )
        .unwrap();
        fs::copy(other.join("00000.png"), path.join("00003.png")).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(
            message.contains("00003.png") && message.contains("1 x 1") && message.contains("7 x 5"),
            "{message}"
        );
        for text in [
            "{}",
            "{\"frames_per_second\": 0}",
            "{\"frames_per_second\": -8}",
            "8",
            "",
        ] {
            fs::write(other.join(RATE_FILE), text).unwrap();
            let message = read(&other).unwrap_err().to_string();
            assert!(
                message.contains("frames.json") && message.contains("expected such as"),
                "{message}"
            );
        }
        fs::remove_file(other.join("00000.png")).unwrap();
        fs::write(other.join(RATE_FILE), "{\"frames_per_second\": 8}").unwrap();
        assert!(
            read(&other)
                .unwrap_err()
                .to_string()
                .contains("no numbered .png or .jpg file")
        );
    }
}

use std::fs;

use image::{Delay, Frame, RgbaImage, codecs::gif::GifEncoder};

use crate::video_io::read_video;

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn gif(frames: &[(u8, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for &(value, hundredths) in frames {
        let picture = RgbaImage::from_pixel(2, 2, image::Rgba([value, value, value, 255]));
        encoder
            .encode_frame(Frame::from_parts(
                picture,
                0,
                0,
                Delay::from_numer_denom_ms(hundredths * 10, 1),
            ))
            .unwrap();
    }
    drop(encoder);
    bytes
}

#[test]
fn uneven_frames_are_shown_for_their_own_time() {
    let (_folder, path) = written("uneven.gif", &gif(&[(10, 10), (20, 30), (30, 20)]));
    let video = read_video(&path).unwrap();
    assert_eq!(video.frames_per_second, 10.0);
    assert_eq!(
        video
            .frames
            .iter()
            .map(|frame| frame[0])
            .collect::<Vec<_>>(),
        [10, 20, 20, 20, 30, 30]
    );
}

#[test]
fn truncated_files_are_errors_that_name_the_file() {
    let bytes = gif(&[(10, 12), (20, 13), (30, 12)]);
    for length in 0..bytes.len() {
        let (_folder, path) = written("cut.gif", &bytes[..length]);
        let message = read_video(&path)
            .expect_err(&format!("{length} of {} bytes", bytes.len()))
            .to_string();
        assert!(message.contains("cut.gif"), "{message}");
    }
}

#[test]
fn a_gif_that_claims_to_be_huge_is_refused_before_it_is_decoded() {
    let mut bytes = gif(&[(10, 12)]);
    bytes[6..10].copy_from_slice(&[0xff; 4]); // The header's width and height.
    let (_folder, path) = written("huge.gif", &bytes);
    let message = read_video(&path).unwrap_err().to_string();
    assert!(
        message.contains("huge.gif")
            && message.contains("65535 x 65535")
            && message.contains("8192 x 8192"),
        "{message}"
    );
}

#[test]
fn times_that_would_repeat_a_frame_thousands_of_times_are_refused() {
    let (_folder, path) = written("long.gif", &gif(&[(10, 65_535), (20, 2)]));
    let message = read_video(&path).unwrap_err().to_string();
    assert!(
        message.contains("65537") && message.contains("limit is 10000"),
        "{message}"
    );
}

/// Four frames of three colours each, as ffmpeg writes them; `None` without ffmpeg.
fn by_ffmpeg(name: &str, encoder: &[&str]) -> Option<(tempfile::TempDir, std::path::PathBuf)> {
    let Some(ffmpeg) = crate::video_io::find_ffmpeg() else {
        println!("skipped, no ffmpeg on this machine: {name}");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut command = std::process::Command::new(ffmpeg);
    command
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=32x24:rate=8:duration=0.5",
        ])
        .args(encoder)
        .arg(&path);
    if !command.status().unwrap().success() {
        println!("skipped, this ffmpeg cannot write it: {name}");
        return None;
    }
    Some((folder, path))
}

#[test]
fn animated_webp_and_png_are_read_as_they_were_drawn() {
    let Some((_folder, reference)) = by_ffmpeg("a.mkv", &["-c:v", "ffv1", "-pix_fmt", "gbrp"])
    else {
        return;
    };
    let reference = read_video(&reference).unwrap();
    for (name, encoder) in [
        ("a.apng", &["-f", "apng", "-plays", "0"][..]),
        (
            "a.webp",
            &["-c:v", "libwebp_anim", "-lossless", "1", "-loop", "0"][..],
        ),
    ] {
        let Some((_folder, path)) = by_ffmpeg(name, encoder) else {
            continue;
        };
        let video = read_video(&path).unwrap();
        assert_eq!(
            (video.width, video.height, video.frames.len()),
            (32, 24, 4),
            "{name}"
        );
        assert!(
            (video.frames_per_second - 8.0).abs() < 0.01,
            "{name}: {}",
            video.frames_per_second
        );
        let furthest = |(a, b): (&Vec<u8>, &Vec<u8>)| {
            a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
        };
        // WebP's encoder takes RGB as it is; ours is compared with the drawing itself.
        let difference = video
            .frames
            .iter()
            .zip(&reference.frames)
            .map(furthest)
            .max()
            .unwrap();
        assert!(difference <= 1, "{name}: {difference} levels");
        let bytes = fs::read(&path).unwrap();
        for length in (0..bytes.len() - 1).step_by(bytes.len() / 40) {
            let (_folder, cut) = written(name, &bytes[..length]);
            assert!(read_video(&cut).unwrap_err().to_string().contains(name));
        }
    }
}

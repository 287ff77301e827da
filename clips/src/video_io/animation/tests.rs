use std::fs;

use image::{Delay, Frame, RgbaImage, codecs::gif::GifEncoder};

use crate::video_io::{Clock, decode_video, read_video};

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
    assert!((video.frames_per_second - 10.0).abs() < 1e-9);
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

/// The starts of a file's frames, and the end of the last one.
fn times(path: &std::path::Path) -> (Vec<f64>, f64) {
    let (mut starts, mut clock) = (Vec::new(), Clock::default());
    let header = decode_video(path, &mut |_, frame| {
        starts.push((frame.start * 1000.0).round() / 1000.0);
        clock.frame(&frame);
    })
    .unwrap();
    (starts, (clock.end(&header) * 1000.0).round() / 1000.0)
}

#[test]
fn frames_begin_when_the_delays_before_them_have_passed() {
    // No grid that meets these would be short.
    let (_folder, path) = written("long.gif", &gif(&[(10, 6_553), (20, 3), (30, 100)]));
    assert_eq!(times(&path), (vec![0.0, 65.53, 65.56], 66.56));
    // 8 frames a second, as hundredths: the earlier of the two times.
    let (_folder, path) = written("even.gif", &gif(&[(10, 12), (20, 13), (30, 12), (40, 13)]));
    assert_eq!(times(&path), (vec![0.0, 0.12, 0.25, 0.37], 0.5));
    assert_eq!(read_video(&path).unwrap().frames_per_second, 8.0);
    // Delays of 0 and 1 are not meant, say players.
    let (_folder, path) = written("fast.gif", &gif(&[(10, 1), (20, 0), (30, 1)]));
    assert_eq!(times(&path), (vec![0.0, 0.1, 0.2], 0.3));
    // Frames of ages are no film.
    let (_folder, path) = written("ages.gif", &gif(&[(10, 65_535), (20, 2)]));
    assert!(
        read_video(&path)
            .unwrap_err()
            .to_string()
            .contains("its rate is")
    );
}

#[test]
fn a_small_file_of_many_large_frames_is_refused_before_it_is_decoded() {
    let mut bytes = gif(&[(10, 12); 70]);
    bytes[6..10].copy_from_slice(&[0, 16, 0, 9]); // 4096 x 2304
    let (_folder, path) = written("bomb.gif", &bytes);
    let message = read_video(&path).unwrap_err().to_string();
    assert!(
        message.contains("bomb.gif") && message.contains("70 frames of 4096 x 2304"),
        "{message}"
    );
}

#[test]
fn a_gif_may_have_pixels_that_are_not_square() {
    let mut bytes = gif(&[(10, 12)]);
    bytes[12] = 49 + 64; // (49 + 64 + 15) / 64
    let (_folder, path) = written("wide.gif", &bytes);
    let header = decode_video(&path, &mut |_, _| {}).unwrap();
    assert_eq!(header.pixel_aspect, 2.0);
    let video = read_video(&path).unwrap();
    assert_eq!((video.width, video.height), (4, 2));
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

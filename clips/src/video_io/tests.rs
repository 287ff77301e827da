use super::*;

fn video() -> Video {
    Video {
        width: 2,
        height: 1,
        frames_per_second: 8.0,
        frames: vec![vec![0; 6]; 2],
    }
}

#[test]
fn the_extension_decides_the_format_and_unknown_ones_are_errors() {
    for (name, format) in [
        ("a.MP4", VideoFormat::Mp4),
        ("a.gif", VideoFormat::Gif),
        ("a.frames", VideoFormat::PngFrames),
        ("a", VideoFormat::PngFrames),
    ] {
        assert_eq!(VideoFormat::of(Path::new(name)).unwrap(), format);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.xyz");
    assert!(
        write_video(&path, &video())
            .unwrap_err()
            .to_string()
            .contains("\"xyz\"")
    );
    std::fs::write(&path, "x").unwrap();
    assert!(
        read_video(&path)
            .unwrap_err()
            .to_string()
            .contains("expected a file ending in .mp4")
    );
    assert!(
        read_video(&folder.path().join("none.gif"))
            .unwrap_err()
            .to_string()
            .contains("none.gif")
    );
}

#[test]
fn existing_paths_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.gif", "a.mp4", "a.frames", "a"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "old").unwrap();
        assert!(matches!(
            write_video(&path, &video()),
            Err(VideoError::Exists { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
    let directory = folder.path().join("b.frames");
    std::fs::create_dir(&directory).unwrap();
    assert!(matches!(
        write_video(&directory, &video()),
        Err(VideoError::Exists { .. })
    ));
}

#[test]
fn malformed_videos_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let broken = [
        (
            Video {
                width: 0,
                ..video()
            },
            "0 x 1",
        ),
        (
            Video {
                frames: vec![],
                ..video()
            },
            "no frames",
        ),
        (
            Video {
                frames_per_second: f64::INFINITY,
                ..video()
            },
            "inf frames per second",
        ),
        (
            Video {
                frames: vec![vec![0; 6], vec![0; 5]],
                ..video()
            },
            "frame 1 holds 5 bytes; expected 2 x 1 x 3 = 6",
        ),
    ];
    for (video, expected) in broken {
        let message = write_video(&folder.path().join("a.gif"), &video)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("a.gif") && message.contains(expected),
            "{message}"
        );
        assert!(write_gif_bytes(&video).is_err());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    };
    for name in ["a.mp4", "a.gif", "a.webm", "a.avi", "a.png"] {
        let message = read_video(&pipe(name)).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains("it is a pipe"),
            "{message}"
        );
    }
    for (inside, other) in [("frames.json", "0.png"), ("0.png", "frames.json")] {
        let directory = folder.path().join(inside.replace('.', "-"));
        std::fs::create_dir(&directory).unwrap();
        pipe(&format!("{}/{inside}", inside.replace('.', "-")));
        std::fs::write(directory.join(other), "{\"frames_per_second\": 8}").unwrap();
        let message = read_video(&directory).unwrap_err().to_string();
        assert!(
            message.contains(inside) && message.contains("ordinary file"),
            "{message}"
        );
    }
}

/// A directory of one picture, half red and half green, after a change of its bytes.
fn pictured(name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_raw(32, 16, two_colours()).unwrap();
    let format = image::ImageFormat::from_path(name).unwrap();
    picture.write_to(&mut bytes, format).unwrap();
    std::fs::write(folder.path().join(name), change(bytes.into_inner())).unwrap();
    std::fs::write(
        folder.path().join("frames.json"),
        "{\"frames_per_second\": 8}",
    )
    .unwrap();
    folder
}

/// 32 x 16 pixels, the left half red, the right half green.
fn two_colours() -> Vec<u8> {
    (0..32 * 16)
        .flat_map(|place| match place % 32 < 16 {
            true => [250, 0, 0],
            false => [0, 250, 0],
        })
        .collect()
}

/// Exif data that say nothing but an orientation (TIFF 6.0, little-endian).
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let mut checksum = u32::MAX;
    for &byte in &body {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            checksum = (checksum >> 1) ^ (0xEDB8_8320 * (checksum & 1));
        }
    }
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &body, &(!checksum).to_be_bytes()].concat()
}

#[test]
fn pictures_are_turned_as_their_exif_data_say() {
    let jpeg = |bytes: Vec<u8>| {
        let body = [&b"Exif\0\0"[..], &exif(6)].concat();
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&bytes[..2], &[0xff, 0xe1], &length, &body, &bytes[2..]].concat()
    };
    let png = |bytes: Vec<u8>| [&bytes[..33], &chunk(b"eXIf", &exif(6)), &bytes[33..]].concat();
    // After the picture's data is as good.
    let late = |bytes: Vec<u8>| {
        let end = bytes.len() - 12;
        [&bytes[..end], &chunk(b"eXIf", &exif(6)), &bytes[end..]].concat()
    };
    let folders = [
        pictured("0.jpg", jpeg),
        pictured("0.png", png),
        pictured("0.png", late),
    ];
    for folder in folders {
        let video = read_video(folder.path()).unwrap();
        assert_eq!((video.width, video.height), (16, 32));
        // A quarter to the right: what was left is above.
        let pixel = |row: usize| video.frames[0][(row * 16 + 8) * 3..][..2].to_vec();
        let (above, below) = (pixel(8), pixel(24));
        assert!(above[0] > 200 && above[1] < 50, "{above:?}");
        assert!(below[0] < 50 && below[1] > 200, "{below:?}");
    }
}

#[test]
fn pictures_of_pixels_that_are_not_square_are_refused() {
    let density = [&4u32.to_be_bytes()[..], &3u32.to_be_bytes(), &[0]].concat();
    let png = |bytes: Vec<u8>| [&bytes[..33], &chunk(b"pHYs", &density), &bytes[33..]].concat();
    let jpeg = |mut bytes: Vec<u8>| {
        assert_eq!(&bytes[6..10], b"JFIF");
        bytes[14..18].copy_from_slice(&[0, 4, 0, 3]);
        bytes
    };
    for folder in [pictured("0.png", png), pictured("0.jpg", jpeg)] {
        let message = read_video(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("0.") && message.contains("not square (4 to a unit across, 3 down)"),
            "{message}"
        );
    }
}

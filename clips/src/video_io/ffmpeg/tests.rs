use std::fs;

use super::*;
use crate::{
    video::Video,
    video_io::{command::command, read_video, write_video},
};

/// ffmpeg, or a printed line and `None`: these tests pass without one.
fn ffmpeg(test: &str) -> Option<PathBuf> {
    let found = find_ffmpeg();
    if found.is_none() {
        println!("skipped, no ffmpeg on this machine: {test}");
    }
    found
}

/// Smooth colours that move: what lossy codecs are made for. Channels differ, so a swap or a wrong
/// matrix shows.
fn video(width: u32, height: u32, frames: usize, frames_per_second: f64) -> Video {
    let frame = |t: usize| {
        (0..height)
            .flat_map(|row| {
                (0..width).flat_map(move |column| {
                    let wave = |x: f64| (127.5 + 100.0 * x.sin()) as u8;
                    let (x, y, t) = (
                        f64::from(column) / 16.0,
                        f64::from(row) / 16.0,
                        t as f64 / 4.0,
                    );
                    [wave(x + t), wave(y - t), wave(x + y)]
                })
            })
            .collect()
    };
    Video {
        width,
        height,
        frames_per_second,
        frames: (0..frames).map(frame).collect(),
    }
}

/// Peak signal-to-noise ratio in dB over the area that both videos have.
fn psnr(a: &Video, b: &Video) -> f64 {
    let (mut squares, mut values) = (0.0, 0.0);
    for (a_frame, b_frame) in a.frames.iter().zip(&b.frames) {
        let rows = a_frame
            .chunks_exact(a.width as usize * 3)
            .zip(b_frame.chunks_exact(b.width as usize * 3));
        for (&x, &y) in rows.flat_map(|(a_row, b_row)| a_row.iter().zip(b_row)) {
            squares += (f64::from(x) - f64::from(y)).powi(2);
            values += 1.0;
        }
    }
    10.0 * (255.0 * 255.0 * values / squares).log10()
}

#[test]
fn without_ffmpeg_the_error_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let message = |variable: Option<&OsStr>| {
        require_in(
            variable,
            Some(empty.path().as_os_str()),
            "read",
            Path::new("clips/a.mp4"),
        )
        .unwrap_err()
        .to_string()
    };
    let unset = message(None);
    for part in [
        "cannot read clips/a.mp4",
        "AFD_FFMPEG is not set",
        "PATH",
        "install ffmpeg",
        ".gif",
    ] {
        assert!(unset.contains(part), "{part:?} is not in: {unset}");
    }
    let wrong = message(Some(OsStr::new("/nowhere/ffmpeg")));
    assert!(
        wrong.contains("AFD_FFMPEG is \"/nowhere/ffmpeg\", which is not a file"),
        "{wrong}"
    );
}

#[test]
fn the_environment_variable_goes_before_path() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        folder.path().join("mine"),
        folder
            .path()
            .join(format!("ffmpeg{}", env::consts::EXE_SUFFIX)),
    );
    fs::write(&first, "").unwrap();
    fs::write(&second, "").unwrap();
    let search = Some(folder.path().as_os_str());
    assert_eq!(find_in(Some(first.as_os_str()), search), Some(first));
    assert_eq!(find_in(None, search), Some(second));
    assert_eq!(find_in(Some(OsStr::new("/nowhere")), search), None);
    assert_eq!(find_in(None, None), None);
}

#[test]
fn h264_keeps_frames_rate_size_and_most_of_the_picture() {
    if ffmpeg("h264_keeps_frames_rate_size_and_most_of_the_picture").is_none() {
        return;
    }
    assert!(ffmpeg_version().unwrap().starts_with("ffmpeg version"));
    let folder = tempfile::tempdir().unwrap();
    for (index, (frames, rate)) in [
        (1, 8.0),
        (2, 24.0),
        (17, 8.0),
        (33, 24000.0 / 1001.0),
        (30, 30.0),
        (9, 12.5),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(format!("a:{index}.mp4"));
        let original = video(64, 48, frames, rate);
        write_video(&path, &original).unwrap();
        let read = read_video(&path).unwrap();
        assert_eq!(
            (read.width, read.height, read.frames.len()),
            (64, 48, frames),
            "{rate}"
        );
        assert!(
            (read.frames_per_second - rate).abs() < 1e-9,
            "{} for {rate}",
            read.frames_per_second
        );
        let quality = psnr(&original, &read);
        assert!(quality > 32.0, "{quality} dB for {frames} frames at {rate}");
    }
    // Nothing staged was left behind.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
}

#[test]
fn mpeg4_serves_where_libx264_is_missing() {
    let Some(ffmpeg) = ffmpeg("mpeg4_serves_where_libx264_is_missing") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, rate) in [
        ("a.mp4", 8.0),
        ("b.mp4", 30000.0 / 1001.0),
        ("c.mp4", 7.123456789),
    ] {
        let path = folder.path().join(name);
        let original = video(64, 48, 9, rate);
        let size = (original.width, original.height);
        let mut writer = Mp4Writer::with(
            &ffmpeg,
            &["-c:v", "mpeg4", "-q:v", "2"],
            &path,
            size,
            original.frames_per_second,
        )
        .unwrap();
        original.frames.iter().for_each(|frame| writer.push(frame));
        writer.finish().unwrap();
        let read = read_video(&path).unwrap();
        assert_eq!(read.frames.len(), 9);
        assert!((read.frames_per_second - rate).abs() < 1e-3);
        assert!(psnr(&original, &read) > 30.0);
    }
}

#[test]
fn odd_sides_grow_by_one_repeated_pixel() {
    if ffmpeg("odd_sides_grow_by_one_repeated_pixel").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, width, height) in [
        ("a.mp4", 33, 47),
        ("b.mp4", 34, 47),
        ("c.mp4", 33, 48),
        ("d.mp4", 1, 1),
    ] {
        let path = folder.path().join(name);
        let original = video(width, height, 4, 8.0);
        write_video(&path, &original).unwrap();
        let read = read_video(&path).unwrap();
        assert_eq!(
            (read.width, read.height),
            (width + width % 2, height + height % 2)
        );
        let quality = psnr(&original, &read);
        assert!(quality > 28.0, "{quality} dB for {width} x {height}");
    }
}

#[test]
fn the_same_video_gives_the_same_bytes() {
    if ffmpeg("the_same_video_gives_the_same_bytes").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
    write_video(&a, &video(32, 32, 5, 8.0)).unwrap();
    write_video(&b, &video(32, 32, 5, 8.0)).unwrap();
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn other_containers_are_read() {
    let Some(ffmpeg) = ffmpeg("other_containers_are_read") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("a.mp4");
    write_video(&original, &video(64, 48, 17, 24.0)).unwrap();
    for name in ["b.mkv", "c.mov"] {
        let path = folder.path().join(name);
        let mut copy = command(&ffmpeg);
        copy.arg("-i")
            .arg(&original)
            .args(["-c", "copy"])
            .arg(&path);
        assert!(copy.status().unwrap().success());
        let read = read_video(&path).unwrap();
        assert_eq!(
            (read.width, read.height, read.frames.len()),
            (64, 48, 17),
            "{name}"
        );
        assert!(
            (read.frames_per_second - 24.0).abs() < 0.01,
            "{name}: {}",
            read.frames_per_second
        );
    }
}

#[test]
fn videos_stored_lying_down_are_read_upright() {
    let Some(ffmpeg) = ffmpeg("videos_stored_lying_down_are_read_upright") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (lying, upright) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
    let original = video(64, 48, 5, 8.0);
    write_video(&lying, &original).unwrap();
    // The note to turn it, as telephones write it: an input option from ffmpeg 6 on, a stream's
    // metadata before.
    let turn = |before: &[&str], after: &[&str]| {
        let mut turn = command(&ffmpeg);
        turn.args(before)
            .arg("-i")
            .arg(&lying)
            .args(["-c", "copy"])
            .args(after)
            .arg("-y")
            .arg(&upright);
        turn.stderr(Stdio::null()).status().unwrap().success()
    };
    assert!(
        turn(&["-display_rotation", "90"], &[]) || turn(&[], &["-metadata:s:v:0", "rotate=90"])
    );
    let read = read_video(&upright).unwrap();
    // Turned to the left: the right column becomes the top row.
    let left = |frame: &Vec<u8>| {
        let pixel = |row: usize, column: usize| frame[(row * 64 + column) * 3..][..3].to_vec();
        (0..64)
            .flat_map(|row| (0..48).flat_map(move |column| pixel(column, 63 - row)))
            .collect()
    };
    let expected = Video {
        width: 48,
        height: 64,
        frames_per_second: 8.0,
        frames: original.frames.iter().map(left).collect(),
    };
    assert_eq!((read.width, read.height, read.frames.len()), (48, 64, 5));
    assert!(
        psnr(&expected, &read) > 30.0,
        "{} dB",
        psnr(&expected, &read)
    );
}

#[test]
fn damaged_and_disguised_files_are_errors_that_name_the_file() {
    if ffmpeg("damaged_and_disguised_files_are_errors_that_name_the_file").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.mp4");
    write_video(&whole, &video(64, 48, 17, 8.0)).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let cut = folder.path().join("cut.mp4");
    for length in [
        0,
        10,
        bytes.len() / 4,
        bytes.len() / 2,
        bytes.len() * 3 / 4,
        bytes.len() - 100,
    ] {
        fs::write(&cut, &bytes[..length]).unwrap();
        let message = read_video(&cut)
            .expect_err(&format!("{length} of {} bytes", bytes.len()))
            .to_string();
        assert!(message.contains("cut.mp4"), "{message}");
    }
    // A playlist that calls itself a video must not be followed.
    let playlist = folder.path().join("playlist.mp4");
    fs::write(
        &playlist,
        "#EXTM3U\n#EXTINF:1,\nwhole.mp4\n#EXT-X-ENDLIST\n",
    )
    .unwrap();
    assert!(
        read_video(&playlist)
            .unwrap_err()
            .to_string()
            .contains("playlist.mp4")
    );
}

#[test]
fn a_video_over_the_frame_limit_is_refused() {
    let Some(ffmpeg) = ffmpeg("a_video_over_the_frame_limit_is_refused") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.mp4");
    let mut long = command(&ffmpeg);
    long.args([
        "-f",
        "lavfi",
        "-i",
        "color=size=16x16:rate=50:duration=201",
        "-c:v",
        "mpeg4",
    ])
    .arg(&path);
    assert!(long.status().unwrap().success());
    let message = read_video(&path).unwrap_err().to_string();
    assert!(
        message.contains("long.mp4")
            && message.contains("10050")
            && message.contains("limit is 10000"),
        "{message}"
    );
}

#[test]
fn both_colour_ranges_of_the_same_content_become_the_same_pixels() {
    let Some(ffmpeg) = ffmpeg("both_colour_ranges_of_the_same_content_become_the_same_pixels")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let original = video(64, 48, 3, 8.0);
    let raw = folder.path().join("raw");
    fs::write(&raw, original.frames.concat()).unwrap();
    let encoded = |name: &str, range: &str, tag: &[&str]| {
        let path = folder.path().join(name);
        let mut encode = command(&ffmpeg);
        encode
            .args([
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-video_size",
                "64x48",
                "-framerate",
                "8",
                "-i",
            ])
            .arg(&raw);
        encode.args([
            "-vf",
            &format!("scale=out_range={range}:out_color_matrix=bt709,format=yuv444p"),
            "-color_range",
            range,
        ]);
        encode.args(["-c:v", "ffv1"]).args(tag).arg(&path);
        assert!(encode.status().unwrap().success());
        read_video(&path).unwrap()
    };
    let full = encoded("full.mkv", "pc", &["-colorspace", "bt709"]);
    let limited = encoded("limited.mkv", "tv", &["-colorspace", "bt709"]);
    let furthest = |a: &Video, b: &Video| {
        a.frames
            .iter()
            .flatten()
            .zip(b.frames.iter().flatten())
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap()
    };
    assert!(
        furthest(&full, &original) <= 3,
        "{}",
        furthest(&full, &original)
    );
    assert!(
        furthest(&limited, &original) <= 4,
        "{}",
        furthest(&limited, &original)
    );
    assert!(
        furthest(&limited, &full) <= 4,
        "{}",
        furthest(&limited, &full)
    );
    // Without a tag a small picture is taken to be television's of that size, as players do, and
    // the colours are off.
    let untagged = encoded("untagged.mkv", "tv", &[]);
    println!(
        "untagged bt709 at 64 x 48: {} levels off",
        furthest(&untagged, &original)
    );
    let extremes = |video: &Video| {
        (
            *video.frames[0].iter().min().unwrap(),
            *video.frames[0].iter().max().unwrap(),
        )
    };
    let (low, high) = extremes(&original);
    assert!(extremes(&limited).0.abs_diff(low) <= 4 && extremes(&limited).1.abs_diff(high) <= 4);
}

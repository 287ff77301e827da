//! Films as players show them: every file of `cases/` with the values that it was made to show.
//! ffmpeg makes and reads them; without one these tests say that they were skipped.

use std::path::{Path, PathBuf};

use afd_clips::{
    prepare::{Fit, Preparer, prepare_fitted},
    video::{Clip, ClipShape, to_byte},
    video_io::{MAX_HELD_BYTES, Whole, decode_video, find_ffmpeg, read_video},
};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(name)
}

fn without_ffmpeg(test: &str) -> bool {
    let missing = find_ffmpeg().is_none();
    if missing {
        println!("skipped, no ffmpeg on this machine: {test}");
    }
    missing
}

fn shape(frames: usize, height: usize, width: usize, frames_per_second: f64) -> ClipShape {
    ClipShape {
        frames,
        height,
        width,
        frames_per_second,
    }
}

fn prepared(name: &str, shape: ClipShape, fit: Fit) -> Clip {
    let mut preparer = Preparer::new(shape, fit).unwrap();
    decode_video(&case(name), &mut |header, frame| {
        preparer.frame(header, frame)
    })
    .unwrap();
    preparer.finish().unwrap()
}

fn refusal(name: &str) -> String {
    decode_video(&case(name), &mut |_, _| {})
        .unwrap_err()
        .to_string()
}

fn level(clip: &Clip, frame: usize, row: usize, column: usize) -> [u8; 3] {
    clip.pixel(frame, row, column).map(to_byte)
}

/// The frames of a film whose frame `k` is grey `20 + 7 k`, by a clip's levels.
fn frames_of(clip: &Clip) -> Vec<i32> {
    (0..clip.shape.frames)
        .map(|frame| (f64::from(i32::from(level(clip, frame, 3, 3)[1]) - 20) / 7.0).round() as i32)
        .collect()
}

#[test]
fn uneven_frames_are_shown_at_their_own_times() {
    if without_ffmpeg("uneven_frames_are_shown_at_their_own_times") {
        return;
    }
    // 16 frames every 50 ms, then 16 every 200 ms; the last one lasts 100.
    let right: Vec<i32> = (0..8)
        .map(|frame| 2 * frame)
        .chain((0..30).map(|at| 16 + at / 2))
        .collect();
    let clip = prepared("t_vfr.mp4", shape(38, 8, 8, 10.0), Fit::Crop);
    assert_eq!(frames_of(&clip), right);
    // Held whole, the same.
    let whole = read_video(&case("t_vfr.mp4")).unwrap();
    let again = prepare_fitted(&whole, shape(38, 8, 8, 10.0), Fit::Crop).unwrap();
    assert_eq!(frames_of(&again), right);
}

#[test]
fn a_claim_of_a_thousand_frames_a_second_is_not_believed() {
    if without_ffmpeg("a_claim_of_a_thousand_frames_a_second_is_not_believed") {
        return;
    }
    for (name, frames, rate) in [("w_1kfps.webm", 32, 10.0), ("w_vga_1kfps.webm", 125, 25.0)] {
        let mut count = 0;
        let header = decode_video(&case(name), &mut |_, _| count += 1).unwrap();
        assert_eq!(count, frames, "{name}");
        assert!(header.frames_per_second <= 25.0, "{name}: {header:?}");
        prepared(name, shape(8, 24, 32, rate), Fit::Crop);
    }
}

/// Columns and rows that the bright square fills, by their share of its brightness.
fn extent(clip: &Clip) -> (f64, f64) {
    let (height, width) = (clip.shape.height, clip.shape.width);
    let value = |row, column| f64::from(level(clip, 0, row, column)[1]);
    let (row, column) = (height / 2, width / 2);
    let dark = value(row, 0);
    let bright = value(row, column) - dark;
    let share = |value: f64| ((value - dark) / bright).clamp(0.0, 1.0);
    (
        (0..width).map(|column| share(value(row, column))).sum(),
        (0..height).map(|row| share(value(row, column))).sum(),
    )
}

#[test]
fn a_square_of_pixels_that_are_not_square_is_as_wide_as_high() {
    if without_ffmpeg("a_square_of_pixels_that_are_not_square_is_as_wide_as_high") {
        return;
    }
    for name in [
        "s_sar_4_3.mp4",
        "s_sar_1440.mp4",
        "s_sar_ntsc169.mp4",
        "s_sar_2_1.mkv",
    ] {
        let (wide, high) = extent(&prepared(name, shape(1, 48, 64, 24.0), Fit::Crop));
        println!("{name}: {wide:.2} x {high:.2}");
        // Half of a stored pixel's side is what the drawing itself was rounded by.
        assert!((wide - high).abs() < 0.8, "{name}: {wide} x {high}");
    }
    let (wide, high) = extent(&prepared(
        "s_sar_4_3.mp4",
        shape(1, 48, 64, 24.0),
        Fit::Crop,
    ));
    assert!(
        (wide - 19.2).abs() < 0.4 && (high - 19.2).abs() < 0.4,
        "{wide} x {high}"
    );
    let padded = prepared("s_sar_2_1.mkv", shape(1, 48, 64, 24.0), Fit::Pad);
    let filled: Vec<usize> = (0..64)
        .filter(|&column| level(&padded, 0, 2, column) != [0; 3])
        .collect();
    assert_eq!(filled, (8..56).collect::<Vec<_>>());
}

#[test]
fn hdr_is_brought_to_an_ordinary_screen_with_paper_white_at_the_top() {
    if without_ffmpeg("hdr_is_brought_to_an_ordinary_screen_with_paper_white_at_the_top") {
        return;
    }
    // 0.5, 20, 50, 100, 203 and 1000 nits; HLG's own levels of the same signal's making.
    for (name, right) in [
        ("h_pq.mp4", [21, 98, 143, 191, 255, 255]),
        ("h_hlg.mp4", [6, 72, 109, 159, 255, 255]),
    ] {
        let clip = prepared(name, shape(1, 64, 96, 24.0), Fit::Crop);
        let patches: Vec<u8> = (0..6)
            .map(|patch| level(&clip, 0, 16 + patch / 3 * 32, 16 + patch % 3 * 32)[1])
            .collect();
        let near = patches
            .iter()
            .zip(right)
            .all(|(&found, right)| found.abs_diff(right) <= 2);
        assert!(near, "{name}: {patches:?}");
    }
}

#[test]
fn what_is_transparent_is_black_in_every_container() {
    if without_ffmpeg("what_is_transparent_is_black_in_every_container") {
        return;
    }
    for name in [
        "a_vp9.webm",
        "a_prores4444.mov",
        "a_qtrle.mov",
        "a_apng.apng",
    ] {
        let clip = prepared(name, shape(2, 64, 96, 24.0), Fit::Crop);
        let outside = level(&clip, 0, 32, 4);
        assert!(
            outside.iter().all(|&value| value <= 1),
            "{name}: {outside:?}"
        );
        let inside = level(&clip, 0, 32, 40);
        let right = [60, 200, 60];
        let near = (0..3).all(|channel| inside[channel].abs_diff(right[channel]) <= 3);
        assert!(near, "{name}: {inside:?}");
    }
}

#[test]
fn what_is_transparent_is_black_in_frames_too() {
    let video = read_video(&case("png_rgba")).unwrap();
    let pixel = |column: usize| {
        let place = (video.height as usize / 2 * video.width as usize + column) * 3;
        video.frames[0][place..place + 3].to_vec()
    };
    assert_eq!(pixel(4), [0, 0, 0]);
    assert_eq!(pixel(60), [230, 230, 230]);
}

#[test]
fn the_default_stream_is_the_one_that_is_shown() {
    if without_ffmpeg("the_default_stream_is_the_one_that_is_shown") {
        return;
    }
    for name in ["x_two_default2.mkv", "x_two_default2.mp4"] {
        let header = decode_video(&case(name), &mut |_, _| {}).unwrap();
        assert_eq!((header.width, header.height), (64, 48), "{name}");
    }
}

#[test]
fn a_cover_picture_is_no_video() {
    if without_ffmpeg("a_cover_picture_is_no_video") {
        return;
    }
    let message = refusal("x_audio_cover.mp4");
    assert!(
        message.contains("x_audio_cover.mp4") && message.contains("no video but a cover picture"),
        "{message}"
    );
}

#[test]
fn large_films_pass_through_and_are_refused_only_where_they_would_be_held() {
    if without_ffmpeg("large_films_pass_through_and_are_refused_only_where_they_would_be_held") {
        return;
    }
    let clip = prepared("l_4k_8s.mp4", shape(4, 9, 16, 1.0), Fit::Crop);
    assert_eq!(clip.pixels.len(), 4 * 9 * 16 * 3);
    let mut whole = Whole::default();
    let mut frames = 0;
    decode_video(&case("l_1080p60_6s.mp4"), &mut |header, frame| {
        frames += 1;
        whole.frame(header, frame);
    })
    .unwrap();
    assert_eq!(frames, 360);
    let bytes = frames * 1920 * 1080 * 3;
    assert!(bytes > MAX_HELD_BYTES);
    let message = whole.finish(Path::new("l.mp4")).unwrap_err().to_string();
    assert!(message.contains("held all at once"), "{message}");
}

use std::io::Cursor;

use image::{AnimationDecoder, codecs::gif::GifDecoder};

use super::super::synthetic::drifting;
use super::*;
use afd_clips::{video::ClipShape, video_io::write_gif_bytes};

/// Frame f is uniform grey of level `level + 10 f`.
fn greys(frames: usize, side: usize, frames_per_second: f64, level: u8) -> Clip {
    let values = side * side * 3;
    let pixels = (0..frames * values)
        .map(|index| afd_clips::video::from_byte(level + 10 * (index / values) as u8))
        .collect();
    Clip {
        shape: ClipShape {
            frames,
            height: side,
            width: side,
            frames_per_second,
        },
        pixels,
    }
}

fn pixel(video: &Video, frame: usize, x: usize, y: usize) -> [u8; 3] {
    let start = (y * video.width as usize + x) * 3;
    [0, 1, 2].map(|channel| video.frames[frame][start + channel])
}

#[test]
fn the_gif_decodes_with_the_expected_size_frames_and_hold() {
    let clips = [
        drifting([3.0, 8.0], [0.5, 0.0]),
        drifting([8.0, 3.0], [0.0, 0.5]),
    ];
    let sheet = side_by_side(&[("teacher", &clips), ("base", &clips)], 3);
    // Two columns of 16 * 3 px, two rows of the same under one line of text, 12 frames and half
    // a second at 8 fps.
    let (width, height, frames) = (4 + 2 * (48 + 4), 4 + 7 + 4 + 2 * (48 + 4), 12 + 4);
    assert_eq!(
        (
            sheet.width,
            sheet.height,
            sheet.frames.len(),
            sheet.frames_per_second
        ),
        (width, height, frames, 8.0)
    );
    let gif = write_gif_bytes(&sheet).unwrap();
    let decoded = GifDecoder::new(Cursor::new(gif))
        .unwrap()
        .into_frames()
        .collect_frames()
        .unwrap();
    assert_eq!(decoded.len(), frames);
    assert!(
        decoded
            .iter()
            .all(|frame| frame.buffer().dimensions() == (width, height))
    );
    assert!(
        sheet.frames[11..].windows(2).all(|pair| pair[0] == pair[1])
            && sheet.frames[10] != sheet.frames[11]
    );
}

#[test]
fn every_pixel_becomes_a_square_in_the_place_of_its_column_and_row() {
    let mut clips = [
        greys(1, 30, 8.0, 100),
        greys(1, 30, 8.0, 120),
        greys(1, 30, 8.0, 140),
    ];
    // Row 2, column 5.
    clips[0].pixels[(2 * 30 + 5) * 3..][..3].copy_from_slice(&[1.0, -1.0, -1.0]);
    let sheet = side_by_side(&[("a", &clips[..2]), ("b", &clips[2..])], 2);
    // "a" is 5 px wide, so it is drawn at the largest magnification; the first row starts below
    // 3 * 7 px of label.
    let (left, top) = (4, 4 + 21 + 4);
    let red = (0..60 * 60)
        .filter(|at| pixel(&sheet, 0, left + at % 60, top + at / 60) == [255, 0, 0])
        .collect::<Vec<_>>();
    assert_eq!(red, [4 * 60 + 10, 4 * 60 + 11, 5 * 60 + 10, 5 * 60 + 11]);
    assert_eq!(pixel(&sheet, 0, left, top), [100; 3]);
    assert_eq!(pixel(&sheet, 0, left + 59, top + 59), [100; 3]);
    assert_eq!(pixel(&sheet, 0, left + 60, top), BACKGROUND, "the gap");
    assert_eq!(pixel(&sheet, 0, left, top + 64), [120; 3], "the second row");
    assert_eq!(
        pixel(&sheet, 0, left + 64, top),
        [140; 3],
        "the second column"
    );
    assert_eq!(
        pixel(&sheet, 0, left + 64, top + 64),
        BACKGROUND,
        "no second clip in the second column"
    );
}

#[test]
fn slower_clips_keep_their_time_and_shorter_ones_stay_on_their_last_frame() {
    let sheet = side_by_side(
        &[
            ("f", &[greys(8, 8, 10.0, 0)]),
            ("s", &[greys(3, 8, 5.0, 100)]),
            ("x", &[greys(2, 8, 10.0, 200)]),
        ],
        1,
    );
    let levels = |column: usize| {
        (0..13)
            .map(|frame| pixel(&sheet, frame, 4 + column * 12, 15)[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (sheet.frames_per_second, sheet.frames.len()),
        (10.0, 13),
        "0.8 s and 0.5 s at 10 fps"
    );
    assert_eq!(
        levels(0),
        [0, 10, 20, 30, 40, 50, 60, 70, 70, 70, 70, 70, 70]
    );
    assert_eq!(
        levels(1),
        [
            100, 100, 110, 110, 120, 120, 120, 120, 120, 120, 120, 120, 120
        ]
    );
    assert_eq!(
        levels(2),
        [
            200, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210, 210
        ]
    );
}

#[test]
fn labels_wider_than_their_clips_widen_the_column_and_endless_ones_are_cut() {
    let clip = [greys(1, 8, 8.0, 90)];
    let sheet = side_by_side(&[("distilled", &clip)], 1);
    assert_eq!(sheet.width, 4 + 53 + 4, "nine letters of 5 px with 8 gaps");
    assert_eq!(
        pixel(&sheet, 0, 4 + (53 - 8) / 2, 15),
        [90; 3],
        "the clip stands in the middle"
    );
    let lit = (0..53 * 7)
        .filter(|at| pixel(&sheet, 0, 4 + at % 53, 4 + at / 53) == INK)
        .count();
    assert_eq!(
        lit,
        "distilled"
            .chars()
            .map(|letter| font::pixels(letter).count())
            .sum::<usize>()
    );
    assert_eq!(
        side_by_side(&[(&"x".repeat(500), &clip)], 1).width,
        4 + 32 * 6 - 1 + 4
    );
}

#[test]
fn without_labels_there_is_no_line_for_them() {
    let clip = [greys(1, 8, 8.0, 90)];
    let sheet = side_by_side(&[("", &clip), ("", &clip)], 1);
    assert_eq!((sheet.width, sheet.height), (4 + 2 * (8 + 4), 4 + 8 + 4));
    assert_eq!(pixel(&sheet, 0, 4, 4), [90; 3]);
}

#[test]
fn sheets_without_clips_and_clips_without_pixels_still_make_a_gif() {
    let mut broken = greys(2, 4, 8.0, 0);
    broken.pixels.pop();
    let nothing = Clip {
        shape: ClipShape {
            frames: 0,
            height: 0,
            width: 0,
            frames_per_second: 0.0,
        },
        pixels: vec![],
    };
    for columns in [
        &[][..],
        &[("", &[][..])],
        &[("teacher", &[broken, nothing])],
    ] {
        let sheet = side_by_side(columns, 0);
        assert_eq!(sheet.frames.len(), 1);
        write_gif_bytes(&sheet).unwrap();
    }
}

use super::{resize::centre_crop, *};

/// A video whose pixels come from (frame, row, column), the same in all three channels.
fn grey(
    frames: usize,
    height: u32,
    width: u32,
    rate: f64,
    value: impl Fn(usize, u32, u32) -> u8,
) -> Video {
    let frame = |t: usize| {
        let value = &value;
        (0..height)
            .flat_map(move |row| (0..width).flat_map(move |column| [value(t, row, column); 3]))
            .collect()
    };
    Video {
        width,
        height,
        frames_per_second: rate,
        frames: (0..frames).map(frame).collect(),
    }
}

fn shape(frames: usize, height: usize, width: usize, rate: f64) -> ClipShape {
    ClipShape {
        frames,
        height,
        width,
        frames_per_second: rate,
    }
}

/// Which source frames a clip shows, read from a video whose frame `i` is all `i`.
fn shown(source_frames: usize, source_rate: f64, frames: usize, rate: f64) -> Vec<u8> {
    let video = grey(source_frames, 2, 2, source_rate, |t, _, _| t as u8);
    let clip = prepare(&video, shape(frames, 1, 1, rate)).unwrap();
    (0..frames)
        .map(|frame| to_byte(clip.pixel(frame, 0, 0)[0]))
        .collect()
}

#[test]
fn a_constant_video_stays_constant_at_every_size() {
    for value in [0, 1, 77, 254, 255] {
        let video = grey(1, 37, 53, 8.0, |_, _, _| value);
        for (height, width) in [(1, 1), (8, 8), (11, 31), (37, 53), (64, 64), (101, 7)] {
            let clip = prepare(&video, shape(1, height, width, 8.0)).unwrap();
            assert_eq!(clip.pixels.len(), height * width * 3);
            assert!(
                clip.pixels.iter().all(|&pixel| pixel == from_byte(value)),
                "{value} at {height}x{width}"
            );
        }
    }
}

#[test]
fn a_checkerboard_averages_to_its_mean() {
    let video = grey(1, 12, 12, 8.0, |_, row, column| {
        if (row + column) % 2 == 0 { 200 } else { 100 }
    });
    let clip = prepare(&video, shape(1, 6, 6, 8.0)).unwrap();
    assert!(clip.pixels.iter().all(|&pixel| to_byte(pixel) == 150));
}

#[test]
fn partly_covered_pixels_count_by_their_covered_fraction() {
    // Three columns into two: the first is (30 + 120 / 2) / 1.5 = 60, the second (120 / 2 +
    // 210) / 1.5 = 180.
    let video = grey(1, 3, 3, 8.0, |_, _, column| [30, 120, 210][column as usize]);
    let clip = prepare(&video, shape(1, 2, 2, 8.0)).unwrap();
    assert_eq!(
        [clip.pixel(0, 1, 0)[1], clip.pixel(0, 1, 1)[1]].map(to_byte),
        [60, 180]
    );
    // Two columns into three: the middle one covers half of each.
    let video = grey(1, 2, 2, 8.0, |_, _, column| [30, 210][column as usize]);
    let clip = prepare(&video, shape(1, 3, 3, 8.0)).unwrap();
    assert_eq!(
        [0, 1, 2].map(|column| to_byte(clip.pixel(0, 2, column)[2])),
        [30, 120, 210]
    );
}

#[test]
fn brightness_is_preserved_when_nothing_is_cropped() {
    let video = grey(1, 45, 60, 8.0, |_, row, column| {
        ((row * row * 7 + column * 31 + row * column) % 256) as u8
    });
    let mean = |values: &[f32]| {
        values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
    };
    let before = video.frames[0]
        .iter()
        .map(|&byte| f64::from(byte))
        .sum::<f64>()
        / video.frames[0].len() as f64;
    for (height, width) in [(6, 8), (21, 28), (33, 44), (45, 60), (60, 80)] {
        let clip = prepare(&video, shape(1, height, width, 8.0)).unwrap();
        let after = (mean(&clip.pixels) + 1.0) * 127.5;
        // Each output is off by at most half a level of rounding, and far less on average over
        // many.
        assert!(
            (after - before).abs() < if height == 6 { 0.5 } else { 0.1 },
            "{height}x{width}: {before} became {after}"
        );
    }
}

#[test]
fn time_is_resampled_to_the_latest_frame_that_has_begun() {
    assert_eq!(shown(24, 24.0, 8, 8.0), [0, 3, 6, 9, 12, 15, 18, 21]);
    // 3.75 source frames per clip frame.
    assert_eq!(shown(30, 30.0, 8, 8.0), [0, 3, 7, 11, 15, 18, 22, 26]);
    // 1.25 source frames per clip frame.
    assert_eq!(shown(10, 10.0, 8, 8.0), [0, 1, 2, 3, 5, 6, 7, 8]);
    // A slower source repeats: 0.5 source frames per clip frame.
    assert_eq!(shown(4, 4.0, 8, 8.0), [0, 0, 1, 1, 2, 2, 3, 3]);
    // A rate that a container rounded down still gives every frame once.
    assert_eq!(shown(8, 7.9999, 8, 8.0), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_video_that_ends_too_early_is_refused_with_both_durations() {
    let video = grey(21, 2, 2, 24.0, |_, _, _| 0);
    let message = prepare(&video, shape(8, 2, 2, 8.0))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("0.875 s (21 frames, 24.000 per second)"),
        "{message}"
    );
    assert!(
        message.contains("8 frames at 8 frames per second shows 0.875 s"),
        "{message}"
    );
    // One more frame is on screen at 0.875 s.
    assert!(prepare(&grey(22, 2, 2, 24.0, |_, _, _| 0), shape(8, 2, 2, 8.0)).is_ok());
}

/// Which frames a clip shows of a video whose frame `i` begins at `starts[i]`.
fn shown_at(starts: &[f64], seconds: Option<f64>, frames: usize, rate: f64) -> Vec<u8> {
    let header = VideoHeader {
        seconds,
        ..VideoHeader::plain(2, 2, 8.0)
    };
    let mut preparer = Preparer::new(shape(frames, 1, 1, rate), Fit::Crop).unwrap();
    for (index, &start) in starts.iter().enumerate() {
        let pixels = &[index as u8; 12];
        preparer.frame(&header, Frame { pixels, start });
    }
    let clip = preparer.finish().unwrap();
    clip.pixels
        .iter()
        .step_by(3)
        .map(|&value| to_byte(value))
        .collect()
}

#[test]
fn frames_are_taken_at_their_own_times() {
    let uneven = [0.0, 0.05, 0.1, 0.15, 0.35, 0.55];
    assert_eq!(shown_at(&uneven, None, 7, 10.0), [0, 2, 3, 3, 4, 4, 5]);
    // Rounded up to a millisecond: meant for 1/24 and 2/24.
    assert_eq!(shown_at(&[0.0, 0.042, 0.084], None, 3, 24.0), [0, 1, 2]);
    // Two of the same time: the later one is shown.
    assert_eq!(
        shown_at(&[0.0, 0.1, 0.1, 0.2], Some(0.3), 3, 10.0),
        [0, 2, 3]
    );
    // The last one lasts as long as the file says.
    assert_eq!(shown_at(&[0.0, 0.1], Some(0.5), 5, 10.0), [0, 1, 1, 1, 1]);
}

#[test]
fn pixels_that_are_not_square_are_cropped_and_padded_as_they_look() {
    let header = |width, height, pixel_aspect| VideoHeader {
        pixel_aspect,
        ..VideoHeader::plain(width, height, 8.0)
    };
    // 96 x 96 pixels of 4:3 look like 4:3.
    let grey = |header: &VideoHeader, shape, fit, value: &dyn Fn(usize) -> u8| {
        let width = header.width as usize;
        let pixels: Vec<u8> = (0..width * header.height as usize)
            .flat_map(|place| [value(place % width); 3])
            .collect();
        let mut preparer = Preparer::new(shape, fit).unwrap();
        let pixels = &pixels;
        preparer.frame(header, Frame { pixels, start: 0.0 });
        preparer.finish().unwrap()
    };
    let columns = |clip: &Clip| -> Vec<u8> {
        (0..clip.shape.width)
            .map(|column| to_byte(clip.pixel(0, 0, column)[0]))
            .collect()
    };
    let whole = header(96, 96, 4.0 / 3.0);
    let clip = grey(&whole, shape(1, 3, 4, 8.0), Fit::Crop, &|column| {
        column as u8
    });
    // Nothing is cut: each column of the clip is the mean of 24 columns.
    assert_eq!(columns(&clip), [12, 36, 60, 84]);
    // 48 x 96 pixels of 2:1 look square: 48 of 64 columns, from the eighth on.
    let tall = header(48, 96, 2.0);
    let clip = grey(&tall, shape(1, 48, 64, 8.0), Fit::Pad, &|_| 200);
    let filled: Vec<usize> = (0..64)
        .filter(|&column| columns(&clip)[column] == 200)
        .collect();
    assert_eq!(filled, (8..56).collect::<Vec<_>>());
    let clip = grey(&tall, shape(1, 8, 4, 8.0), Fit::Crop, &|column| {
        column as u8
    });
    // The middle 24 columns.
    assert_eq!(columns(&clip), [15, 21, 27, 33]);
}

#[test]
fn the_crop_is_centred_and_keeps_the_aspect_ratio() {
    let centre_crop = |rows, columns, height, width| {
        centre_crop((rows, columns), 1.0, f64::from(height) / f64::from(width))
    };
    assert_eq!(centre_crop(720, 1280, 64, 64), (0..720, 280..1000));
    assert_eq!(centre_crop(1280, 720, 64, 64), (280..1000, 0..720));
    assert_eq!(centre_crop(720, 1280, 480, 832), (0..720, 16..1264));
    assert_eq!(centre_crop(48, 64, 24, 32), (0..48, 0..64));
    assert_eq!(centre_crop(1, 1000, 500, 1), (0..1, 499..500));
    let video = grey(1, 4, 8, 8.0, |_, _, column| column as u8);
    let clip = prepare(&video, shape(1, 4, 4, 8.0)).unwrap();
    assert_eq!(
        [0, 1, 2, 3].map(|column| to_byte(clip.pixel(0, 0, column)[0])),
        [2, 3, 4, 5]
    );
}

#[test]
fn padding_keeps_the_whole_picture_between_black_bars() {
    let video = grey(1, 4, 8, 8.0, |_, row, column| {
        (100 + row * 20 + column) as u8
    });
    let clip = prepare_fitted(&video, shape(1, 8, 8, 8.0), Fit::Pad).unwrap();
    for row in 0..8 {
        for column in 0..8u8 {
            let expected = if (2..6).contains(&row) {
                100 + (row as u8 - 2) * 20 + column
            } else {
                0
            };
            assert_eq!(
                to_byte(clip.pixel(0, row, usize::from(column))[1]),
                expected,
                "row {row}, column {column}"
            );
        }
    }
    // A tall picture, made smaller: bars at the sides.
    let clip = prepare_fitted(
        &grey(1, 40, 20, 8.0, |_, _, _| 90),
        shape(1, 8, 8, 8.0),
        Fit::Pad,
    )
    .unwrap();
    let row: Vec<u8> = (0..8)
        .map(|column| to_byte(clip.pixel(0, 3, column)[0]))
        .collect();
    assert_eq!(row, [0, 0, 90, 90, 90, 90, 0, 0]);
    // Nothing to pad: the same as cropping.
    let video = grey(1, 16, 16, 8.0, |_, row, column| (row * 16 + column) as u8);
    assert_eq!(
        prepare_fitted(&video, shape(1, 8, 8, 8.0), Fit::Pad).unwrap(),
        prepare(&video, shape(1, 8, 8, 8.0)).unwrap()
    );
}

#[test]
fn preparing_at_the_same_size_and_rate_changes_no_byte() {
    let mut video = grey(3, 5, 7, 8.0, |t, row, column| {
        (t as u32 * 50 + row * 17 + column * 3) as u8
    });
    video.frames[1][4] = 99; // Channels stay apart.
    assert_eq!(
        prepare(&video, shape(3, 5, 7, 8.0)).unwrap().to_video(),
        video
    );
}

#[test]
fn a_clip_rounded_to_8_bits_carries_the_rounding_of_prepared_clips() {
    let video = grey(1, 9, 9, 8.0, |_, row, column| (row * 28 + column) as u8);
    let prepared = prepare(&video, shape(1, 4, 4, 8.0)).unwrap();
    assert_eq!(round_to_8_bits(&prepared), prepared);
    let sample = Clip {
        shape: shape(1, 1, 1, 8.0),
        pixels: vec![-3.0, 0.1234, 1.5],
    };
    let rounded = round_to_8_bits(&sample).pixels;
    // (0.1234 + 1) * 127.5 = 143.2335, level 143.
    assert_eq!(rounded, [-1.0, 143.0 / 127.5 - 1.0, 1.0]);
}

#[test]
fn malformed_videos_and_empty_shapes_are_errors() {
    let mut video = grey(1, 2, 2, 8.0, |_, _, _| 0);
    assert!(matches!(
        prepare(&video, shape(1, 0, 2, 8.0)),
        Err(PrepareError::Shape(_))
    ));
    assert!(matches!(
        prepare(&video, shape(1, 2, 2, f64::NAN)),
        Err(PrepareError::Shape(_))
    ));
    video.frames[0].pop();
    assert!(matches!(
        prepare(&video, shape(1, 2, 2, 8.0)),
        Err(PrepareError::Video(_))
    ));
}

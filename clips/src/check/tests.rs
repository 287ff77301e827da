use std::fs;

use super::*;
use crate::{video::Video, video_io::write_video};

const SIZE: u32 = 96;

/// A moving plaid that fills the picture; every `seed` is another one.
fn plaid(seed: u32, frames: usize) -> Video {
    let value = |t: usize, row: u32, column: u32| {
        let (x, y, t, phase) = (
            f64::from(column),
            f64::from(row),
            t as f64,
            f64::from(seed * 37 % 101),
        );
        let wave = (x / 9.0 + t * 0.9 + phase).sin()
            + (y / (7.0 + f64::from(seed % 5)) - t * 0.7 + phase * 2.0).sin();
        (127.0 + 60.0 * wave) as u8
    };
    drawn(frames, |t, row, column| {
        [value(t, row, column), value(t, column, row), 90]
    })
}

fn drawn(frames: usize, pixel: impl Fn(usize, u32, u32) -> [u8; 3]) -> Video {
    let pixel = &pixel;
    let frame = |t: usize| {
        (0..SIZE)
            .flat_map(move |row| (0..SIZE).flat_map(move |column| pixel(t, row, column)))
            .collect()
    };
    Video {
        width: SIZE,
        height: SIZE,
        frames_per_second: 8.0,
        frames: (0..frames).map(frame).collect(),
    }
}

fn over(video: &Video, pixel: impl Fn(u32, u32) -> Option<[u8; 3]>) -> Video {
    let mut video = video.clone();
    for frame in &mut video.frames {
        for (place, old) in frame.chunks_exact_mut(3).enumerate() {
            if let Some(new) = pixel(place as u32 / SIZE, place as u32 % SIZE) {
                old.copy_from_slice(&new);
            }
        }
    }
    video
}

/// A folder of clips with a prompt each, in order.
fn folder(videos: &[(&str, Video)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = String::new();
    for (name, video) in videos {
        write_video(&folder.path().join(name), video).unwrap();
        manifest.push_str(&format!("{{\"prompt\": \"p\", \"video\": \"{name}\"}}\n"));
    }
    fs::write(folder.path().join("manifest.jsonl"), manifest).unwrap();
    folder
}

fn options(journal: Option<&Path>, threads: usize) -> Options<'_> {
    Options {
        layout: Layout::Jsonl,
        shape: None,
        journal,
        threads,
    }
}

fn checked(folder: &Path) -> Report {
    check(folder, &options(None, 2), &|_| true, &mut |_, _| true).unwrap()
}

fn flags(report: &Report) -> Vec<(&str, Flag)> {
    report
        .flags
        .iter()
        .map(|flagged| (flagged.file.as_str(), flagged.flag))
        .collect()
}

#[test]
fn ordinary_clips_have_neither_problems_nor_flags() {
    let ball = |start: u32| {
        drawn(12, move |t, row, column| {
            let (x, y) = (
                f64::from(column) - f64::from(start) - t as f64 * 3.0,
                f64::from(row) - 48.0,
            );
            if x * x + y * y < 60.0 {
                [220, 40, 40]
            } else {
                [0; 3]
            }
        })
    };
    let folder = folder(&[
        ("a.frames", plaid(1, 9)),
        ("b.frames", plaid(2, 40)),
        ("c.frames", ball(10)),
        ("d.frames", ball(30)),
    ]);
    let report = checked(folder.path());
    assert_eq!(
        (
            report.clips,
            report.good(),
            &report.problems,
            flags(&report)
        ),
        (4, 4, &vec![], vec![])
    );
}

#[test]
fn bars_stillness_and_blackness_are_flagged_at_their_thresholds() {
    let bars = |video: &Video, first: u32, last: u32| {
        over(video, move |row, _| {
            (row < first || row >= SIZE - last).then_some([4; 3])
        })
    };
    let sides = |video: &Video| {
        over(video, |_, column| {
            (!(12..SIZE - 12).contains(&column)).then_some([0; 3])
        })
    };
    let grey = |level: u8| drawn(9, move |_, _, _| [level; 3]);
    // One eighth of the picture changes by `levels`.
    let change = |levels: u8| {
        drawn(9, move |t, row, column| {
            if row < 12 && column < 12 {
                [100 + t.min(1) as u8 * levels; 3]
            } else {
                [100; 3]
            }
        })
    };
    let folder = folder(&[
        ("above-and-below.frames", bars(&plaid(1, 9), 12, 10)),
        ("thin.frames", bars(&plaid(2, 9), 2, 12)), // 3 % of 96 are 3 rows.
        ("sides.frames", sides(&plaid(3, 9))),
        ("black.frames", grey(20)),
        ("dark.frames", grey(21)),
        ("still.frames", change(2)),
        ("slow.frames", change(4)),
    ]);
    let report = checked(folder.path());
    assert_eq!(
        flags(&report),
        [
            ("above-and-below.frames", Flag::Letterbox),
            ("sides.frames", Flag::Letterbox),
            ("black.frames", Flag::Black),
            ("dark.frames", Flag::Static),
            ("dark.frames", Flag::Duplicate), // One level from the black one.
            ("still.frames", Flag::Static),
            ("slow.frames", Flag::Duplicate), // Four levels from the still one.
        ]
    );
    assert_eq!(
        report.flags[0].detail,
        "black bars of 12 pixels above and 10 below"
    );
    assert!(report.problems.is_empty());
}

#[test]
fn copies_are_found_exactly_and_nearly_and_name_the_earlier_clip() {
    let noisy = |video: &Video, levels: u8| {
        let mut video = video.clone();
        for (index, value) in video.frames.iter_mut().flatten().enumerate() {
            *value = value.saturating_add(levels - (index % 3) as u8);
        }
        video
    };
    let original = plaid(1, 9);
    let folder = folder(&[
        ("a.frames", original.clone()),
        ("b.frames", plaid(2, 9)),
        ("exact.frames", original.clone()),
        ("near.frames", noisy(&original, 4)),
        ("far.frames", noisy(&original, 12)),
    ]);
    let report = checked(folder.path());
    assert_eq!(
        flags(&report),
        [
            ("exact.frames", Flag::Duplicate),
            ("near.frames", Flag::Duplicate)
        ]
    );
    assert_eq!(report.flags[0].detail, "the same pixels as a.frames");
    assert_eq!(report.flags[1].detail, "nearly the same as a.frames");
}

#[test]
fn what_stands_still_in_the_same_corner_of_moving_clips_is_like_a_watermark() {
    // Three bars of white in a corner.
    let logo = |video: &Video| {
        over(video, |row, column| {
            ((76..90).contains(&row) && (60..88).contains(&column) && column / 5 % 2 == 0)
                .then_some([255; 3])
        })
    };
    let marked = |marked: u32, all: u32| {
        let names: Vec<String> = (0..all).map(|index| format!("{index}.frames")).collect();
        let video = |index: u32| {
            if index < marked {
                logo(&plaid(index, 12))
            } else {
                plaid(index, 12)
            }
        };
        let clips: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip((0..all).map(video))
            .collect();
        let report = checked(folder(&clips).path());
        let details: BTreeSet<String> = report
            .flags
            .iter()
            .filter(|flagged| flagged.flag == Flag::Watermark)
            .map(|flagged| flagged.detail.clone())
            .collect();
        (
            report
                .flags
                .iter()
                .filter(|flagged| flagged.flag == Flag::Watermark)
                .count(),
            details,
        )
    };
    let (count, details) = marked(9, 10);
    assert_eq!(count, 9);
    assert!(
        details
            .iter()
            .all(|detail| detail.contains("from the top") && detail.contains("never move")),
        "{details:?}"
    );
    assert_eq!(marked(7, 10).0, 0, "70 % of the clips are too few");
    assert_eq!(marked(7, 7).0, 0, "seven clips are too few");
}

#[test]
fn unusable_clips_are_named_with_reasons_and_short_ones_where_a_length_is_asked_for() {
    let folder = folder(&[
        ("a.frames", plaid(1, 9)),
        ("short.frames", plaid(2, 3)),
        ("cut.gif", plaid(3, 9)),
    ]);
    let bytes = fs::read(folder.path().join("cut.gif")).unwrap();
    fs::write(folder.path().join("cut.gif"), &bytes[..bytes.len() / 2]).unwrap();
    let manifest = folder.path().join("manifest.jsonl");
    let lines = fs::read_to_string(&manifest).unwrap()
        + "{\"prompt\": \"p\", \"video\": \"none.gif\"}\nnonsense\n";
    fs::write(&manifest, lines).unwrap();
    let shape = ClipShape {
        frames: 8,
        height: 16,
        width: 16,
        frames_per_second: 8.0,
    };
    let report = check(
        folder.path(),
        &Options {
            shape: Some(shape),
            ..options(None, 2)
        },
        &|_| true,
        &mut |_, _| true,
    )
    .unwrap();
    let names: Vec<&str> = report
        .problems
        .iter()
        .map(|problem| problem.file.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "short.frames",
            "cut.gif",
            "none.gif",
            "manifest.jsonl, line 5"
        ]
    );
    assert_eq!((report.clips, report.good()), (5, 1));
    assert!(
        report.problems[0]
            .problem
            .contains("0.375 s (3 frames, 8.000 per second)"),
        "{report:?}"
    );
    assert_eq!(checked(folder.path()).problems.len(), 3);
    let none = check(folder.path(), &options(None, 2), &|_| false, &mut |_, _| {
        true
    });
    assert_eq!(
        none.unwrap().clips,
        1,
        "a line that is no clip is nobody's, and counted"
    );
}

#[test]
fn a_check_that_was_stopped_goes_on_and_ends_the_same_with_any_number_of_threads() {
    let names: Vec<String> = (0..60).map(|index| format!("{index:02}.gif")).collect();
    let clips: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip((0..60).map(|index| plaid(index % 50, 5)))
        .collect();
    let folder = folder(&clips);
    fs::write(folder.path().join("07.gif"), "GIF89a").unwrap();
    let whole = checked(folder.path());
    assert_eq!((whole.clips, whole.problems.len()), (60, 1));
    assert!(
        whole
            .flags
            .iter()
            .filter(|flagged| flagged.flag == Flag::Duplicate)
            .count()
            >= 9
    );
    let journal = folder.path().join(".journal");
    let mut stops = 0;
    let report = loop {
        let mut heard = 0;
        let result = check(
            folder.path(),
            &options(Some(&journal), 1),
            &|_| true,
            &mut |done, _| {
                heard += 1;
                heard < 3 + stops || done == 60
            },
        );
        match result {
            Err(CheckError::Stopped) => {
                stops += 1;
                // What a kill leaves: half a line.
                let length = fs::metadata(&journal).unwrap().len();
                fs::OpenOptions::new()
                    .write(true)
                    .open(&journal)
                    .unwrap()
                    .set_len(length - 9)
                    .unwrap();
            }
            other => break other.unwrap(),
        }
    };
    assert!(stops > 0);
    assert_eq!(report, whole);
    // The journal alone is enough now; a changed file is looked at again.
    let before = fs::read(&journal).unwrap();
    assert_eq!(
        check(
            folder.path(),
            &options(Some(&journal), 3),
            &|_| true,
            &mut |_, _| true
        )
        .unwrap(),
        whole
    );
    assert_eq!(fs::read(&journal).unwrap(), before);
    fs::write(folder.path().join("08.gif"), "GIF89a!").unwrap();
    let report = check(
        folder.path(),
        &options(Some(&journal), 3),
        &|_| true,
        &mut |_, _| true,
    )
    .unwrap();
    assert_eq!(report.problems.len(), 2);
}

#[test]
fn prompts_that_the_folder_lacks_are_told_from_a_folder_without_clips() {
    let folder = folder(&[("a.frames", plaid(1, 3)), ("b.frames", plaid(2, 3))]);
    let none = check(folder.path(), &options(None, 1), &|_| false, &mut |_, _| {
        true
    });
    let message = none.unwrap_err().to_string();
    assert!(
        message.contains(
            "lists 2 clips, and none of a prompt that was asked for; its prompts begin with \"p\""
        ),
        "{message}"
    );
    fs::write(folder.path().join("manifest.jsonl"), "\n").unwrap();
    let none = check(folder.path(), &options(None, 1), &|_| true, &mut |_, _| {
        true
    });
    let message = none.unwrap_err().to_string();
    assert!(
        message.ends_with(
            "lists no clip at all; what lies there is not used: 2 directories of frames \
                (a.frames, b.frames)"
        ),
        "{message}"
    );
}

#[test]
fn what_the_folder_holds_beside_its_clips_is_in_the_report() {
    let folder = folder(&[("a.frames", plaid(1, 3))]);
    fs::write(folder.path().join("b.rm"), "").unwrap();
    fs::write(folder.path().join(".afd-check.jsonl"), "").unwrap();
    let report = checked(folder.path());
    assert_eq!(
        (report.good(), report.unused.to_string()),
        (1, "1 *.rm (b.rm)".to_string())
    );
}

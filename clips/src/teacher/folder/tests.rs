use std::fs;

use super::*;
use crate::{
    manifest::{Manifest, ManifestEntry},
    prepare::prepare,
    video_io::write_video,
};

fn video(value: u8, width: u32, height: u32, frames: usize, frames_per_second: f64) -> Video {
    Video {
        width,
        height,
        frames_per_second,
        frames: vec![vec![value; (width * height * 3) as usize]; frames],
    }
}

fn entry(prompt: &str, video: &str, sample: Option<u64>) -> ManifestEntry {
    ManifestEntry {
        prompt: prompt.to_string(),
        video: video.to_string(),
        sample,
        blake3: None,
    }
}

/// Two prompts, clips of different kinds, sizes and rates.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_video(&folder.path().join("a.gif"), &video(10, 4, 6, 3, 8.0)).unwrap();
    write_video(&folder.path().join("b.frames"), &video(20, 9, 5, 7, 24.0)).unwrap();
    write_video(&folder.path().join("c.frames"), &video(30, 1, 1, 1, 10.0)).unwrap();
    let entries = [
        entry("a red ball", "b.frames", Some(1)),
        entry("a blue box", "c.frames", None),
        entry("a red ball", "a.gif", Some(0)),
    ];
    Manifest::write(folder.path(), &entries).unwrap();
    folder
}

#[test]
fn sample_indices_go_round_the_prompts_clips_in_order() {
    let folder = folder();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    assert_eq!(teacher.prompts(), ["a red ball", "a blue box"]);
    assert_eq!(
        ["a red ball", "a blue box", "none"].map(|prompt| teacher.clip_count(prompt)),
        [2, 1, 0]
    );
    let (first, second) = (video(10, 4, 6, 3, 8.0), video(20, 9, 5, 7, 24.0));
    // Twice: from the files, then from memory.
    for _ in 0..2 {
        let videos = teacher.videos("a red ball", 0..3).unwrap();
        assert_eq!(videos, [first.clone(), second.clone(), first.clone()]);
    }
    assert_eq!(
        teacher
            .videos("a red ball", u64::MAX - 1..u64::MAX)
            .unwrap(),
        [first]
    );
    assert_eq!(
        teacher.videos("a blue box", 5..6).unwrap(),
        [video(30, 1, 1, 1, 10.0)]
    );
    assert_eq!(teacher.videos("a blue box", 5..5).unwrap(), []);
}

#[test]
fn an_unknown_prompt_is_answered_with_the_nearest_known_one() {
    let folder = folder();
    let message = FolderTeacher::open(folder.path())
        .unwrap()
        .videos("a blue bux", 0..1)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("\"a blue bux\"") && message.contains("the nearest is \"a blue box\""),
        "{message}"
    );
}

#[test]
fn missing_clips_are_found_when_opening() {
    let folder = folder();
    fs::remove_file(folder.path().join("a.gif")).unwrap();
    let message = FolderTeacher::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("a.gif"), "{message}");
    assert!(matches!(
        FolderTeacher::open(&folder.path().join("none")),
        Err(TeacherError::Data(_))
    ));
}

#[test]
fn quarantined_clips_are_not_there_and_the_others_close_ranks() {
    let folder = folder();
    fs::remove_file(folder.path().join("a.gif")).unwrap();
    let without = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        FolderTeacher::open_without(folder.path(), Some(Layout::Jsonl), &names)
    };
    let teacher = without(&["a.gif", "c.frames"]).unwrap();
    assert_eq!(
        (teacher.prompts(), teacher.clip_count("a red ball")),
        (&["a red ball".to_string()][..], 1)
    );
    assert_eq!(
        teacher.videos("a red ball", 0..1).unwrap(),
        [video(20, 9, 5, 7, 24.0)]
    );
    assert!(
        without(&["a.gif", "b.frames", "c.frames"])
            .unwrap_err()
            .to_string()
            .contains("lists no clip that can be used")
    );
    assert!(
        without(&[])
            .unwrap_err()
            .to_string()
            .contains("afd data check")
    );
}

#[test]
fn a_clip_prepared_while_it_is_decoded_is_the_one_prepared_afterwards() {
    let folder = folder();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    let shape = ClipShape {
        frames: 2,
        height: 3,
        width: 2,
        frames_per_second: 8.0,
    };
    let whole = teacher.videos("a red ball", 1..2).unwrap();
    assert_eq!(
        teacher.prepared("a red ball", 1, shape, Fit::Crop).unwrap(),
        prepare(&whole[0], shape).unwrap()
    );
    // The same again, and from memory.
    for _ in 0..2 {
        let kept = teacher
            .prepared_clip("a red ball", 1, shape, Fit::Crop)
            .unwrap();
        assert_eq!(kept.unwrap(), prepare(&whole[0], shape).unwrap());
    }
    let padded = teacher
        .prepared_clip("a red ball", 1, shape, Fit::Pad)
        .unwrap();
    assert_eq!(
        padded.unwrap(),
        teacher.prepared("a red ball", 1, shape, Fit::Pad).unwrap()
    );
    let long = ClipShape {
        frames: 20,
        ..shape
    };
    let message = teacher
        .prepared("a red ball", 1, long, Fit::Crop)
        .unwrap_err()
        .to_string();
    assert!(message.contains("b.frames: the video lasts"), "{message}");
}

#[test]
fn decoded_clips_are_kept_up_to_the_byte_limit() {
    let place = |name: &str| Place::File(name.into());
    let mut cache = Cache::new(100);
    cache.keep(&place("a"), &video(1, 4, 4, 1, 8.0)); // 48 bytes
    cache.keep(&place("a"), &video(1, 4, 4, 1, 8.0));
    cache.keep(&place("b"), &video(2, 5, 4, 1, 8.0)); // 60 bytes: does not fit
    cache.keep(&place("c"), &video(3, 4, 4, 1, 8.0));
    assert_eq!(cache.bytes_left, 4);
    assert!(
        ["a", "c"]
            .iter()
            .all(|name| cache.videos.contains_key(&place(name)))
            && cache.videos.len() == 2
    );
}

#[test]
fn kept_clips_are_not_read_again() {
    let folder = folder();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    let before = teacher.videos("a red ball", 0..1).unwrap();
    fs::remove_file(folder.path().join("a.gif")).unwrap();
    assert_eq!(teacher.videos("a red ball", 0..1).unwrap(), before);
}

#[test]
fn a_clip_that_is_listed_twice_is_one_clip() {
    let folder = folder();
    let text = fs::read_to_string(folder.path().join("manifest.jsonl")).unwrap();
    fs::write(
        folder.path().join("manifest.jsonl"),
        format!("{text}{text}"),
    )
    .unwrap();
    fs::write(folder.path().join("d.rm"), "").unwrap();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    assert_eq!(
        (
            teacher.clip_count("a red ball"),
            teacher.clip_count("a blue box")
        ),
        (2, 1)
    );
    assert_eq!(teacher.samples("a red ball"), Some(2));
    assert_eq!(teacher.unused().to_string(), "1 *.rm (d.rm)");
}

#[test]
fn prompts_that_only_look_alike_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    write_video(&folder.path().join("a.gif"), &video(10, 4, 6, 3, 8.0)).unwrap();
    Manifest::write(folder.path(), &[entry("a cafe\u{301}", "a.gif", None)]).unwrap();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    for (prompt, expected) in [
        ("a caf\u{e9}", "composed otherwise"),
        ("a  cafe\u{301}", "other blanks"),
    ] {
        let message = teacher.videos(prompt, 0..1).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

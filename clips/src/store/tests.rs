//! The store, and what it makes of kills.

use std::io::Write;

use serde_json::json;
use tempfile::NamedTempFile;

use super::{begin::ORIGIN_FILE, *};
use crate::{
    teacher::{Teacher, folder::FolderTeacher},
    video_io::write_gif_bytes,
};

fn video(value: u8) -> Video {
    Video {
        width: 4,
        height: 2,
        frames_per_second: 10.0,
        frames: vec![vec![value; 24]; 3],
    }
}

fn download(store: &ClipStore, bytes: &[u8]) -> NamedTempFile {
    let mut place = download_place(store.directory()).unwrap();
    place.write_all(bytes).unwrap();
    place
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_store_is_a_folder_teacher_at_any_time_and_goes_on_when_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let origin = json!({ "teacher": "test" });
    let mut store = ClipStore::open(folder.path(), &origin).unwrap();
    store
        .add_video("b", 1, &video(1), VideoFormat::PngFrames)
        .unwrap();
    let verified =
        Verified::decode(download(&store, &write_gif_bytes(&video(2)).unwrap())).unwrap();
    store.add_download("a", 0, verified).unwrap();
    let teacher = FolderTeacher::open(folder.path()).unwrap();
    assert_eq!(teacher.videos("b", 0..1).unwrap(), [video(1)]);
    assert_eq!(teacher.videos("a", 0..1).unwrap(), [video(2)]);
    drop(store);

    let mut store = ClipStore::open(folder.path(), &origin).unwrap();
    assert_eq!(store.clips().len(), 2);
    let record = store.get("a", 0).unwrap().clone();
    assert_eq!(
        (
            record.width,
            record.height,
            record.frames,
            record.frames_per_second
        ),
        (4, 2, 3, 10.0)
    );
    assert_eq!(
        record.blake3,
        hash(&folder.path().join(&record.video)).unwrap()
    );
    // A clip that is there stays what it is.
    store
        .add_video("a", 0, &video(9), VideoFormat::Gif)
        .unwrap();
    assert_eq!(store.get("a", 0), Some(&record));
    store.finish().unwrap();
    assert_eq!(ClipStore::list(folder.path()).unwrap().len(), 2);
    assert_eq!(ClipStore::origin(folder.path()).unwrap(), Some(origin));
}

#[test]
fn the_order_of_arrival_leaves_no_trace_once_finished() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [["a", "b", "c"], ["c", "a", "b"]].map(|order| {
        let directory = folder.path().join(order.concat());
        let mut store = ClipStore::open(&directory, &json!(1)).unwrap();
        order.iter().for_each(|prompt| {
            store
                .add_video(prompt, 0, &video(prompt.as_bytes()[0]), VideoFormat::Gif)
                .unwrap()
        });
        store.finish().unwrap();
        files(&directory)
            .into_iter()
            .map(|(path, bytes)| (path.strip_prefix(&directory).unwrap().to_path_buf(), bytes))
            .collect::<Vec<_>>()
    });
    assert_eq!(stores[0].len(), 3 + 3);
    assert!(stores[0] == stores[1]);
}

#[test]
fn what_a_kill_leaves_behind_is_cleared_away_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = ClipStore::open(folder.path(), &json!(1)).unwrap();
    store
        .add_video("a", 0, &video(1), VideoFormat::PngFrames)
        .unwrap();
    let record = store.get("a", 0).unwrap().clone();
    drop(store);
    // Killed after the rename and before the line was whole; and in the midst of a download.
    let manifest = folder.path().join(FILE_NAME);
    let text = fs::read(&manifest).unwrap();
    fs::write(&manifest, &text[..text.len() - 1]).unwrap();
    fs::write(folder.path().join("clips/.staged-x"), "half").unwrap();
    fs::create_dir(folder.path().join(".staged-y")).unwrap();
    let mut store = ClipStore::open(folder.path(), &json!(1)).unwrap();
    assert!(store.clips().is_empty());
    store
        .add_video("a", 0, &video(1), VideoFormat::PngFrames)
        .unwrap();
    assert_eq!(store.get("a", 0), Some(&record));
    assert_eq!(
        fs::read_dir(folder.path().join("clips")).unwrap().count(),
        1
    );
    assert_eq!(fs::read(&manifest).unwrap(), text);
}

#[test]
fn downloads_that_are_no_videos_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = ClipStore::open(folder.path(), &json!(1)).unwrap();
    let gif = write_gif_bytes(&video(2)).unwrap();
    for bytes in [
        &b""[..],
        b"<html>busy</html>",
        b"#EXTM3U\n/etc/passwd",
        &gif[..gif.len() / 2],
        b"\0\0\0\x18ftypisom but no more",
    ] {
        assert!(
            matches!(
                Verified::decode(download(&store, bytes)),
                Err(StoreError::Video(_))
            ),
            "{bytes:?}"
        );
    }
    assert_eq!(
        fs::read_dir(folder.path().join("clips")).unwrap().count(),
        0
    );
}

#[test]
fn foreign_directories_other_origins_and_second_writers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(
        ClipStore::open(folder.path(), &json!(1)),
        Err(StoreError::Foreign(_))
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let directory = folder.path().join("store");
    let store = ClipStore::open(&directory, &json!({ "seed": 1 })).unwrap();
    assert!(matches!(
        ClipStore::open(&directory, &json!({ "seed": 1 })),
        Err(StoreError::Locked(_))
    ));
    drop(store);
    let message = ClipStore::open(&directory, &json!({ "seed": 2 }))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("{\"seed\":1}") && message.contains("{\"seed\":2}"),
        "{message}"
    );
    fs::write(directory.join(ORIGIN_FILE), "{}").unwrap();
    assert!(matches!(
        ClipStore::open(&directory, &json!({ "seed": 1 })),
        Err(StoreError::Damaged { .. })
    ));
}

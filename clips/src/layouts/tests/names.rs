//! Names and links of real folders.

use super::*;

fn pair(folder: &Path, name: &str, value: u8, prompt: &str) {
    write_video(&folder.join(format!("{name}.gif")), &video(value)).unwrap();
    fs::write(folder.join(format!("{name}.txt")), prompt).unwrap();
}

#[test]
fn names_are_found_however_their_letters_are_composed_and_their_slashes_lean() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cafe\u{301}s")).unwrap();
    write_video(&folder.path().join("cafe\u{301}s/n\u{303}.gif"), &video(10)).unwrap();
    write_video(&folder.path().join("b.gif"), &video(20)).unwrap();
    let absolute = folder.path().join("b.gif");
    for second in ["b.gif", ".\\\\b.gif", absolute.to_str().unwrap()] {
        let text = format!(
            "{{\"file_name\": \"caf\u{e9}s\\\\\u{f1}.gif\", \"text\": \"a red ball\"}}\n\
                {{\"file_name\": \"{second}\", \"text\": \"a blue box\"}}\n"
        );
        fs::write(folder.path().join("metadata.jsonl"), text).unwrap();
        let (all, unused) = listed_as(Layout::Jsonl, folder.path());
        assert_eq!(decoded(folder.path(), &all), expected(), "{second}");
        assert_eq!(unused, "", "{second}");
    }
    // Two names of which either could be meant: neither is.
    fs::write(folder.path().join("o\u{308}.gif"), "").unwrap();
    fs::write(folder.path().join("\u{f6}.gif"), "").unwrap();
    let here = Folder::open(folder.path()).unwrap();
    assert_eq!(
        here.present(Path::new("\u{f6}.gif")),
        Some("\u{f6}.gif".into())
    );
    assert_eq!(here.present(Path::new("u\u{308}.gif")), None);
}

#[test]
fn names_that_move_a_terminal_are_shown_escaped_wherever_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\u{202e}gpj";
    pair(folder.path(), name, 10, "a red ball");
    pair(folder.path(), "b", 20, "a blue box");
    fs::write(folder.path().join("\u{9b}31m.xyz"), "").unwrap();
    fs::write(folder.path().join(format!("{name}.gif")), "no gif").unwrap();
    let (all, unused) = listed_as(Layout::Pairs, folder.path());
    let place = &all[0].as_ref().unwrap().place;
    assert_eq!(place.to_string(), "a\\u{1b}[2J\\u{202e}gpj.gif");
    let error = place
        .decode(folder.path(), &mut |_, _| {})
        .unwrap_err()
        .to_string();
    assert_eq!(unused, "1 *.xyz (\\u{9b}31m.xyz)");
    fs::remove_file(folder.path().join(format!("{name}.txt"))).unwrap();
    let missing = problems(&listed(folder.path()).1).join("");
    fs::write(folder.path().join("metadata.csv"), "\u{1b}[2J,text\n").unwrap();
    let damaged = Layout::Csv
        .list(folder.path(), &mut |_| true)
        .unwrap_err()
        .to_string();
    let line = "{\"prompt\": \"p\", \"video\": \"../\\u001b[2J.gif\"}\n{\"prompt\": \
        [\"\\u001b\", 1], \"video\": 1}\n";
    fs::write(folder.path().join("metadata.jsonl"), line).unwrap();
    let lines = problems(&listed_as(Layout::Jsonl, folder.path()).0).join("");
    for message in [error, missing, damaged, lines] {
        assert!(
            message.contains("\\u{1b}") && crate::shown::shown(&message) == message,
            "{message:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_read_and_shown_by_their_bytes() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes| folder.path().join(OsStr::from_bytes(bytes));
    pair(folder.path(), "ok", 20, "a blue box");
    fs::write(name(b"\xff\xfe.gif"), gif(10)).unwrap();
    fs::write(name(b"\xff\xfe.txt"), "a red ball").unwrap();
    let (_, all) = listed(folder.path());
    let mut found = decoded(folder.path(), &all);
    found.sort();
    assert_eq!(found[1], expected()[0]);
    assert_eq!(problems(&all), Vec::<String>::new());
    fs::write(name(b"\xff\xfe.gif"), "no gif").unwrap();
    let bad = all
        .iter()
        .flatten()
        .find(|entry| entry.prompt == "a red ball")
        .unwrap();
    assert_eq!(bad.place.to_string(), "\\xff\\xfe.gif");
    let message = bad.place.decode(folder.path(), &mut |_, _| {}).unwrap_err();
    assert!(
        message
            .to_string()
            .contains("/\\xff\\xfe.gif cannot be read"),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn links_of_hugging_faces_cache_are_followed_to_its_blobs_and_no_further() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    write_video(&outside.path().join("secret.gif"), &video(30)).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (
        cache.path().join("blobs"),
        cache.path().join("snapshots/abc"),
    );
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(blobs.join("10"), gif(10)).unwrap();
    fs::write(blobs.join("20"), gif(20)).unwrap();
    fs::write(
        blobs.join("meta"),
        "file_name,text\na.gif,a red ball\nb.gif,a blue box\nc.gif,out\n",
    )
    .unwrap();
    fs::write(
        blobs.join("shard"),
        tar(&[("0.gif", &gif(10)), ("0.txt", b"p")]),
    )
    .unwrap();
    for (blob, name) in [("10", "a.gif"), ("20", "b.gif"), ("meta", "metadata.csv")] {
        symlink(Path::new("../../blobs").join(blob), snapshot.join(name)).unwrap();
    }
    symlink(outside.path().join("secret.gif"), snapshot.join("c.gif")).unwrap();
    let (_, all) = listed(&snapshot);
    assert_eq!(decoded(&snapshot, &all), expected());
    assert!(
        problems(&all)[0].contains("line 4: the video's path is \"c.gif\", a link to "),
        "{all:?}"
    );
    symlink("../../blobs/shard", snapshot.join("0.tar")).unwrap();
    let (all, unused) = listed_as(Layout::Webdataset, &snapshot);
    assert_eq!(decoded(&snapshot, &all), [("p".to_string(), 10)]);
    assert_eq!(
        unused,
        "1 *.csv (metadata.csv), 3 *.gif (a.gif, b.gif, c.gif)"
    );
    // What calls itself `blobs` and leads away is no cache.
    fs::remove_dir_all(&blobs).unwrap();
    symlink(outside.path(), &blobs).unwrap();
    fs::remove_file(snapshot.join("a.gif")).unwrap();
    symlink("../../blobs/secret.gif", snapshot.join("a.gif")).unwrap();
    fs::remove_file(snapshot.join("metadata.csv")).unwrap();
    fs::write(snapshot.join("metadata.csv"), "file_name,text\na.gif,out\n").unwrap();
    assert_eq!(problems(&listed_as(Layout::Csv, &snapshot).0).len(), 1);
}

#[cfg(unix)]
#[test]
fn links_to_directories_are_not_followed_but_named_and_links_inside_are_used() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    pair(outside.path(), "x", 30, "outside");
    let folder = tempfile::tempdir().unwrap();
    pair(folder.path(), "a", 10, "a red ball");
    symlink(outside.path(), folder.path().join("more")).unwrap();
    let (all, unused) = listed_as(Layout::Pairs, folder.path());
    assert_eq!(decoded(folder.path(), &all), expected()[..1]);
    assert_eq!(unused, "1 links to directories (more)");

    fs::create_dir(folder.path().join("real")).unwrap();
    write_video(&folder.path().join("real/b.gif"), &video(20)).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    symlink("a.gif", folder.path().join("same.gif")).unwrap();
    fs::write(
        folder.path().join("metadata.csv"),
        "file_name,text\nsame.gif,a red ball\nlink/b.gif,a blue box\n",
    )
    .unwrap();
    let (all, unused) = listed_as(Layout::Csv, folder.path());
    assert_eq!(decoded(folder.path(), &all), expected());
    assert_eq!(unused, "1 *.txt (a.txt), 1 links to directories (more)");
}

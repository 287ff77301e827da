use super::*;

fn read(contents: &str) -> Result<Vec<ManifestEntry>, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), contents).unwrap();
    Manifest::read(folder.path())
        .map(|manifest| manifest.entries)
        .map_err(|error| error.to_string())
}

fn entry(prompt: &str, video: &str, sample: Option<u64>) -> ManifestEntry {
    ManifestEntry {
        prompt: prompt.to_string(),
        video: video.to_string(),
        sample,
        blake3: None,
    }
}

#[test]
fn entries_survive_the_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        entry("two\nlines and \"quotes\"", "clips/a.gif", Some(3)),
        entry("ü", "./b.frames", None),
    ];
    Manifest::write(folder.path(), &entries).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    assert_eq!(manifest.entries, entries);
    assert_eq!(
        manifest.path(&entries[0]),
        folder.path().join("clips/a.gif")
    );
    assert!(matches!(
        Manifest::write(folder.path(), &entries[1..]),
        Err(ManifestError::Exists(_))
    ));
    assert_eq!(Manifest::read(folder.path()).unwrap().entries, entries);
}

#[test]
fn other_tools_field_names_are_read_and_unknown_fields_ignored() {
    let text = "{\"file_name\": \"a.mp4\", \"text\": \"one\", \"fps\": 24}\n\n{\"caption\": \
        \"two\", \"path\": \"b.mp4\"}\n{\"prompt\": \"three\", \"text\": \"not this\", \
        \"video\": \"c.mp4\", \"path\": \"/elsewhere\", \"sample\": 2}\n";
    assert_eq!(
        read(text).unwrap(),
        [
            entry("one", "a.mp4", None),
            entry("two", "b.mp4", None),
            entry("three", "c.mp4", Some(2))
        ]
    );
}

#[test]
fn broken_lines_are_named_by_number_with_what_was_expected() {
    let good = "{\"prompt\": \"a\", \"video\": \"a.gif\"}\n";
    for (line, expected) in [
        ("{\"prompt\": \"a\"", "expected a line such as"),
        ("[1, 2]", "expected a line such as"),
        (
            "{\"video\": \"a.gif\"}",
            "none of [\"prompt\", \"caption\", \"text\", \"prompt_en\", \"cap\"]",
        ),
        (
            "{\"prompt\": \"a\"}",
            "none of [\"video\", \"file_name\", \"path\"",
        ),
        (
            "{\"prompt\": 7, \"video\": \"a.gif\"}",
            "\"prompt\" is 7; expected a string",
        ),
        ("{\"prompt\": \" \", \"video\": \"a.gif\"}", "blank"),
        (
            "{\"prompt\": \"a\", \"video\": \"a.gif\", \"sample\": -1}",
            "\"sample\" is -1",
        ),
    ] {
        let message = read(&format!("{good}\n{line}\n")).unwrap_err();
        assert!(
            message.contains("manifest.jsonl, line 3: ") && message.contains(expected),
            "{line}: {message}"
        );
    }
}

#[test]
fn paths_that_leave_the_directory_are_refused_with_their_line() {
    for video in [
        "/etc/passwd",
        "../a.gif",
        "clips/../../a.gif",
        "",
        ".",
        "clips/..",
    ] {
        let message = read(&format!("{{\"prompt\": \"a\", \"video\": \"{video}\"}}")).unwrap_err();
        assert!(
            message.contains("line 1") && message.contains(&format!("{video:?}")),
            "{message}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(Manifest::write(folder.path(), &[entry("a", "../a.gif", None)]).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_outside_is_refused_and_one_that_stays_inside_is_not() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.gif"), "x").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("clips")).unwrap();
    fs::write(
        folder.path().join(FILE_NAME),
        "{\"prompt\": \"a\", \"video\": \"clips/secret.gif\"}",
    )
    .unwrap();
    let message = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("line 1") && message.contains("clips/secret.gif"),
        "{message}"
    );

    fs::write(folder.path().join("real.gif"), "x").unwrap();
    std::os::unix::fs::symlink("real.gif", folder.path().join("link.gif")).unwrap();
    fs::write(
        folder.path().join(FILE_NAME),
        "{\"prompt\": \"a\", \"video\": \"link.gif\"}",
    )
    .unwrap();
    assert!(Manifest::read(folder.path()).is_ok());
}

#[test]
fn empty_and_missing_manifests_are_errors() {
    assert!(read("\n  \n").unwrap_err().contains("names no clip"));
    let folder = tempfile::tempdir().unwrap();
    let message = Manifest::read(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("cannot read") && message.contains("manifest.jsonl"),
        "{message}"
    );
    assert!(matches!(
        Manifest::write(folder.path(), &[]),
        Err(ManifestError::Empty(_))
    ));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let text = "\u{feff}{\"prompt\": \"one\", \"video\": \"a.mp4\"}\r\n";
    assert_eq!(read(text).unwrap(), [entry("one", "a.mp4", None)]);
}

#[test]
fn of_several_captions_the_first_counts_and_none_is_no_caption() {
    let text = "{\"cap\": [\"one\", \"uno\"], \"path\": \"a.mp4\"}";
    assert_eq!(read(text).unwrap(), [entry("one", "a.mp4", None)]);
    let message = read("{\"cap\": [], \"path\": \"a.mp4\"}").unwrap_err();
    assert!(
        message.contains("\"cap\" is []; expected a string"),
        "{message}"
    );
}

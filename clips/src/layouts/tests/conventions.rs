//! Where the common tools put what they know of clips, and what is left of a folder.

use super::*;

/// A folder with `a.gif` (10) and `b.gif` (20), and these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("a.gif", 10), ("b.gif", 20)] {
        write_video(&folder.path().join(name), &video(value)).unwrap();
    }
    add(folder.path(), files);
    folder
}

fn add(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Nothing is wrong with a folder, and it lists the two clips.
fn assert_lists_both(directory: &Path, layout: Layout) {
    let (found, all) = listed(directory);
    assert_eq!((found, problems(&all)), (layout, vec![]));
    assert_eq!(decoded(directory, &all), expected());
}

#[test]
fn a_comma_that_no_quotes_hold_is_refused_rather_than_the_caption_cut() {
    let folder = folder(&[(
        "metadata.csv",
        "file_name,text\na.gif,a red ball, bouncing\nb.gif,a blue box\n",
    )]);
    let (_, all) = listed(folder.path());
    assert_eq!(
        problems(&all),
        [
            "metadata.csv, line 2: it has 3 fields and the header names 2; a text that holds a \
            comma has to stand in double quotes"
        ]
    );
    assert_eq!(decoded(folder.path(), &all), expected()[1..]);
}

#[test]
fn a_quote_that_is_never_closed_is_named_rather_than_the_clips_after_it_lost() {
    for (text, line) in [
        ("file_name,text\na.gif,\"a red ball\nb.gif,a blue box\n", 2),
        (
            "file_name,text\na.gif,a red ball\nb.gif,\"a blue box\nc.gif,x\n",
            3,
        ),
    ] {
        let folder = folder(&[("metadata.csv", text)]);
        let (_, all) = listed(folder.path());
        let said = problems(&all);
        assert_eq!(said.len(), 1, "{said:?}");
        let expected = format!("metadata.csv, line {line}: a double quote is never closed");
        assert!(said[0].starts_with(&expected), "{said:?}");
    }
    // Quotes that are meant, and lines inside of closed ones.
    let text = "file_name,text\na.gif,a 5\" ball\nb.gif,\"a blue\nbox \"\"b\"\"\"\n";
    let folder = folder(&[("metadata.csv", &text.replace("5\"", "5"))]);
    let (_, all) = listed(folder.path());
    assert_eq!(problems(&all), [""; 0]);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_part_of_anything() {
    let jsonl = "\u{feff}{\"file_name\":\"a.gif\",\"text\":\"a red ball\"}\r\n\
        \u{feff}{\"file_name\":\"b.gif\",\"text\":\"a blue box\"}\r\n";
    let json = "\u{feff}[{\"file_name\":\"a.gif\",\"text\":\"a red ball\"},\r\n\
        {\"file_name\":\"b.gif\",\"text\":\"\u{feff}a blue box\"}]\r\n";
    for (layout, files) in [
        (Layout::Jsonl, vec![("metadata.jsonl", jsonl)]),
        (Layout::Json, vec![("metadata.json", json)]),
        (
            Layout::Csv,
            vec![(
                "metadata.csv",
                "\u{feff}file_name,text\r\na.gif,a red ball\r\nb.gif,\"a blue box\"\r\n",
            )],
        ),
        (
            Layout::Pairs,
            vec![
                ("a.txt", "\u{feff}a red ball\r\n"),
                ("b.txt", "\u{feff}a blue\r\nbox"),
            ],
        ),
        (
            Layout::Lists,
            vec![
                ("videos.txt", "\u{feff}a.gif\r\nb.gif\r\n\r\n"),
                ("prompts.txt", "\u{feff}a red ball\r\na blue box\r\n"),
            ],
        ),
    ] {
        assert_lists_both(folder(&files).path(), layout);
    }
    let folder = tempfile::tempdir().unwrap();
    let shard = tar(&[
        ("0.gif", &gif(10)),
        ("0.json", "\u{feff}{\"caption\":\"a red ball\"}".as_bytes()),
        ("1.gif", &gif(20)),
        ("1.txt", "\u{feff}a blue box\r\n".as_bytes()),
    ]);
    fs::write(folder.path().join("0.tar"), shard).unwrap();
    assert_lists_both(folder.path(), Layout::Webdataset);
}

#[test]
fn texts_in_other_encodings_are_named() {
    let folder = folder(&[("b.txt", "a blue box")]);
    fs::write(folder.path().join("a.txt"), b"\xff\xfea\0").unwrap();
    let (_, all) = listed(folder.path());
    assert_eq!(
        problems(&all),
        ["a.gif: its prompt's file a.txt cannot be read: it is UTF-16; save it as UTF-8"]
    );
}

#[test]
fn manifests_lie_in_the_directories_inside_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("x", 10), ("y", 20)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        write_video(&folder.path().join(name).join("1.gif"), &video(value)).unwrap();
    }
    add(
        folder.path(),
        &[
            ("x/metadata.csv", "file_name,text\n1.gif,a red ball\n"),
            (
                "y/metadata.csv",
                "file_name,text\n1.gif,a blue box\n../x/1.gif,out\n",
            ),
        ],
    );
    let (layout, all) = listed(folder.path());
    assert_eq!(
        (layout, decoded(folder.path(), &all)),
        (Layout::Csv, expected())
    );
    assert_eq!(all[1].as_ref().unwrap().place.to_string(), "y/1.gif");
    assert!(
        problems(&all)[0]
            .starts_with("y/metadata.csv, line 3: the video's path is \"y/../x/1.gif\""),
        "{all:?}"
    );
    // The folder's own speaks for all of it, and the others are named.
    add(
        folder.path(),
        &[(
            "metadata.csv",
            "file_name,text\nx/1.gif,a red ball\ny/1.gif,a blue box\n",
        )],
    );
    let (all, unused) = listed_as(Layout::Csv, folder.path());
    assert_eq!(decoded(folder.path(), &all), expected());
    assert_eq!(unused, "2 *.csv (x/metadata.csv, y/metadata.csv)");
    // Manifests inside, and texts beside videos elsewhere: which counts is not for a guess.
    fs::remove_file(folder.path().join("metadata.csv")).unwrap();
    write_video(&folder.path().join("z.gif"), &video(30)).unwrap();
    add(folder.path(), &[("z.txt", "z")]);
    let message = Layout::detect(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("several layouts: csv (x/metadata.csv), pairs (z.gif)"),
        "{message}"
    );
}

#[test]
fn arrays_of_json_and_fastvideos_captions_are_read() {
    let json = "[{\"file_name\":\"a.gif\",\"text\":\"a red ball\"}, \
        {\"media_path\":\"b.gif\",\"caption\":\"a blue box\"}, {\"file_name\": 1}, 7]";
    let folder = folder(&[("metadata.json", json)]);
    let (layout, all) = listed(folder.path());
    assert_eq!(
        (layout, decoded(folder.path(), &all)),
        (Layout::Json, expected())
    );
    let found = problems(&all);
    assert!(
        found[0].starts_with("metadata.json, item 2: none of [\"prompt\"")
            && found[1].starts_with("metadata.json, item 3: not a JSON object"),
        "{found:?}"
    );

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("videos")).unwrap();
    write_video(&folder.path().join("videos/a.gif"), &video(10)).unwrap();
    write_video(&folder.path().join("videos/b.gif"), &video(20)).unwrap();
    let json = "[{\"path\":\"a.gif\",\"cap\":[\"a red ball\"],\"fps\":8}, \
        {\"path\":\"b.gif\",\"cap\":[\"a blue box\", \"a cube\"],\"fps\":8}]";
    add(folder.path(), &[("videos2caption.json", json)]);
    assert_lists_both(folder.path(), Layout::Json);
    let (_, unused) = listed_as(Layout::Json, folder.path());
    assert_eq!(
        unused,
        "1 captions beyond a clip's first (videos2caption.json, item 1)"
    );
    for text in [
        "{\"a.gif\": \"a red ball\"}",
        "[{\"path\": \"a.gif\"}",
        "nonsense",
    ] {
        add(folder.path(), &[("videos2caption.json", text)]);
        let message = Layout::Json.list(folder.path(), &mut |_| true);
        let message = message.unwrap_err().to_string();
        assert!(
            message.contains("videos2caption.json: it is no array of objects"),
            "{message}"
        );
    }
}

#[test]
fn a_list_of_videos_is_read_beside_a_list_of_prompts_of_the_same_length() {
    let lists = |prompts: &str| {
        let folder = folder(&[("videos.txt", "a.gif\n\nb.gif\n"), ("prompt.txt", prompts)]);
        let all = Layout::Lists.list(folder.path(), &mut |_| true);
        all.map(|_| folder).map_err(|error| error.to_string())
    };
    let folder = lists("a red ball\n\na blue box\n\n").unwrap();
    assert_lists_both(folder.path(), Layout::Lists);
    let message = lists("a red ball\n").unwrap_err();
    assert!(
        message.contains("videos.txt: it goes on at line 3, where prompt.txt ends"),
        "{message}"
    );
    let folder = lists("a red ball\na lost line\n# a blue box\n").unwrap();
    let (all, _) = listed_as(Layout::Lists, folder.path());
    let found = problems(&all);
    assert!(
        found[0].starts_with("videos.txt, line 2: it is blank")
            && found[1].starts_with("videos.txt, line 3: it begins with \"#\""),
        "{found:?}"
    );
}

#[test]
fn what_is_not_used_is_counted_and_named() {
    let folder = folder(&[
        ("a.txt", "a red ball"),
        ("notes.txt", "no prompt"),
        ("inside/deep/x.srt", "1"),
        ("c.rm", "no video that is known"),
        ("d.rm", ""),
        ("e.rm", ""),
        ("f.rm", ""),
        (".hidden", ""),
        ("LICENSE", ""),
    ]);
    write_video(&folder.path().join("e.frames"), &video(30)).unwrap();
    let (_, unused) = listed_as(Layout::Pairs, folder.path());
    assert_eq!(
        unused,
        "4 *.rm (c.rm, d.rm, e.rm, ...), 1 *.srt (inside/deep/x.srt), 1 *.txt (notes.txt), \
            1 files without an ending (LICENSE)"
    );
    let lines = "{\"prompt\": \"a red ball\", \"video\": \"./a.gif\"}\n";
    add(folder.path(), &[("manifest.jsonl", lines)]);
    let (_, unused) = listed_as(Layout::Jsonl, folder.path());
    assert!(
        unused.contains("1 *.gif (b.gif)") && unused.contains("1 directories of frames (e.frames)"),
        "{unused}"
    );
    // One who stopped listening hears no list.
    let unused = Layout::Jsonl.list(folder.path(), &mut |_| false).unwrap();
    assert!(unused.is_empty());

    let folder = tempfile::tempdir().unwrap();
    let shard = tar(&[
        ("0.gif", &gif(10)),
        ("0.txt", b"a red ball"),
        ("0.cls", b"3"),
        ("1.txt", b"no video"),
    ]);
    fs::write(folder.path().join("0.tar"), shard).unwrap();
    fs::write(folder.path().join("1.tar.gz"), "x").unwrap();
    let (_, unused) = listed_as(Layout::Webdataset, folder.path());
    assert_eq!(
        unused,
        "1 *.gz (1.tar.gz), 1 members *.cls (0.tar, 0.cls), 1 samples without a video (0.tar, 1)"
    );
}

#[test]
fn animated_png_files_are_clips_and_still_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let animated = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/animated.png");
    fs::copy(&animated, folder.path().join("a.png")).unwrap();
    write_video(&folder.path().join("b.frames"), &video(20)).unwrap();
    let still = fs::read_dir(folder.path().join("b.frames")).unwrap();
    let still = still
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "png"));
    fs::copy(still.unwrap(), folder.path().join("poster.png")).unwrap();
    add(
        folder.path(),
        &[("a.txt", "a"), ("b.txt", "b"), ("poster.txt", "no clip")],
    );
    let (all, unused) = listed_as(Layout::Pairs, folder.path());
    let prompts: Vec<String> = decoded(folder.path(), &all)
        .into_iter()
        .map(|(prompt, _)| prompt)
        .collect();
    assert_eq!(
        (prompts, problems(&all)),
        (vec!["a".into(), "b".into()], vec![])
    );
    assert_eq!(unused, "1 *.png (poster.png), 1 *.txt (poster.txt)");
    let shard = tar(&[("0.png", &fs::read(&animated).unwrap()), ("0.txt", b"a")]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("0.tar"), shard).unwrap();
    assert_eq!(decoded(folder.path(), &listed(folder.path()).1).len(), 1);
}

#[test]
fn videos_without_any_prompt_are_one_sentence_and_not_one_each() {
    let folder = folder(&[("captions.docx", ""), ("poses.csv", "")]);
    let message = Layout::detect(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains(
            "holds 2 videos (a.gif, b.gif) and nothing that says what they show: no .txt of the \
                same name lies beside any of them, and no manifest names them; it also holds \
                *.csv, *.docx; expected one of: manifest.jsonl"
        ),
        "{message}"
    );
}

#[test]
fn films_in_the_containers_of_other_programs_are_clips() {
    let Some(ffmpeg) = crate::video_io::find_ffmpeg() else {
        println!(
            "skipped, no ffmpeg on this machine: \
                films_in_the_containers_of_other_programs_are_clips"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let film = Video {
        width: 64,
        height: 48,
        frames_per_second: 25.0,
        frames: vec![vec![90; 64 * 48 * 3]; 10],
    };
    let source = tempfile::tempdir().unwrap();
    let source = source.path().join("film.gif");
    write_video(&source, &film).unwrap();
    let containers = [
        ("avi", "mpeg4"),
        ("flv", "flv1"),
        ("m2ts", "mpeg2video"),
        ("mpg", "mpeg2video"),
        ("ts", "mpeg2video"),
        ("wmv", "wmv2"),
    ];
    for (container, codec) in containers {
        let made = std::process::Command::new(&ffmpeg)
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(&source)
            .args(["-r", "25", "-pix_fmt", "yuv420p", "-c:v", codec])
            .arg(folder.path().join(format!("film-{container}.{container}")))
            .status();
        assert!(made.unwrap().success(), "{container}");
        let text = folder.path().join(format!("film-{container}.txt"));
        fs::write(text, container).unwrap();
    }
    let (all, unused) = listed_as(Layout::Pairs, folder.path());
    let found = decoded(folder.path(), &all);
    assert_eq!(unused, "");
    for ((container, _), (prompt, value)) in containers.iter().zip(found) {
        assert_eq!(prompt, *container);
        assert!(value.abs_diff(90) < 8, "{container}: {value}");
    }
    // A name that says another container is refused, as for all others.
    fs::rename(
        folder.path().join("film-ts.ts"),
        folder.path().join("film-ts.avi"),
    )
    .unwrap();
    let wrong = read_video(&folder.path().join("film-ts.avi"));
    let wrong = wrong.unwrap_err().to_string();
    assert!(
        wrong.contains("its name says an AVI, its first bytes say that it is an MPEG transport"),
        "{wrong}"
    );
}

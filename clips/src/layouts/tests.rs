mod archived;
mod conventions;
mod names;

use std::{fs, path::Path};

use super::*;
use crate::{
    video::Video,
    video_io::{read_video, write_video},
};

fn video(value: u8) -> Video {
    Video {
        width: 4,
        height: 2,
        frames_per_second: 8.0,
        frames: vec![vec![value; 24]; 3],
    }
}

fn gif(value: u8) -> Vec<u8> {
    crate::video_io::write_gif_bytes(&video(value)).unwrap()
}

/// Everything that a folder lists, and its layout.
fn listed(directory: &Path) -> (Layout, Vec<Listed>) {
    let layout = Layout::detect(directory).unwrap();
    (layout, listed_as(layout, directory).0)
}

/// Everything that a folder of this layout lists, and what it does not use.
fn listed_as(layout: Layout, directory: &Path) -> (Vec<Listed>, String) {
    let mut all = Vec::new();
    let unused = layout
        .list(directory, &mut |listed| {
            all.push(listed);
            true
        })
        .unwrap();
    (all, unused.to_string())
}

fn problems(listed: &[Listed]) -> Vec<String> {
    listed
        .iter()
        .filter_map(|listed| listed.as_ref().err())
        .map(|problem| format!("{}: {}", problem.file, problem.problem))
        .collect()
}

/// The prompts and the first pixel of each clip.
fn decoded(directory: &Path, listed: &[Listed]) -> Vec<(String, u8)> {
    let first = |entry: &Entry| {
        let mut value = None;
        entry
            .place
            .decode(directory, &mut |_, frame| value = value.or(Some(frame[0])))
            .unwrap();
        (entry.prompt.clone(), value.unwrap())
    };
    listed
        .iter()
        .filter_map(|listed| listed.as_ref().ok())
        .map(first)
        .collect()
}

fn expected() -> Vec<(String, u8)> {
    vec![
        ("a red ball".to_string(), 10),
        ("a blue box".to_string(), 20),
    ]
}

#[test]
fn lines_of_json_and_records_of_csv_list_the_same_clips() {
    for (name, text) in [
        (
            "manifest.jsonl",
            "{\"prompt\": \"a red ball\", \"video\": \"a.gif\"}\n\n{\"text\": \"a blue box\", \
                \"file_name\": \"b.frames\"}\n",
        ),
        (
            "metadata.jsonl",
            "{\"caption\": \"a red ball\", \"path\": \"a.gif\"}\n{\"prompt_en\": \"a blue box\", \
                \"video_path\": \"b.frames\"}",
        ),
        (
            "metadata.csv",
            "file_name,seed,text\na.gif,1,a red ball\nb.frames,2,\"a blue box\"\n",
        ),
        (
            "manifest.csv",
            "\u{feff}prompt,video,sample\r\na red ball,./a.gif,\r\na blue box,b.frames,3\r\n",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_video(&folder.path().join("a.gif"), &video(10)).unwrap();
        write_video(&folder.path().join("b.frames"), &video(20)).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let (layout, all) = listed(folder.path());
        assert_eq!(
            layout,
            if name.ends_with("csv") {
                Layout::Csv
            } else {
                Layout::Jsonl
            }
        );
        assert_eq!(problems(&all), Vec::<String>::new(), "{name}");
        assert_eq!(decoded(folder.path(), &all), expected(), "{name}");
        assert_eq!(
            all[1].as_ref().unwrap().sample,
            (name == "manifest.csv").then_some(3)
        );
    }
}

#[test]
fn every_bad_line_is_named_and_the_others_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    write_video(&folder.path().join("a.gif"), &video(10)).unwrap();
    let text = "{\"prompt\": \"p\", \"video\": \"../a.gif\"}\n{\"prompt\": \"p\", \"video\": \
        \"/etc/passwd\"}\nnonsense\n{\"prompt\": \" \", \"video\": \"a.gif\"}\n{\"prompt\": \"a \
        red ball\", \"video\": \"a.gif\"}\n";
    fs::write(folder.path().join("manifest.jsonl"), text).unwrap();
    let (_, all) = listed(folder.path());
    let found = problems(&all);
    for (number, expected) in [
        (1, "../a.gif"),
        (2, "/etc/passwd"),
        (3, "not a JSON object"),
        (4, "blank"),
    ] {
        assert!(
            found.iter().any(|problem| problem
                .contains(&format!("manifest.jsonl, line {number}:"))
                && problem.contains(expected)),
            "{found:?}"
        );
    }
    assert_eq!(decoded(folder.path(), &all), expected()[..1]);

    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("metadata.csv"),
        "file_name,text\n../a.gif,p\nshort\n\"a\nb.gif\",p q\n",
    )
    .unwrap();
    let (_, all) = listed(folder.path());
    let found = problems(&all);
    assert!(
        found[0].starts_with("metadata.csv, line 2: ")
            && found[1].starts_with("metadata.csv, line 3: it has 1 fields"),
        "{found:?}"
    );
    assert_eq!(
        all[2].as_ref().unwrap().place,
        Place::File("a\nb.gif".into())
    );
}

#[test]
fn endless_lines_and_open_quotes_are_refused_without_being_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("manifest.jsonl"), vec![b'x'; 3 << 20]).unwrap();
    let message = Layout::Jsonl
        .list(folder.path(), &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("manifest.jsonl: line 1 has more than"),
        "{message}"
    );
    let csv = [b"file_name,text\na.gif,\"".to_vec(), vec![b'x'; 3 << 20]].concat();
    fs::write(folder.path().join("metadata.csv"), csv).unwrap();
    let message = Layout::Csv
        .list(folder.path(), &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(message.contains("is a quote not closed?"), "{message}");
    fs::write(folder.path().join("metadata.csv"), "name,caption\n").unwrap();
    let message = Layout::Csv
        .list(folder.path(), &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("[\"name\", \"caption\"]") && message.contains("file_name"),
        "{message}"
    );
}

#[test]
fn videos_and_their_texts_are_pairs_at_any_depth() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inside")).unwrap();
    write_video(&folder.path().join("inside/a.gif"), &video(10)).unwrap();
    fs::write(folder.path().join("inside/a.txt"), "a red\nball\n").unwrap();
    write_video(&folder.path().join("z.frames"), &video(20)).unwrap();
    fs::write(folder.path().join("z.txt"), "a blue box").unwrap();
    write_video(&folder.path().join("alone.gif"), &video(30)).unwrap();
    fs::write(folder.path().join("README.txt"), "not a prompt").unwrap();
    let (layout, all) = listed(folder.path());
    assert_eq!(
        (layout, decoded(folder.path(), &all)),
        (Layout::Pairs, expected())
    );
    assert_eq!(
        problems(&all),
        ["alone.gif: its prompt's file alone.txt is missing"]
    );
}

/// A tar of members (name, bytes).
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_ustar();
        // Written past the builder's own refusal of `..`.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_entry_type(::tar::EntryType::Regular);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn shards_list_samples_and_decode_them_from_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let first = tar(&[
        ("x/0.gif", &gif(10)),
        ("x/0.txt", b"a red ball"),
        ("x/1.json", b"{\"caption\": \"a blue box\"}"),
        ("x/1.meta.gif", &gif(20)),
    ]);
    fs::write(folder.path().join("shard-0.tar"), first).unwrap();
    fs::write(
        folder.path().join("shard-1.tar"),
        tar(&[
            ("0.gif", &gif(30)),
            ("../1.gif", b"x"),
            ("/2.gif", b"x"),
            ("3.txt", b"alone"),
        ]),
    )
    .unwrap();
    let (layout, all) = listed(folder.path());
    assert_eq!(
        (layout, decoded(folder.path(), &all)),
        (Layout::Webdataset, expected())
    );
    let found = problems(&all);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].starts_with("shard-1.tar, 0.gif: its prompt is missing"),
        "{found:?}"
    );
    assert!(
        found[1].contains("../1.gif: its name leaves the archive")
            && found[2].contains("/2.gif: its name leaves"),
        "{found:?}"
    );
}

#[test]
fn damaged_shards_links_and_sizes_beyond_the_end_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tar(&[("0.gif", &gif(10)), ("0.txt", b"p")]);
    fs::write(folder.path().join("a.tar"), &whole[..700]).unwrap();
    fs::write(folder.path().join("b.tar"), b"").unwrap();
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "0.mp4", "/etc/passwd")
        .unwrap();
    let mut header = ::tar::Header::new_gnu();
    header.set_path("1.mp4").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(512);
    bytes.extend_from_slice(header.as_bytes());
    fs::write(folder.path().join("c.tar"), bytes).unwrap();
    let (_, all) = listed(folder.path());
    let found = problems(&all);
    for expected in [
        "a.tar",
        "b.tar: it is empty",
        "0.mp4: it is a member of kind Symlink",
        "1.mp4: it says 1099511627776 bytes",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{expected}: {found:?}"
        );
    }
    assert!(all.iter().all(Result::is_err), "{all:?}");
}

/// A prompt that is written as null.
const NULL: &str = "null";

/// A Parquet file with a prompt column and a column of videos.
fn parquet(path: &Path, schema: &str, rows: &[(&str, Vec<u8>)], rows_per_group: usize) {
    use ::parquet::{
        data_type::{ByteArray, ByteArrayType},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let schema = std::sync::Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(::parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(path).unwrap(), schema, properties.into())
            .unwrap();
    for rows in rows.chunks(rows_per_group) {
        let mut group = writer.next_row_group().unwrap();
        let columns: [Vec<Option<ByteArray>>; 2] = [
            rows.iter()
                .map(|row| (row.0 != NULL).then(|| row.0.as_bytes().to_vec().into()))
                .collect(),
            rows.iter().map(|row| Some(row.1.clone().into())).collect(),
        ];
        for values in columns {
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
            let values: Vec<ByteArray> = values.into_iter().flatten().collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

const BYTES: &str = "message m { optional binary prompt (UTF8); required group video { optional \
    binary bytes; } }";
const PATHS: &str = "message m { optional binary caption (UTF8); optional binary file_name (UTF8); \
    }";

#[test]
fn parquet_files_list_rows_by_path_and_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let rows = [
        ("a red ball", gif(10)),
        (" ", gif(30)),
        ("a blue box", gif(20)),
    ];
    parquet(
        &folder.path().join("data/train-00000.parquet"),
        BYTES,
        &rows,
        2,
    );
    let (layout, all) = listed(folder.path());
    assert_eq!(
        (layout, decoded(folder.path(), &all)),
        (Layout::Parquet, expected())
    );
    assert_eq!(
        problems(&all),
        ["data/train-00000.parquet, row 1: the prompt is blank; expected what the clip shows"]
    );
    assert_eq!(
        all[2].as_ref().unwrap().place.to_string(),
        "data/train-00000.parquet, row 2"
    );

    let folder = tempfile::tempdir().unwrap();
    write_video(&folder.path().join("a.gif"), &video(10)).unwrap();
    write_video(&folder.path().join("b.frames"), &video(20)).unwrap();
    let rows = [
        ("a red ball", b"a.gif".to_vec()),
        ("out", b"../a.gif".to_vec()),
        ("a blue box", b"b.frames".to_vec()),
    ];
    parquet(&folder.path().join("x.parquet"), PATHS, &rows, 10);
    let (_, all) = listed(folder.path());
    assert_eq!(decoded(folder.path(), &all), expected());
    assert!(problems(&all)[0].starts_with("x.parquet, row 1: the video's path is \"../a.gif\""));
}

#[test]
fn a_row_without_a_prompt_leaves_the_rows_after_it_their_own_paths() {
    let folder = tempfile::tempdir().unwrap();
    write_video(&folder.path().join("a.gif"), &video(10)).unwrap();
    write_video(&folder.path().join("b.frames"), &video(20)).unwrap();
    let rows = [
        ("a red ball", b"a.gif".to_vec()),
        (NULL, b"a.gif".to_vec()),
        ("a blue box", b"b.frames".to_vec()),
    ];
    parquet(&folder.path().join("x.parquet"), PATHS, &rows, 10);
    let (_, all) = listed(folder.path());
    assert_eq!(problems(&all), ["x.parquet, row 1: its prompt is null"]);
    assert_eq!(decoded(folder.path(), &all), expected());
}

#[test]
fn damaged_parquet_files_are_named_whatever_byte_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    parquet(
        &path,
        BYTES,
        &[("a red ball", gif(10)), ("a blue box", gif(20))],
        2,
    );
    let bytes = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in 0..bytes.len() {
        for value in [0xff, 0x7f, bytes[place] ^ 1] {
            let mut changed = bytes.clone();
            changed[place] = value;
            fs::write(&path, &changed).unwrap();
            // Neither a panic nor memory for what is not there; many changes do no harm.
            let (_, all) = listed(folder.path());
            let unread = |entry: &Entry| entry.place.decode(folder.path(), &mut |_, _| {}).is_err();
            refused += usize::from(
                all.is_empty()
                    || all
                        .iter()
                        .any(|listed| listed.as_ref().map_or(true, unread)),
            );
        }
    }
    assert!(refused > bytes.len() / 4, "{refused}");
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(problems(&listed(folder.path()).1)[0].starts_with("x.parquet: "));
    }
}

#[test]
fn folders_of_no_layout_and_of_several_say_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let message = || Layout::detect(folder.path()).unwrap_err().to_string();
    assert!(
        message().contains("holds no files; expected one of: manifest.jsonl"),
        "{}",
        message()
    );
    fs::write(folder.path().join("a.zip"), "x").unwrap();
    fs::write(folder.path().join("notes"), "x").unwrap();
    assert!(
        message().contains("*.zip, notes") && message().contains(".tar shards"),
        "{}",
        message()
    );
    fs::write(folder.path().join("a.tar"), "x").unwrap();
    fs::write(folder.path().join("metadata.csv"), "x").unwrap();
    assert!(
        message().contains("several layouts: csv (metadata.csv), webdataset (a.tar)")
            && message().contains("teacher.layout"),
        "{}",
        message()
    );
    assert!(Layout::detect(&folder.path().join("none")).is_err());
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_pipes_and_links_to_shards_are_refused_by_name() {
    let outside = tempfile::tempdir().unwrap();
    write_video(&outside.path().join("secret.gif"), &video(10)).unwrap();
    fs::write(
        outside.path().join("a.tar"),
        tar(&[("0.gif", &gif(10)), ("0.txt", b"p")]),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(
        outside.path().join("secret.gif"),
        folder.path().join("link.gif"),
    )
    .unwrap();
    fs::write(folder.path().join("link.txt"), "p").unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(folder.path().join("pipe.gif"))
            .status()
            .unwrap()
            .success()
    );
    fs::write(folder.path().join("pipe.txt"), "p").unwrap();
    let (_, all) = listed(folder.path());
    assert!(
        problems(&all)[0].starts_with("link.gif: the video's path is \"link.gif\", a link to "),
        "{all:?}"
    );
    let pipe = all[1].as_ref().unwrap();
    assert!(
        pipe.place
            .decode(folder.path(), &mut |_, _| {})
            .unwrap_err()
            .to_string()
            .contains("pipe.gif cannot be read as a video: it is a pipe")
    );
    assert!(read_video(Path::new("/dev/zero")).is_err());

    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path().join("a.tar"), folder.path().join("a.tar")).unwrap();
    assert!(problems(&listed(folder.path()).1)[0].starts_with("a.tar: it is a link out of"));
}

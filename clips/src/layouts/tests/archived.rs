//! Archives with what is unusual, large or hostile in them.

use ::parquet::{
    basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel},
    data_type::{ByteArray, ByteArrayType},
    file::{
        properties::{EnabledStatistics, WriterProperties},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};
use ::tar::{EntryType, Header};

use super::*;

/// A Parquet file of nullable columns of bytes.
fn parquet_of(
    path: &Path,
    schema: &str,
    columns: &[&[Option<Vec<u8>>]],
    properties: WriterProperties,
) {
    let schema = std::sync::Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties.into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
        let values: Vec<ByteArray> = values
            .iter()
            .flatten()
            .map(|value| value.clone().into())
            .collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&values, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

const STRUCTURE: &str = "message m { optional binary text (UTF8); required group video { optional \
    binary bytes; optional binary path (UTF8); } }";

fn texts() -> [Option<Vec<u8>>; 2] {
    [Some(b"a red ball".to_vec()), Some(b"a blue box".to_vec())]
}

#[test]
fn all_common_codecs_of_parquet_are_read() {
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        for version in [
            ::parquet::file::properties::WriterVersion::PARQUET_1_0,
            ::parquet::file::properties::WriterVersion::PARQUET_2_0,
        ] {
            let folder = tempfile::tempdir().unwrap();
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(version)
                .build();
            parquet_of(
                &folder.path().join("x.parquet"),
                BYTES,
                &[&texts(), &[Some(gif(10)), Some(gif(20))]],
                properties,
            );
            let (_, all) = listed(folder.path());
            assert_eq!(problems(&all), Vec::<String>::new(), "{codec:?}");
            assert_eq!(decoded(folder.path(), &all), expected(), "{codec:?}");
        }
    }
}

#[test]
fn a_structure_without_bytes_is_followed_to_the_path_beside_them() {
    let properties = |statistics| {
        WriterProperties::builder()
            .set_statistics_enabled(statistics)
            .build()
    };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    write_video(&folder.path().join("data/a.gif"), &video(10)).unwrap();
    write_video(&folder.path().join("b.gif"), &video(20)).unwrap();
    let paths = [Some(b"a.gif".to_vec()), Some(b"b.gif".to_vec())];
    for statistics in [EnabledStatistics::Page, EnabledStatistics::None] {
        // No bytes at all; then bytes in one of the rows; then in all, whatever the path says.
        for (first, second) in [
            (None, None),
            (Some(gif(10)), None),
            (None, Some(gif(20))),
            (Some(gif(10)), Some(gif(20))),
        ] {
            let in_rows = [first, second];
            parquet_of(
                &folder.path().join("data/x.parquet"),
                STRUCTURE,
                &[&texts(), &in_rows, &paths],
                properties(statistics),
            );
            let (_, all) = listed(folder.path());
            assert_eq!(problems(&all), Vec::<String>::new());
            assert_eq!(decoded(folder.path(), &all), expected(), "{in_rows:?}");
            let is_path = |entry: &Entry| matches!(entry.place, Place::File(_));
            let by_path = all.iter().flatten().filter(|entry| is_path(entry)).count();
            assert_eq!(
                by_path,
                in_rows.iter().filter(|bytes| bytes.is_none()).count()
            );
        }
    }
}

#[test]
fn a_page_that_unpacks_to_more_than_it_says_is_refused_before_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    for codec in [
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
    ] {
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let long = vec![b'x'; 3000];
        parquet_of(&path, BYTES, &[&[Some(long)], &[Some(gif(10))]], properties);
        let mut bytes = fs::read(&path).unwrap();
        // The first page's header: kind 0, then its size, 3000 and some bytes, zigzag and in two
        // digits. A smaller number of as many digits:
        assert_eq!(bytes[4..7], [0x15, 0, 0x15]);
        assert!(bytes[7] >= 0x80 && bytes[8] < 0x80);
        bytes[8] = 1;
        fs::write(&path, &bytes).unwrap();
        let found = problems(&listed(folder.path()).1);
        assert!(
            found[0].contains("a page unpacks to more than the"),
            "{found:?}"
        );
    }
}

#[test]
fn every_row_of_many_pages_is_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(3)
        .set_write_batch_size(1)
        .build();
    let (texts, films): (Vec<_>, Vec<_>) = (0..40u8)
        .map(|row| (Some(format!("row {row}").into_bytes()), Some(gif(row * 6))))
        .unzip();
    parquet_of(
        &folder.path().join("x.parquet"),
        BYTES,
        &[&texts, &films],
        properties,
    );
    let (_, all) = listed(folder.path());
    let mut found = decoded(folder.path(), &all);
    assert_eq!(found.len(), 40);
    for (row, (prompt, value)) in found.drain(..).enumerate() {
        assert_eq!((prompt, value), (format!("row {row}"), row as u8 * 6));
    }
}

fn header(name: &str, kind: EntryType, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_cksum();
    header
}

/// A member as it lies in a tar: header, data, padding.
fn member(name: &str, kind: EntryType, data: &[u8]) -> Vec<u8> {
    let padding = vec![0; data.len().next_multiple_of(512) - data.len()];
    let header = header(name, kind, data.len() as u64);
    [&header.as_bytes()[..], data, &padding].concat()
}

fn shard(members: &[Vec<u8>]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("0.tar"), members.concat()).unwrap();
    folder
}

fn regular(name: &str, data: &[u8]) -> Vec<u8> {
    member(name, EntryType::Regular, data)
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = format!("{}/0", "x".repeat(200));
    let extended = |text: &str| {
        let length = text.len() + 5; // Three digits, a blank and the line break count too.
        format!("{length} {text}\n").into_bytes()
    };
    let folder = shard(&[
        member(
            "././@LongLink",
            EntryType::GNULongName,
            format!("{long}.gif\0").as_bytes(),
        ),
        regular("cut.gif", &gif(10)),
        member(
            "././@LongLink",
            EntryType::GNULongName,
            format!("{long}.txt\0").as_bytes(),
        ),
        regular("cut.txt", b"a red ball"),
        member("x", EntryType::XGlobalHeader, b"19 comment=globally\n"),
        member(
            "x",
            EntryType::XHeader,
            &extended(&format!("path=y{}.gif", "y".repeat(150))),
        ),
        regular("cut.gif", &gif(20)),
        member(
            "x",
            EntryType::XHeader,
            &extended(&format!("path=y{}.txt", "y".repeat(150))),
        ),
        regular("cut.txt", b"a blue box"),
        vec![0; 10240],
    ]);
    let (_, all) = listed(folder.path());
    assert_eq!(problems(&all), Vec::<String>::new());
    assert_eq!(decoded(folder.path(), &all), expected());
    assert_eq!(
        all[0].as_ref().unwrap().place.to_string(),
        format!("0.tar, {long}.gif")
    );
}

#[test]
fn names_and_headers_of_absurd_length_are_not_read() {
    let good = [regular("0.gif", &gif(10)), regular("0.txt", b"a red ball")].concat();
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let long = header("x", kind, 300 << 20).as_bytes().to_vec();
        let folder = shard(&[good.clone(), long]);
        // A hole of that length, as a sparse file has it.
        let file = fs::OpenOptions::new()
            .write(true)
            .open(folder.path().join("0.tar"))
            .unwrap();
        file.set_len(400 << 20).unwrap();
        let (_, all) = listed(folder.path());
        assert_eq!(decoded(folder.path(), &all), expected()[..1]);
        assert_eq!(
            problems(&all),
            [
                "0.tar: it is damaged or cut short after 2 members (a name or extended header has \
                314572800 bytes; at most 65536 are read)"
            ]
        );
    }
    // A link's long name is of no use, and gone past.
    let link = header("x", EntryType::GNULongLink, 300 << 20)
        .as_bytes()
        .to_vec();
    let folder = shard(&[good, link]);
    assert_eq!(problems(&listed(folder.path()).1), Vec::<String>::new());
}

#[test]
fn sparse_members_are_refused_by_name_and_what_follows_them_is_read() {
    let mut old = header("0.gif", EntryType::GNUSparse, 512);
    old.as_gnu_mut().unwrap().isextended = [1];
    old.set_cksum();
    let folder = shard(&[
        old.as_bytes().to_vec(),
        vec![0; 512], // The map's last block.
        vec![7; 512],
        regular("0.txt", b"a red ball"),
        member("x", EntryType::XHeader, b"22 GNU.sparse.major=1\n"),
        regular("1.gif", &gif(20)),
        regular("1.txt", b"a blue box"),
        regular("2.gif", &gif(20)),
        regular("2.txt", b"a blue box"),
    ]);
    let (_, all) = listed(folder.path());
    let found = problems(&all);
    assert!(
        found.len() == 2
            && found[0].contains("0.gif: it is a member of kind GNUSparse")
            && found[1].contains("1.gif: it is a member of kind GNUSparse"),
        "{found:?}"
    );
    assert_eq!(decoded(folder.path(), &all), expected()[1..]);
}

#[test]
fn an_archive_behind_the_end_of_another_is_not_lost_in_silence() {
    let members = [regular("0.gif", &gif(10)), regular("0.txt", b"a red ball")].concat();
    let folder = shard(&[members.clone(), vec![0; 1024], members]);
    let (_, all) = listed(folder.path());
    assert_eq!(decoded(folder.path(), &all), expected()[..1]);
    assert!(
        problems(&all)[0].contains("it goes on behind its end mark"),
        "{all:?}"
    );
}

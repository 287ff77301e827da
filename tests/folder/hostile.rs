//! Media and manifests made to do harm, each in a folder of its own, made anew by every test run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::ffmpeg;

/// A folder that lists one thing that must be refused.
pub struct Hostile {
    /// The folder's name, and what is wrong.
    pub name: &'static str,
    /// What the refusal has to name: the file, line or member.
    pub names: &'static str,
    /// Part of the reason.
    pub reason: &'static str,
}

/// CRC-32 of a PNG chunk (RFC 2083, section 3.4).
fn checksum(bytes: &[u8]) -> u32 {
    let mut checksum = u32::MAX;
    for &byte in bytes {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            checksum = (checksum >> 1) ^ (0xEDB8_8320 * (checksum & 1));
        }
    }
    !checksum
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&name[..], data].concat();
    [
        &(data.len() as u32).to_be_bytes()[..],
        &body,
        &checksum(&body).to_be_bytes(),
    ]
    .concat()
}

fn png(width: u32, height: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[8, 2, 0, 0, 0],
    ]
    .concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &header),
        &chunks.concat(),
        &chunk(b"IEND", &[]),
    ]
    .concat()
}

/// `frames` frame headers of an animated PNG, each shown for `delay` seconds.
fn frame_headers(width: u32, height: u32, frames: u32, delay: (u16, u16)) -> Vec<Vec<u8>> {
    let control = |index: u32| {
        let place = [index, width, height, 0, 0].map(u32::to_be_bytes).concat();
        chunk(
            b"fcTL",
            &[
                &place[..],
                &delay.0.to_be_bytes(),
                &delay.1.to_be_bytes(),
                &[0, 0],
            ]
            .concat(),
        )
    };
    let head = chunk(
        b"acTL",
        &[frames.to_be_bytes(), 0u32.to_be_bytes()].concat(),
    );
    std::iter::once(head)
        .chain((0..frames).map(control))
        .collect()
}

/// A GIF of `frames` one-pixel pictures on a canvas, each shown for `delay` hundredths.
fn gif(width: u16, height: u16, frames: usize, delay: u16) -> Vec<u8> {
    uneven_gif(width, height, std::iter::repeat_n(delay, frames))
}

fn uneven_gif(width: u16, height: u16, delays: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut bytes = [
        &b"GIF89a"[..],
        &width.to_le_bytes(),
        &height.to_le_bytes(),
        &[0x80, 0, 0, 0, 0, 0, 255, 255, 255],
    ]
    .concat();
    for delay in delays {
        bytes.extend([0x21, 0xf9, 4, 0, delay as u8, (delay >> 8) as u8, 0, 0]);
        bytes.extend([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 1, 0]);
    }
    bytes.push(0x3b);
    bytes
}

/// A WebP whose header claims a canvas, with `frames` empty frames.
fn webp(width: u32, height: u32, frames: u32, delay: u32) -> Vec<u8> {
    let three = |value: u32| value.to_le_bytes()[..3].to_vec();
    let mut body = [
        &b"WEBPVP8X"[..],
        &10u32.to_le_bytes(),
        &[2, 0, 0, 0],
        &three(width - 1),
        &three(height - 1),
    ]
    .concat();
    body.extend([&b"ANIM"[..], &6u32.to_le_bytes(), &[0; 6]].concat());
    for _ in 0..frames {
        body.extend(
            [
                &b"ANMF"[..],
                &16u32.to_le_bytes(),
                &[0; 6],
                &three(width - 1),
                &three(height - 1),
                &three(delay),
                &[0],
            ]
            .concat(),
        );
    }
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn tar(members: &[(&str, u8, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, size, data) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(*size);
        header.set_mode(0o644);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Runs ffmpeg on its test picture and its own arguments; the file's bytes.
fn film(place: &Path, name: &str, arguments: &[&str]) -> Vec<u8> {
    let path = place.join(name);
    let mut command = Command::new(ffmpeg());
    command
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=64x64:rate=16:duration=1",
        ])
        .args(arguments)
        .arg(&path);
    assert!(
        command
            .stdin(Stdio::null())
            .status()
            .expect("ffmpeg starts")
            .success(),
        "{name}"
    );
    fs::read(path).expect("the film")
}

/// `bytes` with those that follow `marker` by `distance` replaced.
fn patched(bytes: &[u8], marker: &[u8], distance: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let place = bytes
        .windows(marker.len())
        .position(|window| window == marker)
        .expect("the marker")
        + distance;
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}

/// Writes every hostile folder below `place`.
pub fn corpus(place: &Path) -> Vec<Hostile> {
    let mut all = Vec::new();
    let work = place.join(".work");
    fs::create_dir_all(&work).unwrap();
    let mut add = |name: &'static str, names: &'static str, reason: &'static str| {
        fs::create_dir(place.join(name)).unwrap();
        all.push(Hostile {
            name,
            names,
            reason,
        });
        place.join(name)
    };
    // One clip, named by a manifest.
    let mut file = |name: &'static str, video: &'static str, bytes: &[u8], reason: &'static str| {
        let folder = add(name, video, reason);
        fs::write(folder.join(video), bytes).unwrap();
        fs::write(
            folder.join("manifest.jsonl"),
            format!("{{\"prompt\": \"p\", \"video\": \"{video}\"}}\n"),
        )
        .unwrap();
    };
    let mp4 = film(&work, "a.mp4", &["-c:v", "mpeg4"]);
    let mov = film(&work, "a.mov", &["-c:v", "mpeg4"]);
    let raw = film(
        &work,
        "raw.mov",
        &["-c:v", "rawvideo", "-pix_fmt", "yuyv422"],
    );
    let mkv = film(&work, "a.mkv", &["-c:v", "mpeg4"]);
    let webm = film(
        &work,
        "a.webm",
        &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"],
    );
    let small = gif(4, 4, 3, 12);

    file("truncated-mp4", "a.mp4", &mp4[..mp4.len() / 2], "a.mp4");
    file(
        "truncated-mov-in-its-pictures",
        "a.mov",
        &patched(&mov, b"mdat", 4, &[0xff; 600]),
        "a.mov",
    );
    file("truncated-webm", "a.webm", &webm[..40], "a.webm");
    file(
        "truncated-gif",
        "a.gif",
        &small[..small.len() / 2],
        "cut short",
    );
    file(
        "truncated-webp",
        "a.webp",
        &webp(4, 4, 3, 100)[..60],
        "announces",
    );
    file(
        "truncated-apng",
        "a.apng",
        &png(4, 4, &frame_headers(4, 4, 3, (1, 8)))[..100],
        "reaches beyond its end",
    );
    for (name, video) in [
        ("empty-mp4", "a.mp4"),
        ("empty-gif", "b.gif"),
        ("empty-webm", "c.webm"),
        ("empty-webp", "d.webp"),
        ("empty-apng", "e.apng"),
    ] {
        file(name, video, b"", "it is empty");
    }
    file(
        "huge-gif",
        "a.gif",
        &gif(65535, 65535, 1, 10),
        "65535 x 65535",
    );
    file(
        "huge-webp",
        "a.webp",
        &webp(65535, 65535, 1, 10),
        "65535 x 65535",
    );
    file(
        "huge-apng",
        "a.apng",
        &png(65535, 65535, &frame_headers(65535, 65535, 1, (1, 8))),
        "65535 x 65535",
    );
    // Width and height of the sample description, 32 bytes after its entry's size (ISO/IEC
    // 14496-12, 12.1.3).
    file(
        "huge-mov",
        "a.mov",
        &patched(&raw, b"stsd", 12 + 32, &[0xff; 4]),
        "65535 x 65535",
    );
    file(
        "huge-mp4",
        "a.mp4",
        &patched(&mp4, b"stsd", 12 + 32, &[0xff; 4]),
        "65535 x 65535",
    );
    file(
        "a-million-frames-gif",
        "a.gif",
        &gif(4, 4, 1_000_000, 4),
        "limit is 10000",
    );
    file(
        "many-frames-apng",
        "a.apng",
        &png(4, 4, &frame_headers(4, 4, 20_000, (1, 8))),
        "limit is 10000",
    );
    file(
        "many-frames-webp",
        "a.webp",
        &webp(4, 4, 20_000, 40),
        "limit is 10000",
    );
    film(
        &work,
        "second.mp4",
        &["-c:v", "mpeg4", "-r", "500", "-s", "16x16", "-t", "1"],
    );
    let million = work.join("million.mp4");
    let mut copy = Command::new(ffmpeg());
    copy.args(["-v", "error", "-y", "-stream_loop", "1999", "-i"])
        .arg(work.join("second.mp4"))
        .args(["-c", "copy"])
        .arg(&million);
    assert!(copy.stdin(Stdio::null()).status().unwrap().success());
    file(
        "a-million-frames-mp4",
        "a.mp4",
        &fs::read(million).unwrap(),
        "limit is 10000",
    );

    file(
        "gif-named-mp4",
        "a.mp4",
        &small,
        "its first bytes say that it is a GIF",
    );
    file(
        "mp4-named-gif",
        "a.gif",
        &mp4,
        "its first bytes say that it is an MP4",
    );
    file(
        "mp4-named-webm",
        "a.webm",
        &mp4,
        "its first bytes say that it is an MP4",
    );
    file(
        "playlist-named-mp4",
        "a.mp4",
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "of no known kind",
    );
    file(
        "concat-list-named-mkv",
        "a.mkv",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        "of no known kind",
    );
    file(
        "unknown-ending",
        "a.xyz",
        b"RIFF",
        "expected a file ending in .mp4",
    );
    file("still-png", "a.png", &png(4, 4, &[]), "still picture");

    file(
        "bomb-gif",
        "a.gif",
        &gif(4096, 2304, 9_999, 4),
        "decoded pixels",
    );
    file(
        "bomb-apng",
        "a.apng",
        &png(4096, 2304, &frame_headers(4096, 2304, 5_000, (1, 8))),
        "decoded pixels",
    );
    file(
        "bomb-webp",
        "a.webp",
        &webp(4096, 2304, 5_000, 40),
        "decoded pixels",
    );
    file(
        "bomb-pixels-gif",
        "a.gif",
        &gif(8000, 8000, 1, 10),
        "pixels per frame",
    );
    let flood = film(
        &work,
        "flood.mkv",
        &[
            "-vf",
            "scale=8000:8000:flags=neighbor,format=gray",
            "-frames:v",
            "2",
            "-c:v",
            "ffv1",
        ],
    );
    file("bomb-pixels-mkv", "a.mkv", &flood, "pixels per frame");

    file(
        "times-gif",
        "a.gif",
        &uneven_gif(4, 4, [65_535, 2].into_iter()),
        "its rate is",
    );
    file(
        "times-apng",
        "a.apng",
        &png(4, 4, &frame_headers(4, 4, 3, (1, 65_535))),
        "its rate is 65535",
    );
    file(
        "times-webp",
        "a.webp",
        &webp(4, 4, 3, 0xff_ffff),
        "its rate is",
    );
    file(
        "times-mov-scale-zero",
        "a.mov",
        &patched(&mov, b"mdhd", 16, &[0; 4]),
        "a.mov",
    );
    file(
        "times-mov-scale-huge",
        "a.mov",
        &patched(&mov, b"mdhd", 16, &[0x7f, 0xff, 0xff, 0xff]),
        "its rate is",
    );
    // Duration in milliseconds, an EBML float of eight bytes.
    file(
        "times-mkv-ages",
        "a.mkv",
        &patched(&mkv, &[0x44, 0x89, 0x88], 3, &1e12f64.to_be_bytes()),
        "limit is 10000",
    );

    // Directories of frames.
    for (name, rate, reason) in [
        ("rate-nan", "NaN", "frames.json"),
        ("rate-huge", "1e308", "1e308"),
        ("rate-negative", "-8", "-8"),
        ("rate-infinite", "1e999", "frames.json"),
    ] {
        let folder = add(
            name,
            if reason == "frames.json" {
                "frames.json"
            } else {
                "frames_per_second is"
            },
            "expected such as",
        );
        fs::create_dir(folder.join("a.frames")).unwrap();
        fs::write(folder.join("a.frames/0.png"), png(4, 4, &[])).unwrap();
        fs::write(
            folder.join("a.frames/frames.json"),
            format!("{{\"frames_per_second\": {rate}}}"),
        )
        .unwrap();
        fs::write(
            folder.join("manifest.jsonl"),
            "{\"prompt\": \"p\", \"video\": \"a.frames\"}\n",
        )
        .unwrap();
    }
    let folder = add("huge-frames", "0.png", "65535 x 65535");
    fs::create_dir(folder.join("a.frames")).unwrap();
    fs::write(
        folder.join("a.frames/0.png"),
        png(65535, 65535, &[chunk(b"IDAT", &[0; 9])]),
    )
    .unwrap();
    fs::write(
        folder.join("a.frames/frames.json"),
        "{\"frames_per_second\": 8}",
    )
    .unwrap();
    fs::write(
        folder.join("manifest.jsonl"),
        "{\"prompt\": \"p\", \"video\": \"a.frames\"}\n",
    )
    .unwrap();
    let folder = add("truncated-frames", "1.png", "1.png");
    fs::create_dir(folder.join("a.frames")).unwrap();
    fs::write(
        folder.join("a.frames/0.png"),
        fs::read(still(&work)).unwrap(),
    )
    .unwrap();
    fs::write(
        folder.join("a.frames/1.png"),
        &fs::read(still(&work)).unwrap()[..60],
    )
    .unwrap();
    fs::write(
        folder.join("a.frames/frames.json"),
        "{\"frames_per_second\": 8}",
    )
    .unwrap();
    fs::write(
        folder.join("manifest.jsonl"),
        "{\"prompt\": \"p\", \"video\": \"a.frames\"}\n",
    )
    .unwrap();

    // Manifests that lead elsewhere.
    for (name, path, reason) in [
        ("path-up", "../a.gif", "without \"..\""),
        ("path-up-inside", "x/../../a.gif", "without \"..\""),
        (
            "path-absolute",
            "/etc/passwd",
            "inside the manifest's directory",
        ),
        ("path-missing", "none.gif", "none.gif"),
    ] {
        let folder = add(
            name,
            if name == "path-missing" {
                "none.gif"
            } else {
                "manifest.jsonl, line 1"
            },
            reason,
        );
        fs::write(
            folder.join("manifest.jsonl"),
            format!("{{\"prompt\": \"p\", \"video\": \"{path}\"}}\n"),
        )
        .unwrap();
    }
    let folder = add("csv-path-up", "metadata.csv, line 2", "../a.gif");
    fs::write(folder.join("metadata.csv"), "file_name,text\n../a.gif,p\n").unwrap();
    let folder = add("csv-open-quote", "metadata.csv", "quote");
    fs::write(
        folder.join("metadata.csv"),
        [b"file_name,text\n\"".to_vec(), vec![b'x'; 8 << 20]].concat(),
    )
    .unwrap();
    let folder = add("jsonl-endless-line", "manifest.jsonl", "more than");
    fs::write(folder.join("manifest.jsonl"), vec![b'['; 8 << 20]).unwrap();
    let folder = add("jsonl-deep", "manifest.jsonl, line 1", "JSON");
    fs::write(folder.join("manifest.jsonl"), vec![b'['; 200_000]).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        fs::write(work.join("secret.gif"), &small).unwrap();
        let folder = add("link-out", "link.gif", "a link to");
        symlink(work.join("secret.gif"), folder.join("link.gif")).unwrap();
        fs::write(folder.join("link.txt"), "p").unwrap();
        let folder = add("link-to-itself", "loop.gif", "loop.gif");
        symlink("loop.gif", folder.join("loop.gif")).unwrap();
        fs::write(folder.join("loop.txt"), "p").unwrap();
        let folder = add("device", "zero.gif", "zero.gif");
        symlink("/dev/zero", folder.join("zero.gif")).unwrap();
        fs::write(folder.join("zero.txt"), "p").unwrap();
        let folder = add("pipe", "pipe.mp4", "it is a pipe");
        assert!(
            Command::new("mkfifo")
                .arg(folder.join("pipe.mp4"))
                .status()
                .unwrap()
                .success()
        );
        fs::write(folder.join("pipe.txt"), "p").unwrap();
        let folder = add("prompt-pipe", "a.gif", "no ordinary file");
        fs::write(folder.join("a.gif"), &small).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(folder.join("a.txt"))
                .status()
                .unwrap()
                .success()
        );
    }

    // Archives.
    for (name, members, names, reason) in [
        (
            "tar-up",
            vec![("../0.gif", b'0', 4, &b"GIF8"[..])],
            "../0.gif",
            "leaves the archive",
        ),
        (
            "tar-absolute",
            vec![("/tmp/0.gif", b'0', 4, b"GIF8")],
            "/tmp/0.gif",
            "leaves the archive",
        ),
        (
            "tar-link",
            vec![("0.mp4", b'2', 0, b"")],
            "0.mp4",
            "Symlink",
        ),
        (
            "tar-hard-link",
            vec![("0.mp4", b'1', 0, b"")],
            "0.mp4",
            "Link",
        ),
        ("tar-device", vec![("0.mp4", b'3', 0, b"")], "0.mp4", "Char"),
        ("tar-pipe", vec![("0.mp4", b'6', 0, b"")], "0.mp4", "Fifo"),
        (
            "tar-huge-size",
            vec![("0.mp4", b'0', 1 << 33, b"x")],
            "0.mp4",
            "8589934592 bytes",
        ),
        ("tar-sparse", vec![("0.mp4", b'S', 512, b"x")], "0.tar", ""),
        (
            "tar-long-name",
            vec![("././@LongLink", b'L', 1 << 33, b"x")],
            "0.tar",
            "",
        ),
        (
            "tar-hostile-clip",
            vec![("0.gif", b'0', 6, b"GIF89a"), ("0.txt", b'0', 1, b"p")],
            "0.tar, 0.gif",
            "cut short",
        ),
    ] {
        let folder = add(name, names, reason);
        fs::write(folder.join("0.tar"), tar(&members)).unwrap();
    }
    let folder = add("tar-zipped", "*.gz", "expected one of");
    fs::write(folder.join("0.tar.gz"), b"\x1f\x8b").unwrap();

    // Parquet: counts in the description, sizes of a page, the file cut short, and a clip inside
    // that is none.
    let whole = parquet_bytes(&work);
    let description = whole.len()
        - 8
        - u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let cases: [(&str, Vec<u8>, &str, &str); 5] = [
        (
            "parquet-cut",
            whole[..whole.len() - 20].to_vec(),
            "0.parquet",
            "cut short",
        ),
        (
            "parquet-footer-size",
            patched_at(&whole, whole.len() - 8, &[0xff, 0xff, 0xff, 0x7f]),
            "0.parquet",
            "claims 2147483647",
        ),
        // The first list of the description is its schema: 15 in the upper half of the head, then a
        // size.
        (
            "parquet-list-size",
            patched_at(
                &whole,
                description + 3,
                &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07],
            ),
            "0.parquet",
            "damaged",
        ),
        (
            "parquet-page-size",
            with_page_size(&whole),
            "0.parquet",
            "unpack to",
        ),
        (
            "parquet-hostile-clip",
            whole.clone(),
            "0.parquet, row 0",
            "cut short",
        ),
    ];
    for (name, bytes, names, reason) in cases {
        let folder = add(name, names, reason);
        fs::write(folder.join("0.parquet"), bytes).unwrap();
    }
    all
}

fn still(work: &Path) -> std::path::PathBuf {
    film(work, "still.png", &["-frames:v", "1"]);
    work.join("still.png")
}

fn patched_at(bytes: &[u8], place: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place..place + new.len()].copy_from_slice(new);
    bytes
}

/// The first page's header says field 1 (its kind) and field 2 (its size unpacked), both zigzag
/// numbers; the second is made 1 GiB, and the bytes after it are pushed on.
fn with_page_size(bytes: &[u8]) -> Vec<u8> {
    assert_eq!((bytes[4], bytes[6]), (0x15, 0x15), "a page header");
    let size = 7 + bytes[7..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let mut changed = bytes[..7].to_vec();
    changed.extend([0x80, 0x80, 0x80, 0x80, 0x08]);
    // The header grows by some bytes; those are taken from the page, so that all later places stay.
    let grown = changed.len() - size;
    let header_rest = 16;
    changed.extend(&bytes[size..size + header_rest]);
    changed.extend(&bytes[size + header_rest + grown..]);
    changed
}

fn parquet_bytes(work: &Path) -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    let schema = "message m { required binary prompt (UTF8); required binary bytes; }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let path = work.join("whole.parquet");
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .build();
    let mut writer =
        SerializedFileWriter::new(fs::File::create(&path).unwrap(), schema, properties.into())
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    for value in [
        "a prompt of some length, so that there is room to spare".as_bytes(),
        b"GIF89a",
    ] {
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&[ByteArray::from(value.to_vec())], None, None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    fs::read(path).unwrap()
}

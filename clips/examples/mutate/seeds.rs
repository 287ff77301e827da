//! Whole files of every kind, small.

use std::{error::Error, fs, io::Cursor, sync::Arc};

use afd_clips::{
    layouts::Layout,
    video::Video,
    video_io::{write_gif_bytes, write_video},
};
use image::{ExtendedColorType, ImageEncoder, codecs};
use parquet::{
    basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel},
    data_type::{ByteArray, ByteArrayType},
    file::{
        properties::{WriterProperties, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};

/// Who reads a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A decoder.
    Video,
    /// The decoder of a directory of frames, in which it lies.
    Frames,
    /// A folder of this layout.
    Folder(Layout),
    /// The reader of lists of prompts.
    Prompts,
}

/// What damage has to know of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    Png,
    Tar,
    Riff,
    Other,
}

pub struct Seed {
    pub name: &'static str,
    pub kind: Kind,
    pub shape: Shape,
    pub bytes: Vec<u8>,
    /// Files that lie beside it, whole.
    pub beside: Vec<(&'static str, Vec<u8>)>,
}

const LINES: &str = "{\"prompt\": \"a red ball\", \"video\": \"a.gif\", \"sample\": 0}\n\
    {\"caption\": \"a blue box, opened\", \"file_name\": \"./a.gif\"}\n\
    {\"cap\": [\"one\", \"two\"], \"path\": \"a.gif\"}\n";
const RECORDS: &str = "file_name,text,sample\na.gif,\"a red ball, \"\"bouncing\"\"\",0\n\
    a.gif,a blue box,1\n\"a.gif\",\"two\nlines\",2\n";
const LIST: &str =
    "[{\"prompt_en\": \"a red ball\", \"dimension\": [\"color\"]},\n \"a blue box\"]\n";
const ITEMS: &str = "[{\"prompt_en\": \"a red ball\", \"file_name\": \"a.gif\", \"sample\": 1},\n \
    {\"cap\": [\"a blue box\"], \"path\": \"a.gif\", \"dimension\": [\"color\"]}]\n";

pub fn all() -> Result<Vec<Seed>, Box<dyn Error>> {
    let gif = write_gif_bytes(&video())?;
    let (png, still) = (include_bytes!("../../tests/fixtures/animated.png"), png()?);
    let rate = b"{\"frames_per_second\": 8.0}\n".to_vec();
    let rates = vec![("frames.json", rate.clone())];
    let beside = vec![("a.gif", gif.clone())];
    let with = |name, bytes: &[u8]| {
        let mut all = beside.clone();
        all.push((name, bytes.to_vec()));
        all
    };
    let seed = |name, kind, shape, bytes: &[u8], beside: &[(&'static str, Vec<u8>)]| Seed {
        name,
        kind,
        shape,
        bytes: bytes.to_vec(),
        beside: beside.to_vec(),
    };
    let folder = Kind::Folder;
    let (text, other) = (Shape::Text, Shape::Other);
    let mut seeds = vec![
        seed("a.gif", Kind::Video, other, &gif, &[]),
        seed("a.webp", Kind::Video, Shape::Riff, &webp()?, &[]),
        seed("a.apng", Kind::Video, Shape::Png, png, &[]),
        seed("00000.png", Kind::Frames, Shape::Png, &still, &rates),
        seed("00000.jpg", Kind::Frames, other, &jpeg()?, &rates),
        seed(
            "frames.json",
            Kind::Frames,
            text,
            &rate,
            &[("00000.png", still)],
        ),
        seed(
            "0.tar",
            folder(Layout::Webdataset),
            Shape::Tar,
            &shard(&gif)?,
            &[],
        ),
        seed(
            "manifest.jsonl",
            folder(Layout::Jsonl),
            text,
            LINES.as_bytes(),
            &beside,
        ),
        seed(
            "metadata.csv",
            folder(Layout::Csv),
            text,
            RECORDS.as_bytes(),
            &beside,
        ),
        seed(
            "metadata.json",
            folder(Layout::Json),
            text,
            ITEMS.as_bytes(),
            &beside,
        ),
        seed(
            "videos.txt",
            folder(Layout::Lists),
            text,
            b"a.gif\na.gif\n",
            &with("prompts.txt", b"a red ball\na blue box\n"),
        ),
        seed(
            "prompts.txt",
            folder(Layout::Lists),
            text,
            b"a red ball\na blue box\n",
            &with("videos.txt", b"a.gif\na.gif\n"),
        ),
        seed(
            "a.txt",
            folder(Layout::Pairs),
            text,
            b"a red\nball\n",
            &beside,
        ),
        seed(
            "list.txt",
            Kind::Prompts,
            text,
            b"a red ball\r\n\na blue box\n",
            &[],
        ),
        seed("list.json", Kind::Prompts, text, LIST.as_bytes(), &[]),
        seed(
            "list.jsonl",
            Kind::Prompts,
            text,
            b"\"a ball\"\n{\"text\": \"a box\"}\n",
            &[],
        ),
    ];
    for (name, codec) in [
        ("plain.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("gzip.parquet", Compression::GZIP(GzipLevel::default())),
        (
            "brotli.parquet",
            Compression::BROTLI(BrotliLevel::default()),
        ),
        ("lz4.parquet", Compression::LZ4),
        ("zstd.parquet", Compression::ZSTD(ZstdLevel::default())),
    ] {
        let bytes = table(&gif, codec)?;
        seeds.push(seed(name, folder(Layout::Parquet), other, &bytes, &beside));
    }
    Ok(seeds)
}

fn video() -> Video {
    let frame = |t: u8| {
        (0..8 * 6 * 3)
            .map(|index: u8| index.wrapping_mul(2).wrapping_add(t * 40))
            .collect()
    };
    Video {
        width: 8,
        height: 6,
        frames_per_second: 8.0,
        frames: (0..4).map(frame).collect(),
    }
}

fn png() -> Result<Vec<u8>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let frames = folder.path().join("a.frames");
    write_video(&frames, &video())?;
    for entry in fs::read_dir(frames)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "png") {
            return Ok(fs::read(path)?);
        }
    }
    Err("no frame was written".into())
}

fn jpeg() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let picture = &video().frames[0];
    codecs::jpeg::JpegEncoder::new(&mut bytes).encode(picture, 8, 6, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// Two lossless pictures, as an animation.
fn webp() -> Result<Vec<u8>, Box<dyn Error>> {
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let padding = vec![0; data.len() % 2];
        let length = (data.len() as u32).to_le_bytes();
        [&name[..], &length, data, &padding].concat()
    };
    let mut chunks = vec![
        // Animated; 8 x 6 pixels, each side less one in three bytes.
        chunk(b"VP8X", &[2, 0, 0, 0, 7, 0, 0, 5, 0, 0]),
        chunk(b"ANIM", &[0; 6]),
    ];
    for picture in &video().frames[..2] {
        let mut still = Cursor::new(Vec::new());
        codecs::webp::WebPEncoder::new_lossless(&mut still).write_image(
            picture,
            8,
            6,
            ExtendedColorType::Rgb8,
        )?;
        // Place, size less one, 100 ms, no blending; then the still picture's own chunk.
        let head = [0, 0, 0, 0, 0, 0, 7, 0, 0, 5, 0, 0, 100, 0, 0, 2];
        chunks.push(chunk(
            b"ANMF",
            &[&head[..], &still.get_ref()[12..]].concat(),
        ));
    }
    Ok(chunk(
        b"RIFF",
        &[b"WEBP".to_vec(), chunks.concat()].concat(),
    ))
}

fn shard(gif: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("{}/1", "x".repeat(120));
    let names: [(String, &[u8]); 4] = [
        ("0.gif".to_string(), gif),
        ("0.txt".to_string(), b"a red ball"),
        (format!("{long}.gif"), gif),
        (format!("{long}.json"), b"{\"caption\": \"a blue box\"}"),
    ];
    builder.append_pax_extensions([("path", &b"2.gif"[..])])?;
    for (name, data) in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, data)?;
    }
    Ok(builder.into_inner()?)
}

const SCHEMA: &str = "message m { optional binary text (UTF8); required group video { optional \
    binary bytes; optional binary path (UTF8); } }";

fn table(gif: &[u8], codec: Compression) -> Result<Vec<u8>, Box<dyn Error>> {
    let version = match codec {
        Compression::GZIP(_) | Compression::BROTLI(_) => WriterVersion::PARQUET_1_0,
        _ => WriterVersion::PARQUET_2_0,
    };
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    for in_rows in [true, false] {
        let mut group = writer.next_row_group()?;
        let columns: [[Option<&[u8]>; 2]; 3] = [
            [Some(b"a red ball"), Some(b"a blue box")],
            [Some(gif), in_rows.then_some(gif)],
            [Some(b"a.gif"), Some(b"a.gif")],
        ];
        for values in columns {
            let levels = values.map(|value| i16::from(value.is_some()));
            let values: Vec<ByteArray> = values
                .into_iter()
                .flatten()
                .map(|value| value.to_vec().into())
                .collect();
            if let Some(mut column) = group.next_column()? {
                let column_of_bytes = column.typed::<ByteArrayType>();
                column_of_bytes.write_batch(&values, Some(&levels), None)?;
                column.close()?;
            }
        }
        group.close()?;
    }
    writer.close()?;
    Ok(bytes)
}

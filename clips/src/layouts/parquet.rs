//! Parquet files as Hugging Face writes datasets: a prompt column beside a column of paths, or of
//! the videos' bytes.
//!
//! A file's own counts are compared with its size before its reader believes them. Prompts and
//! paths are read some rows at a time; a video's bytes when it is decoded.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::ColumnReader,
    data_type::ByteArray,
    file::{
        metadata::ColumnChunkMetaData,
        reader::{FileReader, SerializedFileReader},
    },
    schema::types::ColumnDescriptor,
};

use super::{
    Entry, Folder, LayoutError, Listed, PROMPT_NAMES, Place, Problem, VIDEO_NAMES, checked_prompt,
    ending, files, thrift,
};

/// Most bytes of a file's description of itself.
const MAX_FOOTER_BYTES: u64 = 4 << 20;

/// Most bytes of a page's header, statistics included.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Most bytes of a page, unpacked: one long video.
const MAX_PAGE_BYTES: i64 = 160 << 20;

/// Rows read at once.
const ROWS: usize = 256;

/// Names that a column of videos' bytes goes by, beside those of paths.
const BYTES_NAMES: [&str; 6] = ["bytes", "mp4", "video.bytes", "file.bytes", "mov", "webm"];

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    for path in files(folder.directory, 2)?
        .into_iter()
        .filter(|path| ending(path) == "parquet")
    {
        let name = folder.name(&path);
        let mut goes_on = true;
        let mut heard = |listed| {
            goes_on = each(listed);
            goes_on
        };
        let problem = guarded(|| list_file(folder, &path, &name, &mut heard)).err();
        if let Some(problem) = problem {
            goes_on = each(Err(Problem {
                file: name,
                problem,
            }));
        }
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The bytes of the video in one row.
pub(super) fn cell(path: &Path, row_group: usize, row: u64) -> Result<Vec<u8>, String> {
    guarded(|| {
        let reader = open(path)?;
        let columns = Columns::of(&reader)?;
        let Video::Bytes(column) = columns.video else {
            return Err("it has no column of bytes any more".to_string());
        };
        let mut rows = Rows::open(path, &reader, row_group, column)?;
        rows.skip(row)?;
        let value = rows.next(1)?.pop().flatten();
        value
            .map(|value| value.data().to_vec())
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(|| "the row holds no bytes".to_string())
    })
}

/// The file is whatever strangers made; a mistake of its reader must not end the program.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("its reader gave up on it".to_string()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Opens a file whose description of itself is whole.
fn open(path: &Path) -> Result<SerializedFileReader<File>, String> {
    let kind = path.symlink_metadata().map_err(text)?;
    if !kind.is_file() {
        return Err("it is no ordinary file; links are not followed".to_string());
    }
    let mut file = File::open(path).map_err(text)?;
    let length = file.seek(SeekFrom::End(0)).map_err(text)?;
    let mut end = [0; 8];
    if length < 12 {
        return Err(format!("it has {length} bytes; expected a Parquet file"));
    }
    file.seek(SeekFrom::Start(length - 8))
        .and_then(|_| file.read_exact(&mut end))
        .map_err(text)?;
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if &end[4..] != b"PAR1" {
        return Err("it does not end as a Parquet file; is it cut short?".to_string());
    }
    if footer > MAX_FOOTER_BYTES || footer + 12 > length {
        return Err(format!(
            "its description claims {footer} of its {length} bytes; at most {MAX_FOOTER_BYTES} are \
                read"
        ));
    }
    let mut description = vec![0; footer as usize];
    file.seek(SeekFrom::Start(length - 8 - footer))
        .and_then(|_| file.read_exact(&mut description))
        .map_err(text)?;
    thrift::walk(&description)
        .map_err(|problem| format!("its description is damaged: {problem}"))?;
    let reader = SerializedFileReader::new(file).map_err(text)?;
    let rows = reader.metadata().file_metadata().num_rows();
    if u64::try_from(rows).is_ok_and(|rows| rows <= length) {
        return Ok(reader);
    }
    Err(format!("it claims {rows} rows in {length} bytes"))
}

/// Which columns say what a clip shows and where it is.
struct Columns {
    prompt: usize,
    video: Video,
}

#[derive(Clone, Copy)]
enum Video {
    Path(usize),
    Bytes(usize),
}

impl Columns {
    fn of(reader: &SerializedFileReader<File>) -> Result<Self, String> {
        let schema = reader.metadata().file_metadata().schema_descr();
        let usable = |column: &ColumnDescriptor| {
            column.max_rep_level() == 0 && column.physical_type() == Type::BYTE_ARRAY
        };
        let is_text = |column: &ColumnDescriptor| {
            column.converted_type() == ConvertedType::UTF8
                || matches!(column.logical_type_ref(), Some(LogicalType::String))
        };
        let find = |names: &[&str], wanted: &dyn Fn(&ColumnDescriptor) -> bool| {
            let place = |name: &&str| {
                schema.columns().iter().position(|column| {
                    column.path().string() == **name && usable(column) && wanted(column)
                })
            };
            names.iter().find_map(place)
        };
        let found: Vec<String> = schema
            .columns()
            .iter()
            .take(20)
            .map(|column| column.path().string())
            .collect();
        let prompt = find(&PROMPT_NAMES, &|_| true).ok_or_else(|| {
            format!("its columns are {found:?}; expected one of {PROMPT_NAMES:?}")
        })?;
        let bytes = find(&BYTES_NAMES, &|_| true)
            .or_else(|| find(&VIDEO_NAMES, &|column| !is_text(column)));
        let path = || find(&VIDEO_NAMES, &is_text).map(Video::Path);
        let video = bytes.map(Video::Bytes).or_else(path);
        let video = video.ok_or_else(|| {
            format!(
                "its columns are {found:?}; expected one of {VIDEO_NAMES:?} or {BYTES_NAMES:?} too"
            )
        })?;
        Ok(Self { prompt, video })
    }
}

fn list_file(
    folder: &Folder,
    path: &Path,
    name: &str,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), String> {
    let reader = open(path)?;
    let columns = Columns::of(&reader)?;
    let mut number = 0u64;
    for row_group in 0..reader.num_row_groups() {
        let rows = reader.metadata().row_group(row_group).num_rows().max(0) as u64;
        let mut prompts = Rows::open(path, &reader, row_group, columns.prompt)?;
        let mut paths = match columns.video {
            Video::Path(column) => Some(Rows::open(path, &reader, row_group, column)?),
            Video::Bytes(_) => None,
        };
        let mut row = 0;
        while row < rows {
            let count = ROWS.min((rows - row) as usize);
            let said = prompts.next(count)?;
            let mut lie = match &mut paths {
                Some(paths) => paths.next(count)?,
                None => Vec::new(),
            }
            .into_iter();
            if said.is_empty() {
                return Err(format!(
                    "row group {row_group} claims {rows} rows and holds {row}"
                ));
            }
            for prompt in said {
                let listed = prompt
                    .ok_or_else(|| "its prompt is null".to_string())
                    .and_then(|prompt| {
                        let prompt = prompt.as_utf8().map_err(text)?;
                        match columns.video {
                            Video::Path(_) => {
                                let path = lie.next().flatten().ok_or("its path is null")?;
                                folder.entry(prompt, path.as_utf8().map_err(text)?, None)
                            }
                            Video::Bytes(_) => checked_prompt(prompt).map(|()| Entry {
                                prompt: prompt.to_string(),
                                place: Place::Cell {
                                    file: name.to_string(),
                                    row_group,
                                    row,
                                    number,
                                },
                                sample: None,
                            }),
                        }
                    });
                if !each(listed.map_err(|problem| Problem {
                    file: format!("{name}, row {number}"),
                    problem,
                })) {
                    return Ok(());
                }
                row += 1;
                number += 1;
            }
        }
    }
    Ok(())
}

/// One column of one row group, from the top.
struct Rows {
    reader: ColumnReader,
    highest: i16,
}

impl Rows {
    fn open(
        path: &Path,
        reader: &SerializedFileReader<File>,
        row_group: usize,
        column: usize,
    ) -> Result<Self, String> {
        let groups = reader.num_row_groups();
        if row_group >= groups {
            return Err(format!(
                "it has {groups} row groups; expected number {row_group} too"
            ));
        }
        let group = reader.get_row_group(row_group).map_err(text)?;
        let chunk = group
            .metadata()
            .columns()
            .get(column)
            .ok_or("a row group lacks a column")?;
        check_pages(path, chunk)?;
        let highest = chunk.column_descr().max_def_level();
        Ok(Self {
            reader: group.get_column_reader(column).map_err(text)?,
            highest,
        })
    }

    fn skip(&mut self, rows: u64) -> Result<(), String> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err("a column holds no text".to_string());
        };
        reader.skip_records(rows as usize).map_err(text).map(|_| ())
    }

    /// The next rows, up to `count`; none at the end.
    fn next(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>, String> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err("a column holds no text".to_string());
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (rows, _, _) = reader
            .read_records(count, Some(&mut levels), None, &mut values)
            .map_err(text)?;
        let mut values = values.into_iter();
        if self.highest == 0 {
            return Ok(values.map(Some).collect());
        }
        Ok(levels
            .into_iter()
            .take(rows)
            .map(|level| {
                if level == self.highest {
                    values.next()
                } else {
                    None
                }
            })
            .collect())
    }
}

/// Goes from page header to page header: none may claim to unpack to more than [`MAX_PAGE_BYTES`].
fn check_pages(path: &Path, chunk: &ColumnChunkMetaData) -> Result<(), String> {
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let dictionary = chunk.dictionary_page_offset().filter(|offset| *offset > 0);
    let start = dictionary.unwrap_or(i64::MAX).min(chunk.data_page_offset());
    let (start, bytes) = (
        u64::try_from(start).map_err(text)?,
        u64::try_from(chunk.compressed_size()).map_err(text)?,
    );
    let end = start.checked_add(bytes).filter(|end| *end <= length);
    let end = end.ok_or_else(|| {
        format!("a column claims {bytes} bytes from byte {start} on; the file has {length}")
    })?;
    let mut place = start;
    let mut header = Vec::new();
    while place < end {
        header.clear();
        file.seek(SeekFrom::Start(place)).map_err(text)?;
        // Headers are short; one with long statistics is read again.
        let mut walked = Err(String::new());
        for bytes in [256, MAX_HEADER_BYTES] {
            (&file)
                .take(bytes.min(end - place) - header.len() as u64)
                .read_to_end(&mut header)
                .map_err(text)?;
            walked = thrift::walk(&header);
            if walked.is_ok() {
                break;
            }
        }
        let (numbers, taken) =
            walked.map_err(|problem| format!("a page's header is damaged: {problem}"))?;
        let field = |field| {
            numbers
                .iter()
                .find(|(number, _)| *number == field)
                .map_or(-1, |&(_, value)| value)
        };
        let (unpacked, packed) = (field(2), field(3));
        if !(0..=MAX_PAGE_BYTES).contains(&unpacked) || !(0..=MAX_PAGE_BYTES).contains(&packed) {
            return Err(format!(
                "a page claims {packed} bytes that unpack to {unpacked}; at most {MAX_PAGE_BYTES} \
                    are read"
            ));
        }
        place += taken as u64 + packed as u64;
    }
    Ok(())
}

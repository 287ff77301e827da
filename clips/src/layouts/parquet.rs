//! Parquet files as Hugging Face writes datasets: a prompt column beside a column of paths, or of
//! the videos' bytes.
//!
//! A file's own counts are compared with its size before its reader believes them. Prompts and
//! paths are read some rows at a time; a video's bytes when it is decoded.

mod claims;
mod error;

use std::{fs::File, path::Path};

use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::ColumnReader,
    data_type::ByteArray,
    file::reader::{FileReader, SerializedFileReader},
    schema::types::ColumnDescriptor,
};

use super::{
    Entry, Folder, LayoutError, Listed, Place, Problem,
    archives::{guarded, list_each},
};
use crate::manifest::{BYTES_NAMES, PROMPT_NAMES, VIDEO_NAMES, check_prompt};
use claims::{check_pages, open};
use error::{FileError, RowError};

/// Rows read at once.
const ROWS: usize = 256;

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    list_each(folder, "parquet", each, |path, name, each| {
        list_file(folder, path, name, each)
    })
}

/// The bytes of the video in one row.
pub(super) fn cell(path: &Path, row_group: usize, row: u64) -> Result<Vec<u8>, FileError> {
    guarded(|| {
        let reader = open(path)?;
        let columns = Columns::of(&reader)?;
        let Video::Bytes(column) = columns.video else {
            return Err(FileError::NoBytesColumn);
        };
        let mut rows = Rows::open(path, &reader, row_group, column)?;
        rows.skip(row)?;
        let value = rows.next(1)?.pop().flatten();
        value
            .map(|value| value.data().to_vec())
            .filter(|bytes| !bytes.is_empty())
            .ok_or(FileError::NoBytes)
    })
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
    fn of(reader: &SerializedFileReader<File>) -> Result<Self, FileError> {
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
        let Some(prompt) = find(&PROMPT_NAMES, &|_| true) else {
            return Err(FileError::NoPrompt { found });
        };
        let bytes = find(&BYTES_NAMES, &|_| true)
            .or_else(|| find(&VIDEO_NAMES, &|column| !is_text(column)));
        let path = || find(&VIDEO_NAMES, &is_text).map(Video::Path);
        let video = bytes.map(Video::Bytes).or_else(path);
        match video {
            Some(video) => Ok(Self { prompt, video }),
            None => Err(FileError::NoVideo { found }),
        }
    }
}

fn list_file(
    folder: &Folder,
    path: &Path,
    name: &str,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), FileError> {
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
            let prompt_values = prompts.next(count)?;
            let mut path_values = match &mut paths {
                Some(paths) => paths.next(count)?,
                None => Vec::new(),
            }
            .into_iter();
            if prompt_values.is_empty() {
                return Err(FileError::RowGroup {
                    row_group,
                    rows,
                    held: row,
                });
            }
            for prompt in prompt_values {
                let listed = match columns.video {
                    Video::Path(_) => path_entry(folder, prompt, path_values.next().flatten()),
                    Video::Bytes(_) => bytes_entry(prompt, || Place::Cell {
                        file: name.to_string(),
                        row_group,
                        row,
                        number,
                    }),
                };
                let problem = |problem| Problem::new(format!("{name}, row {number}"), problem);
                if !each(listed.map_err(problem)) {
                    return Ok(());
                }
                row += 1;
                number += 1;
            }
        }
    }
    Ok(())
}

/// A row's clip, whose path is in the folder.
fn path_entry(
    folder: &Folder,
    prompt: Option<ByteArray>,
    path: Option<ByteArray>,
) -> Result<Entry, RowError> {
    let prompt = prompt.ok_or(RowError::NullPrompt)?;
    let prompt = prompt.as_utf8().map_err(RowError::Utf8)?;
    let path = path.ok_or(RowError::NullPath)?;
    Ok(folder.entry(prompt, path.as_utf8().map_err(RowError::Utf8)?, None)?)
}

/// A row's clip, whose bytes are in the row.
fn bytes_entry(
    prompt: Option<ByteArray>,
    place: impl FnOnce() -> Place,
) -> Result<Entry, RowError> {
    let prompt = prompt.ok_or(RowError::NullPrompt)?;
    let prompt = prompt.as_utf8().map_err(RowError::Utf8)?;
    check_prompt(prompt)?;
    Ok(Entry {
        prompt: prompt.to_string(),
        place: place(),
        sample: None,
    })
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
    ) -> Result<Self, FileError> {
        let groups = reader.num_row_groups();
        if row_group >= groups {
            return Err(FileError::NoRowGroup { groups, row_group });
        }
        let group = reader.get_row_group(row_group)?;
        let chunk = group
            .metadata()
            .columns()
            .get(column)
            .ok_or(FileError::NoColumn)?;
        check_pages(path, chunk)?;
        let highest = chunk.column_descr().max_def_level();
        Ok(Self {
            reader: group.get_column_reader(column)?,
            highest,
        })
    }

    fn skip(&mut self, rows: u64) -> Result<(), FileError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err(FileError::NoText);
        };
        reader.skip_records(rows as usize)?;
        Ok(())
    }

    /// The next rows, up to `count`; none at the end.
    fn next(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>, FileError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err(FileError::NoText);
        };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (rows, _, _) = reader.read_records(count, Some(&mut levels), None, &mut values)?;
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

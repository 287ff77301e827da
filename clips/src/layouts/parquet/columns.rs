//! The columns of a Parquet file that say what a clip shows and where it is, read some rows at a
//! time.

use std::{fs::File, path::Path};

use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::ColumnReader,
    data_type::ByteArray,
    file::reader::{FileReader, SerializedFileReader},
    schema::types::ColumnDescriptor,
};

use super::claims::{check_pages, open};
use super::error::FileError;
use crate::layouts::archives::guarded;
use crate::manifest::{BYTES_NAMES, PROMPT_NAMES, VIDEO_NAMES};

/// The bytes of the video in one row.
pub(in crate::layouts) fn cell(
    path: &Path,
    row_group: usize,
    row: u64,
) -> Result<Vec<u8>, FileError> {
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
pub(super) struct Columns {
    pub(super) prompt: usize,
    pub(super) video: Video,
}

#[derive(Clone, Copy)]
pub(super) enum Video {
    Path(usize),
    Bytes(usize),
}

impl Columns {
    pub(super) fn of(reader: &SerializedFileReader<File>) -> Result<Self, FileError> {
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

/// One column of one row group, from the top.
pub(super) struct Rows {
    reader: ColumnReader,
    highest: i16,
}

impl Rows {
    pub(super) fn open(
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

    pub(super) fn skip(&mut self, rows: u64) -> Result<(), FileError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err(FileError::NoText);
        };
        reader.skip_records(rows as usize)?;
        Ok(())
    }

    /// The next rows, up to `count`; none at the end.
    pub(super) fn next(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>, FileError> {
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

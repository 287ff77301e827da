//! One column of one row group, some rows at a time.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
};

use parquet::{
    column::reader::{ColumnReader, get_column_reader},
    data_type::ByteArray,
};

use super::{description::Description, error::FileError, pages::Pages};

/// One column of one row group, from the top.
pub(super) struct Rows {
    reader: ColumnReader,
    highest: i16,
}

impl Rows {
    pub fn open(
        path: &Path,
        description: &Description,
        row_group: usize,
        column: usize,
    ) -> Result<Self, FileError> {
        let groups = description.metadata.num_row_groups();
        if row_group >= groups {
            return Err(FileError::NoRowGroup { groups, row_group });
        }
        let group = description.metadata.row_group(row_group);
        let rows = u64::try_from(group.num_rows())?;
        let chunk = group.columns().get(column).ok_or(FileError::NoColumn)?;
        let mut last = description
            .pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|(of, _)| *of == (row_group, column));
        let pages = match known {
            Some((_, pages)) => Arc::clone(pages),
            None => {
                let pages = Arc::new(Pages::of(path, chunk, rows)?);
                *last = Some(((row_group, column), Arc::clone(&pages)));
                pages
            }
        };
        drop(last);
        let reader = pages.reader(path, chunk, rows)?;
        Ok(Self {
            reader: get_column_reader(chunk.column_descr_ptr(), reader),
            highest: chunk.column_descr().max_def_level(),
        })
    }

    pub fn skip(&mut self, rows: u64) -> Result<(), FileError> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else {
            return Err(FileError::NoText);
        };
        reader.skip_records(rows as usize)?;
        Ok(())
    }

    /// The next rows, up to `count`; none at the end.
    pub fn next(&mut self, count: usize) -> Result<Vec<Option<ByteArray>>, FileError> {
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

//! The bytes of the video in one row.

use std::path::Path;

use super::{columns::Video, description::describe, error::FileError, rows::Rows};
use crate::layouts::opened::guarded;

/// The bytes of the video in one row of a row group.
pub(in crate::layouts) fn cell(
    path: &Path,
    row_group: usize,
    row: u64,
) -> Result<Vec<u8>, FileError> {
    guarded(|| {
        let description = describe(path)?;
        let Video::Bytes { bytes, .. } = description.columns.video else {
            return Err(FileError::NoBytesColumn);
        };
        let mut rows = Rows::open(path, &description, row_group, bytes)?;
        rows.skip(row)?;
        let value = rows.next(1)?.pop().flatten();
        value
            .map(|value| value.data().to_vec())
            .filter(|bytes| !bytes.is_empty())
            .ok_or(FileError::NoBytes)
    })
}

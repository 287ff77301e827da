//! Parquet files as Hugging Face writes datasets: a prompt column beside a column of paths, or of
//! the videos' bytes.
//!
//! A file's own counts are compared with its size before its reader believes them. Prompts and
//! paths are read some rows at a time; a video's bytes when it is decoded.

mod claims;
pub(super) mod columns;
mod error;

use std::path::Path;

use parquet::{data_type::ByteArray, file::reader::FileReader};

use super::{Entry, Folder, LayoutError, Listed, Place, Problem, archives::list_each};
use crate::manifest::check_prompt;
use claims::open;
use columns::{Columns, Rows, Video};
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

//! Parquet files as Hugging Face writes datasets: a prompt column beside a column of paths, or of
//! the videos' bytes.
//!
//! A file's own counts are compared with its size before its reader believes them. Prompts and
//! paths are read some rows at a time; a video's bytes when it is decoded.

pub(super) mod cell;
mod columns;
mod description;
mod error;
mod pages;
mod rows;

use std::path::Path;

use parquet::data_type::ByteArray;

use super::{
    Entry, Folder, LayoutError, Listed, Place, Problem, archives::list_each, opened::ordinary,
};
use crate::{manifest::check_prompt, text};
use columns::Video;
use description::{Description, describe};
use error::{FileError, RowError};
use rows::Rows;

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
    ordinary(path, &folder.roots)?;
    let description = describe(path)?;
    let inside = path.strip_prefix(folder.directory).unwrap_or(path);
    let base = inside.parent().unwrap_or(Path::new(""));
    let mut number = 0u64;
    for (row_group, group) in description.metadata.row_groups().iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        let mut prompts = Rows::open(path, &description, row_group, description.columns.prompt)?;
        let mut videos = Videos::open(path, &description, row_group)?;
        let mut row = 0;
        while row < rows {
            let count = ROWS.min((rows - row) as usize);
            let prompt_values = prompts.next(count)?;
            let mut video_values = videos.next(count)?.into_iter();
            if prompt_values.is_empty() {
                return Err(FileError::RowGroup {
                    row_group,
                    rows,
                    held: row,
                });
            }
            for prompt in prompt_values {
                let video = video_values.next().unwrap_or(VideoIn::Path(None));
                let listed = prompt_in(&prompt).and_then(|prompt| match video {
                    VideoIn::Row => {
                        check_prompt(prompt)?;
                        let place = Place::Cell {
                            file: inside.to_path_buf(),
                            row_group,
                            row,
                            number,
                        };
                        Ok(Entry {
                            prompt: prompt.to_string(),
                            place,
                            sample: None,
                            blake3: None,
                        })
                    }
                    VideoIn::Path(path) => {
                        let path = path.ok_or(RowError::NullPath)?;
                        let path = path.as_utf8().map_err(RowError::Utf8)?;
                        Ok(folder.entry(base, prompt, path, None)?)
                    }
                });
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

/// A row's prompt.
fn prompt_in(prompt: &Option<ByteArray>) -> Result<&str, RowError> {
    let prompt = prompt.as_ref().ok_or(RowError::NullPrompt)?;
    Ok(text::unmarked(prompt.as_utf8().map_err(RowError::Utf8)?))
}

/// Where a row has its video.
enum VideoIn {
    /// In itself.
    Row,
    /// In the file it names.
    Path(Option<ByteArray>),
}

/// Where the rows of a group have their videos.
struct Videos {
    /// Looked at where only some rows have bytes.
    bytes: Option<Rows>,
    /// Where some or all rows name a file.
    paths: Option<Rows>,
}

impl Videos {
    fn open(path: &Path, description: &Description, row_group: usize) -> Result<Self, FileError> {
        let open = |column| Rows::open(path, description, row_group, column).map(Some);
        let group = description.metadata.row_group(row_group);
        let (bytes, paths) = match description.columns.video {
            Video::Path(column) => (None, open(column)?),
            Video::Bytes { path: None, .. } => (None, None),
            Video::Bytes {
                bytes,
                path: Some(paths),
            } => {
                let chunk = group.columns().get(bytes).ok_or(FileError::NoColumn)?;
                let nulls = chunk.statistics().and_then(|all| all.null_count_opt());
                match nulls {
                    Some(0) => (None, None),
                    Some(nulls) if i64::try_from(nulls) == Ok(group.num_rows()) => {
                        (None, open(paths)?)
                    }
                    _ => (open(bytes)?, open(paths)?),
                }
            }
        };
        Ok(Self { bytes, paths })
    }

    /// Those of the next `count` rows.
    fn next(&mut self, count: usize) -> Result<Vec<VideoIn>, FileError> {
        let Some(paths) = &mut self.paths else {
            return Ok((0..count).map(|_| VideoIn::Row).collect());
        };
        let mut videos = Vec::with_capacity(count);
        for path in paths.next(count)? {
            // One video's bytes in memory.
            let bytes = match &mut self.bytes {
                Some(bytes) => bytes.next(1)?.pop().flatten(),
                None => None,
            };
            videos.push(match bytes.is_some_and(|bytes| !bytes.is_empty()) {
                true => VideoIn::Row,
                false => VideoIn::Path(path),
            });
        }
        Ok(videos)
    }
}

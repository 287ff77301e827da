//! `manifest.jsonl`, `metadata.jsonl`: one JSON object per line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{
    Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem, json::described, manifests::each_manifest,
};
use crate::{
    manifest::{self, EntryError},
    text::{self, TextError},
};

pub(super) const NAMES: [&str; 2] = [manifest::FILE_NAME, "metadata.jsonl"];

/// Why a line lists no clip.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Text(TextError),
    #[error(transparent)]
    Entry(EntryError),
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    each_manifest(folder, &NAMES, each, &|path, base, each| {
        list_file(folder, path, base, each)
    })
}

/// Says whether `each` wants to hear more.
fn list_file(
    folder: &Folder,
    path: &Path,
    base: &Path,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<bool, LayoutError> {
    let error = LayoutError::io(path);
    let mut file = BufReader::new(File::open(path).map_err(&error)?);
    let name = folder.name(path);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // One byte more than allowed is enough to know.
        if file
            .by_ref()
            .take(MAX_TEXT_BYTES + 1)
            .read_until(b'\n', &mut line)
            .map_err(&error)?
            == 0
        {
            break;
        }
        if line.len() as u64 > MAX_TEXT_BYTES {
            return Err(LayoutError::damaged(
                path,
                format!("line {number} has more than {MAX_TEXT_BYTES} bytes"),
            ));
        }
        let place = format!("{name}, line {number}");
        let listed = match text::decoded(&line) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => described(folder, base, text, &place).map_err(LineError::Entry),
            Err(error) => Err(LineError::Text(error)),
        };
        if !each(listed.map_err(|problem| Problem::new(place, problem))) {
            return Ok(false);
        }
    }
    Ok(true)
}

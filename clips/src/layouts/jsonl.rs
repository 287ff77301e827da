//! `manifest.jsonl`, `metadata.jsonl`: one JSON object per line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    str::Utf8Error,
};

use super::{Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem};
use crate::manifest::{self, EntryError};

pub(super) const NAMES: [&str; 2] = [manifest::FILE_NAME, "metadata.jsonl"];

/// Why a line lists no clip.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("it is not UTF-8 ({0})")]
    Utf8(Utf8Error),
    #[error(transparent)]
    Entry(EntryError),
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    let path = folder.manifest(&NAMES)?;
    let error = LayoutError::io(&path);
    let mut file = BufReader::new(File::open(&path).map_err(&error)?);
    let name = folder.name(&path);
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
                &path,
                format!("line {number} has more than {MAX_TEXT_BYTES} bytes"),
            ));
        }
        let listed = match std::str::from_utf8(&line) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => manifest::parse(text)
                .and_then(|entry| folder.entry(&entry.prompt, &entry.video, entry.sample))
                .map_err(LineError::Entry),
            Err(error) => Err(LineError::Utf8(error)),
        };
        if !each(listed.map_err(|problem| Problem::new(format!("{name}, line {number}"), problem)))
        {
            break;
        }
    }
    Ok(())
}

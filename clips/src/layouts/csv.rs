//! `manifest.csv`, `metadata.csv`: a header that names the columns, then one clip per record (RFC
//! 4180; quoted fields may hold line breaks).

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    rc::Rc,
};

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem};
use crate::manifest::{EntryError, PROMPT_NAMES, VIDEO_NAMES};

pub(super) const NAMES: [&str; 2] = ["manifest.csv", "metadata.csv"];

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    let path = folder.manifest(&NAMES)?;
    let name = folder.name(&path);
    let left = Rc::new(Cell::new(MAX_TEXT_BYTES));
    let file = Bounded {
        file: File::open(&path).map_err(LayoutError::io(&path))?,
        left: left.clone(),
    };
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .buffer_capacity(1 << 16)
        .from_reader(file);
    let headers = reader
        .headers()
        .map_err(|error| LayoutError::damaged(&path, error.to_string()))?
        .clone();
    let column = |names: &[&str]| {
        let place = names.iter().find_map(|name| {
            headers
                .iter()
                .position(|header| header.trim_start_matches('\u{feff}').trim() == *name)
        });
        place.ok_or_else(|| {
            let found: Vec<&str> = headers.iter().take(20).collect();
            LayoutError::damaged(
                &path,
                format!("its columns are {found:?}; expected one of {names:?} among them"),
            )
        })
    };
    let (prompt, video) = (column(&PROMPT_NAMES)?, column(&VIDEO_NAMES)?);
    let sample = headers.iter().position(|header| header.trim() == "sample");
    let mut record = StringRecord::new();
    loop {
        left.set(MAX_TEXT_BYTES);
        let line = reader.position().line();
        let listed = match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => entry(folder, &record, prompt, video, sample),
            Err(error) => match error.kind() {
                ErrorKind::Utf8 { .. } => Err(RecordError::Utf8(error)),
                _ => return Err(LayoutError::damaged(&path, format!("line {line}: {error}"))),
            },
        };
        let listed =
            listed.map_err(|problem| Problem::new(format!("{name}, line {line}"), problem));
        if !each(listed) {
            return Ok(());
        }
    }
}

/// Why a record lists no clip.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("it has {found} fields; expected at least {expected}")]
    Fields { found: usize, expected: usize },
    #[error(transparent)]
    Utf8(csv::Error),
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The clip of a record; `prompt`, `video` and `sample` are the columns' numbers.
fn entry(
    folder: &Folder,
    record: &StringRecord,
    prompt: usize,
    video: usize,
    sample: Option<usize>,
) -> Result<Entry, RecordError> {
    let field = |place: usize| {
        record.get(place).ok_or_else(|| RecordError::Fields {
            found: record.len(),
            expected: place + 1,
        })
    };
    let sample = match sample
        .map(field)
        .transpose()?
        .filter(|text| !text.trim().is_empty())
    {
        None => None,
        Some(text) => {
            let number = text.trim().parse();
            Some(number.map_err(|_| EntryError::Sample(format!("{text:?}")))?)
        }
    };
    Ok(folder.entry(field(prompt)?, field(video)?, sample)?)
}

/// A file of which only so much is read for one record: a quote that is never closed would
/// otherwise take in all of it.
struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other(format!(
                "a record has more than {MAX_TEXT_BYTES} bytes; is a quote not closed?"
            ))
        })?);
        Ok(read)
    }
}

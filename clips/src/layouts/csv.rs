//! `manifest.csv`, `metadata.csv`: a header that names the columns, then one clip per record (RFC
//! 4180; quoted fields may hold line breaks).

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    path::Path,
    rc::Rc,
};

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem, manifests::each_manifest,
};
use crate::{
    manifest::{EntryError, PROMPT_NAMES, VIDEO_NAMES},
    text,
};

pub(super) const NAMES: [&str; 2] = ["manifest.csv", "metadata.csv"];

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    each_manifest(folder, &NAMES, each, &|path, base, each| {
        list_file(folder, path, base, each)
    })
}

/// The numbers of the columns that are read.
struct Columns {
    all: usize,
    prompt: usize,
    video: usize,
    sample: Option<usize>,
}

/// Says whether `each` wants to hear more.
fn list_file(
    folder: &Folder,
    path: &Path,
    base: &Path,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<bool, LayoutError> {
    let name = folder.name(path);
    let left = Rc::new(Cell::new(MAX_TEXT_BYTES));
    let open = Rc::new(Cell::new(false));
    let error = LayoutError::io(path);
    let file = File::open(path).map_err(&error)?;
    let bytes = file.metadata().map_err(&error)?.len();
    let file = Bounded {
        file,
        left: left.clone(),
        open: open.clone(),
    };
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .buffer_capacity(1 << 16)
        .from_reader(file);
    let headers = reader
        .headers()
        .map_err(|error| LayoutError::damaged(path, error.to_string()))?
        .clone();
    let column = |names: &[&str]| {
        let place = names.iter().find_map(|name| {
            headers
                .iter()
                .position(|header| text::unmarked(header).trim() == *name)
        });
        place.ok_or_else(|| {
            let found: Vec<&str> = headers.iter().take(20).collect();
            LayoutError::damaged(
                path,
                format!("its columns are {found:?}; expected one of {names:?} among them"),
            )
        })
    };
    let columns = Columns {
        all: headers.len(),
        prompt: column(&PROMPT_NAMES)?,
        video: column(&VIDEO_NAMES)?,
        sample: headers.iter().position(|header| header.trim() == "sample"),
    };
    let mut record = StringRecord::new();
    loop {
        left.set(MAX_TEXT_BYTES);
        let line = reader.position().line();
        let listed = match reader.read_record(&mut record) {
            Ok(false) => return Ok(true),
            // The reader takes the end of the file for the missing quote.
            Ok(true)
                if open.get()
                    && reader.position().byte() >= bytes
                    && record.iter().any(|field| field.contains('\n')) =>
            {
                Err(RecordError::OpenQuote)
            }
            Ok(true) => entry(folder, base, &record, &columns),
            Err(error) => match error.kind() {
                ErrorKind::Utf8 { .. } => Err(RecordError::Utf8(error)),
                _ => return Err(LayoutError::damaged(path, format!("line {line}: {error}"))),
            },
        };
        let listed =
            listed.map_err(|problem| Problem::new(format!("{name}, line {line}"), problem));
        if !each(listed) {
            return Ok(false);
        }
    }
}

/// Why a record lists no clip.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("it has {found} fields; expected at least {expected}")]
    Fields { found: usize, expected: usize },
    #[error(
        "it has {found} fields and the header names {expected}; a text that holds a comma has to \
            stand in double quotes"
    )]
    Commas { found: usize, expected: usize },
    #[error(
        "a double quote is never closed, so that every line after it is part of a text; close it, \
            or write it twice where it is meant"
    )]
    OpenQuote,
    #[error(transparent)]
    Utf8(csv::Error),
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The clip of a record.
fn entry(
    folder: &Folder,
    base: &Path,
    record: &StringRecord,
    columns: &Columns,
) -> Result<Entry, RecordError> {
    if record.len() > columns.all {
        return Err(RecordError::Commas {
            found: record.len(),
            expected: columns.all,
        });
    }
    let field = |place: usize| {
        record.get(place).ok_or_else(|| RecordError::Fields {
            found: record.len(),
            expected: place + 1,
        })
    };
    let sample = match columns
        .sample
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
    Ok(folder.entry(base, field(columns.prompt)?, field(columns.video)?, sample)?)
}

/// A file of which only so much is read for one record: a quote that is never closed would
/// otherwise take in all of it.
struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
    /// Whether the quotes so far leave one open: they stand in pairs, also where one is meant.
    open: Rc<Cell<bool>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let quotes = buffer[..read].iter().filter(|byte| **byte == b'"').count();
        self.open.set(self.open.get() != (quotes % 2 == 1));
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| {
            io::Error::other(format!(
                "a record has more than {MAX_TEXT_BYTES} bytes; is a quote not closed?"
            ))
        })?);
        Ok(read)
    }
}

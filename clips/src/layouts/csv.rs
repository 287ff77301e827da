//! `manifest.csv`, `metadata.csv`: a header that names the columns, then one clip per record (RFC
//! 4180; quoted fields may hold line breaks).

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    rc::Rc,
};

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{Folder, LayoutError, Listed, MAX_TEXT_BYTES, PROMPT_NAMES, Problem, VIDEO_NAMES};

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
        let read = reader.read_record(&mut record);
        let listed = match read {
            Ok(false) => return Ok(()),
            Ok(true) => entry(folder, &record, prompt, video, sample),
            Err(error) => match error.kind() {
                ErrorKind::Utf8 { .. } => Err(error.to_string()),
                _ => return Err(LayoutError::damaged(&path, format!("line {line}: {error}"))),
            },
        };
        if !each(listed.map_err(|problem| Problem {
            file: format!("{name}, line {line}"),
            problem,
        })) {
            return Ok(());
        }
    }
}

fn entry(
    folder: &Folder,
    record: &StringRecord,
    prompt: usize,
    video: usize,
    sample: Option<usize>,
) -> Result<super::Entry, String> {
    let field = |place: usize| {
        record.get(place).ok_or_else(|| {
            format!(
                "it has {} fields; expected at least {}",
                record.len(),
                place + 1
            )
        })
    };
    let sample = match sample
        .map(field)
        .transpose()?
        .filter(|text| !text.trim().is_empty())
    {
        None => None,
        Some(text) => Some(
            text.trim()
                .parse()
                .map_err(|_| format!("\"sample\" is {text:?}; expected a whole number from 0"))?,
        ),
    };
    folder.entry(field(prompt)?, field(video)?, sample)
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

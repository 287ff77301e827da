//! The pages of a column: where they are, and that none unpacks to more than it says.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use parquet::{
    basic::Compression,
    column::page::{Page as Unpacked, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{
        metadata::ColumnChunkMetaData, page_index::offset_index::PageLocation,
        serialized_reader::SerializedPageReader,
    },
};

use super::error::{FileError, MAX_PAGE_BYTES};
use crate::layouts::thrift::{self, Numbers, ThriftError};

/// Most bytes of a page's header, statistics included.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// A page, packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    /// The header's first byte.
    start: u64,
    /// The header's bytes.
    header: u64,
    packed: u64,
    unpacked: u64,
    /// Levels of a page of the second version, which are in front and never packed.
    levels: u64,
    first_row: u64,
}

/// The pages of a column.
#[derive(Debug)]
pub(super) struct Pages {
    dictionary: Option<Page>,
    data: Vec<Page>,
}

impl Pages {
    /// Goes from page header to page header of a column of `rows` rows: none may claim to unpack to
    /// more than [`MAX_PAGE_BYTES`], and together they hold those rows.
    pub fn of(path: &Path, chunk: &ColumnChunkMetaData, rows: u64) -> Result<Self, FileError> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let dictionary = chunk.dictionary_page_offset().filter(|offset| *offset > 0);
        let start = dictionary.unwrap_or(i64::MAX).min(chunk.data_page_offset());
        let (start, bytes) = (
            u64::try_from(start)?,
            u64::try_from(chunk.compressed_size())?,
        );
        let end = start.checked_add(bytes).filter(|end| *end <= length);
        let end = end.ok_or(FileError::Column {
            bytes,
            start,
            length,
        })?;
        let mut pages = Self {
            dictionary: None,
            data: Vec::new(),
        };
        let (mut place, mut held) = (start, 0u64);
        while place < end {
            let (numbers, header) = header(&mut file, place, end)?;
            let number = |field| {
                let found = numbers.iter().find(|(of, _)| *of == field);
                found.map(|&(_, value)| value)
            };
            let size = |field| number(field).unwrap_or(-1);
            let (unpacked, packed) = (size([2, 0]), size([3, 0]));
            if !(0..=MAX_PAGE_BYTES).contains(&unpacked) || !(0..=MAX_PAGE_BYTES).contains(&packed)
            {
                return Err(FileError::Page { packed, unpacked });
            }
            let levels = number([8, 5]).unwrap_or(0).max(0) + number([8, 6]).unwrap_or(0).max(0);
            let page = Page {
                start: place,
                header,
                packed: packed as u64,
                unpacked: unpacked as u64,
                levels: levels as u64,
                first_row: held,
            };
            place += header + packed as u64;
            if place > end {
                return Err(FileError::Column {
                    bytes: place - start,
                    start,
                    length: end,
                });
            }
            // Data, dictionary, data of the second version; nobody writes others.
            match number([1, 0]) {
                Some(0) => held = held.saturating_add(whole(number([5, 1]))),
                Some(3) => held = held.saturating_add(whole(number([8, 3]))),
                Some(2) if pages.data.is_empty() && pages.dictionary.is_none() => {
                    pages.dictionary = Some(page);
                    continue;
                }
                kind => return Err(FileError::PageKind(kind.unwrap_or(-1))),
            }
            pages.data.push(page);
        }
        match held == rows {
            true => Ok(pages),
            false => Err(FileError::Pages { held, rows }),
        }
    }

    /// A reader of the column, from the top.
    pub fn reader(
        &self,
        path: &Path,
        chunk: &ColumnChunkMetaData,
        rows: u64,
    ) -> Result<Box<dyn PageReader>, FileError> {
        let locations = self.data.iter().map(|page| PageLocation {
            offset: page.start as i64,
            compressed_page_size: (page.header + page.packed) as i32,
            first_row_index: page.first_row as i64,
        });
        let file = std::sync::Arc::new(File::open(path)?);
        let locations = Some(locations.collect());
        let reader = Bounded {
            inner: SerializedPageReader::new(file, chunk, rows as usize, locations)?,
            file: File::open(path)?,
            codec: chunk.compression(),
            pages: self.data.iter().copied().collect(),
            has_dictionary: self.dictionary.is_some(),
        };
        if let Some(dictionary) = &self.dictionary {
            reader.check(dictionary)?;
        }
        Ok(Box::new(reader))
    }
}

/// A count; one below zero is none.
fn whole(count: Option<i64>) -> u64 {
    count
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0)
}

/// The numbers in the page header at `place`, and its bytes.
fn header(file: &mut File, place: u64, end: u64) -> Result<(Numbers, u64), FileError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(place))?;
    // Headers are short; one with long statistics is read again.
    let mut walked = Err(ThriftError::CutShort);
    for most in [256, MAX_HEADER_BYTES] {
        let more = most.min(end - place).saturating_sub(bytes.len() as u64);
        file.take(more).read_to_end(&mut bytes)?;
        walked = thrift::walk(&bytes);
        if walked.is_ok() {
            break;
        }
    }
    let (numbers, length) = walked.map_err(FileError::PageHeader)?;
    Ok((numbers, length as u64))
}

/// Some of the reader's decoders unpack until their input ends, whatever the page's header says; so
/// a page is unpacked into nothing first.
struct Bounded {
    inner: SerializedPageReader<File>,
    file: File,
    codec: Compression,
    /// Data pages that are to come.
    pages: VecDeque<Page>,
    /// Whether the dictionary is to come before them.
    has_dictionary: bool,
}

impl Bounded {
    fn check(&self, page: &Page) -> Result<()> {
        let at = page.start + page.header + page.levels;
        let packed = page.packed.saturating_sub(page.levels);
        let limit = page.unpacked.saturating_sub(page.levels);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))?;
        let data = io::BufReader::new(file.take(packed));
        let mut decoder: Box<dyn Read + '_> = match self.codec {
            Compression::GZIP(_) => Box::new(flate2::read::MultiGzDecoder::new(data)),
            Compression::BROTLI(_) => Box::new(brotli::Decompressor::new(data, 1 << 12)),
            Compression::LZ4 => Box::new(lz4_flex::frame::FrameDecoder::new(data)),
            // Unpacked into as many bytes as the header says.
            _ => return Ok(()),
        };
        let mut unpacked = 0;
        let mut buffer = [0; 1 << 13];
        // Damage is for the reader to find, which gets as far as this.
        while let Ok(read @ 1..) = decoder.read(&mut buffer) {
            unpacked += read as u64;
            if unpacked > limit {
                let problem = format!("a page unpacks to more than the {limit} bytes it says");
                return Err(ParquetError::General(problem));
            }
        }
        Ok(())
    }

    /// The page that comes next, unless it is the dictionary.
    fn advance(&mut self) -> Option<Page> {
        match std::mem::take(&mut self.has_dictionary) {
            true => None,
            false => self.pages.pop_front(),
        }
    }
}

impl Iterator for Bounded {
    type Item = Result<Unpacked>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Bounded {
    fn get_next_page(&mut self) -> Result<Option<Unpacked>> {
        if let Some(page) = self.advance() {
            self.check(&page)?;
        }
        self.inner.get_next_page()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.advance();
        self.inner.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Unpacked>> {
        self.inner.take_deferred_dictionary()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

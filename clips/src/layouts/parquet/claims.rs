//! What a file claims of itself, compared with its size before its reader believes it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use parquet::file::{
    metadata::ColumnChunkMetaData,
    reader::{FileReader, SerializedFileReader},
};

use super::error::{FileError, MAX_FOOTER_BYTES, MAX_PAGE_BYTES};
use crate::layouts::{
    archives::ordinary,
    thrift::{self, ThriftError},
};

/// Most bytes of a page's header, statistics included.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Opens a file whose description of itself is whole.
pub(super) fn open(path: &Path) -> Result<SerializedFileReader<File>, FileError> {
    ordinary(path)?;
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = [0; 8];
    if length < 12 {
        return Err(FileError::Short(length));
    }
    file.seek(SeekFrom::Start(length - 8))
        .and_then(|_| file.read_exact(&mut end))?;
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if &end[4..] != b"PAR1" {
        return Err(FileError::End);
    }
    if footer > MAX_FOOTER_BYTES || footer + 12 > length {
        return Err(FileError::Description { footer, length });
    }
    let mut description = vec![0; footer as usize];
    file.seek(SeekFrom::Start(length - 8 - footer))
        .and_then(|_| file.read_exact(&mut description))?;
    thrift::walk(&description).map_err(FileError::DamagedDescription)?;
    let reader = SerializedFileReader::new(file)?;
    let rows = reader.metadata().file_metadata().num_rows();
    if u64::try_from(rows).is_ok_and(|rows| rows <= length) {
        return Ok(reader);
    }
    Err(FileError::Rows { rows, length })
}

/// Goes from page header to page header: none may claim to unpack to more than [`MAX_PAGE_BYTES`].
pub(super) fn check_pages(path: &Path, chunk: &ColumnChunkMetaData) -> Result<(), FileError> {
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
    let mut place = start;
    let mut header = Vec::new();
    while place < end {
        header.clear();
        file.seek(SeekFrom::Start(place))?;
        // Headers are short; one with long statistics is read again.
        let mut walked = Err(ThriftError::CutShort);
        for bytes in [256, MAX_HEADER_BYTES] {
            (&file)
                .take(bytes.min(end - place) - header.len() as u64)
                .read_to_end(&mut header)?;
            walked = thrift::walk(&header);
            if walked.is_ok() {
                break;
            }
        }
        let (numbers, walked_bytes) = walked.map_err(FileError::PageHeader)?;
        let field = |field| {
            numbers
                .iter()
                .find(|(number, _)| *number == field)
                .map_or(-1, |&(_, value)| value)
        };
        let (unpacked, packed) = (field(2), field(3));
        if !(0..=MAX_PAGE_BYTES).contains(&unpacked) || !(0..=MAX_PAGE_BYTES).contains(&packed) {
            return Err(FileError::Page { packed, unpacked });
        }
        place += walked_bytes as u64 + packed as u64;
    }
    Ok(())
}

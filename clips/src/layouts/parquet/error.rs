//! Why a Parquet file, or one of its rows, lists no clip.

use std::{io, num::TryFromIntError};

use crate::{
    layouts::{
        opened::{GaveUp, OpenError},
        thrift::ThriftError,
    },
    manifest::{BYTES_NAMES, EntryError, PROMPT_NAMES, VIDEO_NAMES},
};

/// Most bytes of a file's description of itself.
pub(super) const MAX_FOOTER_BYTES: u64 = 4 << 20;

/// Most bytes of a page, unpacked: one long video.
pub(super) const MAX_PAGE_BYTES: i64 = 160 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::layouts) enum FileError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Reader(#[from] parquet::errors::ParquetError),
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    #[error(transparent)]
    Negative(#[from] TryFromIntError),
    #[error("it is no ordinary file")]
    NoFile,
    #[error("it has {0} bytes; expected a Parquet file")]
    Short(u64),
    #[error("it does not end as a Parquet file; is it cut short?")]
    End,
    #[error(
        "its description claims {footer} of its {length} bytes; at most {MAX_FOOTER_BYTES} are read"
    )]
    Description { footer: u64, length: u64 },
    #[error("its description is damaged: {0}")]
    DamagedDescription(ThriftError),
    #[error("it claims {rows} rows in {length} bytes")]
    Rows { rows: i64, length: u64 },
    #[error("its columns are {found:?}; expected one of {PROMPT_NAMES:?}")]
    NoPrompt { found: Vec<String> },
    #[error("its columns are {found:?}; expected one of {VIDEO_NAMES:?} or {BYTES_NAMES:?} too")]
    NoVideo { found: Vec<String> },
    #[error("row group {row_group} claims {rows} rows and holds {held}")]
    RowGroup {
        row_group: usize,
        rows: u64,
        held: u64,
    },
    #[error("a page is of the unknown kind {0}, or its column's second dictionary")]
    PageKind(i64),
    #[error("the pages of a column hold {held} rows, and its row group claims {rows}")]
    Pages { held: u64, rows: u64 },
    #[error("it has {groups} row groups; expected number {row_group} too")]
    NoRowGroup { groups: usize, row_group: usize },
    #[error("a row group lacks a column")]
    NoColumn,
    #[error("a column holds no text")]
    NoText,
    #[error("it has no column of bytes any more")]
    NoBytesColumn,
    #[error("the row holds no bytes")]
    NoBytes,
    #[error("a column claims {bytes} bytes from byte {start} on; the file has {length}")]
    Column { bytes: u64, start: u64, length: u64 },
    #[error("a page's header is damaged: {0}")]
    PageHeader(ThriftError),
    #[error(
        "a page claims {packed} bytes that unpack to {unpacked}; at most {MAX_PAGE_BYTES} are read"
    )]
    Page { packed: i64, unpacked: i64 },
}

/// Why a row lists no clip.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("its prompt is null")]
    NullPrompt,
    #[error("its path is null")]
    NullPath,
    #[error(transparent)]
    Utf8(parquet::errors::ParquetError),
    #[error(transparent)]
    Entry(#[from] EntryError),
}

//! The columns of a Parquet file that say what a clip shows and where it is.

use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    schema::types::{ColumnDescriptor, SchemaDescriptor},
};

use super::error::FileError;
use crate::manifest::{BYTES_NAMES, PROMPT_NAMES, VIDEO_NAMES};

/// Which columns say what a clip shows and where it is, by their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    pub prompt: usize,
    pub video: Video,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Video {
    Path(usize),
    /// Bytes and, where they are half of a structure as Hugging Face writes it, the path that is
    /// followed where they are null.
    Bytes {
        bytes: usize,
        path: Option<usize>,
    },
}

impl Columns {
    pub fn of(schema: &SchemaDescriptor) -> Result<Self, FileError> {
        let usable = |column: &ColumnDescriptor| {
            column.max_rep_level() == 0 && column.physical_type() == Type::BYTE_ARRAY
        };
        let is_text = |column: &ColumnDescriptor| {
            column.converted_type() == ConvertedType::UTF8
                || matches!(column.logical_type_ref(), Some(LogicalType::String))
        };
        let any = |_: &ColumnDescriptor| true;
        let is_bytes = |column: &ColumnDescriptor| !is_text(column);
        let place = |name: &str, wanted: &dyn Fn(&ColumnDescriptor) -> bool| {
            schema.columns().iter().position(|column| {
                column.path().string() == name && usable(column) && wanted(column)
            })
        };
        let found: Vec<String> = schema
            .columns()
            .iter()
            .take(20)
            .map(|column| column.path().string())
            .collect();
        let Some(prompt) = PROMPT_NAMES.iter().find_map(|name| place(name, &any)) else {
            return Err(FileError::NoPrompt { found });
        };
        let bytes = BYTES_NAMES
            .iter()
            .find_map(|name| Some((*name, place(name, &any)?)))
            .or_else(|| {
                let mut names = VIDEO_NAMES.iter();
                names.find_map(|name| Some((*name, place(name, &is_bytes)?)))
            });
        if let Some((name, bytes)) = bytes {
            let beside = name
                .strip_suffix(".bytes")
                .and_then(|outer| place(&format!("{outer}.path"), &is_text));
            let video = Video::Bytes {
                bytes,
                path: beside,
            };
            return Ok(Self { prompt, video });
        }
        let path = VIDEO_NAMES.iter().find_map(|name| {
            place(name, &is_text).or_else(|| place(&format!("{name}.path"), &is_text))
        });
        match path {
            Some(path) => Ok(Self {
                prompt,
                video: Video::Path(path),
            }),
            None => Err(FileError::NoVideo { found }),
        }
    }
}

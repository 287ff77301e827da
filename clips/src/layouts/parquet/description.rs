//! What a file says of itself, compared with its size before its reader believes it, and kept:
//! every clip of a file needs it again.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::{
    columns::Columns,
    error::{FileError, MAX_FOOTER_BYTES},
    pages::Pages,
};
use crate::layouts::thrift;

/// Descriptions that are kept: the file that is read, and the one after it.
const KEPT: usize = 2;

/// A file's description, and what was found out by it.
pub(super) struct Description {
    pub metadata: ParquetMetaData,
    pub columns: Columns,
    /// The pages of the column that was opened last, by row group and column.
    pub pages: Mutex<Option<(Chunk, Arc<Pages>)>>,
}

/// A row group and a column, by their numbers.
pub(super) type Chunk = (usize, usize);

/// The file as it was when it was described.
#[derive(PartialEq)]
struct Key {
    path: PathBuf,
    bytes: u64,
    changed: Option<SystemTime>,
}

static DESCRIPTIONS: Mutex<Vec<(Key, Arc<Description>)>> = Mutex::new(Vec::new());

/// The description of a file, read once as long as the file does not change.
pub(super) fn describe(path: &Path) -> Result<Arc<Description>, FileError> {
    let kind = path.metadata()?;
    if !kind.is_file() {
        return Err(FileError::NoFile);
    }
    let key = Key {
        path: path.to_path_buf(),
        bytes: kind.len(),
        changed: kind.modified().ok(),
    };
    let kept = || DESCRIPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, description)) = kept().iter().find(|(known, _)| *known == key) {
        return Ok(Arc::clone(description));
    }
    let metadata = read(path)?;
    let columns = Columns::of(metadata.file_metadata().schema_descr())?;
    let description = Arc::new(Description {
        metadata,
        columns,
        pages: Mutex::new(None),
    });
    let mut kept = kept();
    kept.retain(|(known, _)| known.path != key.path);
    kept.truncate(KEPT - 1);
    kept.insert(0, (key, Arc::clone(&description)));
    Ok(description)
}

fn read(path: &Path) -> Result<ParquetMetaData, FileError> {
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
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
    let rows = metadata.file_metadata().num_rows();
    if u64::try_from(rows).is_ok_and(|rows| rows <= length) {
        return Ok(metadata);
    }
    Err(FileError::Rows { rows, length })
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };

    use super::*;

    fn write(path: &Path, row_groups: usize) {
        let schema = "message m { required binary prompt (UTF8); required binary bytes; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::new());
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        for _ in 0..row_groups {
            let mut group = writer.next_row_group().unwrap();
            while let Some(column) = group.next_column().unwrap() {
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn a_files_description_is_read_once_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        write(&path, 2);
        let first = describe(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &describe(&path).unwrap()));
        write(&path, 1);
        let second = describe(&path).unwrap();
        let groups = |description: &Description| description.metadata.num_row_groups();
        assert_eq!([&first, &second].map(|one| groups(one)), [2, 1]);
    }
}

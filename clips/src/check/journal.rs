//! What was found about each clip, one JSON object per line, found again by the clip's name and its
//! file's size and time of change.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::Look;

/// The first line. Another number is another way of looking: everything is then looked at again.
const HEAD: &str = "{\"afd_check\":2}";

/// How the first line of every version begins.
const ANY_HEAD: &[u8] = b"{\"afd_check\":";

/// Most bytes of a line.
const MAX_LINE: u64 = 1 << 20;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot use the journal {path}: {source}")]
    Io {
        /// The journal.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// It is some other file.
    #[error(
        "{0} is no journal of this program, or of another version of it; remove it or name another"
    )]
    Foreign(PathBuf),
}

/// One clip.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    pub file: String,
    /// Changes when the file does.
    pub stamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Look>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

pub(super) struct Journal {
    path: PathBuf,
    reader: BufReader<File>,
    writer: BufWriter<File>,
    end: u64,
    /// Where the line about a clip begins, by a hash of its name and stamp.
    places: HashMap<u64, u64>,
}

impl Journal {
    /// Opens a journal, or starts one; `None` is a temporary file. What a kill left of its last
    /// line is cut off.
    pub fn open(path: Option<&Path>) -> Result<Self, JournalError> {
        let shown = path.map_or_else(|| PathBuf::from("in a temporary file"), Path::to_path_buf);
        let error = |source| JournalError::Io {
            path: shown.clone(),
            source,
        };
        if path.is_some_and(|path| path.symlink_metadata().is_ok_and(|kind| !kind.is_file())) {
            return Err(JournalError::Foreign(shown));
        }
        let file = match path {
            Some(path) => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path),
            None => tempfile::tempfile(),
        };
        let file = file.map_err(error)?;
        let mut reader = BufReader::new(file.try_clone().map_err(error)?);
        let mut places = HashMap::new();
        let (mut end, mut line) = (0, Vec::new());
        loop {
            line.clear();
            reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .map_err(error)?;
            let whole = line.strip_suffix(b"\n");
            match whole {
                Some(text) if end == 0 && text == HEAD.as_bytes() => {}
                Some(text) if end > 0 => {
                    let Ok(record) = serde_json::from_slice::<Record>(text) else {
                        break;
                    };
                    places.insert(key(&record.file, &record.stamp), end);
                }
                // What another version saw is forgotten.
                Some(text) if end == 0 && text.starts_with(ANY_HEAD) => break,
                None if line.is_empty() || end > 0 || HEAD.as_bytes().starts_with(&line) => break,
                _ => return Err(JournalError::Foreign(shown)),
            }
            end += line.len() as u64;
        }
        file.set_len(end).map_err(error)?;
        let mut writer = BufWriter::new(file);
        writer.seek(SeekFrom::Start(end)).map_err(error)?;
        let mut journal = Self {
            path: shown,
            reader,
            writer,
            end,
            places,
        };
        if end == 0 {
            journal.line(HEAD.as_bytes())?;
        }
        Ok(journal)
    }

    /// What is known about a clip, and where.
    pub fn find(&mut self, file: &str, stamp: &str) -> Result<Option<(Record, u64)>, JournalError> {
        let Some(&at) = self.places.get(&key(file, stamp)) else {
            return Ok(None);
        };
        let record = self.read(at)?;
        Ok((record.file == file && record.stamp == stamp).then_some((record, at)))
    }

    /// Adds a clip; says where.
    pub fn add(&mut self, record: &Record) -> Result<u64, JournalError> {
        let at = self.end;
        let text = serde_json::to_vec(record).map_err(|source| self.error(source.into()))?;
        self.line(&text)?;
        self.places.insert(key(&record.file, &record.stamp), at);
        Ok(at)
    }

    /// The clip whose line begins there.
    pub fn read(&mut self, at: u64) -> Result<Record, JournalError> {
        self.flush()?;
        let mut line = Vec::new();
        let read = self.reader.seek(SeekFrom::Start(at)).and_then(|_| {
            self.reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
        });
        // Reader and writer share one place in the file.
        let back = self.writer.get_mut().seek(SeekFrom::Start(self.end));
        let record = read
            .and(back)
            .and_then(|_| Ok(serde_json::from_slice(&line)?));
        record.map_err(|source| self.error(source))
    }

    /// Hands everything to the file system.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.writer.flush().map_err(|source| self.error(source))
    }

    /// Hands everything to the disk.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        self.writer
            .get_ref()
            .sync_all()
            .map_err(|source| self.error(source))
    }

    fn line(&mut self, text: &[u8]) -> Result<(), JournalError> {
        self.end += text.len() as u64 + 1;
        self.writer
            .write_all(text)
            .and_then(|()| self.writer.write_all(b"\n"))
            .map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> JournalError {
        JournalError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

fn key(file: &str, stamp: &str) -> u64 {
    let hash = blake3::hash(format!("{file}\0{stamp}").as_bytes());
    u64::from_le_bytes(std::array::from_fn(|index| hash.as_bytes()[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(file: &str, stamp: &str) -> Record {
        Record {
            file: file.to_string(),
            stamp: stamp.to_string(),
            look: None,
            problem: Some(format!("{file} is bad")),
        }
    }

    #[test]
    fn records_are_found_again_unless_their_file_changed_and_torn_lines_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(Some(&path)).unwrap();
        let places = [
            journal.add(&record("a", "1")).unwrap(),
            journal.add(&record("b", "1")).unwrap(),
        ];
        assert_eq!(journal.read(places[0]).unwrap(), record("a", "1"));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(Some(&path)).unwrap();
            assert_eq!(
                journal.find("a", "1").unwrap().is_some(),
                cut as u64 >= places[1],
                "{cut}"
            );
            assert_eq!(journal.find("a", "2").unwrap(), None);
            journal.add(&record("c", "1")).unwrap();
            journal.sync().unwrap();
            let mut again = Journal::open(Some(&path)).unwrap();
            assert_eq!(
                again.find("c", "1").unwrap().map(|(record, _)| record),
                Some(record("c", "1")),
                "{cut}"
            );
        }
    }

    #[test]
    fn reading_between_additions_disturbs_nothing() {
        let mut journal = Journal::open(None).unwrap();
        let mut places = Vec::new();
        for index in 0..200 {
            places.push(journal.add(&record(&format!("clip {index}"), "1")).unwrap());
            let earlier = index / 2;
            assert_eq!(
                journal.read(places[earlier]).unwrap(),
                record(&format!("clip {earlier}"), "1")
            );
        }
        for (index, place) in places.iter().enumerate() {
            assert_eq!(
                journal.read(*place).unwrap(),
                record(&format!("clip {index}"), "1")
            );
        }
    }

    #[test]
    fn what_another_version_saw_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(Some(&path)).unwrap();
        journal.add(&record("a", "1")).unwrap();
        journal.sync().unwrap();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen(":2}", ":1}", 1)).unwrap();
        let mut journal = Journal::open(Some(&path)).unwrap();
        assert_eq!(journal.find("a", "1").unwrap(), None);
        journal.add(&record("b", "1")).unwrap();
        journal.sync().unwrap();
        let mut again = Journal::open(Some(&path)).unwrap();
        assert!(again.find("b", "1").unwrap().is_some());
    }

    #[test]
    fn other_files_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "mine\n").unwrap();
        assert!(matches!(
            Journal::open(Some(&path)),
            Err(JournalError::Foreign(_))
        ));
        assert!(matches!(
            Journal::open(Some(folder.path())),
            Err(JournalError::Foreign(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine\n");
    }
}

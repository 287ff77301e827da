//! Append-only files of JSON lines that survive a kill at any moment.
//!
//! A line is on disk when [`Journal::append`] returns. A kill or a full disk leaves a last line
//! without its newline. It is ignored when the journal is read, and cut off when it is opened for
//! writing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::stage;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error(
        "cannot {action} {path}: {source}; check that the disk has space and that the directory is \
            writable"
    )]
    Io {
        /// "read", "write" or "replace".
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// A whole line is not one that this program wrote.
    #[error(
        "{path}, line {line}: {problem}; the journal was edited or damaged: put a backup in its \
            place, or move the directory away"
    )]
    Line {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the JSON reader said.
        problem: String,
    },
}

/// A journal of `T`, open for appending.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    lines: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// What the journal at `path` says, without its last line where that is torn; nothing if there
    /// is no such file.
    ///
    /// # Errors
    /// [`JournalError`], with the line number, for a whole line that is no `T`.
    pub fn read(path: &Path) -> Result<Vec<T>, JournalError> {
        Ok(Self::read_whole_lines(path)?.0)
    }

    /// The same, and the journal for appending behind its last whole line. One process at a time:
    /// that is for the caller to see to.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<(Vec<T>, Self), JournalError> {
        let error = |source| JournalError::Io {
            action: "write",
            path: path.to_path_buf(),
            source,
        };
        let (lines, length) = Self::read_whole_lines(path)?;
        let fresh = !path.exists();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(error)?;
        if file.metadata().map_err(error)?.len() != length {
            file.set_len(length)
                .and_then(|()| file.sync_all())
                .map_err(error)?;
        }
        if fresh {
            stage::sync_directory_of(path).map_err(error)?;
        }
        Ok((
            lines,
            Self {
                path: path.to_path_buf(),
                file,
                lines: PhantomData,
            },
        ))
    }

    /// Adds a line; it is on disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`]. What was written of the line is then cut off again, so that the next
    /// one does not continue it.
    pub fn append(&mut self, line: &T) -> Result<(), JournalError> {
        let error = |source| JournalError::Io {
            action: "write",
            path: self.path.clone(),
            source,
        };
        // One write, so that a kill between two of them cannot leave half a line.
        let text = serde_json::to_string(line).map_err(|source| error(source.into()))? + "\n";
        let length = self.file.metadata().map_err(error)?.len();
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| {
            // A full disk takes no more, but always gives back.
            let _ = self.file.set_len(length);
            error(source)
        })
    }

    /// Replaces all lines at once: a reader, or a kill, meets either the old ones or all of the
    /// new.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the old lines are then still there.
    pub fn replace<'a>(
        &mut self,
        lines: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), JournalError>
    where
        T: 'a,
    {
        let error = |source| JournalError::Io {
            action: "replace",
            path: self.path.clone(),
            source,
        };
        let staged = stage::file(&self.path).map_err(error)?;
        let mut writer = io::BufWriter::new(staged.as_file());
        for line in lines {
            let text = serde_json::to_string(line).map_err(|source| error(source.into()))?;
            writeln!(writer, "{text}").map_err(error)?;
        }
        writer.flush().map_err(error)?;
        drop(writer);
        stage::replace_file(staged, &self.path).map_err(error)?;
        self.file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .map_err(error)?;
        Ok(())
    }

    /// The lines, and how many bytes they take.
    fn read_whole_lines(path: &Path) -> Result<(Vec<T>, u64), JournalError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(source) => {
                return Err(JournalError::Io {
                    action: "read",
                    path: path.to_path_buf(),
                    source,
                });
            }
        };
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let mut lines = Vec::new();
        for (index, line) in bytes[..whole]
            .split_inclusive(|&byte| byte == b'\n')
            .enumerate()
        {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let failed = |problem: serde_json::Error| JournalError::Line {
                path: path.to_path_buf(),
                line: index + 1,
                problem: problem.to_string(),
            };
            lines.push(serde_json::from_slice(line).map_err(failed)?);
        }
        Ok((lines, whole as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_order_and_more_can_be_added_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        assert!(Journal::<u32>::read(&path).unwrap().is_empty());
        let (lines, mut journal) = Journal::<u32>::open(&path).unwrap();
        assert!(lines.is_empty());
        (1..=3).for_each(|line| journal.append(&line).unwrap());
        drop(journal);
        let (lines, mut journal) = Journal::open(&path).unwrap();
        assert_eq!(lines, [1, 2, 3]);
        journal.append(&4).unwrap();
        assert_eq!(Journal::<u32>::read(&path).unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\"one\"\n\"two\"\n\"three\"\n";
        for length in 0..=text.len() {
            let path = folder.path().join(format!("{length}.jsonl"));
            fs::write(&path, &text[..length]).unwrap();
            let whole = text[..length].matches('\n').count();
            assert_eq!(Journal::<String>::read(&path).unwrap().len(), whole);
            assert_eq!(
                fs::read(&path).unwrap().len(),
                length,
                "reading changes nothing"
            );
            let (lines, mut journal) = Journal::<String>::open(&path).unwrap();
            assert_eq!(lines, ["one", "two", "three"][..whole]);
            journal.append(&"four".to_string()).unwrap();
            assert_eq!(
                Journal::<String>::read(&path).unwrap().last().unwrap(),
                "four"
            );
        }
    }

    #[test]
    fn a_whole_line_that_is_something_else_is_named_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "1\n\nx\n2\n").unwrap();
        let message = Journal::<u32>::open(&path).unwrap_err().to_string();
        assert!(message.contains("a.jsonl, line 3"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n\nx\n2\n");
    }

    #[test]
    fn replaced_lines_stand_instead_of_the_old_ones_and_can_be_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let (_, mut journal) = Journal::<u32>::open(&path).unwrap();
        [3, 1, 2]
            .iter()
            .for_each(|line| journal.append(line).unwrap());
        journal.replace(&[1, 2, 3]).unwrap();
        journal.append(&4).unwrap();
        assert_eq!(Journal::<u32>::read(&path).unwrap(), [1, 2, 3, 4]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

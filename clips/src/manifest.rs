//! `manifest.jsonl`: which video file shows which prompt, one JSON object per line.
//!
//! ```json
//! {"prompt": "a red ball bounces", "video": "clips/00000-000.gif", "sample": 0}
//! ```
//!
//! Other names of the two fields are those of [`crate::layouts`]; other fields are ignored.

use std::{
    fs,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    roots::Roots,
    shown::{shown, shown_path},
    stage,
    text::{self, TextError},
};

/// The manifest's file name inside its directory.
pub const FILE_NAME: &str = "manifest.jsonl";

/// Names that a prompt goes by.
pub(crate) const PROMPT_NAMES: [&str; 5] = ["prompt", "caption", "text", "prompt_en", "cap"];

/// Names that a video's path goes by.
pub(crate) const VIDEO_NAMES: [&str; 6] = [
    "video",
    "file_name",
    "path",
    "video_path",
    "file",
    "media_path",
];

/// Names that a column of videos' bytes goes by, beside those of paths.
pub(crate) const BYTES_NAMES: [&str; 6] =
    ["bytes", "mp4", "video.bytes", "file.bytes", "mov", "webm"];

const EXAMPLE: &str = r#"{"prompt": "a red ball bounces", "video": "clips/00000-000.gif"}"#;

/// One line: one clip of one prompt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ManifestEntry {
    /// What the clip shows; not blank.
    pub prompt: String,
    /// The clip's path, relative to the manifest's directory, always with forward slashes when
    /// written by this program.
    pub video: String,
    /// The sample index, counted from 0: which of the prompt's clips this is. `None` where its
    /// maker did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u64>,
    /// BLAKE3 of the clip's bytes, as stores of this program record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// A directory of clips and the lines that describe them; holds at least one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The directory that holds `manifest.jsonl`.
    pub directory: PathBuf,
    /// The lines in file order.
    pub entries: Vec<ManifestEntry>,
}

/// Why a manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", shown_path(path))]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The manifest or its directory.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// One line is not usable.
    #[error("{}, line {line}: {problem}", shown_path(path))]
    Line {
        /// The manifest.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was found and what was expected.
        problem: EntryError,
    },
    /// It is in another encoding.
    #[error("{}: {problem}", shown_path(path))]
    Text {
        /// The manifest.
        path: PathBuf,
        /// Which.
        problem: TextError,
    },
    /// There is no line at all.
    #[error(
        "{} names no clip; expected one JSON object per line, such as {EXAMPLE}",
        shown_path(.0)
    )]
    Empty(PathBuf),
    /// There is a manifest already.
    #[error(
        "{} exists already and is never overwritten; choose another directory",
        shown_path(.0)
    )]
    Exists(PathBuf),
}

/// Why a line of a manifest, or what another layout says of a clip, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The line is no JSON object.
    #[error("not a JSON object ({0}); expected a line such as {EXAMPLE}")]
    NoObject(serde_json::Error),
    /// The sample index is something else.
    #[error("\"sample\" is {0}; expected a whole number from 0")]
    Sample(String),
    /// A field holds something else.
    #[error("{name:?} is {value}; expected a string")]
    NoString {
        /// The field.
        name: &'static str,
        /// What it holds, cut where it is long.
        value: String,
    },
    /// A field is there under none of its names.
    #[error("none of {0:?} is in it; expected a line such as {EXAMPLE}")]
    Missing(&'static [&'static str]),
    /// The prompt says nothing.
    #[error("the prompt is blank; expected what the clip shows")]
    BlankPrompt,
    /// The video's path leads out of the directory.
    #[error(
        "the video's path is \"{}\"; expected a path inside the manifest's directory, without \
            \"..\"",
        shown_path(.0)
    )]
    Outside(PathBuf),
    /// A link leads out of the directory.
    #[error(
        "the video's path is \"{}\", a link to {}; expected a file inside the manifest's directory \
            or, in a cache of Hugging Face's, among its blobs",
        shown_path(path),
        shown_path(target)
    )]
    LinkOutside {
        /// The video's path.
        path: PathBuf,
        /// Where the link leads.
        target: PathBuf,
    },
}

impl Manifest {
    /// Reads `directory/manifest.jsonl`. Blank lines are skipped.
    ///
    /// # Errors
    /// [`ManifestError`], with the line number, for anything but an object with a prompt and a path
    /// that stays inside `directory`, links resolved. Whether the named file exists is not checked
    /// here.
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(FILE_NAME);
        let error = |source| ManifestError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let bytes = fs::read(&path).map_err(error)?;
        let text = text::decoded(&bytes).map_err(|problem| ManifestError::Text {
            path: path.clone(),
            problem,
        })?;
        let roots = Roots::of(directory).map_err(error)?;
        let mut entries = Vec::new();
        for (index, line) in text
            .lines()
            .map(text::unmarked)
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let checked =
                parse(line).and_then(|(entry, _)| check(&entry, directory, &roots).map(|()| entry));
            entries.push(checked.map_err(|problem| ManifestError::Line {
                path: path.clone(),
                line: index + 1,
                problem,
            })?);
        }
        if entries.is_empty() {
            Err(ManifestError::Empty(path))
        } else {
            Ok(Self {
                directory: directory.to_path_buf(),
                entries,
            })
        }
    }

    /// Writes `directory/manifest.jsonl`, under the rules that [`Manifest::read`] checks.
    ///
    /// # Errors
    /// [`ManifestError::Exists`] when there is one already; the others as for reading.
    pub fn write(directory: &Path, entries: &[ManifestEntry]) -> Result<(), ManifestError> {
        let path = directory.join(FILE_NAME);
        let error = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => ManifestError::Exists(path.clone()),
            _ => ManifestError::Io {
                action: "write",
                path: path.clone(),
                source,
            },
        };
        if entries.is_empty() {
            return Err(ManifestError::Empty(path));
        }
        let roots = Roots::of(directory).map_err(error)?;
        let mut staged = stage::file(&path).map_err(error)?;
        for (index, entry) in entries.iter().enumerate() {
            check(entry, directory, &roots).map_err(|problem| ManifestError::Line {
                path: path.clone(),
                line: index + 1,
                problem,
            })?;
            let line = serde_json::to_string(entry).map_err(|source| error(source.into()))?;
            writeln!(staged, "{line}").map_err(error)?;
        }
        stage::publish_file(staged, &path).map_err(error)
    }

    /// Where `entry`'s video lies.
    pub fn path(&self, entry: &ManifestEntry) -> PathBuf {
        self.directory.join(&entry.video)
    }
}

/// One line's fields, and how many captions it has: where several are listed, the first counts.
pub(crate) fn parse(line: &str) -> Result<(ManifestEntry, usize), EntryError> {
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(EntryError::NoObject)?;
    let sample = match fields.get("sample") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_u64();
            Some(number.ok_or_else(|| EntryError::Sample(cut(value)))?)
        }
    };
    let (name, prompt) = field(&fields, &PROMPT_NAMES)?;
    let (prompt, captions) = match prompt {
        Value::Array(captions) => (captions.first().unwrap_or(prompt), captions.len()),
        prompt => (prompt, 1),
    };
    let entry = ManifestEntry {
        prompt: string(name, prompt)?,
        video: field(&fields, &VIDEO_NAMES).and_then(|(name, value)| string(name, value))?,
        sample,
        blake3: fields
            .get("blake3")
            .and_then(Value::as_str)
            .map(String::from),
    };
    Ok((entry, captions))
}

/// The first of `names` that is present.
fn field<'a>(
    fields: &'a Map<String, Value>,
    names: &'static [&'static str],
) -> Result<(&'static str, &'a Value), EntryError> {
    names
        .iter()
        .find_map(|&name| fields.get(name).map(|value| (name, value)))
        .ok_or(EntryError::Missing(names))
}

fn string(name: &'static str, value: &Value) -> Result<String, EntryError> {
    match value {
        Value::String(value) => Ok(value.clone()),
        value => Err(EntryError::NoString {
            name,
            value: cut(value),
        }),
    }
}

/// A value as it is named: a stranger's is as long as it likes.
fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", shown(&text[..end])),
        None => shown(&text),
    }
}

/// A prompt that says something, and a path inside `directory`, whose roots are `roots`.
fn check(entry: &ManifestEntry, directory: &Path, roots: &Roots) -> Result<(), EntryError> {
    check_prompt(&entry.prompt)?;
    check_path(Path::new(&entry.video), directory, roots).map(drop)
}

/// A prompt that says something.
pub(crate) fn check_prompt(prompt: &str) -> Result<(), EntryError> {
    if prompt.trim().is_empty() {
        return Err(EntryError::BlankPrompt);
    }
    Ok(())
}

/// A path of a file or directory inside `directory`, whose roots are `roots`; gives where it really
/// is, where something is there.
pub(crate) fn check_path(
    path: &Path,
    directory: &Path,
    roots: &Roots,
) -> Result<Option<PathBuf>, EntryError> {
    let inside = path
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    let has_zero = path.as_os_str().as_encoded_bytes().contains(&0);
    if !inside || path.file_name().is_none() || has_zero {
        return Err(EntryError::Outside(path.to_path_buf()));
    }
    // A path that does not resolve names nothing that could be read.
    match directory.join(path).canonicalize() {
        Ok(target) if roots.contains(&target) => Ok(Some(target)),
        Ok(target) => Err(EntryError::LinkOutside {
            path: path.to_path_buf(),
            target,
        }),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;

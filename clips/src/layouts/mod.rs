//! Folders of clips as people have them: which clip shows which prompt, whatever the folder's
//! layout.
//!
//! | layout       | what the folder holds                                                         |
//! |--------------|-------------------------------------------------------------------------------|
//! | `jsonl`      | `manifest.jsonl` or `metadata.jsonl`: a prompt and a path per line            |
//! | `csv`        | `manifest.csv` or `metadata.csv`: a header, then a prompt and a path a record |
//! | `pairs`      | videos or directories of frames, each with a `.txt` of the same name          |
//! | `webdataset` | `.tar` shards: a video and a `.txt` or `.json` of the same key in succession  |
//! | `parquet`    | `.parquet` files with a prompt column and a path or bytes column              |
//!
//! `csv` is Hugging Face's videofolder, and `parquet` is how its datasets are stored.
//!
//! Prompts are called `prompt`, `caption`, `text` or `prompt_en`; videos `video`, `file_name`,
//! `path`, `video_path`, `file` or `bytes`. Listing streams: a folder of any size is gone through
//! with a line, a member or a few rows in memory.

mod archives;
mod csv;
mod jsonl;
mod pairs;
mod parquet;
mod place;
mod thrift;
mod webdataset;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

pub use place::Place;

use crate::{
    manifest::{EntryError, check_path, check_prompt},
    video_io::extension,
};

/// Most bytes of a manifest's line, a prompt's file or a member that describes a clip.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// How a folder says which clip shows which prompt; see the [module](self).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `manifest.jsonl`, `metadata.jsonl`.
    Jsonl,
    /// `manifest.csv`, `metadata.csv`.
    Csv,
    /// `a.mp4` and `a.txt`.
    Pairs,
    /// Tar shards.
    Webdataset,
    /// Parquet files.
    Parquet,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Pairs => "pairs",
            Self::Webdataset => "webdataset",
            Self::Parquet => "parquet",
        })
    }
}

/// One clip of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the clip shows; not blank.
    pub prompt: String,
    /// Where its bytes are.
    pub place: Place,
    /// The sample index, counted from 0: which of the prompt's clips this is. `None` where its
    /// maker did not say.
    pub sample: Option<u64>,
}

/// A clip, or a line, member or file, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Which: a path inside the folder, with a line, row or member.
    pub file: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl Problem {
    fn new(file: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self {
            file: file.into(),
            problem: problem.to_string(),
        }
    }
}

/// What a folder lists: a clip, or why there is none.
pub type Listed = Result<Entry, Problem>;

/// Why a folder cannot be listed at all.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// No layout, or several.
    #[error(
        "{path} holds {found}; expected one of: manifest.jsonl or metadata.csv naming clips, \
            videos with a .txt each, .tar shards (WebDataset), .parquet files{advice}"
    )]
    Unclear {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A file that describes all others is damaged.
    #[error("{path}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
}

impl LayoutError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            problem: problem.into(),
        }
    }
}

impl Layout {
    /// The layout of `directory`, by what it holds.
    ///
    /// # Errors
    /// [`LayoutError::Unclear`] for a folder of none or of several, which names what was found.
    pub fn detect(directory: &Path) -> Result<Self, LayoutError> {
        let mut found = BTreeSet::new();
        let mut other = BTreeSet::new();
        for path in files(directory, 2)? {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let at_top = path.parent() == Some(directory);
            match extension(&path).as_str() {
                "tar" => _ = found.insert(Self::Webdataset),
                "parquet" => _ = found.insert(Self::Parquet),
                _ if at_top && jsonl::NAMES.contains(&name.as_str()) => {
                    _ = found.insert(Self::Jsonl)
                }
                _ if at_top && csv::NAMES.contains(&name.as_str()) => _ = found.insert(Self::Csv),
                extension if other.len() < 8 => {
                    _ = other.insert(if extension.is_empty() {
                        name
                    } else {
                        format!("*.{extension}")
                    })
                }
                _ => {}
            }
        }
        let unclear = |found: String, advice| LayoutError::Unclear {
            path: directory.to_path_buf(),
            found,
            advice,
        };
        match found.len() {
            1 => Ok(found.first().copied().unwrap_or(Self::Pairs)),
            0 if pairs::any(directory)? => Ok(Self::Pairs),
            0 if other.is_empty() => Err(unclear("no files".to_string(), "")),
            0 => Err(unclear(
                format!(
                    "no clips, but {}",
                    other.into_iter().collect::<Vec<_>>().join(", ")
                ),
                "",
            )),
            _ => {
                let names: Vec<String> = found.iter().map(ToString::to_string).collect();
                Err(unclear(
                    format!("several layouts: {}", names.join(", ")),
                    "; say which with teacher.layout or --layout",
                ))
            }
        }
    }

    /// Tells `each` all clips of `directory`, in a fixed order, and what is wrong with those that
    /// cannot be used; stops when it says `false`. Whether a clip's bytes are a video is not looked
    /// at here.
    ///
    /// # Errors
    /// [`LayoutError`]: the folder, or a file that describes all others, cannot be read at all.
    pub fn list(
        self,
        directory: &Path,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<(), LayoutError> {
        let root = directory
            .canonicalize()
            .map_err(LayoutError::io(directory))?;
        if !root.is_dir() {
            return Err(LayoutError::damaged(
                directory,
                "it is no directory; expected the folder that holds the clips",
            ));
        }
        let folder = Folder { directory, root };
        match self {
            Self::Jsonl => jsonl::list(&folder, each),
            Self::Csv => csv::list(&folder, each),
            Self::Pairs => pairs::list(&folder, each),
            Self::Webdataset => webdataset::list(&folder, each),
            Self::Parquet => parquet::list(&folder, each),
        }
    }
}

/// A folder, and where it really is.
struct Folder<'a> {
    directory: &'a Path,
    root: PathBuf,
}

impl Folder<'_> {
    /// The manifest among `names` that is there.
    fn manifest(&self, names: &[&str]) -> Result<PathBuf, LayoutError> {
        let found: Vec<PathBuf> = names
            .iter()
            .map(|name| self.directory.join(name))
            .filter(|path| path.exists())
            .collect();
        match &found[..] {
            [path]
                if self
                    .root
                    .join(path.file_name().unwrap_or_default())
                    .canonicalize()
                    .is_ok_and(|real| real.starts_with(&self.root) && real.is_file()) =>
            {
                Ok(path.clone())
            }
            [path] => Err(LayoutError::damaged(
                path,
                "it is no ordinary file of this folder",
            )),
            [] => Err(LayoutError::damaged(
                self.directory,
                format!("it holds no {}", names.join(" or ")),
            )),
            _ => Err(LayoutError::damaged(
                self.directory,
                format!("it holds both {}; remove one", names.join(" and ")),
            )),
        }
    }

    /// An entry whose prompt says something and whose path stays inside and names a file or a
    /// directory.
    fn entry(&self, prompt: &str, video: &str, sample: Option<u64>) -> Result<Entry, EntryError> {
        check_prompt(prompt)?;
        check_path(video, self.directory, &self.root)?;
        Ok(Entry {
            prompt: prompt.to_string(),
            place: Place::File(video.to_string()),
            sample,
        })
    }

    /// A path as it is named in problems.
    fn name(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.directory).unwrap_or(path);
        inside
            .to_string_lossy()
            .replace(std::path::MAIN_SEPARATOR, "/")
    }
}

/// A prompt of several lines as one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The ordinary files of `directory` and of directories inside, `depth` levels in all, in order of
/// their paths. Hidden names are passed over, links to directories are not followed.
fn files(directory: &Path, depth: usize) -> Result<Vec<PathBuf>, LayoutError> {
    let mut files = Vec::new();
    let mut directories = Vec::new();
    for path in children(directory)? {
        let kind = path.symlink_metadata().map_err(LayoutError::io(&path))?;
        if kind.is_dir() {
            directories.push(path)
        } else {
            files.push(path)
        }
    }
    if depth > 1 {
        for inside in directories {
            files.extend(self::files(&inside, depth - 1)?);
        }
    }
    Ok(files)
}

/// What is in a directory, in order of names; hidden names are passed over.
fn children(directory: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    let error = LayoutError::io(directory);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(&error)? {
        let entry = entry.map_err(&error)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;

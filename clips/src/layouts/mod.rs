//! Folders of clips as people have them: which clip shows which prompt, whatever the folder's
//! layout.
//!
//! | layout       | what the folder holds                                                         |
//! |--------------|-------------------------------------------------------------------------------|
//! | `jsonl`      | `manifest.jsonl` or `metadata.jsonl`: a prompt and a path per line            |
//! | `csv`        | `manifest.csv` or `metadata.csv`: a header, then a prompt and a path a record |
//! | `json`       | `manifest.json`, `metadata.json` or `videos2caption.json`: an array of those  |
//! | `lists`      | `videos.txt`, and `prompts.txt`, `prompt.txt` or `captions.txt` line by line  |
//! | `pairs`      | videos or directories of frames, each with a `.txt` of the same name          |
//! | `webdataset` | `.tar` shards: a video and a `.txt` or `.json` of the same key in succession  |
//! | `parquet`    | `.parquet` files with a prompt column and a path or bytes column              |
//!
//! `csv` is Hugging Face's videofolder, and `parquet` is how its datasets are stored;
//! `videos2caption.json` is FastVideo's, and `lists` are CogVideoX's and finetrainers'. Where the
//! folder itself has no such file, those of the directories inside are read, each for its own.
//!
//! Prompts are called `prompt`, `caption`, `text`, `prompt_en` or `cap`; videos `video`,
//! `file_name`, `path`, `video_path`, `file`, `media_path` or `bytes`. Listing streams: a folder of
//! any size is gone through with a line, a member or a few rows in memory, and 16 bytes for each
//! clip. What lies in the folder and is not used is counted and named ([`Unused`]).

mod archives;
mod csv;
mod detect;
mod error;
mod folder;
mod json;
mod jsonl;
mod lists;
mod manifests;
mod opened;
mod pairs;
mod parquet;
mod pictures;
mod place;
mod tar_members;
mod thrift;
mod unused;
mod walk;
mod webdataset;

use std::path::Path;

pub use error::LayoutError;
pub use place::Place;
pub use unused::{Kind, Unused};

use crate::shown::shown;
use folder::Folder;

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
    /// `metadata.json`, `videos2caption.json`.
    Json,
    /// `videos.txt` and `prompts.txt`.
    Lists,
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
            Self::Json => "json",
            Self::Lists => "lists",
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
    /// BLAKE3 of the clip's bytes ([`Place::content`]), where a manifest of this program's says so.
    pub blake3: Option<String>,
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
            problem: shown(&problem.to_string()),
        }
    }
}

/// What a folder lists: a clip, or why there is none.
pub type Listed = Result<Entry, Problem>;

impl Layout {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Jsonl,
        Self::Csv,
        Self::Json,
        Self::Lists,
        Self::Pairs,
        Self::Webdataset,
        Self::Parquet,
    ];

    /// The layout of `directory`, by what it holds.
    ///
    /// # Errors
    /// [`LayoutError::Unclear`] for a folder of none or of several, which names what was found.
    pub fn detect(directory: &Path) -> Result<Self, LayoutError> {
        detect::detect(directory)
    }

    /// Tells `each` all clips of `directory`, in a fixed order, and what is wrong with those that
    /// cannot be used; stops when it says `false`. Whether a clip's bytes are a video is not looked
    /// at here. Gives what lies there and was not told of; nothing where it was stopped.
    ///
    /// # Errors
    /// [`LayoutError`]: the folder, or a file that describes all others, cannot be read at all.
    pub fn list(
        self,
        directory: &Path,
        each: &mut dyn FnMut(Listed) -> bool,
    ) -> Result<Unused, LayoutError> {
        let folder = Folder::open(directory).map_err(LayoutError::io(directory))?;
        if !folder.roots.root().is_dir() {
            return Err(LayoutError::damaged(
                directory,
                "it is no directory; expected the folder that holds the clips",
            ));
        }
        let mut stopped = false;
        let mut heard = |listed| {
            let goes_on = each(listed);
            stopped |= !goes_on;
            goes_on
        };
        match self {
            Self::Jsonl => jsonl::list(&folder, &mut heard),
            Self::Csv => csv::list(&folder, &mut heard),
            Self::Json => json::list(&folder, &mut heard),
            Self::Lists => lists::list(&folder, &mut heard),
            Self::Pairs => pairs::list(&folder, &mut heard),
            Self::Webdataset => webdataset::list(&folder, &mut heard),
            Self::Parquet => parquet::list(&folder, &mut heard),
        }?;
        match stopped {
            true => Ok(Unused::default()),
            false => folder.unused(),
        }
    }
}

/// A prompt of several lines as one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

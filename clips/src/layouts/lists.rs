//! `prompts.txt` and `videos.txt`: a prompt a line, and on the same line of the other file its
//! video (CogVideoX's and finetrainers' lists).

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem,
    manifests::{each_manifest, manifest_in},
};
use crate::{
    manifest::EntryError,
    text::{self, TextError},
};

/// The list of videos.
pub(super) const NAMES: [&str; 1] = ["videos.txt"];

/// The list of prompts beside it.
const PROMPTS: [&str; 3] = ["prompts.txt", "prompt.txt", "captions.txt"];

/// Whether the list of videos `path` has one of prompts beside it.
pub(super) fn is_pair(path: &Path) -> Result<bool, LayoutError> {
    let directory = path.parent().unwrap_or(path);
    Ok(manifest_in(directory, &PROMPTS)?.is_some())
}

/// Why a line lists no clip.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("it is blank, and the same line of the prompts is not")]
    Blank,
    #[error("it begins with \"#\"; such lists have no comments, so remove it in both files")]
    Comment,
    #[error(transparent)]
    Entry(#[from] EntryError),
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    each_manifest(folder, &NAMES, each, &|path, base, each| {
        list_files(folder, path, base, each)
    })
}

fn list_files(
    folder: &Folder,
    path: &Path,
    base: &Path,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<bool, LayoutError> {
    let directory = path.parent().unwrap_or(folder.directory);
    let prompts = manifest_in(directory, &PROMPTS)?.ok_or_else(|| {
        let expected = PROMPTS.join(" or ");
        LayoutError::damaged(
            path,
            format!("no {expected} with the prompts lies beside it"),
        )
    })?;
    let real = prompts.canonicalize().map_err(LayoutError::io(&prompts))?;
    if !folder.roots.contains(&real) || !real.is_file() {
        let problem = "it is no ordinary file of this folder";
        return Err(LayoutError::damaged(&prompts, problem));
    }
    folder.use_file(&prompts);
    let name = folder.name(path);
    let (mut videos, mut prompts) = (Lines::open(path)?, Lines::open(&prompts)?);
    for number in 1.. {
        let (video, prompt) = (videos.next()?, prompts.next()?);
        let (video, prompt) = match (video, prompt) {
            (None, None) => break,
            (Some(video), Some(prompt)) => (video, prompt),
            // Blank lines at an end.
            (Some(rest), None) | (None, Some(rest)) if rest.trim_ascii().is_empty() => continue,
            // One list is longer: a line that is missing anywhere would shift all that follow.
            (video, _) => {
                let (longer, shorter) = match video {
                    Some(_) => (&videos, &prompts),
                    None => (&prompts, &videos),
                };
                let problem = format!(
                    "it goes on at line {number}, where {} ends; expected as many lines in both",
                    folder.name(shorter.path)
                );
                return Err(LayoutError::damaged(longer.path, problem));
            }
        };
        let listed = match line(folder, base, &video, &prompt) {
            Ok(None) => continue,
            Ok(Some(entry)) => Ok(entry),
            Err(problem) => Err(Problem::new(format!("{name}, line {number}"), problem)),
        };
        if !each(listed) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The clip of a line of both lists; none where both are blank.
fn line(
    folder: &Folder,
    base: &Path,
    video: &[u8],
    prompt: &[u8],
) -> Result<Option<Entry>, LineError> {
    let (video, prompt) = (text::decoded(video)?.trim(), text::decoded(prompt)?.trim());
    match (video.is_empty(), prompt.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err(LineError::Blank),
        _ if video.starts_with('#') || prompt.starts_with('#') => Err(LineError::Comment),
        _ => Ok(Some(folder.entry(base, prompt, video, None)?)),
    }
}

/// The lines of a file, one in memory.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, LayoutError> {
        let file = BufReader::new(File::open(path).map_err(LayoutError::io(path))?);
        Ok(Self { path, file })
    }

    /// The next line.
    fn next(&mut self) -> Result<Option<Vec<u8>>, LayoutError> {
        let mut line = Vec::new();
        self.file
            .by_ref()
            .take(MAX_TEXT_BYTES + 1)
            .read_until(b'\n', &mut line)
            .map_err(LayoutError::io(self.path))?;
        if line.len() as u64 > MAX_TEXT_BYTES {
            let problem = format!("a line has more than {MAX_TEXT_BYTES} bytes");
            return Err(LayoutError::damaged(self.path, problem));
        }
        Ok((!line.is_empty()).then_some(line))
    }
}

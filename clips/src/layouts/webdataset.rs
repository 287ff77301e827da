//! WebDataset shards: tar files in which the members of one sample share a key (the name up to its
//! first dot) and follow one another.
//!
//! Only headers and descriptions are read; a clip's bytes are read from their place in the archive
//! when it is decoded. <https://github.com/webdataset/webdataset#the-webdataset-format>

use std::{
    fs::File,
    io::{BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Component, Path},
};

use tar::{Archive, EntryType};

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, PROMPT_NAMES, Place, Problem,
    checked_prompt, ending, files,
};
use crate::video_io::is_video_name;

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    for shard in files(folder.directory, 2)?
        .into_iter()
        .filter(|path| ending(path) == "tar")
    {
        let mut goes_on = true;
        let mut heard = |listed| {
            goes_on = each(listed);
            goes_on
        };
        let name = folder.name(&shard);
        // The archive is whatever strangers made; a mistake of its reader must not end the program.
        let read = catch_unwind(AssertUnwindSafe(|| list_shard(&shard, &name, &mut heard)));
        let problem = match read {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(problem),
            Err(_) => Some("its reader gave up on it".to_string()),
        };
        if let Some(problem) = problem {
            goes_on = each(Err(Problem {
                file: name,
                problem,
            }));
        }
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The members that share a key.
#[derive(Default)]
struct Sample {
    key: String,
    clip: Option<Place>,
    prompt: Option<String>,
    problem: Option<String>,
}

impl Sample {
    /// What it lists: nothing where it has neither clip nor problem.
    fn listed(self, shard: &str) -> Option<Listed> {
        let file = || format!("{shard}, {}", self.key);
        match (self.clip, self.prompt, self.problem) {
            (_, _, Some(problem)) => Some(Err(Problem {
                file: file(),
                problem,
            })),
            (None, _, None) => None,
            (Some(place), None, None) => Some(Err(Problem {
                file: place.to_string(),
                problem: format!(
                    "its prompt is missing: no {}.txt or .json follows it",
                    self.key
                ),
            })),
            (Some(place), Some(prompt), None) => Some(match checked_prompt(&prompt) {
                Ok(()) => Ok(Entry {
                    prompt,
                    place,
                    sample: None,
                }),
                Err(problem) => Err(Problem {
                    file: place.to_string(),
                    problem,
                }),
            }),
        }
    }
}

fn list_shard(
    path: &Path,
    shard: &str,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), String> {
    let kind = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !kind.is_file() {
        return Err("it is no ordinary file; links are not followed".to_string());
    }
    let mut archive = Archive::new(BufReader::new(
        File::open(path).map_err(|error| error.to_string())?,
    ));
    let mut sample = Sample::default();
    let mut members = 0;
    for member in archive
        .entries_with_seek()
        .map_err(|error| error.to_string())?
    {
        let mut member = member.map_err(|error| {
            format!("it is damaged or cut short after {members} members ({error})")
        })?;
        members += 1;
        if matches!(
            member.header().entry_type(),
            EntryType::Directory | EntryType::XGlobalHeader
        ) {
            continue;
        }
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let key = key_of(&name);
        if key != sample.key {
            let done = std::mem::replace(
                &mut sample,
                Sample {
                    key,
                    ..Sample::default()
                },
            );
            if done.listed(shard).is_some_and(|listed| !each(listed)) {
                return Ok(());
            }
        }
        let start = member.raw_file_position();
        let bytes = member.size();
        if let Some(problem) = unusable(
            &name,
            member.header().entry_type(),
            start,
            bytes,
            kind.len(),
        ) {
            sample.problem.get_or_insert(format!("{name}: {problem}"));
            continue;
        }
        match ending(Path::new(&name)).as_str() {
            "txt" | "json" | "cls" if bytes > MAX_TEXT_BYTES => {
                sample.problem.get_or_insert(format!(
                    "{name} has {bytes} bytes; expected at most {MAX_TEXT_BYTES}"
                ));
            }
            ending @ ("txt" | "json") => {
                let mut text = String::new();
                let read = member
                    .by_ref()
                    .take(MAX_TEXT_BYTES)
                    .read_to_string(&mut text);
                match read
                    .map_err(|error| error.to_string())
                    .and_then(|_| prompt_in(&text, ending))
                {
                    Ok(Some(prompt)) => _ = sample.prompt.get_or_insert(prompt),
                    Ok(None) => {}
                    Err(problem) => _ = sample.problem.get_or_insert(format!("{name}: {problem}")),
                }
            }
            _ if is_video_name(Path::new(&name)) => {
                let place = Place::Member {
                    archive: shard.to_string(),
                    name: name.clone(),
                    start,
                    bytes,
                };
                if sample.clip.replace(place).is_some() {
                    sample
                        .problem
                        .get_or_insert(format!("{name} is a second video of the same key"));
                }
            }
            _ => {}
        }
    }
    if members == 0 {
        return Err("it is empty, or no tar".to_string());
    }
    sample.listed(shard).map(each);
    Ok(())
}

/// The name up to the first dot after its last directory.
fn key_of(name: &str) -> String {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[file..].find('.').map_or(name.len(), |dot| file + dot);
    // `..` has no key of its own.
    if dot == file {
        name.to_string()
    } else {
        name[..dot].to_string()
    }
}

/// Why a member cannot be used, if so.
fn unusable(name: &str, kind: EntryType, start: u64, bytes: u64, length: u64) -> Option<String> {
    let inside = Path::new(name)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Some(
            "its name leaves the archive; expected a path without \"..\" and without a leading \
                \"/\""
                .to_string(),
        );
    }
    if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
        return Some(format!(
            "it is a member of kind {kind:?}; expected an ordinary file"
        ));
    }
    match start.checked_add(bytes) {
        Some(end) if end <= length => None,
        _ => Some(format!(
            "it says {bytes} bytes from byte {start} on, but the archive has {length}"
        )),
    }
}

/// What a description says the clip shows.
fn prompt_in(text: &str, ending: &str) -> Result<Option<String>, String> {
    if ending == "txt" {
        return Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let described: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON ({error})"))?;
    Ok(PROMPT_NAMES
        .iter()
        .find_map(|name| described.get(*name)?.as_str())
        .map(str::to_string))
}

//! WebDataset shards: tar files in which the members of one sample share a key (the name up to its
//! first dot) and follow one another.
//!
//! Only headers and descriptions are read; a clip's bytes are read from their place in the archive
//! when it is decoded. <https://github.com/webdataset/webdataset#the-webdataset-format>

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Component, Path},
};

use tar::{Archive, EntryType};

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Place, Problem,
    archives::{GaveUp, OpenError, list_each, ordinary},
    one_line,
};
use crate::{
    manifest::{PROMPT_NAMES, check_prompt},
    video_io::{extension, is_video_name},
};

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    list_each(folder, "tar", each, list_shard)
}

/// Why a shard cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
enum ShardError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    #[error("it is damaged or cut short after {members} members ({source})")]
    Member { members: u64, source: io::Error },
    #[error("it is empty, or no tar")]
    Empty,
}

/// Why a member, and with it its sample, cannot be used.
#[derive(Debug, thiserror::Error)]
enum MemberError {
    #[error(
        "{name}: its name leaves the archive; expected a path without \"..\" and without a leading \
            \"/\""
    )]
    Outside { name: String },
    #[error("{name}: it is a member of kind {kind:?}; expected an ordinary file")]
    Kind { name: String, kind: EntryType },
    #[error("{name}: it says {bytes} bytes from byte {start} on, but the archive has {length}")]
    Beyond {
        name: String,
        bytes: u64,
        start: u64,
        length: u64,
    },
    #[error("{name} has {bytes} bytes; expected at most {MAX_TEXT_BYTES}")]
    Long { name: String, bytes: u64 },
    #[error("{name}: {source}")]
    Io { name: String, source: io::Error },
    #[error("{name}: it is no JSON ({source})")]
    Json {
        name: String,
        source: serde_json::Error,
    },
    #[error("{name} is a second video of the same key")]
    SecondVideo { name: String },
}

/// The members that share a key.
#[derive(Default)]
struct Sample {
    key: String,
    clip: Option<Place>,
    prompt: Option<String>,
    problem: Option<MemberError>,
}

impl Sample {
    /// What it lists: nothing where it has neither clip nor problem.
    fn listed(self, shard: &str) -> Option<Listed> {
        if let Some(problem) = self.problem {
            let file = format!("{shard}, {}", self.key);
            return Some(Err(Problem::new(file, problem)));
        }
        let place = self.clip?;
        let Some(prompt) = self.prompt else {
            let problem = format!(
                "its prompt is missing: no {}.txt or .json follows it",
                self.key
            );
            return Some(Err(Problem::new(place.to_string(), problem)));
        };
        Some(match check_prompt(&prompt) {
            Ok(()) => Ok(Entry {
                prompt,
                place,
                sample: None,
            }),
            Err(problem) => Err(Problem::new(place.to_string(), problem)),
        })
    }

    /// Adds a member, which is the clip, says what it shows, or says nothing; `length`: the shard's
    /// bytes.
    fn add(
        &mut self,
        member: &mut tar::Entry<impl Read>,
        name: &str,
        shard: &str,
        length: u64,
    ) -> Result<(), MemberError> {
        check_member(member, name, length)?;
        let (start, bytes) = (member.raw_file_position(), member.size());
        match extension(Path::new(name)).as_str() {
            "txt" | "json" | "cls" if bytes > MAX_TEXT_BYTES => {
                let name = name.to_string();
                return Err(MemberError::Long { name, bytes });
            }
            extension @ ("txt" | "json") => {
                let mut text = String::new();
                let read = member.take(MAX_TEXT_BYTES).read_to_string(&mut text);
                read.map_err(|source| MemberError::Io {
                    name: name.to_string(),
                    source,
                })?;
                let prompt = prompt_in(&text, extension).map_err(|source| MemberError::Json {
                    name: name.to_string(),
                    source,
                })?;
                self.prompt = self.prompt.take().or(prompt);
            }
            _ if is_video_name(Path::new(name)) => {
                let place = Place::Member {
                    archive: shard.to_string(),
                    name: name.to_string(),
                    start,
                    bytes,
                };
                if self.clip.replace(place).is_some() {
                    let name = name.to_string();
                    return Err(MemberError::SecondVideo { name });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn list_shard(
    path: &Path,
    shard: &str,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), ShardError> {
    let length = ordinary(path)?.len();
    let mut archive = Archive::new(BufReader::new(File::open(path)?));
    let mut sample = Sample::default();
    let mut members = 0;
    for member in archive.entries_with_seek()? {
        let mut member = member.map_err(|source| ShardError::Member { members, source })?;
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
            let next = Sample {
                key,
                ..Sample::default()
            };
            let done = std::mem::replace(&mut sample, next);
            if done.listed(shard).is_some_and(|listed| !each(listed)) {
                return Ok(());
            }
        }
        if let Err(problem) = sample.add(&mut member, &name, shard, length) {
            sample.problem.get_or_insert(problem);
        }
    }
    if members == 0 {
        return Err(ShardError::Empty);
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

/// Whether a member is an ordinary file inside its archive of `length` bytes.
fn check_member(
    member: &tar::Entry<impl Read>,
    name: &str,
    length: u64,
) -> Result<(), MemberError> {
    let inside = Path::new(name)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    let name = name.to_string();
    if !inside {
        return Err(MemberError::Outside { name });
    }
    let kind = member.header().entry_type();
    if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
        return Err(MemberError::Kind { name, kind });
    }
    let (start, bytes) = (member.raw_file_position(), member.size());
    match start.checked_add(bytes) {
        Some(end) if end <= length => Ok(()),
        _ => Err(MemberError::Beyond {
            name,
            bytes,
            start,
            length,
        }),
    }
}

/// What a description says the clip shows; an error for JSON that is none.
fn prompt_in(text: &str, extension: &str) -> Result<Option<String>, serde_json::Error> {
    if extension == "txt" {
        return Ok(Some(one_line(text)));
    }
    let described: serde_json::Value = serde_json::from_str(text)?;
    Ok(PROMPT_NAMES
        .iter()
        .find_map(|name| described.get(*name)?.as_str())
        .map(str::to_string))
}

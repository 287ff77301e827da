//! WebDataset shards: tar files in which the members of one sample share a key (the name up to its
//! first dot) and follow one another.
//!
//! Only headers and descriptions are read; a clip's bytes are read from their place in the archive
//! when it is decoded. <https://github.com/webdataset/webdataset#the-webdataset-format>

use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf},
};

use tar::EntryType;

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Place, Problem,
    archives::list_each,
    one_line,
    opened::{GaveUp, OpenError, ordinary},
    pictures::is_animated_png,
    tar_members::{Member, Members, TarError},
};
use crate::{
    manifest::{PROMPT_NAMES, check_prompt},
    shown::{shown, shown_path},
    text::{self, TextError},
    video_io::{extension, is_video_name},
};

/// Bytes of a `.png` that are looked at for whether it moves.
const PICTURE_BYTES: u64 = 64 << 10;

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    list_each(folder, "tar", each, |path, shard, each| {
        list_shard(folder, path, shard, each)
    })
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
    Member { members: u64, source: TarError },
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
    #[error("{name}: {source}")]
    Text { name: String, source: TextError },
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
    fn listed(self, folder: &Folder, shard: &str) -> Option<Listed> {
        if let Some(problem) = self.problem {
            let file = format!("{shard}, {}", self.key);
            return Some(Err(Problem::new(file, problem)));
        }
        let Some(place) = self.clip else {
            if self.prompt.is_some() {
                folder.leave("samples without a video", format!("{shard}, {}", self.key));
            }
            return None;
        };
        let Some(prompt) = self.prompt else {
            let problem = format!(
                "its prompt is missing: no {}.txt or .json is beside it",
                self.key
            );
            return Some(Err(Problem::new(place.to_string(), problem)));
        };
        Some(match check_prompt(&prompt) {
            Ok(()) => Ok(Entry {
                prompt,
                place,
                sample: None,
                blake3: None,
            }),
            Err(problem) => Err(Problem::new(place.to_string(), problem)),
        })
    }
}

/// A shard that is gone through.
struct Shard<'a> {
    folder: &'a Folder<'a>,
    path: PathBuf,
    name: &'a str,
    length: u64,
    members: Members,
}

impl Shard<'_> {
    /// Adds a member to a sample: it is the clip, says what it shows, or is left.
    fn add(&mut self, sample: &mut Sample, member: &Member, name: &str) -> Result<(), MemberError> {
        check_member(member, name, self.length)?;
        let bytes = member.bytes;
        let io = |source| MemberError::Io {
            name: name.to_string(),
            source,
        };
        let ending = extension(Path::new(name));
        let is_video = match ending.as_str() {
            "txt" | "json" if bytes > MAX_TEXT_BYTES => {
                let name = name.to_string();
                return Err(MemberError::Long { name, bytes });
            }
            "txt" | "json" => {
                let data = self.members.data(member, bytes).map_err(io)?;
                let prompt = prompt_in(name, &data, &ending)?;
                if prompt.is_none() || sample.prompt.is_some() {
                    self.leave(&ending, name);
                }
                sample.prompt = sample.prompt.take().or(prompt);
                return Ok(());
            }
            "png" => is_animated_png(&self.members.data(member, PICTURE_BYTES).map_err(io)?[..]),
            _ => is_video_name(Path::new(name)),
        };
        if !is_video {
            self.leave(&ending, name);
            return Ok(());
        }
        let place = Place::Member {
            archive: self.path.clone(),
            name: name.to_string(),
            start: member.start,
            bytes,
        };
        if sample.clip.replace(place).is_some() {
            let name = name.to_string();
            return Err(MemberError::SecondVideo { name });
        }
        Ok(())
    }

    fn leave(&self, ending: &str, name: &str) {
        let kind = format!("members *.{}", shown(ending));
        self.folder.leave(&kind, format!("{}, {name}", self.name));
    }
}

fn list_shard(
    folder: &Folder,
    path: &Path,
    name: &str,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), ShardError> {
    let length = ordinary(path, &folder.roots)?.len();
    let inside = path.strip_prefix(folder.directory).unwrap_or(path);
    let mut shard = Shard {
        folder,
        path: inside.to_path_buf(),
        name,
        length,
        members: Members::new(File::open(path)?, length),
    };
    let mut sample = Sample::default();
    let mut members = 0;
    let ended = loop {
        let member = match shard.members.next() {
            Ok(Some(member)) => member,
            Ok(None) => break Ok(()),
            Err(source) => break Err(ShardError::Member { members, source }),
        };
        members += 1;
        if member.kind == EntryType::Directory {
            continue;
        }
        let written = member_path(&member.name);
        let member_name = shown_path(&written);
        let key = key_of(&member_name);
        if key != sample.key {
            let next = Sample {
                key,
                ..Sample::default()
            };
            let done = std::mem::replace(&mut sample, next);
            if done
                .listed(folder, name)
                .is_some_and(|listed| !each(listed))
            {
                return Ok(());
            }
        }
        if let Err(problem) = shard.add(&mut sample, &member, &member_name) {
            sample.problem.get_or_insert(problem);
        }
    };
    // What came before the damage is whole.
    if sample
        .listed(folder, name)
        .is_some_and(|listed| !each(listed))
    {
        return Ok(());
    }
    ended?;
    match members {
        0 => Err(ShardError::Empty),
        _ => Ok(()),
    }
}

/// A member's name as a path.
fn member_path(name: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        PathBuf::from(OsStr::from_bytes(name))
    }
    #[cfg(not(unix))]
    PathBuf::from(String::from_utf8_lossy(name).into_owned())
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
fn check_member(member: &Member, name: &str, length: u64) -> Result<(), MemberError> {
    let inside = Path::new(name)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    let name = name.to_string();
    if !inside {
        return Err(MemberError::Outside { name });
    }
    let kind = member.kind;
    if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
        return Err(MemberError::Kind { name, kind });
    }
    let (start, bytes) = (member.start, member.bytes);
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
fn prompt_in(name: &str, data: &[u8], ending: &str) -> Result<Option<String>, MemberError> {
    let text = text::decoded(data).map_err(|source| MemberError::Text {
        name: name.to_string(),
        source,
    })?;
    if ending == "txt" {
        return Ok(Some(one_line(text)));
    }
    let described: serde_json::Value =
        serde_json::from_str(text).map_err(|source| MemberError::Json {
            name: name.to_string(),
            source,
        })?;
    Ok(PROMPT_NAMES
        .iter()
        .find_map(|name| described.get(*name)?.as_str())
        .map(str::to_string))
}

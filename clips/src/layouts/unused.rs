//! What lies in a folder and is not used: counted by kind, a few of each named.

use std::{collections::BTreeMap, collections::HashSet, fmt, path::Path};

use super::{LayoutError, walk::MAX_DEPTH, walk::children};
use crate::{
    shown::{shown, shown_path},
    video_io::{extension, is_frame_directory},
};

/// How many of a kind are named.
const NAMED: usize = 3;

/// Characters of a name that are shown.
const NAME_CHARACTERS: usize = 120;

/// Most kinds that are told apart; the rest is one kind.
const KINDS: usize = 32;

/// What lies in a folder and is not used, by kind: files by their ending, links to directories,
/// members of archives, captions. Hidden names (`.name`) are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Unused {
    kinds: BTreeMap<String, Kind>,
}

/// One kind of what is not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kind {
    /// How many there are.
    pub count: u64,
    /// The first of them, in order of their paths.
    pub first: Vec<String>,
}

impl Unused {
    /// Adds one thing of a kind.
    pub(super) fn add(&mut self, kind: &str, name: impl Into<String>) {
        let kind = match self.kinds.len() < KINDS || self.kinds.contains_key(&clipped(kind)) {
            true => kind,
            false => "of other kinds",
        };
        let kind = self.kinds.entry(clipped(kind)).or_default();
        kind.count += 1;
        if kind.first.len() < NAMED {
            kind.first.push(clipped(&name.into()));
        }
    }

    /// Whether everything is used.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kinds, such as `*.mpg`, in order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &Kind)> {
        self.kinds.iter().map(|(name, kind)| (name.as_str(), kind))
    }

    /// Adds what lies in `directory` and is not in `used`, with the directories in it.
    pub(super) fn add_rest(&mut self, directory: &Path, used: &Used) -> Result<(), LayoutError> {
        self.walk(directory, directory, used, MAX_DEPTH)
    }

    fn walk(
        &mut self,
        top: &Path,
        directory: &Path,
        used: &Used,
        depth: usize,
    ) -> Result<(), LayoutError> {
        for path in children(directory)? {
            let inside = path.strip_prefix(top).unwrap_or(&path);
            if used.contains(inside) {
                continue;
            }
            let name = shown_path(inside);
            let kind = path.symlink_metadata().map_err(LayoutError::io(&path))?;
            if kind.is_dir() {
                if is_frame_directory(&path) {
                    self.add("directories of frames", name);
                } else if depth == 1 {
                    self.add("directories too deep inside others", name);
                } else {
                    self.walk(top, &path, used, depth - 1)?;
                }
            } else if kind.is_symlink() && path.is_dir() {
                self.add("links to directories", name);
            } else {
                match extension(&path).as_str() {
                    "" => self.add("files without an ending", name),
                    ending => self.add(&format!("*.{}", shown(ending)), name),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, kind)) in self.kinds().enumerate() {
            let more = match kind.count > kind.first.len() as u64 {
                true => ", ...",
                false => "",
            };
            let comma = if index > 0 { ", " } else { "" };
            let first = kind.first.join(", ");
            write!(formatter, "{comma}{} {name} ({first}{more})", kind.count)?;
        }
        Ok(())
    }
}

/// A name of a stranger's is as long as it likes.
fn clipped(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARACTERS) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_string(),
    }
}

/// The paths inside a folder that are used, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Used {
    paths: HashSet<[u8; 16]>,
}

impl Used {
    /// Notes a path inside the folder, and the directories on the way to it.
    pub(super) fn add(&mut self, inside: &Path) {
        // A directory that is a link is used by what lies behind it; one that is none is gone into.
        self.paths.insert(hash(inside));
    }

    fn contains(&self, inside: &Path) -> bool {
        self.paths.contains(&hash(inside))
    }
}

/// Of a path's components: `a`, `./a` and `a/` are the same.
fn hash(inside: &Path) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for component in inside.components() {
        if let std::path::Component::Normal(name) = component {
            hasher.update(name.as_encoded_bytes()).update(b"/");
        }
    }
    let hash = hasher.finalize();
    std::array::from_fn(|index| hash.as_bytes()[index])
}

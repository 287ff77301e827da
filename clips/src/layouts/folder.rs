//! A folder while it is listed: where its files really lie, and what of it has been used.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

use unicode_normalization::UnicodeNormalization;

use super::{
    Entry, LayoutError, Place,
    unused::{Unused, Used},
};
use crate::{
    manifest::{EntryError, check_path, check_prompt},
    roots::Roots,
    shown::shown_path,
    text,
};

/// A folder, and where it really is.
pub(super) struct Folder<'a> {
    pub directory: &'a Path,
    pub roots: Roots,
    used: RefCell<Used>,
    unused: RefCell<Unused>,
    /// The names of one directory, composed.
    composed: RefCell<Option<(PathBuf, Composed)>>,
}

/// What a name is called on disk by its composed form; nothing where two names have the same.
type Composed = HashMap<String, Option<OsString>>;

impl<'a> Folder<'a> {
    pub fn open(directory: &'a Path) -> io::Result<Self> {
        Ok(Self {
            directory,
            roots: Roots::of(directory)?,
            used: RefCell::default(),
            unused: RefCell::default(),
            composed: RefCell::default(),
        })
    }

    /// An entry whose prompt says something and whose path names a file or a directory that lies in
    /// the folder. `base` is the directory of whoever wrote the path, relative to the folder.
    pub fn entry(
        &self,
        base: &Path,
        prompt: &str,
        video: &str,
        sample: Option<u64>,
    ) -> Result<Entry, EntryError> {
        self.entry_at(self.find(base, video), prompt, sample)
    }

    /// An entry at a path inside the folder.
    pub fn entry_at(
        &self,
        path: PathBuf,
        prompt: &str,
        sample: Option<u64>,
    ) -> Result<Entry, EntryError> {
        let prompt = text::unmarked(prompt);
        let target = check_path(&path, self.directory, &self.roots)?;
        self.use_path(&path, target.as_deref());
        check_prompt(prompt)?;
        Ok(Entry {
            prompt: prompt.to_string(),
            place: Place::File(path),
            sample,
            blake3: None,
        })
    }

    /// Notes that a file, given with the folder, is used.
    pub fn use_file(&self, path: &Path) {
        let inside = path.strip_prefix(self.directory).unwrap_or(path);
        self.use_path(inside, path.canonicalize().ok().as_deref());
    }

    fn use_path(&self, inside: &Path, target: Option<&Path>) {
        let mut used = self.used.borrow_mut();
        used.add(inside);
        // Through a link: the link, and what it leads to.
        let target = target.and_then(|target| target.strip_prefix(self.roots.root()).ok());
        if let Some(target) = target.filter(|target| *target != inside) {
            used.add(target);
            for way in inside.ancestors().skip(1) {
                if self.directory.join(way).is_symlink() && !way.as_os_str().is_empty() {
                    used.add(way);
                }
            }
        }
    }

    /// Notes something that is not used and that no walk through the folder would find.
    pub fn leave(&self, kind: &str, name: impl Into<String>) {
        self.unused.borrow_mut().add(kind, name);
    }

    /// What was left, with every file that was not used.
    pub fn unused(self) -> Result<Unused, LayoutError> {
        let mut unused = self.unused.into_inner();
        unused.add_rest(self.directory, &self.used.into_inner())?;
        Ok(unused)
    }

    /// A path as it is named in problems.
    pub fn name(&self, path: &Path) -> String {
        let inside = shown_path(path.strip_prefix(self.directory).unwrap_or(path));
        inside.replace(std::path::MAIN_SEPARATOR, "/")
    }

    /// Where a written path leads: relative to `base`, to the `videos` beside it (as FastVideo
    /// writes them), or to the folder; with a backslash for a slash, and composed otherwise than
    /// the name on disk. As written where nothing is found.
    pub fn find(&self, base: &Path, written: &str) -> PathBuf {
        let given = Path::new(written);
        let within = [self.directory, self.roots.root()];
        let inside = within.iter().find_map(|root| given.strip_prefix(root).ok());
        if let Some(inside) = inside.filter(|_| given.is_absolute()) {
            return inside.to_path_buf();
        }
        let slashes = written.replace('\\', "/");
        let is_inside = |path: &Path| {
            path.components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        let bases = [base.to_path_buf(), base.join("videos"), PathBuf::new()];
        let mut places = bases
            .iter()
            .flat_map(|base| [written, slashes.as_str()].map(|form| base.join(form)))
            .filter(|path| is_inside(path) && !written.contains('\0'));
        places
            .find_map(|path| self.present(&path))
            .unwrap_or_else(|| base.join(written))
    }

    /// The path, if something is there: by this name, or by one that is composed otherwise.
    pub fn present(&self, inside: &Path) -> Option<PathBuf> {
        if self.directory.join(inside).symlink_metadata().is_ok() {
            return Some(inside.to_path_buf());
        }
        // Only what is not ASCII can be composed in several ways.
        let text = inside.to_str().filter(|text| !text.is_ascii())?;
        let mut found = PathBuf::new();
        for part in Path::new(text).components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let next = found.join(name);
            found = match self.directory.join(&next).symlink_metadata() {
                Ok(_) => next,
                Err(_) => found.join(self.composed(&found, name.to_str()?)?),
            };
        }
        Some(found)
    }

    fn composed(&self, directory: &Path, name: &str) -> Option<OsString> {
        let mut kept = self.composed.borrow_mut();
        if kept.as_ref().is_none_or(|(of, _)| of != directory) {
            let mut names = Composed::new();
            for entry in fs::read_dir(self.directory.join(directory)).ok()?.flatten() {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                names
                    .entry(name.nfc().collect())
                    .and_modify(|other| *other = None)
                    .or_insert(Some(name.into()));
            }
            *kept = Some((directory.to_path_buf(), names));
        }
        let composed: String = name.nfc().collect();
        kept.as_ref()?.1.get(&composed)?.clone()
    }
}

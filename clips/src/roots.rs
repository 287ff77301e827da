//! Where the files of a folder may really lie, links resolved.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder itself and, where it is a snapshot in Hugging Face's cache
/// (`datasets--NAME/snapshots/REVISION`), the cache's `blobs`, which its links lead to.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    root: PathBuf,
    blobs: Option<PathBuf>,
}

impl Roots {
    /// Those of `directory`.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let root = directory.canonicalize()?;
        let snapshots = root
            .ancestors()
            .find(|path| path.file_name().is_some_and(|name| name == "snapshots"))
            .filter(|snapshots| *snapshots != root);
        let blobs = snapshots
            .and_then(Path::parent)
            .map(|cache| cache.join("blobs"));
        // A link of that name could lead anywhere.
        let is_directory = |path: &PathBuf| path.symlink_metadata().is_ok_and(|kind| kind.is_dir());
        Ok(Self {
            blobs: blobs.filter(is_directory),
            root,
        })
    }

    /// Whether a resolved path is inside.
    pub(crate) fn contains(&self, target: &Path) -> bool {
        let inside = |root: &PathBuf| target.starts_with(root);
        inside(&self.root) || self.blobs.as_ref().is_some_and(inside)
    }

    /// The folder, links resolved.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

//! The files that name clips: in the folder itself or, where it has none, in the directories
//! inside, each for the clips of its own directory (as Hugging Face's videofolder has them).

use std::path::{Path, PathBuf};

use super::{Folder, LayoutError, Listed, walk::MAX_DEPTH, walk::children};

/// Lists the clips of a manifest, whose paths are relative to a directory; says whether more is
/// wanted.
type List<'a> =
    dyn Fn(&Path, &Path, &mut dyn FnMut(Listed) -> bool) -> Result<bool, LayoutError> + 'a;

/// Tells `list` every manifest that is called one of `names`, and the directory that its paths are
/// relative to, until it says `false`. A directory that has one is not gone into: its manifest
/// speaks for all that lies in it.
pub(super) fn each_manifest(
    folder: &Folder,
    names: &[&str],
    each: &mut dyn FnMut(Listed) -> bool,
    list: &List,
) -> Result<(), LayoutError> {
    let found = manifests(folder.directory, names)?;
    if found.is_empty() {
        return Err(LayoutError::damaged(
            folder.directory,
            format!("it holds no {}", names.join(" or ")),
        ));
    }
    for path in found {
        // A link may lead to it, but only from where strangers may put things.
        let real = path.canonicalize().ok();
        if !real.is_some_and(|real| folder.roots.contains(&real) && real.is_file()) {
            return Err(LayoutError::damaged(
                &path,
                "it is no ordinary file of this folder",
            ));
        }
        folder.use_file(&path);
        let directory = path.parent().unwrap_or(folder.directory);
        let base = directory
            .strip_prefix(folder.directory)
            .unwrap_or(directory);
        if !list(&path, base, each)? {
            break;
        }
    }
    Ok(())
}

/// The manifests called one of `names`, in order of their paths.
pub(super) fn manifests(directory: &Path, names: &[&str]) -> Result<Vec<PathBuf>, LayoutError> {
    let mut found = Vec::new();
    collect(directory, names, MAX_DEPTH, &mut found)?;
    Ok(found)
}

/// Those of one directory: at most one, or the names would contradict each other.
pub(super) fn manifest_in(
    directory: &Path,
    names: &[&str],
) -> Result<Option<PathBuf>, LayoutError> {
    let mut here = names
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| path.symlink_metadata().is_ok());
    let Some(first) = here.next() else {
        return Ok(None);
    };
    if let Some(second) = here.next() {
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let names: Vec<String> = [&*first, &*second].into_iter().filter_map(name).collect();
        return Err(LayoutError::damaged(
            directory,
            format!("it holds both {}; remove one", names.join(" and ")),
        ));
    }
    Ok(Some(first))
}

fn collect(
    directory: &Path,
    names: &[&str],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), LayoutError> {
    if let Some(path) = manifest_in(directory, names)? {
        found.push(path);
        return Ok(());
    }
    if depth > 1 {
        for path in children(directory)? {
            let kind = path.symlink_metadata().map_err(LayoutError::io(&path))?;
            if kind.is_dir() {
                collect(&path, names, depth - 1, found)?;
            }
        }
    }
    Ok(())
}

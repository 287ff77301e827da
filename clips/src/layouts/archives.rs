//! Files that hold many clips each, as strangers made them: shards and Parquet files.

use std::{fmt::Display, path::Path};

use super::{
    Folder, LayoutError, Listed, Problem,
    opened::{GaveUp, guarded},
    walk::files,
};
use crate::video_io::extension;

/// Lists every file of the folder with this extension, in order of paths. What is wrong with a
/// whole file is a problem of that file.
pub(super) fn list_each<E: From<GaveUp> + Display>(
    folder: &Folder,
    wanted: &str,
    each: &mut dyn FnMut(Listed) -> bool,
    list: impl Fn(&Path, &str, &mut dyn FnMut(Listed) -> bool) -> Result<(), E>,
) -> Result<(), LayoutError> {
    for path in files(folder.directory)?
        .into_iter()
        .filter(|path| extension(path) == wanted)
    {
        let name = folder.name(&path);
        folder.use_file(&path);
        let mut goes_on = true;
        let mut heard = |listed| {
            goes_on = each(listed);
            goes_on
        };
        if let Err(problem) = guarded(|| list(&path, &name, &mut heard)) {
            goes_on = each(Err(Problem::new(name, problem)));
        }
        if !goes_on {
            break;
        }
    }
    Ok(())
}

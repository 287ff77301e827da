//! Opening a file that strangers made.

use std::{
    cell::Cell,
    fs::Metadata,
    io,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
    sync::Once,
};

use crate::roots::Roots;

/// The reader of a file panicked.
#[derive(Debug, thiserror::Error)]
#[error("its reader gave up on it; is it damaged?")]
pub(super) struct GaveUp;

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no ordinary file; expected one, or a link to one inside the folder")]
    NoFile,
    #[error("it is a link out of the folder; expected a file inside it")]
    LinkOutside,
}

thread_local! {
    /// Whether a panic of this thread is expected, and said in other words.
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// The file is whatever strangers made; a mistake of its reader must not end the program, nor print
/// a message of its own.
pub(super) fn guarded<T, E: From<GaveUp>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_EXPECTED.get() {
                before(panic);
            }
        }));
    });
    let before = IS_EXPECTED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    IS_EXPECTED.set(before);
    read.unwrap_or_else(|_| Err(GaveUp.into()))
}

/// A file's size and kind, where it is an ordinary one and lies inside, links followed.
pub(super) fn ordinary(path: &Path, roots: &Roots) -> Result<Metadata, OpenError> {
    let kind = path.metadata()?;
    if !kind.is_file() {
        return Err(OpenError::NoFile);
    }
    match roots.contains(&path.canonicalize()?) {
        true => Ok(kind),
        false => Err(OpenError::LinkOutside),
    }
}

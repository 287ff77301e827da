//! `metadata.json`, `videos2caption.json` (FastVideo's, Open-Sora Plan's): an array of objects, and
//! what one object says of a clip.

use std::{fs::File, io::Read, path::Path};

use super::{
    Entry, Folder, LayoutError, Listed, MAX_TEXT_BYTES, Problem, manifests::each_manifest,
};
use crate::{
    json_items::items,
    manifest::{EntryError, parse},
    text,
};

pub(super) const NAMES: [&str; 3] = ["manifest.json", "metadata.json", "videos2caption.json"];

/// Most bytes of such a file, which is read whole.
const MAX_BYTES: u64 = 128 << 20;

/// The clip that an object describes; captions beyond its first are left.
pub(super) fn described(
    folder: &Folder,
    base: &Path,
    object: &str,
    place: &str,
) -> Result<Entry, EntryError> {
    let (entry, captions) = parse(object)?;
    let entry = Entry {
        blake3: entry.blake3,
        ..folder.entry(base, &entry.prompt, &entry.video, entry.sample)?
    };
    for _ in 1..captions {
        folder.leave("captions beyond a clip's first", place);
    }
    Ok(entry)
}

pub(super) fn list(
    folder: &Folder,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<(), LayoutError> {
    each_manifest(folder, &NAMES, each, &|path, base, each| {
        list_file(folder, path, base, each)
    })
}

/// Says whether `each` wants to hear more.
fn list_file(
    folder: &Folder,
    path: &Path,
    base: &Path,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<bool, LayoutError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(LayoutError::io(path))?;
    let damaged = |problem: String| LayoutError::damaged(path, problem);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(damaged(format!(
            "it has more than {MAX_BYTES} bytes; a .jsonl may have any number of lines"
        )));
    }
    let text = text::decoded(&bytes).map_err(|error| damaged(error.to_string()))?;
    let name = folder.name(path);
    let (mut number, mut goes_on) = (0, true);
    let told = items(text, &mut |item| {
        let place = format!("{name}, item {number}");
        number += 1;
        let listed = match item.len() as u64 > MAX_TEXT_BYTES {
            true => Err(Problem::new(
                &place,
                format!("it has more than {MAX_TEXT_BYTES} bytes"),
            )),
            false => described(folder, base, item, &place)
                .map_err(|problem| Problem::new(&place, problem)),
        };
        goes_on = each(listed);
        goes_on
    });
    told.map_err(|error| {
        damaged(format!(
            "it is no array of objects such as {{\"file_name\": \"a.mp4\", \"text\": \"a ball\"}} \
                ({error})"
        ))
    })?;
    Ok(goes_on)
}

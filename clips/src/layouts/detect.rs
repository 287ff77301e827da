//! Which layout a folder has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    Layout, LayoutError, csv, json, jsonl, lists, manifests::manifests, pairs, walk::files,
};
use crate::{
    shown::{shown, shown_path},
    video_io::extension,
};

/// Endings, and videos, that are named.
const NAMED: usize = 8;

/// Layouts by the files that name clips.
const MANIFESTS: [(Layout, &[&str]); 4] = [
    (Layout::Jsonl, &jsonl::NAMES),
    (Layout::Csv, &csv::NAMES),
    (Layout::Json, &json::NAMES),
    (Layout::Lists, &lists::NAMES),
];

pub(super) fn detect(directory: &Path) -> Result<Layout, LayoutError> {
    let files = files(directory)?;
    let mut found = BTreeMap::new();
    for path in &files {
        match extension(path).as_str() {
            "tar" => _ = found.entry(Layout::Webdataset).or_insert(path.clone()),
            "parquet" => _ = found.entry(Layout::Parquet).or_insert(path.clone()),
            _ => {}
        }
    }
    for (layout, names) in MANIFESTS {
        // Archives often come with a metadata.json or a videos.txt that describes them.
        let is_common = matches!(layout, Layout::Json | Layout::Lists);
        if is_common && !found.is_empty() {
            continue;
        }
        let here = names.iter().map(|name| directory.join(name));
        let mut here = here.filter(|path| path.symlink_metadata().is_ok());
        if let Some(path) = here.next()
            && names_clips(layout, &path)?
        {
            found.insert(layout, path);
        }
    }
    if found.is_empty() {
        found = inside(directory)?;
    }
    match found.len() {
        0 => Err(nothing(directory, &files)?),
        1 => Ok(found.into_keys().next().unwrap_or(Layout::Pairs)),
        _ => {
            let name = |(layout, path): (&Layout, &PathBuf)| {
                format!("{layout} ({})", shown_inside(directory, path))
            };
            let names: Vec<String> = found.iter().map(name).collect();
            Err(LayoutError::Unclear {
                path: directory.to_path_buf(),
                found: format!("several layouts: {}", names.join(", ")),
                advice: "; say which with teacher.layout or --layout",
            })
        }
    }
}

/// Manifests of the directories inside, and videos that have a text.
fn inside(directory: &Path) -> Result<BTreeMap<Layout, PathBuf>, LayoutError> {
    let mut found = BTreeMap::new();
    for (layout, names) in MANIFESTS {
        for path in manifests(directory, names)? {
            if !found.contains_key(&layout) && names_clips(layout, &path)? {
                found.insert(layout, path);
            }
        }
    }
    pairs::videos(directory, &mut |video| {
        let has_prompt = pairs::has_prompt(video);
        if has_prompt {
            found.insert(Layout::Pairs, video.to_path_buf());
        }
        !has_prompt
    })?;
    Ok(found)
}

/// A `videos.txt` may be anything; beside prompts it is a list.
fn names_clips(layout: Layout, path: &Path) -> Result<bool, LayoutError> {
    match layout {
        Layout::Lists => lists::is_pair(path),
        _ => Ok(true),
    }
}

/// A folder without any layout: what it holds instead.
fn nothing(directory: &Path, files: &[PathBuf]) -> Result<LayoutError, LayoutError> {
    let (mut videos, mut count) = (Vec::new(), 0u64);
    pairs::videos(directory, &mut |video| {
        count += 1;
        if videos.len() < 3 {
            videos.push(shown_inside(directory, video));
        }
        true
    })?;
    let mut others = BTreeSet::new();
    for path in files {
        let name = path.file_name().map(Path::new).unwrap_or(path);
        let ending = extension(path);
        let is_shown = crate::video_io::is_video_name(path) && count > 0;
        if others.len() < NAMED && !is_shown {
            others.insert(match ending.as_str() {
                "" => shown_path(name),
                _ => format!("*.{}", shown(&ending)),
            });
        }
    }
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    let found = match (count, others.is_empty()) {
        (0, true) => "no files".to_string(),
        (0, false) => format!("no clips, but {others}"),
        _ => {
            let more = if count > videos.len() as u64 {
                ", ..."
            } else {
                ""
            };
            let also = match others.is_empty() {
                true => String::new(),
                false => format!("; it also holds {others}"),
            };
            format!(
                "{count} videos ({}{more}) and nothing that says what they show: no .txt of the \
                    same name lies beside any of them, and no manifest names them{also}",
                videos.join(", ")
            )
        }
    };
    Ok(LayoutError::Unclear {
        path: directory.to_path_buf(),
        found,
        advice: "",
    })
}

fn shown_inside(directory: &Path, path: &Path) -> String {
    shown_path(path.strip_prefix(directory).unwrap_or(path))
}

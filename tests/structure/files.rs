//! The repository's own files.

use std::fs;
use std::path::{Path, PathBuf};

/// Every folder of the repository that holds sources, documents or recipes.
const FOLDERS: [&str; 16] = [
    ".ci", "api", "backends", "benches", "clips", "docs", "examples", "metrics", "models", "noise",
    "recipes", "report", "scripts", "src", "tests", "world",
];

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths with forward slashes, relative to the repository, sorted; what a build or a run left is
/// not among them.
pub fn all() -> Vec<String> {
    let mut found = Vec::new();
    for entry in entries(root()) {
        let name = name(&entry);
        if entry.is_file() {
            found.push(name);
        } else if FOLDERS.contains(&name.as_str()) {
            walk(&entry, &mut found);
        }
    }
    found.sort();
    found
}

fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in entries(directory) {
        if entry.is_dir() {
            if !["target", "runs"].contains(&name(&entry).as_str()) {
                walk(&entry, found);
            }
        } else if let Ok(path) = entry.strip_prefix(root()) {
            found.push(path.to_string_lossy().replace('\\', "/"));
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    listed.map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A file's text; `None` where it is no text.
pub fn text(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Whether Rust code is a test's or a benchmark's.
pub fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "benches"].contains(&part) || part == "tests.rs")
}

//! Which weight file a path means: itself, the only one of a directory, or the student of a run or
//! a checkpoint of this program.

use std::path::{Path, PathBuf};

use super::small_text;
use crate::weights::WeightsError;

/// What names the newest checkpoint of a run, beside it.
const POINTER: &str = "latest";
/// Bytes of a pointer; a name is a few digits.
const LONGEST_POINTER: u64 = 64;

/// The weight file that `path` means.
pub(super) fn file_of(path: &Path) -> Result<PathBuf, WeightsError> {
    if path.is_dir() {
        return inside(&student_of(path)?);
    }
    match pointed_at(path) {
        Some(checkpoint) => inside(&student_of(&checkpoint)?),
        None => Ok(path.to_path_buf()),
    }
}

/// The directory of the student in a run or a checkpoint; another directory itself.
fn student_of(directory: &Path) -> Result<PathBuf, WeightsError> {
    let checkpoints = directory.join("checkpoints");
    let checkpoint = if checkpoints.is_dir() {
        pointed_at(&checkpoints.join(POINTER)).ok_or_else(|| {
            WeightsError::read(
                directory,
                "it is a run without a checkpoint; name the weights of another student",
            )
        })?
    } else {
        directory.to_path_buf()
    };
    let student = checkpoint.join("student");
    Ok(if student.is_dir() {
        student
    } else {
        checkpoint
    })
}

/// The checkpoint that the pointer file `checkpoints/latest` of a run names, if `path` is one.
pub fn pointed_at(path: &Path) -> Option<PathBuf> {
    if path.file_name()? != POINTER {
        return None;
    }
    let text = small_text(path, LONGEST_POINTER).ok()?;
    let name = text.trim();
    let plain = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_digit());
    let checkpoint = path.with_file_name(name);
    (plain && checkpoint.is_dir()).then_some(checkpoint)
}

/// The index or the only weight file of a directory.
fn inside(directory: &Path) -> Result<PathBuf, WeightsError> {
    let entries = std::fs::read_dir(directory)
        .map_err(|error| WeightsError::read(directory, error.to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    let ending = |ending: &str| {
        files
            .iter()
            .filter(|file| file.to_string_lossy().ends_with(ending))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (indices, singles) = (ending(".safetensors.index.json"), ending(".safetensors"));
    match (&indices[..], &singles[..]) {
        ([index], _) => Ok(index.clone()),
        ([], [single]) => Ok(single.clone()),
        _ => Err(WeightsError::read(
            directory,
            format!(
                "the directory has {} indices and {} safetensors files, expected one index, one \
                    file, or a run directory or checkpoint of afd; name the file itself",
                indices.len(),
                singles.len()
            ),
        )),
    }
}

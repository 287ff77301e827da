//! The list of a checkpoint's files with their sizes and BLAKE3 hashes: how damage is noticed
//! before it is loaded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{AtPath, FileError, write_atomically};
use crate::exit::ExitStatus;

/// The manifest's own name inside the directory it lists.
pub const MANIFEST_NAME: &str = "MANIFEST.json";

const FORMAT_VERSION: u32 = 1;

/// Why a checkpoint could not be saved or trusted. Every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no manifest, or it cannot be understood.
    #[error("{} is no readable checkpoint manifest: {reason}; restore the file or resume from \
        another checkpoint", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// What was found there.
        reason: String,
    },
    /// One file is not what the manifest says.
    #[error("the checkpoint file {} is damaged: found {found}, expected {expected}; restore it \
        from a copy or resume from another checkpoint", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What the manifest lists.
        expected: String,
    },
    /// The newest checkpoint cannot be used, and an older one is never taken silently.
    #[error("the newest checkpoint {} cannot be resumed from ({cause}); \
        {remedy}", directory.display())]
    Newest {
        /// The newest checkpoint's directory.
        directory: PathBuf,
        /// What is wrong with it.
        cause: Box<CheckpointError>,
        /// Which older checkpoint is intact, and how to choose it.
        remedy: String,
    },
    /// The pointer file is inconsistent with the checkpoints beside it.
    #[error("{} names {named:?} but {found}; {remedy}", path.display())]
    Pointer {
        /// The pointer file.
        path: PathBuf,
        /// What it names.
        named: String,
        /// What is there.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// A checkpoint at this step or a later one exists already.
    #[error(
        "cannot save step {step}: {} already holds step {newest}, and checkpoints are never \
            overwritten; resume from it or start another run",
        directory.display()
    )]
    NotNewer {
        /// The step that was to be saved.
        step: u64,
        /// The newest step on disk.
        newest: u64,
        /// The directory of checkpoints.
        directory: PathBuf,
    },
}

impl ExitStatus for CheckpointError {}

/// The size and content of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the content, 64 lower-case hexadecimal digits.
    pub blake3: String,
}

/// Everything a checkpoint directory holds, apart from the manifest itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The layout of this file, currently 1.
    pub format_version: u32,
    /// The training step that the checkpoint was taken after.
    pub step: u64,
    /// Relative path, with `/` between its parts, to size and hash.
    pub files: BTreeMap<String, FileRecord>,
}

impl Manifest {
    /// Lists and hashes what `directory` holds now, subdirectories included.
    ///
    /// # Errors
    /// [`CheckpointError::File`] when a file cannot be read; [`CheckpointError::Damaged`] for links
    /// and names that are not UTF-8.
    pub fn of_directory(directory: &Path, step: u64) -> Result<Self, CheckpointError> {
        let mut files = BTreeMap::new();
        for (name, bytes) in list_files(directory)? {
            let blake3 = hash(&directory.join(&name))?;
            files.insert(name, FileRecord { bytes, blake3 });
        }
        Ok(Self {
            format_version: FORMAT_VERSION,
            step,
            files,
        })
    }

    /// Writes `MANIFEST.json` into `directory`; call it last.
    pub fn write(&self, directory: &Path) -> Result<(), CheckpointError> {
        let path = directory.join(MANIFEST_NAME);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| CheckpointError::Manifest {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        text.push(b'\n');
        Ok(write_atomically(&path, &text)?)
    }

    /// Verifies the checkpoint that `path`, its `student` directory or a file in that, lies in;
    /// does nothing where it lies in none.
    ///
    /// # Errors
    /// As [`Manifest::verify`].
    pub fn verify_around(path: &Path) -> Result<(), CheckpointError> {
        let holds = |place: &&Path| place.join(MANIFEST_NAME).is_file();
        match path.ancestors().take(3).find(holds) {
            Some(checkpoint) => Self::verify(checkpoint).map(drop),
            None => Ok(()),
        }
    }

    /// Reads the manifest of `directory` and compares every file with it: names first, then sizes,
    /// then hashes.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the first file that is missing, unlisted, of another size or of
    /// other content.
    pub fn verify(directory: &Path) -> Result<Self, CheckpointError> {
        let manifest = Self::read(directory)?;
        // Only names found by listing are opened, so a forged manifest cannot point outside the
        // directory.
        let found = list_files(directory)?;
        let damaged = |name: &str, found: String, expected: String| {
            Err(CheckpointError::Damaged {
                path: directory.join(name),
                found,
                expected,
            })
        };
        for (name, record) in &manifest.files {
            match found.get(name) {
                None => {
                    return damaged(
                        name,
                        "no such file".into(),
                        format!("{} bytes", record.bytes),
                    );
                }
                Some(bytes) if *bytes != record.bytes => {
                    return damaged(
                        name,
                        format!("{bytes} bytes"),
                        format!("{} bytes", record.bytes),
                    );
                }
                Some(_) => {}
            }
        }
        if let Some(name) = found
            .keys()
            .find(|name| !manifest.files.contains_key(*name))
        {
            return damaged(
                name,
                "a file".into(),
                format!("nothing, because {MANIFEST_NAME} does not list it"),
            );
        }
        for (name, record) in &manifest.files {
            let blake3 = hash(&directory.join(name))?;
            if blake3 != record.blake3 {
                return damaged(
                    name,
                    format!("BLAKE3 {blake3}"),
                    format!("BLAKE3 {}", record.blake3),
                );
            }
        }
        Ok(manifest)
    }

    fn read(directory: &Path) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let path = directory.join(MANIFEST_NAME);
        let text = fs::read(&path).at("read the checkpoint manifest", &path)?;
        let unreadable = |error: serde_json::Error| CheckpointError::Manifest {
            path: path.clone(),
            reason: error.to_string(),
        };
        // The version first: a later layout may have other fields.
        let Version { format_version } = serde_json::from_slice(&text).map_err(unreadable)?;
        if format_version != FORMAT_VERSION {
            let reason =
                format!("found format_version {format_version}, this afd reads {FORMAT_VERSION}");
            return Err(CheckpointError::Manifest { path, reason });
        }
        serde_json::from_slice(&text).map_err(unreadable)
    }
}

/// Relative name (with `/`) to length in bytes of every file but the top-level manifest.
fn list_files(directory: &Path) -> Result<BTreeMap<String, u64>, CheckpointError> {
    let mut files = BTreeMap::new();
    list_into(directory, "", &mut files)?;
    files.remove(MANIFEST_NAME);
    Ok(files)
}

fn list_into(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, u64>,
) -> Result<(), CheckpointError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(CheckpointError::Damaged {
                path,
                found: "a name that is not UTF-8".into(),
                expected: "a UTF-8 name".into(),
            });
        };
        let kind = entry.file_type().at("inspect", &path)?;
        if kind.is_dir() {
            list_into(&path, &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() {
            files.insert(
                format!("{prefix}{name}"),
                entry.metadata().at("inspect", &path)?.len(),
            );
        } else {
            return Err(CheckpointError::Damaged {
                path,
                found: "a link or device".into(),
                expected: "a plain file".into(),
            });
        }
    }
    Ok(())
}

/// BLAKE3 of a file, in hexadecimal.
pub fn hash(path: &Path) -> Result<String, FileError> {
    let mut hasher = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .at("read", path)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `student/model` (7 bytes) and `empty`, with a manifest of step 12.
    fn example() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("student")).unwrap();
        fs::write(place.path().join("student/model"), b"weights").unwrap();
        fs::write(place.path().join("empty"), b"").unwrap();
        Manifest::of_directory(place.path(), 12)
            .unwrap()
            .write(place.path())
            .unwrap();
        place
    }

    fn complaint(place: &tempfile::TempDir) -> String {
        Manifest::verify(place.path()).unwrap_err().to_string()
    }

    #[test]
    fn an_untouched_directory_verifies_and_is_listed_with_the_published_hash_of_nothing() {
        let manifest = Manifest::verify(example().path()).unwrap();
        assert_eq!(manifest.step, 12);
        assert_eq!(
            manifest.files.keys().collect::<Vec<_>>(),
            ["empty", "student/model"]
        );
        assert_eq!(manifest.files["student/model"].bytes, 7);
        // The empty input of the BLAKE3 team's test_vectors.json.
        assert_eq!(
            manifest.files["empty"].blake3,
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn a_flipped_byte_is_reported_with_both_hashes() {
        let place = example();
        fs::write(place.path().join("student/model"), b"weightz").unwrap();
        let complaint = complaint(&place);
        assert!(
            complaint.contains("model") && complaint.matches("BLAKE3").count() == 2,
            "{complaint}"
        );
    }

    #[test]
    fn a_truncated_file_is_reported_with_both_sizes() {
        let place = example();
        fs::write(place.path().join("student/model"), b"weigh").unwrap();
        let complaint = complaint(&place);
        assert!(
            complaint.contains("found 5 bytes, expected 7 bytes"),
            "{complaint}"
        );
    }

    #[test]
    fn missing_and_unlisted_files_are_named() {
        let place = example();
        fs::write(place.path().join("stray"), b"").unwrap();
        assert!(complaint(&place).contains("stray"));
        fs::remove_file(place.path().join("stray")).unwrap();
        fs::remove_file(place.path().join("empty")).unwrap();
        let complaint = complaint(&place);
        assert!(
            complaint.contains("empty") && complaint.contains("no such file"),
            "{complaint}"
        );
    }

    #[test]
    fn a_manifest_that_points_outside_is_refused_as_missing() {
        let place = example();
        let text = fs::read_to_string(place.path().join(MANIFEST_NAME))
            .unwrap()
            .replace("\"empty\"", "\"../empty\"");
        fs::write(place.path().join(MANIFEST_NAME), text).unwrap();
        assert!(complaint(&place).contains("no such file"));
    }

    #[test]
    fn a_missing_a_torn_and_a_future_manifest_are_refused() {
        let place = example();
        let path = place.path().join(MANIFEST_NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(complaint(&place).contains(MANIFEST_NAME));
        fs::write(
            &path,
            text.replace(
                "\"format_version\": 1",
                "\"format_version\": 2, \"more\": 0",
            ),
        )
        .unwrap();
        assert!(complaint(&place).contains("found format_version 2, this afd reads 1"));
        fs::remove_file(&path).unwrap();
        assert!(complaint(&place).contains(MANIFEST_NAME));
    }
}

//! Teacher clips as latents on disk: made once by `afd data prepare`, read by number during
//! training.
//!
//! ```text
//! DIRECTORY/index.json             what the latents were made with, and the clips of each shard
//! DIRECTORY/shard-00000.safetensors
//! ```
//!
//! A shard gets its name when it is complete, and the index names it afterwards: whichever moment a
//! kill hits, what the index names is whole, and the clips that it does not name are made again.

mod error;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use afd_models::weights::{HostTensor, Pickles, Tensors, WeightFile, WeightsError, to_bytes};
use serde::{Deserialize, Serialize};

use super::prepare::Fit;
use super::video::ClipShape;
use crate::run::files::{FileError, remove_leftovers, write_atomically};
use crate::run::manifest::hash;
use crate::teacher::Source;

pub use error::LatentError;

/// The name of the index in the directory.
pub const INDEX: &str = "index.json";

/// What latents depend on besides the clips: another codec or size, or another way of reading
/// videos, makes other latents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentOrigin {
    /// Size, length and rate of the clips.
    pub clip: ClipShape,
    /// How videos of another aspect ratio were fitted.
    pub fit: Fit,
    /// How videos were read ([`afd_clips::READING`]).
    pub reading: u32,
    /// The codec and its weights.
    pub codec: serde_json::Value,
    /// `[F, C, H, W]`.
    pub latent_shape: [usize; 4],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    origin: LatentOrigin,
    shards: Vec<Shard>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shard {
    file: String,
    /// BLAKE3 of the file.
    blake3: String,
    /// Its clips, in the order of their tensors `clip.0`, `clip.1`, ...
    clips: Vec<ClipRecord>,
}

/// One clip of the teacher, and what it was when its latents were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRecord {
    /// What it shows.
    pub prompt: String,
    /// Where it was: as long as this is so, nothing has changed.
    pub source: Source,
    /// What it is, wherever it is (see [`crate::teacher::Teacher::content`]).
    pub content: String,
    /// BLAKE3 of the prepared pixels (8 bits each, frame by frame, RGB).
    pub pixels: String,
}

/// Where a clip's latents are in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatentPlace {
    shard: usize,
    clip: usize,
}

/// The latents of a teacher's clips.
#[derive(Debug)]
pub struct LatentStore {
    directory: PathBuf,
    index: Index,
    /// By prompt and file: the latest record of it.
    by_file: BTreeMap<(String, String), LatentPlace>,
    /// By prompt and content.
    by_content: BTreeMap<(String, String), LatentPlace>,
    shards: Mutex<BTreeMap<usize, WeightFile>>,
}

impl LatentStore {
    /// Opens the store in `directory`, or starts one there.
    ///
    /// # Errors
    /// [`LatentError::Damaged`] where the latents were made with another codec or size, or the
    /// index cannot be read.
    pub fn open(directory: &Path, origin: &LatentOrigin) -> Result<Self, LatentError> {
        let path = directory.join(INDEX);
        let damaged = |problem: String| LatentError::Damaged {
            path: path.clone(),
            problem,
        };
        let index = match std::fs::read(&path) {
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Index {
                origin: origin.clone(),
                shards: Vec::new(),
            },
            Err(reason) => return Err(FileError::new("read", &path, reason).into()),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                damaged(format!(
                    "{error}: it is damaged, or of another version of this program; remove {} \
                            and run `afd data prepare` again",
                    directory.display()
                ))
            })?,
        };
        if index.origin != *origin {
            let json = |origin: &LatentOrigin| serde_json::to_string(origin).unwrap_or_default();
            return Err(damaged(format!(
                "the latents were made with {}, the recipe asks for {}; choose another data.path \
                    or remove the directory",
                json(&index.origin),
                json(origin)
            )));
        }
        for shard in &index.shards {
            if shard.file.contains(['/', '\\']) || shard.file.starts_with('.') {
                return Err(damaged(format!(
                    "it names the shard {:?}, expected a file name without directories",
                    shard.file
                )));
            }
        }
        let mut store = Self {
            directory: directory.to_path_buf(),
            index,
            by_file: BTreeMap::new(),
            by_content: BTreeMap::new(),
            shards: Mutex::new(BTreeMap::new()),
        };
        (0..store.index.shards.len()).for_each(|shard| store.note(shard));
        Ok(store)
    }

    /// Makes the clips of a shard known by what they are.
    fn note(&mut self, shard: usize) {
        for (clip, record) in self.index.shards[shard].clips.iter().enumerate() {
            let (prompt, place) = (&record.prompt, LatentPlace { shard, clip });
            let file = record.source.file.clone();
            self.by_file.insert((prompt.clone(), file), place);
            let content = record.content.clone();
            self.by_content.insert((prompt.clone(), content), place);
        }
    }

    /// How many clips there are.
    pub fn len(&self) -> usize {
        self.index
            .shards
            .iter()
            .map(|shard| shard.clips.len())
            .sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.shards.is_empty()
    }

    /// The latents of a prompt's clip that cannot have changed since they were made.
    pub fn find(&self, prompt: &str, source: &Source) -> Option<LatentPlace> {
        let place = self.latest_of(prompt, &source.file)?;
        source.is_still(&self.record(place).source).then_some(place)
    }

    /// The latents of a prompt's clip of this content.
    pub fn find_content(&self, prompt: &str, content: &str) -> Option<LatentPlace> {
        let key = (prompt.to_string(), content.to_string());
        self.by_content.get(&key).copied()
    }

    /// Why there are no latents of a prompt's clip.
    pub fn lacks(&self, prompt: &str, file: &str) -> LatentError {
        let (directory, prompt) = (self.directory.clone(), prompt.to_string());
        let file = file.to_string();
        match self.latest_of(&prompt, &file) {
            Some(_) => LatentError::Changed {
                directory,
                prompt,
                file,
            },
            None => LatentError::Missing {
                directory,
                prompt,
                file,
            },
        }
    }

    fn latest_of(&self, prompt: &str, file: &str) -> Option<LatentPlace> {
        let key = (prompt.to_string(), file.to_string());
        self.by_file.get(&key).copied()
    }

    /// What is known of a clip.
    pub fn record(&self, place: LatentPlace) -> &ClipRecord {
        &self.index.shards[place.shard].clips[place.clip]
    }

    /// Notes that clips whose content is unchanged are elsewhere now, or as old as their files say.
    ///
    /// # Errors
    /// What the disk says; the store is then as it was.
    pub fn moved(&mut self, clips: Vec<(LatentPlace, Source)>) -> Result<(), LatentError> {
        let mut index = self.index.clone();
        for (place, source) in clips {
            index.shards[place.shard].clips[place.clip].source = source;
        }
        if index == self.index {
            return Ok(());
        }
        self.write(index)?;
        self.by_file.clear();
        (0..self.index.shards.len()).for_each(|shard| self.note(shard));
        Ok(())
    }

    /// Compares every shard with the index's hash.
    ///
    /// # Errors
    /// The first shard that is missing or differs.
    pub fn verify(&self) -> Result<(), LatentError> {
        for shard in &self.index.shards {
            let path = self.directory.join(&shard.file);
            let found = hash(&path)?;
            if found != shard.blake3 {
                let problem = format!(
                    "its BLAKE3 is {found}, the index says {}; remove {} and prepare again",
                    shard.blake3,
                    self.directory.display()
                );
                return Err(LatentError::Damaged { path, problem });
            }
        }
        Ok(())
    }

    /// The latents `[F, C, H, W]` of a clip.
    ///
    /// # Errors
    /// Whatever is wrong with its shard.
    pub fn read(&self, place: LatentPlace) -> Result<Vec<f32>, LatentError> {
        let LatentPlace {
            shard: number,
            clip,
        } = place;
        let path = self.directory.join(&self.index.shards[number].file);
        // Opening costs a header; the files are whole whenever the lock is free.
        let mut shards = self
            .shards
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let shard = match shards.entry(number) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(WeightFile::open(&path, Pickles::Refused)?)
            }
        };
        let tensor = shard.read(&name(clip))?;
        if tensor.shape != self.index.origin.latent_shape {
            let problem = format!(
                "{:?} has shape {:?}, expected {:?}",
                name(clip),
                tensor.shape,
                self.index.origin.latent_shape
            );
            return Err(LatentError::Damaged { path, problem });
        }
        Ok(tensor.values)
    }

    /// Adds a shard of clips; it is on disk, and named by the index, when this returns.
    ///
    /// # Errors
    /// Latents that are not finite; what the disk says. The store is then as it was.
    pub fn add(&mut self, clips: Vec<(ClipRecord, Vec<f32>)>) -> Result<(), LatentError> {
        for (record, values) in &clips {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(LatentError::NotFinite {
                    prompt: record.prompt.clone(),
                    file: record.source.file.clone(),
                    value: *value,
                });
            }
        }
        std::fs::create_dir_all(&self.directory)
            .map_err(|error| FileError::new("create the directory", &self.directory, error))?;
        remove_leftovers(&self.directory)?;
        let number = self.index.shards.len();
        let file = format!("shard-{number:05}.safetensors");
        let shape = self.index.origin.latent_shape.to_vec();
        let (records, values): (Vec<_>, Vec<_>) = clips.into_iter().unzip();
        let tensors: Tensors = values
            .into_iter()
            .enumerate()
            .map(|(place, values)| {
                (
                    name(place),
                    HostTensor {
                        shape: shape.clone(),
                        values,
                    },
                )
            })
            .collect();
        let bytes = to_bytes(&tensors, &BTreeMap::new()).map_err(|error| WeightsError::Write {
            reason: error.to_string(),
        })?;
        // A shard that the index does not name is what a kill left behind: it is replaced.
        write_atomically(&self.directory.join(&file), &bytes)?;
        let mut index = self.index.clone();
        index.shards.push(Shard {
            file,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            clips: records,
        });
        self.write(index)?;
        self.note(number);
        Ok(())
    }

    /// Replaces the index.
    fn write(&mut self, index: Index) -> Result<(), LatentError> {
        let path = self.directory.join(INDEX);
        let text = serde_json::to_vec_pretty(&index).map_err(|error| LatentError::Damaged {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        write_atomically(&path, &text)?;
        self.index = index;
        Ok(())
    }
}

fn name(place: usize) -> String {
    format!("clip.{place:05}")
}

#[cfg(test)]
mod tests;

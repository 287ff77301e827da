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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use afd_models::weights::{HostTensor, Pickles, Tensors, WeightFile, WeightsError, to_bytes};
use serde::{Deserialize, Serialize};

use super::prepare::Fit;
use super::video::ClipShape;
use crate::exit::ExitStatus;
use crate::run::files::{FileError, remove_leftovers, write_atomically};
use crate::run::manifest::hash;

/// The name of the index in the directory.
pub const INDEX: &str = "index.json";

/// What latents depend on besides the clips: another codec or size makes other latents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentOrigin {
    /// Size, length and rate of the clips.
    pub clip: ClipShape,
    /// How videos of another aspect ratio were fitted.
    #[serde(default)]
    pub fit: Fit,
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

/// One clip of the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRecord {
    /// What it shows.
    pub prompt: String,
    /// Which of the prompt's clips it is, from 0.
    pub sample: u64,
    /// BLAKE3 of the prepared pixels (8 bits each, frame by frame, RGB).
    pub pixels: String,
}

/// Why prepared latents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LatentError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A shard cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The index, or a shard, is not what it should be.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found, expected, and what to do.
        problem: String,
    },
    /// A clip that was asked for is not there.
    #[error("{} lacks latents of {prompt:?}; run `afd data prepare` with this recipe to its \
        end", directory.display())]
    Missing {
        /// The store.
        directory: PathBuf,
        /// The prompt.
        prompt: String,
    },
}

impl ExitStatus for LatentError {}

/// The latents of a teacher's clips.
#[derive(Debug)]
pub struct LatentStore {
    directory: PathBuf,
    index: Index,
    /// Per prompt and sample: shard and place in it.
    places: BTreeMap<String, BTreeMap<u64, (usize, usize)>>,
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
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?
            }
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
        let mut places = BTreeMap::<String, BTreeMap<u64, (usize, usize)>>::new();
        for (number, shard) in index.shards.iter().enumerate() {
            if shard.file.contains(['/', '\\']) || shard.file.starts_with('.') {
                return Err(damaged(format!(
                    "it names the shard {:?}, expected a file name without directories",
                    shard.file
                )));
            }
            for (place, clip) in shard.clips.iter().enumerate() {
                places
                    .entry(clip.prompt.clone())
                    .or_default()
                    .insert(clip.sample, (number, place));
            }
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            index,
            places,
            shards: Mutex::new(BTreeMap::new()),
        })
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

    /// Whether this clip is there.
    pub fn has(&self, prompt: &str, sample: u64) -> bool {
        self.places
            .get(prompt)
            .is_some_and(|samples| samples.contains_key(&sample))
    }

    /// Refuses to go on without this clip.
    ///
    /// # Errors
    /// [`LatentError::Missing`].
    pub fn require(&self, prompt: &str, sample: u64) -> Result<(), LatentError> {
        if self.has(prompt, sample) {
            Ok(())
        } else {
            Err(self.missing(prompt))
        }
    }

    fn missing(&self, prompt: &str) -> LatentError {
        LatentError::Missing {
            directory: self.directory.clone(),
            prompt: prompt.to_string(),
        }
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

    /// The latents `[F, C, H, W]` of a prompt's clip; samples beyond its last clip go round again.
    ///
    /// # Errors
    /// [`LatentError::Missing`] for a prompt without clips; whatever is wrong with a shard.
    pub fn read(&self, prompt: &str, sample: u64) -> Result<Vec<f32>, LatentError> {
        let samples = self
            .places
            .get(prompt)
            .filter(|samples| !samples.is_empty());
        let samples = samples.ok_or_else(|| self.missing(prompt))?;
        let chosen = samples
            .values()
            .nth((sample % samples.len() as u64) as usize);
        let &(number, place) =
            chosen.unwrap_or_else(|| unreachable!("the remainder is below the number of samples"));
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
        let tensor = shard.read(&name(place))?;
        if tensor.shape != self.index.origin.latent_shape {
            let problem = format!(
                "{:?} has shape {:?}, expected {:?}",
                name(place),
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
    /// What the disk says; the store is then as it was.
    pub fn add(&mut self, clips: Vec<(ClipRecord, Vec<f32>)>) -> Result<(), LatentError> {
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
        let path = self.directory.join(INDEX);
        let text = serde_json::to_vec_pretty(&index).map_err(|error| LatentError::Damaged {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        write_atomically(&path, &text)?;
        for (place, clip) in index.shards[number].clips.iter().enumerate() {
            self.places
                .entry(clip.prompt.clone())
                .or_default()
                .insert(clip.sample, (number, place));
        }
        self.index = index;
        Ok(())
    }
}

fn name(place: usize) -> String {
    format!("clip.{place:05}")
}

#[cfg(test)]
mod tests;

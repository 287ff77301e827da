//! A directory of one encoder's embeddings: a file per prompt, checked whenever it is read.

use std::path::{Path, PathBuf};
use std::{fs, io};

use afd_models::text::{EncodeError, TextEncoder};
use afd_models::weights::{Pickles, WeightFile};
use burn::tensor::bf16;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::ROWS;
use super::error::{Damage, EmbeddingError};
use crate::run::files::{FileError, write_atomically};

/// The description of a cache, beside its embeddings.
pub(super) const DESCRIPTION: &str = "encoder.json";
/// Where this program's metadata is in a safetensors header.
const METADATA_KEY: &str = "afd";

/// How embeddings are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As they were computed: 4 bytes a value.
    F32,
    /// Rounded to 8 bits of precision: 2 bytes a value.
    Bf16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub identity: String,
    pub rows: usize,
    pub width: usize,
}

impl Description {
    pub fn read(directory: &Path) -> Result<Self, EmbeddingError> {
        let path = directory.join(DESCRIPTION);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EmbeddingError::NoCache {
                    path: directory.to_path_buf(),
                    reason: format!("it has no {DESCRIPTION}"),
                });
            }
            bytes => bytes.map_err(|error| FileError::new("read", &path, error))?,
        };
        serde_json::from_slice(&bytes).map_err(|error| EmbeddingError::DamagedDescription {
            path,
            reason: error.to_string(),
        })
    }

    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.width]
    }
}

/// What a prompt's file says about itself.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    identity: String,
    prompt: String,
    length: usize,
    blake3: String,
}

/// A text encoder that reads what [`super::prepare`] wrote.
#[derive(Debug, Clone)]
pub struct CachedText {
    pub(super) directory: PathBuf,
    pub(super) description: Description,
}

impl CachedText {
    /// Opens a cache.
    ///
    /// # Errors
    /// [`EmbeddingError::NoCache`].
    pub fn open(directory: &Path) -> Result<Self, EmbeddingError> {
        Ok(Self {
            directory: directory.to_path_buf(),
            description: Description::read(directory)?,
        })
    }

    /// The encoder whose embeddings these are (see [`super::identity`]).
    pub fn identity(&self) -> &str {
        &self.description.identity
    }

    /// Refuses a cache of another encoder than the one that `wanted` identifies.
    ///
    /// # Errors
    /// [`EmbeddingError::OtherEncoder`].
    pub fn is_of(&self, wanted: &str) -> Result<(), EmbeddingError> {
        if self.identity() == wanted {
            return Ok(());
        }
        Err(EmbeddingError::OtherEncoder {
            path: self.directory.clone(),
            found: self.identity().to_string(),
            found_shape: self.shape(),
            wanted: wanted.to_string(),
            wanted_shape: self.shape(),
        })
    }

    /// Where a prompt's embeddings are, or would be.
    pub fn path(&self, prompt: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(self.description.identity.as_bytes())
            .update(&[0])
            .update(prompt.as_bytes());
        self.directory
            .join(format!("{}.safetensors", hasher.finalize().to_hex()))
    }

    /// The embeddings of one prompt as [`TextEncoder::encode`] gave them, zeros past its length
    /// included.
    ///
    /// # Errors
    /// [`EmbeddingError::Missing`], [`EmbeddingError::Damaged`]; [`EmbeddingError::File`] for a
    /// disk that refuses.
    pub fn read(&self, prompt: &str) -> Result<Vec<f32>, EmbeddingError> {
        let path = self.path(prompt);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EmbeddingError::Missing {
                    path: self.directory.clone(),
                    prompt: prompt.to_string(),
                });
            }
            Err(error) => return Err(FileError::new("read", &path, error).into()),
            Ok(_) => {}
        }
        self.checked(&path, prompt)
            .map_err(|reason| EmbeddingError::Damaged {
                path,
                prompt: prompt.to_string(),
                reason: Box::new(reason),
            })
    }

    fn checked(&self, path: &Path, prompt: &str) -> Result<Vec<f32>, Damage> {
        let file = WeightFile::open(path, Pickles::Refused)?;
        let label = file
            .metadata()
            .get(METADATA_KEY)
            .ok_or(Damage::Unlabelled)?;
        let label: Label = serde_json::from_str(label).map_err(Damage::Label)?;
        if label.identity != self.description.identity || label.prompt != prompt {
            return Err(Damage::Other {
                prompt: label.prompt,
                identity: label.identity,
            });
        }
        let [rows, width] = self.shape();
        let entry = file.entries().get(ROWS).ok_or(Damage::Empty)?;
        if entry.shape != [label.length, width] || label.length > rows {
            return Err(Damage::Shape {
                found: entry.shape.clone(),
                length: label.length,
                width,
                most: rows,
            });
        }
        let hash = file.with_bytes(ROWS, |bytes| blake3::hash(bytes).to_hex().to_string())?;
        if hash != label.blake3 {
            return Err(Damage::Hash);
        }
        let mut values = file.read(ROWS)?.values;
        values.resize(rows * width, 0.0);
        Ok(values)
    }

    pub(super) fn write(
        &self,
        prompt: &str,
        values: &[f32],
        stored: Stored,
    ) -> Result<(), EmbeddingError> {
        let [rows, width] = self.shape();
        let failed = |reason: String| EmbeddingError::Encode {
            prompt: prompt.to_string(),
            reason,
        };
        if values.len() != rows * width {
            return Err(failed(format!(
                "the encoder gave {} values, expected {rows} embeddings of {width}",
                values.len()
            )));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(failed(format!(
                "the encoder gave the value {value}, expected finite ones"
            )));
        }
        // Embeddings past the prompt are zero, and come back as zeros.
        let length = values
            .chunks(width)
            .rposition(|row| row.iter().any(|value| *value != 0.0))
            .map_or(0, |last| last + 1);
        let own = &values[..length * width];
        let (dtype, bytes): (Dtype, Vec<u8>) = match stored {
            Stored::F32 => (
                Dtype::F32,
                own.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ),
            Stored::Bf16 => (
                Dtype::BF16,
                own.iter()
                    .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
                    .collect(),
            ),
        };
        let label = Label {
            identity: self.description.identity.clone(),
            prompt: prompt.to_string(),
            length,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        };
        let label = serde_json::to_string(&label).map_err(|error| failed(error.to_string()))?;
        let file = TensorView::new(dtype, vec![length, width], &bytes)
            .and_then(|view| {
                safetensors::serialize(
                    [(ROWS, view)],
                    Some([(METADATA_KEY.to_string(), label)].into()),
                )
            })
            .map_err(|error| failed(error.to_string()))?;
        Ok(write_atomically(&self.path(prompt), &file)?)
    }
}

impl TextEncoder for CachedText {
    fn shape(&self) -> [usize; 2] {
        self.description.shape()
    }

    fn encode(&self, prompt: &str) -> Result<Vec<f32>, EncodeError> {
        self.read(prompt).map_err(EncodeError::other)
    }
}

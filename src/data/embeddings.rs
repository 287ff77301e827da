//! Embeddings of prompts on disk, so that training never holds the text encoder.
//!
//! A directory per encoder: `encoder.json` (identity and shape), and one safetensors file per
//! prompt, named by the blake3 hash of the identity and the prompt. A file holds the rows of the
//! prompt's own tokens only, their number, the prompt and the hash of the values; it appears whole
//! or not at all, and every read checks it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use afd_models::text::{EncodeError, TextEncoder};
use afd_models::weights::{Pickles, WeightFile, WeightsError};
use burn::tensor::{DType, FloatDType, bf16};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::run::files::{FileError, write_atomically};

/// The description of a cache, beside its embeddings.
const DESCRIPTION: &str = "encoder.json";
/// The only tensor of a prompt's file.
const ROWS: &str = "rows";
/// Where this program's metadata is in a safetensors header.
const METADATA_KEY: &str = "afd";
/// Tensors up to this many bytes are part of an encoder's identity with their values.
const SMALL: usize = 64 << 10;

/// Why embeddings could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A weight file of an encoder could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The directory is no cache.
    #[error("{} is not a cache of embeddings: {reason}; run `afd data prepare RECIPE` to make \
        one", path.display())]
    NoCache {
        /// The directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The directory belongs to another encoder.
    #[error(
        "{} holds embeddings of another text encoder ({found}, {found_shape:?} values per prompt), \
            this one is {wanted} ({wanted_shape:?}); choose another directory or remove that one",
        path.display()
    )]
    OtherEncoder {
        /// The directory.
        path: PathBuf,
        /// Identity there.
        found: String,
        /// Rows and width there.
        found_shape: [usize; 2],
        /// Identity of the encoder at hand.
        wanted: String,
        /// Its rows and width.
        wanted_shape: [usize; 2],
    },
    /// The prompt was not prepared.
    #[error("{} has no embedding of the prompt {prompt:?}; run `afd data prepare RECIPE` to add \
        it", path.display())]
    Missing {
        /// The cache.
        path: PathBuf,
        /// The prompt.
        prompt: String,
    },
    /// A prompt's file is not what was written.
    #[error(
        "the embedding of the prompt {prompt:?} in {} is damaged: {reason}; remove the file and \
            run `afd data prepare RECIPE`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The prompt.
        prompt: String,
        /// What is wrong with it.
        reason: Damage,
    },
    /// The encoder did not read the prompt.
    #[error("cannot encode the prompt {prompt:?}: {reason}")]
    Encode {
        /// The prompt.
        prompt: String,
        /// The encoder's words.
        reason: String,
    },
}

/// What is wrong with a prompt's file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is no safetensors file, or cut short.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// It does not say what it holds.
    #[error("it does not say whose rows it holds")]
    Unlabelled,
    /// What it says cannot be read.
    #[error("what it says about its rows: {0}")]
    Label(serde_json::Error),
    /// It belongs elsewhere.
    #[error("it holds the prompt {prompt:?} of the encoder {identity}")]
    Other {
        /// Its prompt.
        prompt: String,
        /// Its encoder.
        identity: String,
    },
    /// There is nothing in it.
    #[error("it has no tensor {ROWS:?}")]
    Empty,
    /// Its values are too many or too few.
    #[error("its rows are {found:?}, expected [{length}, {width}] and at most {most}")]
    Shape {
        /// Their shape.
        found: Vec<usize>,
        /// The prompt's length, by the file's own words.
        length: usize,
        /// The encoder's width.
        width: usize,
        /// The longest prompt that the encoder reads.
        most: usize,
    },
    /// Its values have changed.
    #[error("its values are not those that were written (their hash differs)")]
    Hash,
}

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As they were computed: 4 bytes a value.
    F32,
    /// Rounded to 8 bits of precision: 2 bytes a value.
    Bf16,
}

/// What tells text encoders apart: a hash of the tokenizer's file, of the type that the encoder
/// computes in, and of its weights' names, types and shapes with the values of the small ones
/// (norms and position tables; the large ones would be gigabytes to read).
///
/// # Errors
/// A file that cannot be read.
pub fn identity(
    tokenizer: &Path,
    weights: &WeightFile,
    computed_in: FloatDType,
) -> Result<String, EmbeddingError> {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        // Lengths keep neighbours apart.
        hasher
            .update(&(bytes.len() as u64).to_le_bytes())
            .update(bytes);
    };
    part(&fs::read(tokenizer).map_err(|error| FileError::new("read", tokenizer, error))?);
    part(format!("{:?}", DType::from(computed_in)).as_bytes());
    for (name, entry) in weights.entries() {
        part(format!("{name} {} {:?}", entry.dtype, entry.shape).as_bytes());
        if entry.bytes <= SMALL {
            weights.with_bytes(name, &mut part)?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    identity: String,
    rows: usize,
    width: usize,
}

impl Description {
    fn read(directory: &Path) -> Result<Self, EmbeddingError> {
        let problem = |reason: String| EmbeddingError::NoCache {
            path: directory.to_path_buf(),
            reason,
        };
        let text = fs::read_to_string(directory.join(DESCRIPTION))
            .map_err(|error| problem(format!("{DESCRIPTION}: {error}")))?;
        serde_json::from_str(&text).map_err(|error| problem(format!("{DESCRIPTION}: {error}")))
    }

    fn shape(&self) -> [usize; 2] {
        [self.rows, self.width]
    }
}

/// What a preparation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// Prompts that were encoded and written, damaged files replaced included.
    pub written: usize,
    /// Prompts whose embeddings were there already.
    pub kept: usize,
}

/// Encodes the `prompts` that `directory` lacks or has damaged, and makes it a cache of `encoder`,
/// which `identity` names. `progress` hears (prompts done, prompts in all).
///
/// What was written before an error stays; the next call goes on from there.
///
/// # Errors
/// [`EmbeddingError`]: a directory of another encoder, a prompt that cannot be encoded, a disk that
/// refuses.
pub fn prepare(
    directory: &Path,
    identity: &str,
    encoder: &dyn TextEncoder,
    prompts: &[String],
    stored: Stored,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prepared, EmbeddingError> {
    let [rows, width] = encoder.shape();
    let wanted = Description {
        identity: identity.to_string(),
        rows,
        width,
    };
    describe(directory, &wanted)?;
    let cache = CachedText {
        directory: directory.to_path_buf(),
        description: wanted,
    };
    let mut prepared = Prepared {
        written: 0,
        kept: 0,
    };
    for (index, prompt) in prompts.iter().enumerate() {
        match cache.read(prompt) {
            Ok(_) => prepared.kept += 1,
            Err(EmbeddingError::Missing { .. } | EmbeddingError::Damaged { .. }) => {
                let values = encoder
                    .encode(prompt)
                    .map_err(|reason| EmbeddingError::Encode {
                        prompt: prompt.clone(),
                        reason: reason.to_string(),
                    })?;
                cache.write(prompt, &values, stored)?;
                prepared.written += 1;
            }
            Err(error) => return Err(error),
        }
        progress(index + 1, prompts.len());
    }
    Ok(prepared)
}

/// Makes `directory` a cache of the encoder `wanted`, unless it is one.
fn describe(directory: &Path, wanted: &Description) -> Result<(), EmbeddingError> {
    fs::create_dir_all(directory)
        .map_err(|error| FileError::new("create the directory", directory, error))?;
    let path = directory.join(DESCRIPTION);
    if !path.exists() {
        let text = serde_json::to_string_pretty(wanted)
            .map_err(|error| FileError::new("write", &path, error.into()))?;
        return Ok(write_atomically(&path, text.as_bytes())?);
    }
    let found = Description::read(directory)?;
    if found == *wanted {
        return Ok(());
    }
    Err(EmbeddingError::OtherEncoder {
        path: directory.to_path_buf(),
        found_shape: found.shape(),
        found: found.identity,
        wanted_shape: wanted.shape(),
        wanted: wanted.identity.clone(),
    })
}

/// What a prompt's file says about itself.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    identity: String,
    prompt: String,
    length: usize,
    blake3: String,
}

/// A text encoder that reads what [`prepare`] wrote.
#[derive(Debug, Clone)]
pub struct CachedText {
    directory: PathBuf,
    description: Description,
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

    /// The encoder whose rows these are (see [`identity`]).
    pub fn identity(&self) -> &str {
        &self.description.identity
    }

    /// Where a prompt's rows are, or would be.
    pub fn path(&self, prompt: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(self.description.identity.as_bytes())
            .update(&[0])
            .update(prompt.as_bytes());
        self.directory
            .join(format!("{}.safetensors", hasher.finalize().to_hex()))
    }

    /// The rows of one prompt as [`TextEncoder::encode`] gave them, zeros past its length included.
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
                reason,
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

    fn write(&self, prompt: &str, values: &[f32], stored: Stored) -> Result<(), EmbeddingError> {
        let [rows, width] = self.shape();
        let failed = |reason: String| EmbeddingError::Encode {
            prompt: prompt.to_string(),
            reason,
        };
        if values.len() != rows * width {
            return Err(failed(format!(
                "the encoder gave {} values, expected {rows} rows of {width}",
                values.len()
            )));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(failed(format!(
                "the encoder gave the value {value}, expected finite ones"
            )));
        }
        // Rows past the prompt are zero, and come back as zeros.
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

#[cfg(test)]
mod tests;

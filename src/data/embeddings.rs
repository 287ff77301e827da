//! Embeddings of prompts on disk, so that training never holds the text encoder.
//!
//! A directory per encoder: `encoder.json` (identity and shape), and one safetensors file per prompt, named by the blake3 hash of the identity and
//! the prompt. A file holds the rows of the prompt's own tokens only, their number, the prompt and the hash of the values; it appears whole or
//! not at all, and every read checks it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use afd_models::text::TextEncoder;
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
    #[error("{} is not a cache of embeddings: {reason}; run `afd data prepare RECIPE` to make one", path.display())]
    NoCache {
        /// The directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The directory belongs to another encoder.
    #[error(
        "{} holds embeddings of another text encoder ({found}, {found_shape:?} values per prompt), this one is {wanted} ({wanted_shape:?}); \
         choose another directory or remove that one",
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
    #[error("{} has no embedding of the prompt {prompt:?}; run `afd data prepare RECIPE` to add it", path.display())]
    Missing {
        /// The cache.
        path: PathBuf,
        /// The prompt.
        prompt: String,
    },
    /// A prompt's file is not what was written.
    #[error(
        "the embedding of the prompt {prompt:?} in {} is damaged: {reason}; remove the file and run `afd data prepare RECIPE`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The prompt.
        prompt: String,
        /// What is wrong with it.
        reason: String,
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

/// How rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As they were computed: 4 bytes a value.
    F32,
    /// Rounded to 8 bits of precision: 2 bytes a value.
    Bf16,
}

/// What tells text encoders apart: a hash of the tokenizer's file, of the type that the encoder computes in, and of its weights' names, types and
/// shapes with the values of the small ones (norms and position tables; the large ones would be gigabytes to read).
///
/// # Errors
/// A file that cannot be read.
pub fn identity(tokenizer: &Path, weights: &WeightFile, computed_in: FloatDType) -> Result<String, EmbeddingError> {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        // Lengths keep neighbours apart.
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
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
        let problem = |reason: String| EmbeddingError::NoCache { path: directory.to_path_buf(), reason };
        let text = fs::read_to_string(directory.join(DESCRIPTION)).map_err(|error| problem(format!("{DESCRIPTION}: {error}")))?;
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

/// Encodes the `prompts` that `directory` lacks or has damaged, and makes it a cache of `encoder`, which `identity` names. `progress` hears
/// (prompts done, prompts in all).
///
/// What was written before an error stays; the next call goes on from there.
///
/// # Errors
/// [`EmbeddingError`]: a directory of another encoder, a prompt that cannot be encoded, a disk that refuses.
pub fn prepare(
    directory: &Path,
    identity: &str,
    encoder: &dyn TextEncoder,
    prompts: &[String],
    stored: Stored,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Prepared, EmbeddingError> {
    let [rows, width] = encoder.shape();
    let wanted = Description { identity: identity.to_string(), rows, width };
    describe(directory, &wanted)?;
    let cache = CachedText { directory: directory.to_path_buf(), description: wanted };
    let mut prepared = Prepared { written: 0, kept: 0 };
    for (index, prompt) in prompts.iter().enumerate() {
        match cache.read(prompt) {
            Ok(_) => prepared.kept += 1,
            Err(EmbeddingError::Missing { .. } | EmbeddingError::Damaged { .. }) => {
                let values = encoder.encode(prompt).map_err(|reason| EmbeddingError::Encode { prompt: prompt.clone(), reason })?;
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
    fs::create_dir_all(directory).map_err(|error| FileError::new("create the directory", directory, error))?;
    let path = directory.join(DESCRIPTION);
    if !path.exists() {
        let text = serde_json::to_string_pretty(wanted).map_err(|error| FileError::new("write", &path, error.into()))?;
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
        Ok(Self { directory: directory.to_path_buf(), description: Description::read(directory)? })
    }

    /// The encoder whose rows these are (see [`identity`]).
    pub fn identity(&self) -> &str {
        &self.description.identity
    }

    /// Where a prompt's rows are, or would be.
    pub fn path(&self, prompt: &str) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.description.identity.as_bytes()).update(&[0]).update(prompt.as_bytes());
        self.directory.join(format!("{}.safetensors", hasher.finalize().to_hex()))
    }

    /// The rows of one prompt as [`TextEncoder::encode`] gave them, zeros past its length included.
    ///
    /// # Errors
    /// [`EmbeddingError::Missing`], [`EmbeddingError::Damaged`]; [`EmbeddingError::File`] for a disk that refuses.
    pub fn read(&self, prompt: &str) -> Result<Vec<f32>, EmbeddingError> {
        let path = self.path(prompt);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EmbeddingError::Missing { path: self.directory.clone(), prompt: prompt.to_string() });
            }
            Err(error) => return Err(FileError::new("read", &path, error).into()),
            Ok(_) => {}
        }
        self.checked(&path, prompt).map_err(|reason| EmbeddingError::Damaged { path, prompt: prompt.to_string(), reason })
    }

    fn checked(&self, path: &Path, prompt: &str) -> Result<Vec<f32>, String> {
        let file = WeightFile::open(path, Pickles::Refused).map_err(|error| error.to_string())?;
        let label = file.metadata().get(METADATA_KEY).ok_or("it does not say whose rows it holds")?;
        let label: Label = serde_json::from_str(label).map_err(|error| format!("what it says about its rows: {error}"))?;
        if label.identity != self.description.identity || label.prompt != prompt {
            return Err(format!("it holds the prompt {:?} of the encoder {}", label.prompt, label.identity));
        }
        let [rows, width] = self.shape();
        let entry = file.entries().get(ROWS).ok_or(format!("it has no tensor {ROWS:?}"))?;
        if entry.shape != [label.length, width] || label.length > rows {
            return Err(format!("its rows are {:?}, expected [{}, {width}] and at most {rows}", entry.shape, label.length));
        }
        let hash = file.with_bytes(ROWS, |bytes| blake3::hash(bytes).to_hex().to_string()).map_err(|error| error.to_string())?;
        if hash != label.blake3 {
            return Err("its values are not those that were written (their hash differs)".to_string());
        }
        let mut values = file.read(ROWS).map_err(|error| error.to_string())?.values;
        values.resize(rows * width, 0.0);
        Ok(values)
    }

    fn write(&self, prompt: &str, values: &[f32], stored: Stored) -> Result<(), EmbeddingError> {
        let [rows, width] = self.shape();
        let failed = |reason: String| EmbeddingError::Encode { prompt: prompt.to_string(), reason };
        if values.len() != rows * width {
            return Err(failed(format!("the encoder gave {} values, expected {rows} rows of {width}", values.len())));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(failed(format!("the encoder gave the value {value}, expected finite ones")));
        }
        // Rows past the prompt are zero, and come back as zeros.
        let length = values.chunks(width).rposition(|row| row.iter().any(|value| *value != 0.0)).map_or(0, |last| last + 1);
        let own = &values[..length * width];
        let (dtype, bytes): (Dtype, Vec<u8>) = match stored {
            Stored::F32 => (Dtype::F32, own.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Stored::Bf16 => (Dtype::BF16, own.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()),
        };
        let label = Label {
            identity: self.description.identity.clone(),
            prompt: prompt.to_string(),
            length,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        };
        let label = serde_json::to_string(&label).map_err(|error| failed(error.to_string()))?;
        let file = TensorView::new(dtype, vec![length, width], &bytes)
            .and_then(|view| safetensors::serialize([(ROWS, view)], Some([(METADATA_KEY.to_string(), label)].into())))
            .map_err(|error| failed(error.to_string()))?;
        Ok(write_atomically(&self.path(prompt), &file)?)
    }
}

impl TextEncoder for CachedText {
    fn shape(&self) -> [usize; 2] {
        self.description.shape()
    }

    fn encode(&self, prompt: &str) -> Result<Vec<f32>, String> {
        self.read(prompt).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts its calls; the rows are letters.
    struct Letters(AtomicUsize);

    impl TextEncoder for Letters {
        fn shape(&self) -> [usize; 2] {
            [6, 2]
        }

        fn encode(&self, prompt: &str) -> Result<Vec<f32>, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if prompt.len() > 6 {
                return Err("it is too long".to_string());
            }
            let mut rows: Vec<f32> = prompt.bytes().flat_map(|letter| [f32::from(letter) + 1e-3, -0.5]).collect();
            rows.resize(12, 0.0);
            Ok(rows)
        }
    }

    fn letters() -> Letters {
        Letters(AtomicUsize::new(0))
    }

    fn prepared(directory: &Path, prompts: &[&str], stored: Stored) -> (Prepared, usize) {
        let (encoder, prompts) = (letters(), prompts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let prepared = prepare(directory, "letters", &encoder, &prompts, stored, &mut |_, _| {}).unwrap();
        (prepared, encoder.0.load(Ordering::Relaxed))
    }

    #[test]
    fn rows_come_back_as_the_encoder_gave_them_and_are_encoded_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("new/cache");
        assert_eq!(prepared(&directory, &["red", "", "ball"], Stored::F32), (Prepared { written: 3, kept: 0 }, 3));
        assert_eq!(prepared(&directory, &["ball", "blue"], Stored::F32), (Prepared { written: 1, kept: 1 }, 1));
        let cache = CachedText::open(&directory).unwrap();
        assert_eq!((cache.shape(), cache.identity()), ([6, 2], "letters"));
        for prompt in ["red", "", "ball", "blue"] {
            assert_eq!(cache.encode(prompt).unwrap(), letters().encode(prompt).unwrap());
        }
        // Only the prompt's own rows are stored.
        let file = WeightFile::open(&cache.path("red"), Pickles::Refused).unwrap();
        assert_eq!((file.entries()[ROWS].shape.clone(), file.entries()[ROWS].dtype), (vec![3, 2], Dtype::F32));
    }

    #[test]
    fn half_the_bytes_round_to_bf16() {
        let folder = tempfile::tempdir().unwrap();
        prepared(folder.path(), &["red"], Stored::Bf16);
        let cache = CachedText::open(folder.path()).unwrap();
        let expected: Vec<f32> = letters().encode("red").unwrap().iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
        assert_eq!(cache.encode("red").unwrap(), expected);
        assert_eq!(expected[0], 114.0, "114.001 is rounded");
    }

    #[test]
    fn a_prompt_that_was_not_prepared_is_named_with_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let error = CachedText::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("encoder.json") && error.contains("afd data prepare RECIPE"), "{error}");
        prepared(folder.path(), &["red"], Stored::F32);
        let error = CachedText::open(folder.path()).unwrap().encode("blue").unwrap_err();
        assert!(error.contains("\"blue\"") && error.contains("afd data prepare RECIPE"), "{error}");
    }

    #[test]
    fn a_prompt_that_cannot_be_encoded_keeps_the_ones_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let prompts = ["red".to_string(), "far too long".to_string()];
        let error = prepare(folder.path(), "letters", &letters(), &prompts, Stored::F32, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("\"far too long\"") && error.contains("it is too long"), "{error}");
        assert!(CachedText::open(folder.path()).unwrap().encode("red").is_ok());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        prepared(folder.path(), &["red", "blue"], Stored::F32);
        let cache = CachedText::open(folder.path()).unwrap();
        let path = cache.path("red");
        let whole = fs::read(&path).unwrap();
        let rows = letters().encode("red").unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(&path, &flipped).unwrap();
            match cache.read("red") {
                // White space after the header, or a letter's case in a name that is not read: the rows are right all the same.
                Ok(values) => assert_eq!(values, rows, "byte {at}"),
                Err(EmbeddingError::Damaged { prompt, path: named, .. }) => assert_eq!((prompt.as_str(), &named), ("red", &path)),
                Err(other) => panic!("byte {at}: {other}"),
            }
            fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(cache.read("red"), Err(EmbeddingError::Damaged { .. })), "cut to {at}");
        }
        let error = cache.encode("red").unwrap_err();
        assert!(error.contains("\"red\"") && error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
        // A file under another prompt's name.
        fs::copy(cache.path("blue"), &path).unwrap();
        assert!(cache.encode("red").unwrap_err().contains("it holds the prompt \"blue\""));
        assert_eq!(prepared(folder.path(), &["red", "blue"], Stored::F32).0, Prepared { written: 1, kept: 1 });
        assert_eq!(cache.encode("red").unwrap(), rows);
    }

    #[test]
    fn a_cache_belongs_to_one_encoder() {
        let folder = tempfile::tempdir().unwrap();
        prepared(folder.path(), &["red"], Stored::F32);
        let error = prepare(folder.path(), "numbers", &letters(), &[], Stored::F32, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("another text encoder (letters") && error.contains("this one is numbers"), "{error}");
    }

    #[test]
    fn encoders_that_differ_have_other_identities() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = folder.path().join("tokenizer.json");
        let weights = folder.path().join("weights.safetensors");
        let named = |values: [f32; 2], tensor: &str, text: &str, dtype: FloatDType| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let view = TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
            fs::write(&weights, safetensors::serialize([(tensor, view)], None).unwrap()).unwrap();
            fs::write(&tokenizer, text).unwrap();
            identity(&tokenizer, &WeightFile::open(&weights, Pickles::Refused).unwrap(), dtype).unwrap()
        };
        let first = named([1.0, 2.0], "norm", "{}", FloatDType::F32);
        assert_eq!(named([1.0, 2.0], "norm", "{}", FloatDType::F32), first);
        for other in [
            named([1.0, 2.5], "norm", "{}", FloatDType::F32),
            named([1.0, 2.0], "norn", "{}", FloatDType::F32),
            named([1.0, 2.0], "norm", "{ }", FloatDType::F32),
            named([1.0, 2.0], "norm", "{}", FloatDType::BF16),
        ] {
            assert_ne!(other, first);
        }
    }
}

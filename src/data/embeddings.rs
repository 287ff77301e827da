//! Embeddings of prompts on disk, so that training never holds the text encoder.
//!
//! A directory per encoder: `encoder.json` (identity and shape), and one safetensors file per
//! prompt, named by the blake3 hash of the identity and the prompt. A file holds the embeddings of
//! the prompt's own tokens only, their number, the prompt and the hash of the values; it appears
//! whole or not at all, and every read checks it.

mod cache;
mod error;

use std::fs;
use std::path::Path;

use afd_models::text::TextEncoder;
use afd_models::weights::WeightFile;
use burn::tensor::{DType, FloatDType};

use crate::run::files::{FileError, write_atomically};

pub use cache::{CachedText, Stored};
pub use error::{Damage, EmbeddingError};

use cache::{DESCRIPTION, Description};

/// The only tensor of a prompt's file.
const ROWS: &str = "rows";
/// Tensors up to this many bytes are part of an encoder's identity with all of their values.
const SMALL: usize = 64 << 10;
/// Of a larger one this many bytes at its beginning, in its middle and at its end are.
const WINDOW: usize = 4 << 10;

/// What tells text encoders apart: a hash of the tokenizer's file, of the type that the encoder
/// computes in, and of its weights' names, types and shapes with all values of the small ones
/// (norms and position tables) and some of the large ones, which would be gigabytes to read.
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
        weights.with_bytes(name, |bytes| match bytes.len() {
            0..=SMALL => part(bytes),
            all => [0, (all - WINDOW) / 2, all - WINDOW]
                .into_iter()
                .for_each(|start| part(&bytes[start..start + WINDOW])),
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
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

#[cfg(test)]
mod tests;

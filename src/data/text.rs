//! A recipe's text encoder: word vectors at once, umT5's embeddings from the cache that `afd data
//! prepare` fills.

use std::path::{Path, PathBuf};

use afd_models::kernels::Kernels;
use afd_models::text::TextEncoder;
use afd_models::text::umt5::UmT5;
use afd_models::text::words::WordVectors;
use afd_models::weights::umt5::UmT5Error;
use afd_models::weights::{Pickles, WeightFile, WeightsError};

use super::embeddings::{self, CachedText, EmbeddingError, Prepared, Stored};
use crate::exit::ExitStatus;
use crate::recipe::tables::{TextKind, TextTable};

/// The directory of embeddings below `data.path`.
pub const EMBEDDINGS: &str = "text";

/// Why prompts cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The encoder's files.
    #[error(transparent)]
    Encoder(#[from] UmT5Error),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] EmbeddingError),
    /// There is no cache.
    #[error("data.path is missing: name the directory that `afd data prepare` fills")]
    NoCache,
    /// There is no encoder.
    #[error(
        "text.tokenizer or text.checkpoint is missing: name tokenizer.json and the weights of umT5"
    )]
    NoEncoder,
}

impl ExitStatus for TextError {}

/// The encoder that training reads prompts with. It holds no weights.
///
/// # Errors
/// umT5 without a cache.
pub fn reader(text: &TextTable, data: Option<&Path>) -> Result<Box<dyn TextEncoder>, TextError> {
    match text.kind {
        TextKind::Words => Ok(Box::new(WordVectors {
            length: text.length,
            width: text.width,
        })),
        TextKind::Umt5 => {
            let data = data.ok_or(TextError::NoCache)?;
            Ok(Box::new(CachedText::open(&data.join(EMBEDDINGS))?))
        }
    }
}

/// Encodes the prompts that the cache below `data` lacks; the encoder is loaded for this only. Word
/// vectors need none: `None`.
///
/// # Errors
/// [`TextError`]; what was written before stays.
pub fn prepare<B: Kernels>(
    text: &TextTable,
    pickles: Pickles,
    data: &Path,
    prompts: &[String],
    device: &B::Device,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Prepared>, TextError> {
    if text.kind == TextKind::Words {
        return Ok(None);
    }
    let (tokenizer, weights) = files(text)?;
    let weights = WeightFile::open(weights, pickles)?;
    let dtype = text.precision.dtype().into();
    let identity = embeddings::identity(tokenizer, &weights, dtype)?;
    let directory = data.join(EMBEDDINGS);
    // Eleven gigabytes are not read to find that nothing is missing.
    if let Ok(cache) = CachedText::open(&directory)
        && cache.identity() == identity
        && prompts.iter().all(|prompt| cache.read(prompt).is_ok())
    {
        return Ok(Some(Prepared {
            written: 0,
            kept: prompts.len(),
        }));
    }
    let encoder = UmT5::<B>::open(tokenizer, &weights, dtype, device)?;
    Ok(Some(embeddings::prepare(
        &directory,
        &identity,
        &encoder,
        prompts,
        Stored::Bf16,
        progress,
    )?))
}

/// What tells text encoders apart, wherever their files are; see [`embeddings::identity`].
///
/// # Errors
/// umT5's files.
pub fn identity(text: &TextTable, pickles: Pickles) -> Result<serde_json::Value, TextError> {
    match text.kind {
        TextKind::Words => {
            Ok(serde_json::json!({ "kind": "words", "length": text.length, "width": text.width }))
        }
        TextKind::Umt5 => {
            let (tokenizer, weights) = files(text)?;
            let identity = embeddings::identity(
                tokenizer,
                &WeightFile::open(weights, pickles)?,
                text.precision.dtype().into(),
            )?;
            Ok(serde_json::json!({ "kind": "umt5", "identity": identity }))
        }
    }
}

/// The same as training sees it: the encoder whose embeddings lie below `data`. Where the encoder's
/// own files are here too, they must be those.
///
/// # Errors
/// As [`identity`]; [`EmbeddingError::OtherEncoder`] for embeddings of another encoder.
pub fn identity_of_cached(
    text: &TextTable,
    pickles: Pickles,
    data: Option<&Path>,
) -> Result<serde_json::Value, TextError> {
    if text.kind == TextKind::Words {
        return identity(text, pickles);
    }
    let cache = CachedText::open(&data.ok_or(TextError::NoCache)?.join(EMBEDDINGS))?;
    let there = |file: &Option<PathBuf>| file.as_ref().is_some_and(|file| file.exists());
    if there(&text.tokenizer) && there(&text.checkpoint) {
        let (tokenizer, weights) = files(text)?;
        let weights = WeightFile::open(weights, pickles)?;
        let wanted = embeddings::identity(tokenizer, &weights, text.precision.dtype().into())?;
        cache.is_of(&wanted)?;
    }
    Ok(serde_json::json!({ "kind": "umt5", "identity": cache.identity() }))
}

fn files(text: &TextTable) -> Result<(&Path, &Path), TextError> {
    match (&text.tokenizer, &text.checkpoint) {
        (Some(tokenizer), Some(checkpoint)) => Ok((tokenizer, checkpoint)),
        _ => Err(TextError::NoEncoder),
    }
}

//! Embeddings survive the disk; what does not is found.

use std::sync::atomic::{AtomicUsize, Ordering};

use afd_models::weights::Pickles;
use burn::tensor::bf16;
use safetensors::tensor::{Dtype, TensorView};

use super::*;
use afd_models::text::EncodeError;

/// Counts its calls; the embeddings are letters.
struct Letters(AtomicUsize);

impl TextEncoder for Letters {
    fn shape(&self) -> [usize; 2] {
        [6, 2]
    }

    fn encode(&self, prompt: &str) -> Result<Vec<f32>, EncodeError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if prompt.len() > 6 {
            return Err(EncodeError::other("it is too long"));
        }
        let mut embeddings: Vec<f32> = prompt
            .bytes()
            .flat_map(|letter| [f32::from(letter) + 1e-3, -0.5])
            .collect();
        embeddings.resize(12, 0.0);
        Ok(embeddings)
    }
}

fn letters() -> Letters {
    Letters(AtomicUsize::new(0))
}

fn prepared(directory: &Path, prompts: &[&str], stored: Stored) -> (Prepared, usize) {
    let (encoder, prompts) = (
        letters(),
        prompts.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );
    let prepared = prepare(
        directory,
        "letters",
        &encoder,
        &prompts,
        stored,
        &mut |_, _| {},
    )
    .unwrap();
    (prepared, encoder.0.load(Ordering::Relaxed))
}

#[test]
fn embeddings_come_back_as_the_encoder_gave_them_and_are_encoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("new/cache");
    assert_eq!(
        prepared(&directory, &["red", "", "ball"], Stored::F32),
        (
            Prepared {
                written: 3,
                kept: 0
            },
            3
        )
    );
    assert_eq!(
        prepared(&directory, &["ball", "blue"], Stored::F32),
        (
            Prepared {
                written: 1,
                kept: 1
            },
            1
        )
    );
    let cache = CachedText::open(&directory).unwrap();
    assert_eq!((cache.shape(), cache.identity()), ([6, 2], "letters"));
    for prompt in ["red", "", "ball", "blue"] {
        assert_eq!(
            cache.encode(prompt).unwrap(),
            letters().encode(prompt).unwrap()
        );
    }
    // Only the prompt's own embeddings are stored.
    let file = WeightFile::open(&cache.path("red"), Pickles::Refused).unwrap();
    assert_eq!(
        (
            file.entries()[ROWS].shape.clone(),
            file.entries()[ROWS].dtype
        ),
        (vec![3, 2], Dtype::F32)
    );
}

#[test]
fn half_the_bytes_round_to_bf16() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path(), &["red"], Stored::Bf16);
    let cache = CachedText::open(folder.path()).unwrap();
    let expected: Vec<f32> = letters()
        .encode("red")
        .unwrap()
        .iter()
        .map(|value| bf16::from_f32(*value).to_f32())
        .collect();
    assert_eq!(cache.encode("red").unwrap(), expected);
    assert_eq!(expected[0], 114.0, "114.001 is rounded");
}

#[test]
fn a_prompt_that_was_not_prepared_is_named_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let error = CachedText::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("encoder.json") && error.contains("afd data prepare RECIPE"),
        "{error}"
    );
    prepared(folder.path(), &["red"], Stored::F32);
    let error = CachedText::open(folder.path())
        .unwrap()
        .encode("blue")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"blue\"") && error.contains("afd data prepare RECIPE"),
        "{error}"
    );
}

#[test]
fn a_prompt_that_cannot_be_encoded_keeps_the_ones_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = ["red".to_string(), "far too long".to_string()];
    let error = prepare(
        folder.path(),
        "letters",
        &letters(),
        &prompts,
        Stored::F32,
        &mut |_, _| {},
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("\"far too long\"") && error.contains("it is too long"),
        "{error}"
    );
    assert!(
        CachedText::open(folder.path())
            .unwrap()
            .encode("red")
            .is_ok()
    );
}

#[test]
fn every_flipped_byte_and_every_cut_is_found_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path(), &["red", "blue"], Stored::F32);
    let cache = CachedText::open(folder.path()).unwrap();
    let path = cache.path("red");
    let whole = fs::read(&path).unwrap();
    let embeddings = letters().encode("red").unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&path, &flipped).unwrap();
        match cache.read("red") {
            // White space after the header, or a letter's case in a name that is not read: the
            // embeddings are right all the same.
            Ok(values) => assert_eq!(values, embeddings, "byte {at}"),
            Err(EmbeddingError::Damaged {
                prompt,
                path: named,
                ..
            }) => assert_eq!((prompt.as_str(), &named), ("red", &path)),
            Err(other) => panic!("byte {at}: {other}"),
        }
        fs::write(&path, &whole[..at]).unwrap();
        assert!(
            matches!(cache.read("red"), Err(EmbeddingError::Damaged { .. })),
            "cut to {at}"
        );
    }
    let error = cache.encode("red").unwrap_err().to_string();
    assert!(
        error.contains("\"red\"") && error.contains(path.file_name().unwrap().to_str().unwrap()),
        "{error}"
    );
    // A file under another prompt's name.
    fs::copy(cache.path("blue"), &path).unwrap();
    assert!(
        cache
            .encode("red")
            .unwrap_err()
            .to_string()
            .contains("it holds the prompt \"blue\"")
    );
    assert_eq!(
        prepared(folder.path(), &["red", "blue"], Stored::F32).0,
        Prepared {
            written: 1,
            kept: 1
        }
    );
    assert_eq!(cache.encode("red").unwrap(), embeddings);
}

#[test]
fn a_cache_belongs_to_one_encoder() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path(), &["red"], Stored::F32);
    let error = prepare(
        folder.path(),
        "numbers",
        &letters(),
        &[],
        Stored::F32,
        &mut |_, _| {},
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("another text encoder (letters") && error.contains("this one is numbers"),
        "{error}"
    );
}

#[test]
fn encoders_that_differ_have_other_identities() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let weights = folder.path().join("weights.safetensors");
    let named = |values: [f32; 2], tensor: &str, text: &str, dtype: FloatDType| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
        fs::write(
            &weights,
            safetensors::serialize([(tensor, view)], None).unwrap(),
        )
        .unwrap();
        fs::write(&tokenizer, text).unwrap();
        identity(
            &tokenizer,
            &WeightFile::open(&weights, Pickles::Refused).unwrap(),
            dtype,
        )
        .unwrap()
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

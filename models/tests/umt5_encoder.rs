//! The umT5 encoder as a whole: prompts to embeddings, and what loading it takes.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use afd_models::text::TextEncoder;
use afd_models::text::umt5::{Tokenizer, UmT5, UmT5Config};
use afd_models::weights::umt5::{UmT5File, shapes};
use afd_models::weights::{Pickles, WeightFile};
use burn::backend::{Flex, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::tensor::{FloatDType, Int, bf16};
use peak_alloc::PeakAlloc;
use safetensors::tensor::{Dtype, TensorView};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The peak is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn small() -> UmT5Config {
    UmT5Config {
        vocabulary: 500,
        width: 32,
        heads: 2,
        head_width: 8,
        feed_forward_width: 48,
        layers: 2,
        buckets: 32,
        max_distance: 128,
    }
}

fn tokenizer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text_tokenizer.json")
}

/// A file of bf16 weights of these sizes under Wan's names: small numbers without a pattern.
fn weights(directory: &Path, config: &UmT5Config) -> WeightFile {
    let path = directory.join("umt5.safetensors");
    let mut state = 1_u32;
    let mut value = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bf16::from_f32((state >> 16) as f32 / 65_536.0 - 0.5).to_le_bytes()
    };
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            (
                name,
                shape.clone(),
                (0..shape.iter().product())
                    .flat_map(|_: usize| value())
                    .collect(),
            )
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

#[test]
fn a_prompt_is_cleaned_and_its_embeddings_are_followed_by_zeros() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    let file = weights(directory.path(), &small());
    let encoder =
        UmT5::<NdArray>::open(&tokenizer(), &file, FloatDType::F32, &Default::default()).unwrap();
    assert_eq!(encoder.shape(), [512, 32]);
    let embeddings = encoder.encode("A red ball &amp;amp;  a “cafÃ©” ").unwrap();
    assert_eq!(
        embeddings,
        encoder.encode("A red ball & a \"café\"").unwrap()
    );
    let tokenizer = Tokenizer::open(&tokenizer(), 512).unwrap();
    let ids = tokenizer.ids("A red ball & a \"café\"").unwrap();
    assert_eq!(embeddings.len(), 512 * 32);
    assert!(
        embeddings[..ids.len() * 32]
            .chunks(32)
            .all(|row| row.iter().any(|value| *value != 0.0))
    );
    assert!(
        embeddings[ids.len() * 32..]
            .iter()
            .all(|value| *value == 0.0)
    );

    // The same as a prompt that is padded to the full length and masked.
    let module = UmT5File::find(&file)
        .unwrap()
        .load::<NdArray>(&small(), FloatDType::F32, &Default::default())
        .unwrap();
    let mut padded: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    padded.resize(512, i64::from(Tokenizer::PADDING));
    let padded = Tensor::<NdArray, 2, Int>::from_data(
        TensorData::new(padded, [1, 512]),
        &Default::default(),
    );
    let padded: Vec<f32> = module
        .forward(padded, &[ids.len()])
        .into_data()
        .iter::<f32>()
        .collect();
    let furthest = embeddings
        .iter()
        .zip(&padded)
        .map(|(row, padded)| (row - padded).abs())
        .fold(0.0, f32::max);
    let largest = embeddings
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    // Sums of f32 over 512 keys, all but a few of them zero, in another order.
    assert!(furthest < 1e-5 * largest, "{furthest:e} of {largest}");

    // The empty prompt is the end alone; one that is too long is cut.
    assert!(
        encoder.encode("").unwrap()[32..]
            .iter()
            .all(|value| *value == 0.0)
    );
    let long = encoder.encode(&"ball ".repeat(600)).unwrap();
    assert!(long[511 * 32..].iter().any(|value| *value != 0.0));
}

#[test]
fn tokenizer_and_weights_must_belong_together() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    let file = weights(
        directory.path(),
        &UmT5Config {
            vocabulary: 400,
            ..small()
        },
    );
    let error = UmT5::<NdArray>::open(&tokenizer(), &file, FloatDType::F32, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has 448 ids") && error.contains("embeddings for 400"),
        "{error}"
    );
}

/// The real file is 11 GB of bf16: it must not be held twice, nor cast to f32.
#[test]
fn loading_bf16_takes_little_more_than_the_weights() {
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().unwrap();
    // The embeddings are a third of the whole, as in the real one.
    let config = UmT5Config {
        vocabulary: 8192,
        width: 256,
        heads: 4,
        head_width: 64,
        feed_forward_width: 640,
        layers: 6,
        ..small()
    };
    let file = weights(directory.path(), &config);
    let size: usize = file.entries().values().map(|entry| entry.bytes).sum();
    let found = UmT5File::find(&file).unwrap();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let module = found
        .load::<Flex>(&config, FloatDType::BF16, &Default::default())
        .unwrap();
    let (peak, held) = (
        MEMORY.peak_usage() - before,
        MEMORY.current_usage() - before,
    );
    let share = |bytes: usize| bytes as f64 / size as f64;
    println!(
        "{size} bytes of weights, peak {:.3} of them, held {:.3}",
        share(peak),
        share(held)
    );
    assert!(
        share(peak) < 1.2,
        "the peak is {:.2} times the weights",
        share(peak)
    );
    assert!(share(held) >= 1.0);
    assert_eq!(module.num_params() * 2, size);
}

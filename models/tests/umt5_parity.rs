//! The umT5 encoder against transformers' own, loaded under Hugging Face's names
//! (`fixtures/make_umt5_fixture.py`).

use std::path::{Path, PathBuf};

use afd_models::kernels::Kernels;
use afd_models::text::umt5::{UmT5Config, UmT5Encoder, bucket};
use afd_models::weights::umt5::UmT5File;
use afd_models::weights::{HostTensor, Pickles, Tensors, WeightFile, read_file};
use burn::backend::{Flex, NdArray};
use burn::prelude::*;
use burn::tensor::{FloatDType, Int};

/// Largest error in f32, as a share of the largest magnitude. The reference is computed in f64
/// with f32 norms; two layers of f32 sums in another order are off by less than 1e-6 (printed by
/// the tests). The exact GELU instead of its tanh form is off by 2e-4.
const TOLERANCE: f64 = 1e-4;

/// The same with weights held in bf16, whose steps are 2^-8 of a value: 6e-3 here; transformers
/// itself in bf16 deviates by 1.2e-2.
const TOLERANCE_BF16: f64 = 1e-2;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn model() -> WeightFile {
    WeightFile::open(&path("umt5_model.safetensors"), Pickles::Refused).unwrap()
}

fn references() -> Tensors {
    read_file(&path("umt5_rows.safetensors")).unwrap().0
}

fn small() -> UmT5Config {
    UmT5Config {
        vocabulary: 96,
        width: 48,
        heads: 3,
        head_width: 10,
        feed_forward_width: 72,
        layers: 2,
        buckets: 32,
        max_distance: 128,
    }
}

fn encoder<B: Backend>(dtype: FloatDType) -> UmT5Encoder<B> {
    let file = model();
    let file = UmT5File::find(&file).unwrap();
    assert_eq!(file.sizes(), Some(small()));
    file.load(&small(), dtype, &Default::default()).unwrap()
}

fn ids<B: Backend>(ids: &HostTensor) -> Tensor<B, 2, Int> {
    let values: Vec<i64> = ids.values.iter().map(|id| *id as i64).collect();
    Tensor::from_data(
        TensorData::new(values, ids.shape.clone()),
        &Default::default(),
    )
}

/// The largest error as a share of the expected tensor's largest magnitude.
fn relative_error<B: Backend>(found: Tensor<B, 3>, expected: &HostTensor) -> f64 {
    assert_eq!(found.dims().to_vec(), expected.shape);
    let found: Vec<f32> = found.into_data().iter::<f32>().collect();
    let largest = expected
        .values
        .iter()
        .map(|value| f64::from(value.abs()))
        .fold(0.0, f64::max);
    let differences = found
        .iter()
        .zip(&expected.values)
        .map(|(found, expected)| (f64::from(*found) - f64::from(*expected)).abs());
    // `f64::max` ignores NaN: a value that is not a number must not pass for one that fits.
    let furthest = differences.fold(0.0, |furthest, difference| {
        if difference > furthest || difference.is_nan() {
            difference
        } else {
            furthest
        }
    });
    assert!(largest > 0.0, "an expected tensor of zeros tests nothing");
    furthest / largest
}

fn embeddings_agree<B: Kernels>(dtype: FloatDType, tolerance: f64) {
    let (encoder, references) = (encoder::<B>(dtype), references());
    let lengths: Vec<usize> = references["lengths"]
        .values
        .iter()
        .map(|length| *length as usize)
        .collect();
    let padded = encoder.forward(ids(&references["ids"]), &lengths);
    let after = padded
        .clone()
        .slice([1..2, lengths[1]..lengths[0]])
        .abs()
        .max()
        .into_scalar()
        .elem::<f32>();
    assert_eq!(after, 0.0, "embeddings of padding are zero");
    let long = encoder.forward(ids(&references["long_ids"]), &[150]);
    for (name, found) in [("rows", padded), ("long_rows", long)] {
        let error = relative_error(found, &references[name]);
        println!("{name} in {dtype:?}: {error:e}");
        assert!(
            error < tolerance,
            "{name} are off by {error:e} of their largest value, tolerated are {tolerance:e}"
        );
    }
}

#[test]
fn embeddings_equal_transformers_on_ndarray() {
    embeddings_agree::<NdArray>(FloatDType::F32, TOLERANCE);
}

#[test]
fn embeddings_equal_transformers_on_flex() {
    embeddings_agree::<Flex>(FloatDType::F32, TOLERANCE);
}

#[test]
fn embeddings_of_bf16_weights_equal_transformers_on_flex() {
    embeddings_agree::<Flex>(FloatDType::BF16, TOLERANCE_BF16);
}

/// One prompt at a time without padding, as prompts are encoded, gives the embeddings of the padded
/// batch.
#[test]
fn padding_changes_nothing_for_the_tokens_before_it() {
    let (encoder, references) = (encoder::<NdArray>(FloatDType::F32), references());
    let all = ids::<NdArray>(&references["ids"]);
    let expected = Tensor::<NdArray, 3>::from_data(
        TensorData::new(references["rows"].values.clone(), [2, 16, 48]),
        &Default::default(),
    );
    let alone = encoder.forward(all.slice([1..2, 0..9]), &[9]);
    let expected: Vec<f32> = expected
        .slice([1..2, 0..9])
        .into_data()
        .iter::<f32>()
        .collect();
    let error = relative_error(
        alone,
        &HostTensor {
            shape: vec![1, 9, 48],
            values: expected,
        },
    );
    assert!(error < TOLERANCE, "{error:e}");
}

#[test]
fn buckets_equal_transformers_for_every_distance() {
    let found: Vec<f32> = (-300..=300)
        .map(|distance| bucket(distance, &UmT5Config::xxl()) as f32)
        .collect();
    assert_eq!(found, references()["buckets"].values);
}

#[test]
fn types_that_a_backend_lacks_are_refused_in_words() {
    let file = model();
    let error = UmT5File::find(&file)
        .unwrap()
        .load::<NdArray>(&small(), FloatDType::BF16, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not compute in BF16; ask for F32"),
        "{error}"
    );
}

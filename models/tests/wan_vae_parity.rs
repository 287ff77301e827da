//! The Wan VAE against diffusers' own `AutoencoderKLWan`, loaded under diffusers' names
//! (`fixtures/make_wan_vae_fixture.py`), and against itself: a stream gives what the clip at once
//! gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afd_models::codec::Codec;
use afd_models::codec::wan_vae::{StreamingDecoder, StreamingEncoder, WanVae, WanVaeConfig};
use afd_models::init::initialise;
use afd_models::kernels::Kernels;
use afd_models::noise::{Noise, Purpose};
use afd_models::weights::layout::Layout;
use afd_models::weights::wan_vae::WanVaeFile;
use afd_models::weights::{HostTensor, Pickles, Tensors, WeightFile, read_file, to_bytes, wan_vae};
use burn::backend::{Flex, NdArray};
use burn::prelude::*;
use burn::tensor::FloatDType;

/// Largest error against the reference, as a share of the largest magnitude.
///
/// The reference is computed in f64; diffusers itself is off by 4e-7 in f32 (the fixture's script
/// prints it). Layers that lose the older of their two cached frames are off by 3e-1.
const TOLERANCE: f64 = 1e-4;

/// The same in bf16. diffusers' own bf16, which rounds its norms too, is off by 6e-3 (encoding)
/// and 1.2e-2 (decoding).
const HALF_TOLERANCE: f64 = 1e-2;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// diffusers' weights and clips. Latents are not normalised there.
fn fixture<B: Kernels>() -> (WanVae<B>, Tensors) {
    let file = WeightFile::open(&path("wan_vae.safetensors"), Pickles::Refused).unwrap();
    let found = WanVaeFile::find(&file);
    assert_eq!(
        (found.layout(), found.sizes()),
        (Layout::Diffusers, Some(WanVaeConfig::sized(4, 3)))
    );
    let vae = found
        .load(&WanVaeConfig::sized(4, 3), &Default::default())
        .unwrap();
    (
        vae,
        read_file(&path("wan_vae_clips.safetensors")).unwrap().0,
    )
}

fn tensor<B: Backend>(fixture: &Tensors, name: &str) -> Tensor<B, 5> {
    let HostTensor { shape, values } = fixture[name].clone();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn first<B: Backend>(x: &Tensor<B, 5>, frames: usize) -> Tensor<B, 5> {
    x.clone().slice_dim(1, 0..frames)
}

/// Largest and root-mean-square error as shares of the largest expected magnitude.
fn relative_error<B: Backend>(found: Tensor<B, 5>, expected: Tensor<B, 5>) -> [f64; 2] {
    assert_eq!(found.dims(), expected.dims());
    let values = |tensor: Tensor<B, 5>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let (found, expected) = (values(found), values(expected));
    let largest = expected
        .iter()
        .fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "an expected tensor of zeros tests nothing");
    let gaps: Vec<f64> = found
        .iter()
        .zip(&expected)
        .map(|(found, expected)| (found - expected).abs() / largest)
        .collect();
    assert!(gaps.iter().all(|gap| gap.is_finite()));
    [
        gaps.iter().copied().fold(0.0, f64::max),
        (gaps.iter().map(|gap| gap * gap).sum::<f64>() / gaps.len() as f64).sqrt(),
    ]
}

fn assert_close<B: Backend>(
    what: &str,
    found: Tensor<B, 5>,
    expected: Tensor<B, 5>,
    tolerance: f64,
) {
    let [most, _] = relative_error(found, expected);
    assert!(
        most < tolerance,
        "{what} is off by {most:e} of its largest value, tolerated are {tolerance:e}"
    );
}

#[test]
fn both_layouts_names_are_those_that_diffusers_converts_into_each_other() {
    let file = WeightFile::open(&path("wan_vae.safetensors"), Pickles::Refused).unwrap();
    let theirs: BTreeMap<String, String> =
        serde_json::from_str(&file.metadata()["original_names"]).unwrap();
    let [wan, diffusers] = [Layout::Wan, Layout::Diffusers]
        .map(|layout| wan_vae::table(&WanVaeConfig::sized(4, 3), layout));
    let ours: BTreeMap<String, String> = diffusers
        .rows()
        .iter()
        .map(|(path, stored)| (stored.name.clone(), wan.rows()[path].name.clone()))
        .collect();
    assert_eq!(ours, theirs);
}

/// 1, 5, 9 and 13 frames; as a stream and at once.
fn clips_agree_with_diffusers<B: Kernels>() {
    let (vae, fixture) = fixture::<B>();
    let [clip, mean, latents, video] =
        ["clip", "mean", "latents", "video"].map(|name| tensor::<B>(&fixture, name));
    for latent_frames in 1..=4 {
        let frames = 4 * latent_frames - 3;
        let (clip, mean) = (first(&clip, frames), first(&mean, latent_frames));
        assert_close(
            &format!("the stream of {frames} frames"),
            vae.encode(clip.clone()),
            mean.clone(),
            TOLERANCE,
        );
        assert_close(
            &format!("the clip of {frames} frames"),
            vae.encode_at_once(clip),
            mean,
            TOLERANCE,
        );
        let (latents, video) = (first(&latents, latent_frames), first(&video, frames));
        assert_close(
            &format!("the stream of {latent_frames} latents"),
            vae.decode(latents.clone()),
            video.clone(),
            TOLERANCE,
        );
        assert_close(
            &format!("the clip of {latent_frames} latents"),
            vae.decode_at_once(latents),
            video,
            TOLERANCE,
        );
    }
}

#[test]
fn clips_agree_with_diffusers_on_ndarray() {
    clips_agree_with_diffusers::<NdArray>();
}

#[test]
fn clips_agree_with_diffusers_on_flex() {
    clips_agree_with_diffusers::<Flex>();
}

#[test]
fn clips_agree_with_diffusers_in_bf16_on_flex() {
    let (vae, fixture) = fixture::<Flex>();
    let vae = vae.to_dtype(FloatDType::BF16);
    let [clip, mean, latents, video] =
        ["clip", "mean", "latents", "video"].map(|name| tensor::<Flex>(&fixture, name));
    let encoded = relative_error(vae.encode(clip), mean);
    let decoded = relative_error(vae.decode(latents), video);
    for [most, _] in [encoded, decoded] {
        assert!(
            most < HALF_TOLERANCE,
            "(largest, average) errors: encoded {encoded:?}, decoded {decoded:?}"
        );
    }
}

fn random(shape: [usize; 5], index: u64) -> Tensor<Flex, 5> {
    let values = Noise::new(3, Purpose::Evaluation, 0, index).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn small() -> WanVae<Flex> {
    let mut config = WanVaeConfig::sized(4, 3);
    (config.mean, config.std) = (vec![0.5, -0.25, 0.0], vec![2.0, 0.5, 1.0]);
    initialise(WanVae::new(&config, &Default::default()).unwrap(), 5, "vae")
}

/// Sums in another order.
const REORDERED: f64 = 1e-5;

#[test]
fn streams_in_pieces_of_any_length_give_what_the_clip_at_once_gives() {
    let vae = small();
    let clip = random([2, 17, 3, 16, 8], 1).tanh();
    let whole = vae.encode_at_once(clip.clone());
    assert_eq!(whole.dims(), [2, 5, 3, 2, 1]);
    let mut encoder = StreamingEncoder::new(&vae);
    let (mut pieces, mut from) = (Vec::new(), 0);
    for (frames, ready, waiting) in [(3, 1, 2), (1, 0, 3), (9, 3, 0), (2, 0, 2), (2, 1, 0)] {
        let piece = encoder.push(clip.clone().slice_dim(1, from..from + frames));
        from += frames;
        assert_eq!(
            (
                piece.as_ref().map_or(0, |piece| piece.dims()[1]),
                encoder.waiting()
            ),
            (ready, waiting)
        );
        pieces.extend(piece);
    }
    assert_close(
        "the encoder's stream",
        Tensor::cat(pieces, 1),
        whole.clone(),
        REORDERED,
    );

    let video = vae.decode_at_once(whole.clone());
    assert_eq!(video.dims(), [2, 17, 3, 16, 8]);
    assert_eq!(video.clone().abs().max().into_scalar(), 1.0, "clamped");
    let mut decoder: Box<dyn afd_models::codec::DecodeStream<Flex>> = vae.decoder();
    let pieces: Vec<_> = [0..1, 1..4, 4..5]
        .into_iter()
        .map(|range| decoder.push(whole.clone().slice_dim(1, range)))
        .collect();
    assert_eq!(
        pieces
            .iter()
            .map(|piece| piece.dims()[1])
            .collect::<Vec<_>>(),
        [1, 12, 4]
    );
    assert_close(
        "the decoder's stream",
        Tensor::cat(pieces, 1),
        video,
        REORDERED,
    );
}

#[test]
fn a_cloned_stream_goes_on_by_itself() {
    let vae = small();
    let latents = random([1, 3, 3, 1, 1], 2);
    let mut decoder = StreamingDecoder::new(&vae);
    decoder.push(first(&latents, 2));
    let mut other = decoder.clone();
    other.push(random([1, 2, 3, 1, 1], 3));
    let last = latents.clone().slice_dim(1, 2..3);
    let expected = vae.decode(latents).slice_dim(1, 5..9);
    assert_close(
        "the frames after the fork",
        decoder.push(last),
        expected,
        REORDERED,
    );
}

#[test]
fn eighty_one_frames_are_twenty_one_latents_and_back_and_other_sizes_are_refused() {
    let vae = small();
    assert_eq!(
        Codec::<Flex>::latent_shape(&vae, 81, 480, 832),
        Ok([21, 3, 60, 104])
    );
    let latents = vae.encode(random([1, 81, 3, 8, 8], 4).tanh());
    assert_eq!(latents.dims(), [1, 21, 3, 1, 1]);
    assert_eq!(vae.decode(latents).dims(), [1, 81, 3, 8, 8]);
    for (frames, height, width, words) in [
        (80, 8, 8, "1 + 4 n frames, and the clip has 80"),
        (5, 12, 8, "must divide the clip's height (12)"),
    ] {
        let error = Codec::<Flex>::latent_shape(&vae, frames, height, width)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn latents_are_normalised_with_the_configured_mean_and_std() {
    let mut config = WanVaeConfig::sized(4, 3);
    let clip = random([1, 5, 3, 8, 8], 6).tanh();
    let plain = initialise(
        WanVae::<Flex>::new(&config, &Default::default()).unwrap(),
        5,
        "vae",
    );
    (config.mean, config.std) = (vec![0.5, -0.25, 0.0], vec![2.0, 0.5, 1.0]);
    let latents = plain.encode(clip.clone());
    let device = Default::default();
    let row =
        |values: [f32; 3]| Tensor::<Flex, 1>::from_floats(values, &device).reshape([1, 1, 3, 1, 1]);
    let expected = (latents.clone() - row([0.5, -0.25, 0.0])) / row([2.0, 0.5, 1.0]);
    let normalised = small();
    assert_close(
        "the latents",
        normalised.encode(clip),
        expected.clone(),
        REORDERED,
    );
    assert_close(
        "the frames",
        normalised.decode(expected),
        plain.decode(latents),
        REORDERED,
    );
}

/// Wan 2.1's own numbers (docs/method.md C.4), in order of the channels.
const WAN: [(f64, f64); 16] = [
    (-0.7571, 2.8184),
    (-0.7089, 1.4541),
    (-0.9113, 2.3275),
    (0.1075, 2.6558),
    (-0.1745, 1.2196),
    (0.9653, 1.7708),
    (-0.1517, 2.6052),
    (1.5508, 2.0743),
    (0.4134, 3.2687),
    (-0.0715, 2.1526),
    (0.5517, 2.8652),
    (-0.3632, 1.5579),
    (-0.1922, 1.6382),
    (-0.9497, 1.1253),
    (0.2503, 2.8251),
    (-0.2921, 1.9160),
];

#[test]
fn sixteen_channels_are_normalised_with_wan_s_means_and_deviations() {
    let plain = WanVaeConfig::sized(4, 16);
    let device = Default::default();
    let with =
        |config: &WanVaeConfig| initialise(WanVae::<Flex>::new(config, &device).unwrap(), 5, "vae");
    // The file says 16 channels and nothing of means: Wan's are taken.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vae.safetensors");
    let tensors = wan_vae::store(&with(&plain), Layout::Wan);
    std::fs::write(&file, to_bytes(&tensors, &BTreeMap::new()).unwrap()).unwrap();
    let file = WeightFile::open(&file, Pickles::Refused).unwrap();
    let found = WanVaeFile::find(&file);
    let config = found.sizes().unwrap();
    let vae = found.load::<Flex>(&config, &device).unwrap();

    let clip = random([1, 5, 3, 16, 8], 8).tanh();
    let values = |x: Tensor<Flex, 5>| x.into_data().iter::<f64>().collect::<Vec<_>>();
    // [B, F, C, H, W]
    let latents = with(&plain).encode(clip.clone());
    let [_, frames, channels, rows, columns] = latents.dims();
    assert_eq!((frames, channels, rows, columns), (2, 16, 2, 1));
    let expected: Vec<f64> = values(latents.clone())
        .into_iter()
        .enumerate()
        .map(|(place, value)| {
            let (mean, deviation) = WAN[place / (rows * columns) % channels];
            (value - mean) / deviation
        })
        .collect();
    let found = values(vae.encode(clip));
    let largest = expected
        .iter()
        .fold(0.0f64, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        // The constants and the division are in f32.
        assert!(
            (found - expected).abs() < 1e-5 * largest,
            "{found} {expected}"
        );
    }
    let normalised = Tensor::<Flex, 5>::from_data(
        TensorData::new(
            found.iter().map(|value| *value as f32).collect(),
            latents.dims(),
        ),
        &device,
    );
    assert_close(
        "the frames",
        vae.decode(normalised),
        with(&plain).decode(latents),
        REORDERED,
    );
}

use std::collections::BTreeMap;

use burn::backend::NdArray;

use super::super::tests::tiny;
use super::super::{Pickles, WeightFile, collect, to_bytes};
use super::*;
use crate::init::{initialise, initialise_where};
use crate::lora::tests::merged;
use crate::lora::{LoraTarget, adapted};

fn config() -> LoraConfig {
    LoraConfig {
        rank: 3,
        alpha: 6.0,
        targets: vec![LoraTarget::SelfAttention, LoraTarget::FeedForward],
    }
}

/// A student with random factors, B too.
fn student(seed: u64) -> Student<NdArray> {
    let base = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let student = initialise_where(adapted(base, &config()), seed, "factors", is_factor);
    fill_where(
        student,
        |path| path.ends_with(".lora.up"),
        |path| {
            let mut noise = crate::noise::Noise::new(
                seed,
                crate::noise::Purpose::Weights,
                1,
                crate::noise::key_of(path),
            );
            let shape = if path.contains("ffn.up") {
                vec![3, 32]
            } else {
                vec![3, 24]
            };
            Ok(HostTensor {
                values: noise.normals(shape.iter().product()),
                shape,
            })
        },
    )
    .unwrap()
}

fn open(bytes: &[u8]) -> (tempfile::TempDir, WeightFile) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("factors.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let file = WeightFile::open(&path, Pickles::Refused).unwrap();
    (directory, file)
}

#[test]
fn factors_survive_every_layout_bit_for_bit() {
    let own = LoraFile::of(&student(1), &config());
    assert_eq!(own.len(), 2 * 6);
    for layout in [LoraLayout::Wan, LoraLayout::Comfyui] {
        let (_directory, file) = open(&own.to_bytes(layout).unwrap());
        assert!(LoraFile::is_recognised(&file));
        assert_eq!(LoraFile::open(&file).unwrap(), own, "{layout:?}");
    }
    // diffusers takes alpha to be the rank: twice B (exact), and the same product.
    let (_directory, file) = open(&own.to_bytes(LoraLayout::Diffusers).unwrap());
    let read = LoraFile::open(&file).unwrap();
    assert_eq!(read.config().scale(), 1.0);
    assert!(
        file.entries()
            .contains_key("transformer.blocks.1.ffn.net.0.proj.lora_B.weight")
    );
    let up = |file: &LoraFile| file.layers["blocks.1.ffn.0"].up.clone().unwrap().values;
    assert!(
        up(&read)
            .iter()
            .zip(up(&own))
            .all(|(folded, plain)| *folded == 2.0 * plain)
    );
}

#[test]
fn factors_read_back_make_the_same_student() {
    let from = student(1);
    let (directory, file) = open(
        &LoraFile::of(&from, &config())
            .to_bytes(LoraLayout::Comfyui)
            .unwrap(),
    );
    let loaded = LoraFile::open(&file)
        .unwrap()
        .apply(student(2), &config(), directory.path())
        .unwrap();
    assert_eq!(collect(&loaded), collect(&from));
    let wider = LoraConfig {
        targets: LoraConfig::all(),
        ..config()
    };
    let error = LoraFile::open(&file)
        .unwrap()
        .apply(adapted(student(2), &wider), &wider, directory.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"blocks.0.cross_attn.q\" are missing"),
        "{error}"
    );
}

#[test]
fn odd_factors_are_named() {
    let matrix = |rows: usize, columns: usize| HostTensor {
        shape: vec![rows, columns],
        values: vec![0.0; rows * columns],
    };
    let tensors: BTreeMap<String, HostTensor> = [
        ("blocks.0.self_attn.q.lora_A.weight", matrix(2, 24)),
        ("blocks.0.self_attn.q.lora_B.weight", matrix(24, 3)),
        ("blocks.0.self_attn.k.lora_A.weight", matrix(2, 24)),
        ("blocks.0.norm1.lora_A.weight", matrix(2, 24)),
        ("blocks.0.self_attn.q.weight", matrix(24, 24)),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor))
    .into();
    let (_directory, file) = open(&to_bytes(&tensors, &BTreeMap::new()).unwrap());
    let error = LoraFile::open(&file).unwrap_err().to_string();
    for part in [
        "\"blocks.0.self_attn.k\" lack lora_B",
        "[24, 3], expected rank 2",
        "norm1.lora_A.weight\" belongs to no",
        "q.weight\" is no low-rank",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn kohyas_names_and_factors_of_another_transformer_are_refused() {
    let matrix = |rows: usize, columns: usize| HostTensor {
        shape: vec![rows, columns],
        values: vec![0.0; rows * columns],
    };
    let file = |tensors: &[(&str, HostTensor)]| {
        let tensors = tensors
            .iter()
            .map(|(name, tensor)| (name.to_string(), tensor.clone()))
            .collect();
        open(&to_bytes(&tensors, &BTreeMap::new()).unwrap())
    };
    let (_directory, kohya) = file(&[(
        "lora_unet_blocks_0_self_attn_q.lora_down.weight",
        matrix(2, 24),
    )]);
    let error = LoraFile::open(&kohya).unwrap_err().to_string();
    assert!(
        error.contains("lora_unet_blocks_0_self_attn_q.lora_down.weight")
            && error.contains("convert_lora.py"),
        "{error}"
    );
    let (_directory, wide) = file(&[
        ("blocks.0.self_attn.q.lora_A.weight", matrix(2, 48)),
        ("blocks.0.self_attn.q.lora_B.weight", matrix(24, 2)),
        ("blocks.9.self_attn.q.lora_A.weight", matrix(2, 24)),
        ("blocks.9.self_attn.q.lora_B.weight", matrix(24, 2)),
    ]);
    let problems = LoraFile::open(&wide).unwrap().problems(&tiny());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains("a layer of 24 x 48, it is 24 x 24")
            && problems[1].contains("\"blocks.9.self_attn.q\""),
        "{problems:?}"
    );
    assert!(
        LoraFile::of(&student(1), &config())
            .problems(&tiny())
            .is_empty()
    );
}

#[test]
fn merging_adds_the_scaled_product_to_the_weight() {
    let plain = collect(&student(1));
    let merged = collect(&merged(student(1)));
    let (name, [input, output]) = ("blocks.1.ffn.up", [24, 32]);
    let [weight, down, up] =
        ["weight", "lora.down", "lora.up"].map(|part| &plain[&format!("{name}.{part}")].values);
    for row in 0..input {
        for column in 0..output {
            let product: f32 = (0..3)
                .map(|rank| down[row * 3 + rank] * up[rank * output + column])
                .sum();
            let expected = weight[row * output + column] + 2.0 * product;
            // Three products in f32, in any order.
            assert!(
                (merged[&format!("{name}.weight")].values[row * output + column] - expected).abs()
                    < 1e-5
            );
        }
    }
    assert!(!merged.keys().any(|path| is_factor(path)));
    assert_eq!(
        merged["blocks.1.cross_attn.q.weight"],
        plain["blocks.1.cross_attn.q.weight"]
    );
}

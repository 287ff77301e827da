use std::collections::{BTreeMap, HashMap};

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
    assert_eq!(read.config().unwrap().scale(), 1.0);
    assert!(
        file.entries()
            .contains_key("transformer.blocks.1.ffn.net.0.proj.lora_B.weight")
    );
    let up = |file: &LoraFile| file.layers["blocks.1.ffn.0"].up.values.clone();
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

/// A file of `rank` for the query of each block, with what else it says.
fn of_queries(
    ranks: &[usize],
    metadata: &[(&str, &str)],
    name: &str,
) -> (tempfile::TempDir, WeightFile) {
    let mut tensors = Vec::new();
    for (block, rank) in ranks.iter().enumerate() {
        for (part, shape) in [("lora_A", [*rank, 24]), ("lora_B", [24, *rank])] {
            let bytes: Vec<u8> = (0..24 * rank)
                .flat_map(|value| (value as f32 / 64.0 - 0.25).to_le_bytes())
                .collect();
            tensors.push((
                name.replace('N', &block.to_string()).replace("PART", part),
                shape,
                bytes,
            ));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (name.as_str(), view.unwrap())
    });
    let metadata = metadata
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    open(&safetensors::serialize(views, Some(metadata)).unwrap())
}

const DIFFUSERS: &str = "transformer.blocks.N.attn1.to_q.PART.weight";

#[test]
fn the_scale_is_read_wherever_trainers_write_it() {
    let scale = |metadata: &[(&str, &str)]| {
        let (_directory, file) = of_queries(&[4, 4], metadata, DIFFUSERS);
        let factors = LoraFile::open(&file).unwrap();
        (factors.config().unwrap().scale(), factors.summary())
    };
    let (found, said) = scale(&[(
        "lora_adapter_metadata",
        r#"{"transformer.r": 4, "transformer.lora_alpha": 16, "text_encoder.lora_alpha": 1}"#,
    )]);
    assert!(
        found == 4.0 && said.contains("alpha 16 (lora_adapter_metadata in its header)"),
        "{said}"
    );
    let (found, _) = scale(&[(
        "lora_adapter_metadata",
        r#"{"r": 4, "lora_alpha": 16, "use_rslora": true, "rank_pattern": {}, "use_dora": false}"#,
    )]);
    assert_eq!(found, 8.0);
    let (found, said) = scale(&[("ss_network_alpha", "16"), ("ss_network_dim", "4")]);
    assert!(
        found == 4.0 && said.contains("ss_network_alpha in its header"),
        "{said}"
    );
    let (found, _) = scale(&[("ss_network_alpha", "None")]);
    assert_eq!(found, 1.0);
    let (found, said) = scale(&[]);
    assert!(
        found == 1.0 && said.contains("alpha 4 (assumed to be the rank"),
        "{said}"
    );

    let (directory, file) = of_queries(
        &[4, 4],
        &[],
        "base_model.model.blocks.N.self_attn.q.PART.weight",
    );
    let beside = directory.path().join("adapter_config.json");
    std::fs::write(
        &beside,
        r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 16, "use_rslora": false}"#,
    )
    .unwrap();
    let factors = LoraFile::open(&file).unwrap();
    assert_eq!(factors.config().unwrap().scale(), 4.0);
    assert_eq!(factors.alpha_source(), &AlphaSource::Beside(beside));
}

#[test]
fn layers_may_have_ranks_and_scales_of_their_own() {
    let (directory, file) = of_queries(&[4, 2], &[], "blocks.N.self_attn.q.PART.weight");
    std::fs::write(
        directory.path().join("adapter_config.json"),
        r#"{"r": 4, "lora_alpha": 16, "rank_pattern": {"blocks.1.self_attn.q": 2},
            "alpha_pattern": {"^blocks.1.self_attn.q": 10}}"#,
    )
    .unwrap();
    let factors = LoraFile::open(&file).unwrap();
    assert_eq!(factors.config(), None);
    let said = factors.summary();
    assert!(
        said.contains("rank 2 to 4, alpha 10 to 16") && said.contains("count 4 to 5"),
        "{said}"
    );
    let zeros = || {
        Ok(HostTensor {
            shape: vec![24, 24],
            values: vec![0.0; 24 * 24],
        })
    };
    for (block, rank, scale) in [(0, 4, 4.0), (1, 2, 5.0)] {
        let name = format!("blocks.{block}.self_attn.q.weight");
        let merged = factors
            .merged::<NdArray>(&name, &zeros, &Default::default())
            .unwrap()
            .unwrap();
        let at = |place: usize| place as f32 / 64.0 - 0.25;
        // Row 3 of B times column 5 of A.
        let expected: f32 = (0..rank).map(|r| at(3 * rank + r) * at(r * 24 + 5)).sum();
        assert!((merged.values[3 * 24 + 5] - scale * expected).abs() < 1e-5);
    }
}

#[test]
fn scales_that_contradict_each_other_or_are_not_understood_are_refused() {
    let header = "lora_adapter_metadata";
    for (metadata, words) in [
        (
            (header, r#"{"r": 8, "lora_alpha": 16}"#),
            "have rank 4, but lora_adapter_metadata",
        ),
        ((header, r#"{"r": 4}"#), "has no number lora_alpha"),
        (
            (header, r#"{"r": 4, "lora_alpha": 0}"#),
            "alpha of \"blocks.0.self_attn.q\" is 0",
        ),
        (
            (header, r#"{"lora_alpha": 4, "peft_type": "LOHA"}"#),
            "peft_type \"LOHA\"",
        ),
        (
            (header, r#"{"lora_alpha": 4, "use_dora": true}"#),
            "says use_dora",
        ),
        (
            (
                header,
                r#"{"lora_alpha": 4, "alpha_pattern": {"to_[qk]": 2}}"#,
            ),
            "regular expression",
        ),
        (
            (
                header,
                r#"{"lora_alpha": 4, "alpha_pattern": {"to_q": 2, "attn1.to_q": 3}}"#,
            ),
            "both name the layer",
        ),
        ((header, "{"), "no JSON"),
        (
            ("ss_network_alpha", "Dynamic"),
            "ss_network_alpha is \"Dynamic\"",
        ),
    ] {
        let (_directory, file) = of_queries(&[4], &[metadata], DIFFUSERS);
        let error = LoraFile::open(&file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let own = LoraFile::of(&student(1), &config())
        .to_bytes(LoraLayout::Wan)
        .unwrap();
    // Kohya's resized files have an alpha per layer, and say so.
    let header = HashMap::from([("ss_network_alpha".to_string(), "Dynamic".to_string())]);
    let tensors = safetensors::SafeTensors::deserialize(&own).unwrap();
    let resized = safetensors::serialize(tensors.tensors(), Some(header)).unwrap();
    let (_directory, file) = open(&resized);
    let factors = LoraFile::open(&file).unwrap();
    assert_eq!(factors.config().unwrap().scale(), 2.0);
    // A tensor says 6, PEFT's settings 16.
    let (directory, file) = open(&own);
    let settings = directory.path().join("adapter_config.json");
    std::fs::write(&settings, r#"{"r": 3, "lora_alpha": 16}"#).unwrap();
    let error = LoraFile::open(&file).unwrap_err().to_string();
    assert!(error.contains("is 6 in its tensor and 16 by"), "{error}");
    assert!(
        error.contains("and 1 more") || error.matches("16 by").count() <= 12,
        "{error}"
    );
    std::fs::write(&settings, r#"{"r": 3, "lora_alpha": 6}"#).unwrap();
    assert_eq!(
        LoraFile::open(&file).unwrap().config().unwrap().scale(),
        2.0
    );
}

#[test]
fn names_with_underscores_are_those_of_a_block_s_layers() {
    for (underscored, dotted) in [
        (
            "lora_unet_blocks_N_self_attn_q.PART.weight",
            "blocks.N.self_attn.q.PART.weight",
        ),
        (
            "lora_unet_blocks_N_ffn_2.PART.weight",
            "blocks.N.ffn.2.PART.weight",
        ),
        (
            "lora_transformer_blocks_N_attn1_to_out_0.PART.weight",
            "blocks.N.self_attn.o.PART.weight",
        ),
        (
            "lora_unet_blocks_N_ffn_net_0_proj.PART.weight",
            "blocks.N.ffn.0.PART.weight",
        ),
    ] {
        let (_one, underscored) = of_queries(&[2; 12], &[], underscored);
        let (_other, dotted) = of_queries(&[2; 12], &[], dotted);
        assert_eq!(
            LoraFile::open(&underscored).unwrap(),
            LoraFile::open(&dotted).unwrap()
        );
    }
    let (_directory, file) = of_queries(&[2], &[], "lora_unet_blocks_N_self_attn_x.PART.weight");
    let error = LoraFile::open(&file).unwrap_err().to_string();
    assert!(error.contains("belongs to no linear layer"), "{error}");
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    let matrix = HostTensor {
        shape: vec![1, 1],
        values: vec![1.0],
    };
    for (name, words) in [
        (
            "diffusion_model.blocks.0.ffn.0.diff",
            "difference of whole weights",
        ),
        (
            "diffusion_model.blocks.0.ffn.0.diff_b",
            "difference of whole weights",
        ),
        ("lora_unet_blocks_0_ffn_0.dora_scale", "DoRA"),
        (
            "base_model.model.blocks.0.ffn.0.lora_magnitude_vector",
            "DoRA",
        ),
        ("lora_unet_blocks_0_ffn_0.hada_w1_a", "LoHa"),
        ("lora_unet_blocks_0_ffn_0.lokr_w1", "LoKr"),
        ("lora_te1_block_0.lora_down.weight", "text encoder"),
    ] {
        let tensors = [(name.to_string(), matrix.clone())].into();
        let (_directory, file) = open(&to_bytes(&tensors, &BTreeMap::new()).unwrap());
        let error = LoraFile::open(&file).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{error}");
    }
    let (_directory, file) = of_queries(&[1; 40], &[], "blocks.N.norm1.PART.weight");
    let error = LoraFile::open(&file).unwrap_err().to_string();
    assert!(
        error.contains("and 68 more") && error.len() < 3000,
        "{error}"
    );
}

#[test]
fn factors_of_one_type_keep_it_and_mixed_ones_lose_nothing() {
    use super::read::common;
    assert_eq!(common(&[Dtype::BF16, Dtype::BF16]), Dtype::BF16);
    assert_eq!(common(&[Dtype::BF16, Dtype::F32]), Dtype::F32);
    assert_eq!(common(&[Dtype::F16, Dtype::BF16]), Dtype::F32);
    assert_eq!(common(&[Dtype::F64, Dtype::F64]), Dtype::F32);
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
        "[2, 24] and [24, 3], expected one rank",
        "norm1.lora_A.weight\" belongs to no",
        "q.weight\" is no low-rank",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn factors_of_another_transformer_are_refused() {
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

//! Names, shapes and values of encoders in files.

use std::path::Path;

use burn::backend::{Flex, NdArray};

use super::*;
use crate::weights::check::Shapes;
use crate::weights::file::tests::sparse;
use crate::weights::{HostTensor, Pickles, Tensors, collect, to_bytes};

const LAYOUTS: [UmT5Layout; 2] = [UmT5Layout::Wan, UmT5Layout::HuggingFace];

fn tiny() -> UmT5Config {
    UmT5Config {
        vocabulary: 12,
        width: 6,
        heads: 2,
        head_width: 4,
        feed_forward_width: 10,
        layers: 2,
        buckets: 8,
        max_distance: 128,
    }
}

/// A header without values.
fn header_only(directory: &Path, shapes: &Shapes, naming: impl Fn(&str) -> String) -> WeightFile {
    let path = directory.join("weights.safetensors");
    let tensors: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (naming(name), Dtype::BF16, shape.clone()))
        .collect();
    sparse(&path, &tensors);
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

/// Every value is another one.
fn numbered(config: &UmT5Config) -> Tensors {
    let mut next = 0_u16;
    let mut tensor = |shape: Vec<usize>| {
        let count: usize = shape.iter().product();
        next += count as u16;
        HostTensor {
            values: (next - count as u16..next).map(f32::from).collect(),
            shape,
        }
    };
    shapes(config)
        .into_iter()
        .map(|(name, shape)| (name, tensor(shape)))
        .collect()
}

fn written(directory: &Path, tensors: &Tensors) -> WeightFile {
    let path = directory.join("weights.safetensors");
    std::fs::write(&path, to_bytes(tensors, &BTreeMap::new()).unwrap()).unwrap();
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

#[test]
fn the_real_encoder_has_its_parameters() {
    // docs/method.md D; 24 layers of 10 tensors, embeddings and the last norm.
    let shapes = shapes(&UmT5Config::xxl());
    let parameters: usize = shapes
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    assert_eq!((shapes.len(), parameters), (242, 5_680_910_336));
}

#[test]
fn names_follow_the_table_in_both_directions() {
    for (wan, hugging) in [
        ("token_embedding.weight", "shared.weight"),
        (
            "blocks.7.pos_embedding.embedding.weight",
            "encoder.block.7.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        (
            "blocks.23.ffn.gate.0.weight",
            "encoder.block.23.layer.1.DenseReluDense.wi_0.weight",
        ),
        ("norm.weight", "encoder.final_layer_norm.weight"),
    ] {
        assert_eq!(UmT5Layout::HuggingFace.name(wan), hugging);
        assert_eq!(
            UmT5Layout::HuggingFace.wan_name(hugging).as_deref(),
            Some(wan)
        );
        assert_eq!(UmT5Layout::Wan.wan_name(wan).as_deref(), Some(wan));
    }
    assert_eq!(UmT5Layout::Wan.wan_name("blocks.x.norm1.weight"), None);
    assert_eq!(
        UmT5Layout::HuggingFace.wan_name("encoder.block.0.layer.2.layer_norm.weight"),
        None
    );
}

#[test]
fn a_full_size_header_is_accepted_in_both_layouts_and_each_odd_tensor_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = UmT5Config::xxl();
    let full = shapes(&wanted);
    for layout in LAYOUTS {
        let file = header_only(directory.path(), &full, |name| layout.name(name));
        let found = UmT5File::find(&file).unwrap();
        assert_eq!(
            (found.layout(), found.is_recognised(), found.sizes()),
            (layout, true, Some(wanted.clone()))
        );
        assert_eq!(found.problems(&wanted), Vec::<String>::new());

        // One renamed, one missing, one transposed; also those that the sizes are read from.
        for (renamed, missing, transposed) in [
            (
                "blocks.7.attn.q.weight",
                "blocks.23.norm2.weight",
                "blocks.3.ffn.fc1.weight",
            ),
            (
                "norm.weight",
                "blocks.0.pos_embedding.embedding.weight",
                "token_embedding.weight",
            ),
            (
                "blocks.0.norm1.weight",
                "token_embedding.weight",
                "blocks.0.ffn.gate.0.weight",
            ),
        ] {
            let mut odd = full.clone();
            odd.remove(missing);
            let shape = odd.remove(renamed).unwrap();
            odd.get_mut(transposed).unwrap().reverse();
            let misspelt = renamed.replace("weight", "wieght");
            odd.insert(misspelt.clone(), shape);
            let naming = |name: &str| {
                if name == misspelt {
                    layout.name(renamed).replace("weight", "wieght")
                } else {
                    layout.name(name)
                }
            };
            let file = header_only(directory.path(), &odd, naming);
            let found = UmT5File::find(&file).unwrap();
            assert_eq!(found.sizes(), Some(wanted.clone()), "{layout:?}");
            let problems = found.problems(&wanted);
            assert_eq!(problems.len(), 4, "{layout:?}: {problems:?}");
            let named = |name: &str, what: &str| {
                problems
                    .iter()
                    .any(|problem| problem.contains(&format!("{name:?} {what}")))
            };
            assert!(
                named(&layout.name(missing), "is missing"),
                "{layout:?}: {problems:?}"
            );
            assert!(
                named(
                    &layout.name(renamed),
                    "is missing; the nearest one there is"
                ),
                "{layout:?}: {problems:?}"
            );
            assert!(
                named(
                    &naming(&misspelt),
                    "is unexpected; the nearest missing one is"
                ),
                "{layout:?}: {problems:?}"
            );
            assert!(
                named(&layout.name(transposed), "has shape"),
                "{layout:?}: {problems:?}"
            );
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.ends_with("it is transposed")),
                "{layout:?}: {problems:?}"
            );
            let error = found
                .load::<NdArray>(&wanted, FloatDType::F32, &Default::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(&layout.name(missing)), "{error}");
        }
    }
}

#[test]
fn every_tensor_arrives_unchanged_from_both_layouts() {
    let directory = tempfile::tempdir().unwrap();
    let tensors = numbered(&tiny());
    let mut loaded = LAYOUTS.map(|layout| {
        let named = tensors
            .iter()
            .map(|(name, tensor)| (layout.name(name), tensor.clone()))
            .collect();
        let file = written(directory.path(), &named);
        let found = UmT5File::find(&file).unwrap();
        assert_eq!(found.sizes(), Some(tiny()));
        collect(
            &found
                .load::<Flex>(&tiny(), FloatDType::F32, &Default::default())
                .unwrap(),
        )
    });
    assert_eq!(loaded[0], loaded[1]);
    // The module's paths lack only the parts that make Wan's names; values and shapes are the
    // file's own.
    assert_eq!(loaded[0].len(), tensors.len());
    for (name, tensor) in &tensors {
        let path = name
            .trim_end_matches(".weight")
            .replace("attn.", "")
            .replace("ffn.", "")
            .replace("gate.0", "gate");
        let path = path.replace("pos_embedding.embedding", "pos_embedding");
        assert_eq!(loaded[0].remove(&path).as_ref(), Some(tensor), "{name}");
    }
}

#[test]
fn embeddings_may_be_there_twice_but_not_differ() {
    let directory = tempfile::tempdir().unwrap();
    let mut tensors: Tensors = numbered(&tiny())
        .into_iter()
        .map(|(name, tensor)| (UmT5Layout::HuggingFace.name(&name), tensor))
        .collect();
    tensors.insert(TIED.to_string(), tensors["shared.weight"].clone());
    tensors.insert(
        "decoder.block.0.layer.0.layer_norm.weight".to_string(),
        HostTensor {
            shape: vec![1],
            values: vec![1.0],
        },
    );
    let load = |tensors: &Tensors| {
        let file = written(directory.path(), tensors);
        let found = UmT5File::find(&file).unwrap();
        assert_eq!(found.left_alone(), 1);
        found
            .load::<NdArray>(&tiny(), FloatDType::F32, &Default::default())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(load(&tensors), Ok(()));
    tensors.get_mut(TIED).unwrap().values[3] += 1.0;
    assert!(
        load(&tensors)
            .unwrap_err()
            .contains("\"shared.weight\" and \"encoder.embed_tokens.weight\" differ")
    );
    tensors.get_mut(TIED).unwrap().shape = vec![6, 12];
    assert!(
        load(&tensors)
            .unwrap_err()
            .contains("\"encoder.embed_tokens.weight\" has shape [6, 12], expected [12, 6]")
    );
    tensors.remove("shared.weight");
    tensors.get_mut(TIED).unwrap().shape = vec![12, 6];
    assert_eq!(load(&tensors), Ok(()), "the second name alone will do");
}

#[test]
fn other_files_are_no_encoders() {
    let directory = tempfile::tempdir().unwrap();
    let other = [
        (
            "blocks.0.self_attn.q.weight".to_string(),
            Dtype::F32,
            vec![4, 4],
        ),
        ("norm.weight".to_string(), Dtype::F32, vec![4]),
    ];
    sparse(&directory.path().join("weights.safetensors"), &other);
    let file = WeightFile::open(directory.path(), Pickles::Refused).unwrap();
    let found = UmT5File::find(&file).unwrap();
    assert_eq!((found.is_recognised(), found.sizes()), (false, None));
    assert!(
        found
            .expected_sizes()
            .unwrap_err()
            .to_string()
            .contains("are not a umT5 encoder's; expected Wan's names")
    );
}

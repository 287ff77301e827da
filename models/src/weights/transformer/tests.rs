use burn::backend::NdArray;

use super::super::Pickles;
use super::super::collect;
use super::super::file::tests::sparse;
use super::super::tests::tiny;
use super::*;
use crate::init::initialise;

/// A header without values under the names that `naming` gives to Wan's.
fn header_only(
    directory: &std::path::Path,
    shapes: &Shapes,
    naming: impl Fn(&str) -> String,
) -> WeightFile {
    let path = directory.join("weights.safetensors");
    let tensors: Vec<_> = shapes
        .iter()
        .map(|(name, shape)| (naming(name), Dtype::BF16, shape.clone()))
        .collect();
    sparse(&path, &tensors);
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

#[test]
fn the_table_of_shapes_is_the_module_s_own() {
    let student = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let own: Shapes = wan::to_wan(&collect(&student), tiny().patch)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape))
        .collect();
    assert_eq!(wan::shapes(&tiny()), own);
}

#[test]
fn a_full_size_header_is_accepted_in_every_layout_and_each_odd_tensor_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = StudentConfig::wan_1_3b();
    let full = wan::shapes(&wanted);
    // docs/method.md B.1.
    assert_eq!(
        (
            full.len(),
            full.values()
                .map(|shape| shape.iter().product::<usize>())
                .sum()
        ),
        (825, 1_418_996_800)
    );
    let self_forcing = |name: &str| format!("generator_ema.model._fsdp_wrapped_module.{name}");
    type Naming<'a> = &'a dyn Fn(&str) -> String;
    let namings: [(&str, Naming); 4] = [
        ("wan", &|name| name.to_string()),
        ("diffusers", &|name| Layout::Diffusers.name(name)),
        ("self-forcing", &self_forcing),
        ("comfyui", &|name| format!("model.diffusion_model.{name}")),
    ];
    for (layout, naming) in namings {
        let file = header_only(directory.path(), &full, naming);
        let transformer = TransformerFile::find(&file, None).unwrap();
        assert_eq!(transformer.sizes(), Some(wanted.clone()), "{layout}");
        assert_eq!(
            transformer.problems(&wanted),
            Vec::<String>::new(),
            "{layout}"
        );

        // One renamed, one missing, one transposed; also those that the sizes are read from.
        for (renamed, missing, transposed) in [
            (
                "blocks.7.self_attn.norm_q.weight",
                "blocks.29.ffn.2.bias",
                "blocks.3.ffn.0.weight",
            ),
            (
                "patch_embedding.weight",
                "blocks.0.ffn.0.bias",
                "text_embedding.0.weight",
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
                    naming(renamed).replace("weight", "wieght")
                } else {
                    naming(name)
                }
            };
            let file = header_only(directory.path(), &odd, naming);
            let transformer = TransformerFile::find(&file, None).unwrap();
            let sizes = transformer.sizes().unwrap();
            assert_eq!(sizes, wanted, "{layout}");
            let problems = transformer.problems(&sizes);
            assert_eq!(problems.len(), 4, "{layout}: {problems:?}");
            let named = |name: &str, what: &str| {
                problems
                    .iter()
                    .any(|problem| problem.contains(&format!("{name:?} {what}")))
            };
            assert!(
                named(&naming(missing), "is missing"),
                "{layout}: {problems:?}"
            );
            assert!(
                named(&naming(renamed), "is missing; the nearest one there is"),
                "{layout}: {problems:?}"
            );
            assert!(
                named(
                    &naming(&misspelt),
                    "is unexpected; the nearest missing one is"
                ),
                "{layout}: {problems:?}"
            );
            assert!(
                named(&naming(transposed), "has shape"),
                "{layout}: {problems:?}"
            );
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.ends_with("it is transposed")),
                "{layout}: {problems:?}"
            );
            let error = transformer
                .load::<NdArray>(&sizes, Precision::F32, &Default::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(&naming(missing)), "{error}");
        }
    }
}

#[test]
fn a_transformer_survives_every_layout_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let student = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let tensors = wan::to_wan(&collect(&student), tiny().patch);
    let mut path = directory.path().join("0.safetensors");
    std::fs::write(
        &path,
        crate::weights::to_bytes(&tensors, &BTreeMap::new()).unwrap(),
    )
    .unwrap();
    for (step, layout) in [Layout::Diffusers, Layout::Wan, Layout::Diffusers]
        .into_iter()
        .enumerate()
    {
        let file = WeightFile::open(&path, Pickles::Refused).unwrap();
        let mut bytes = Vec::new();
        TransformerFile::find(&file, None)
            .unwrap()
            .export(&tiny(), layout, None, |_, _| Ok(None), &mut bytes)
            .unwrap();
        path = directory.path().join(format!("{}.safetensors", step + 1));
        std::fs::write(&path, bytes).unwrap();
    }
    let file = WeightFile::open(&path, Pickles::Refused).unwrap();
    assert!(
        file.entries()
            .contains_key("condition_embedder.time_proj.bias")
    );
    let loaded = TransformerFile::find(&file, None)
        .unwrap()
        .load::<NdArray>(&tiny(), Precision::F32, &Default::default())
        .unwrap();
    assert_eq!(collect(&loaded), collect(&student));
}

#[test]
fn heads_are_those_of_config_json_and_what_it_contradicts_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = StudentConfig {
        width: 128,
        heads: 4,
        frames_per_block: 3,
        ..tiny()
    };
    let file = header_only(directory.path(), &wan::shapes(&wanted), |name| {
        Layout::Diffusers.name(name)
    });
    let find = || TransformerFile::find(&file, None).unwrap();
    let source =
        |transformer: &TransformerFile<'_>| transformer.heads_source(&transformer.sizes().unwrap());
    assert_eq!(find().sizes().unwrap().heads, 1);
    assert!(source(&find()).unwrap().contains("assumed"));
    let config = directory.path().join("config.json");
    let write = |more: &str| {
        let text = format!(
            "{{\"_class_name\": \"WanTransformer3DModel\", \"num_attention_heads\": 4, \
                \"attention_head_dim\": 32, \"patch_size\": [1, 2, 2], \"eps\": 1e-06{more}}}"
        );
        std::fs::write(&config, text).unwrap();
    };
    write("");
    let transformer = find();
    assert_eq!(transformer.sizes(), Some(wanted.clone()));
    assert!(source(&transformer).unwrap().contains("config.json"));
    assert_eq!(transformer.problems(&wanted), Vec::<String>::new());
    let two = StudentConfig {
        heads: 2,
        ..wanted.clone()
    };
    let problems = transformer.problems(&two).join("; ");
    assert!(
        problems.contains("num_attention_heads 4, expected 2")
            && problems.contains("attention_head_dim 32, expected 64"),
        "{problems}"
    );
    for (more, words) in [
        (", \"ffn_dim\": 33", "ffn_dim 33, expected 32"),
        (", \"num_layers\": 30", "num_layers 30, expected 2"),
        (", \"qk_norm\": null", "qk_norm null"),
        (", \"cross_attn_norm\": false", "cross_attn_norm false"),
        (", \"eps\": 1e-5", "eps"),
        ("!", "is damaged"),
    ] {
        write(more);
        let problems = find().problems(&wanted).join("; ");
        assert!(problems.contains(words), "{problems}");
    }
    // Another model's file says nothing of this one.
    std::fs::write(
        &config,
        r#"{"_class_name": "AutoencoderKLWan", "num_heads": 7}"#,
    )
    .unwrap();
    assert_eq!(find().sizes().unwrap().heads, 1);
}

#[test]
fn nothing_that_is_not_finite_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let student = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let mut tensors = wan::to_wan(&collect(&student), tiny().patch);
    let path = directory.path().join("w.safetensors");
    let open = |tensors: &crate::weights::Tensors| {
        let bytes = crate::weights::to_bytes(tensors, &BTreeMap::new()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        WeightFile::open(&path, Pickles::Refused).unwrap()
    };
    let export = |file: &WeightFile, dtype, factor: f32| {
        let change = |name: &str, read: &dyn Fn() -> Result<HostTensor, WeightsError>| {
            let mut tensor = read()?;
            tensor.values.iter_mut().for_each(|value| *value *= factor);
            Ok((factor != 1.0 && name == "blocks.1.ffn.0.weight").then_some(tensor))
        };
        TransformerFile::find(file, None).unwrap().export(
            &tiny(),
            Layout::Wan,
            dtype,
            change,
            &mut Vec::new(),
        )
    };
    let whole = open(&tensors);
    export(&whole, None, 1.0).unwrap();
    let error = export(&whole, Some(Dtype::F32), f32::INFINITY)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"blocks.1.ffn.0.weight\"") && error.contains("once it is merged"),
        "{error}"
    );
    tensors.get_mut("blocks.1.ffn.0.weight").unwrap().values[0] = 3.4e38;
    let error = export(&open(&tensors), Some(Dtype::BF16), 1.0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("rounded to BF16"), "{error}");
    tensors.get_mut("blocks.1.ffn.0.weight").unwrap().values[75] = f32::NAN;
    for dtype in [None, Some(Dtype::BF16)] {
        let error = export(&open(&tensors), dtype, 1.0).unwrap_err().to_string();
        assert!(
            error.contains("w.safetensors is not finite") && error.contains("at [3, 3]"),
            "{error}"
        );
    }
    let loaded = TransformerFile::find(&open(&tensors), None)
        .unwrap()
        .load::<NdArray>(&tiny(), Precision::F32, &Default::default());
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains("\"blocks.1.ffn.0.weight\""), "{error}");
}

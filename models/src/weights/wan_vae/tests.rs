use std::collections::BTreeMap;

use burn::backend::NdArray;
use safetensors::tensor::Dtype;

use super::super::file::tests::sparse;
use super::super::{Pickles, collect, shapes, to_bytes};
use super::*;
use crate::init::initialise;

const LAYOUTS: [Layout; 2] = [Layout::Wan, Layout::Diffusers];

fn small() -> WanVaeConfig {
    WanVaeConfig {
        multipliers: vec![1, 2, 3],
        halve_time: vec![true, false],
        residual_blocks: 1,
        ..WanVaeConfig::sized(4, 3)
    }
}

#[test]
fn the_full_size_vae_has_wans_tensors_and_parameters() {
    for layout in LAYOUTS {
        let full = table(&WanVaeConfig::wan_2_1(), layout).shapes();
        // docs/method.md C.1; the number of tensors is that of diffusers' state dict (194, all
        // names different).
        assert_eq!(
            (
                full.len(),
                full.values()
                    .map(|shape| shape.iter().product::<usize>())
                    .sum()
            ),
            (194, 126_892_531)
        );
    }
}

#[test]
fn the_table_has_every_parameter_of_the_module_in_its_size() {
    for config in [small(), WanVaeConfig::sized(4, 3)] {
        let own = shapes(&WanVae::<NdArray>::new(&config, &Default::default()).unwrap());
        let counts = |shape: &[usize]| shape.iter().product::<usize>();
        let own: BTreeMap<String, usize> = own
            .into_iter()
            .map(|(path, shape)| (path, counts(&shape)))
            .collect();
        let listed = table(&config, Layout::Wan);
        assert_eq!(
            listed
                .rows()
                .iter()
                .map(|(path, stored)| (path.clone(), counts(&stored.shape)))
                .collect::<BTreeMap<_, _>>(),
            own
        );
    }
}

fn header_only(directory: &std::path::Path, shapes: &Shapes) -> WeightFile {
    let path = directory.join("vae.safetensors");
    sparse(
        &path,
        &shapes
            .iter()
            .map(|(name, shape)| (name.clone(), Dtype::F32, shape.clone()))
            .collect::<Vec<_>>(),
    );
    WeightFile::open(&path, Pickles::Refused).unwrap()
}

#[test]
fn a_full_size_header_is_accepted_in_both_layouts_and_each_odd_tensor_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let wan = WanVaeConfig::wan_2_1();
    for layout in LAYOUTS {
        let rows = table(&wan, layout);
        let full = rows.shapes();
        let file = header_only(directory.path(), &full);
        let found = WanVaeFile::find(&file);
        assert_eq!((found.layout(), found.sizes()), (layout, Some(wan.clone())));
        assert_eq!(found.problems(&wan), Vec::<String>::new());

        // One renamed, one missing, one transposed; also those that the sizes are read from.
        for (renamed, missing, transposed) in [
            (
                "encoder.stages.1.blocks.0.shortcut.weight",
                "decoder.stages.2.blocks.1.norm2.gamma",
                "decoder.stages.0.step.time.weight",
            ),
            (
                "encoder.input.weight",
                "dequantise.bias",
                "decoder.input.weight",
            ),
            (
                "decoder.stages.0.blocks.0.conv1.weight",
                "encoder.stages.0.blocks.0.conv1.bias",
                "decoder.output.weight",
            ),
        ] {
            let [renamed, missing, transposed] =
                [renamed, missing, transposed].map(|path| rows.rows()[path].name.clone());
            let misspelt = renamed.replace("weight", "wieght");
            let mut odd = full.clone();
            let shape = odd.remove(&renamed).unwrap();
            odd.insert(misspelt.clone(), shape);
            odd.remove(&missing);
            odd.get_mut(&transposed).unwrap().reverse();
            let file = header_only(directory.path(), &odd);
            let found = WanVaeFile::find(&file);
            assert_eq!(found.sizes(), Some(wan.clone()), "{layout:?}");
            let problems = found.problems(&wan);
            assert_eq!(problems.len(), 4, "{problems:?}");
            let named = |words: String| {
                assert!(
                    problems.iter().any(|problem| problem.contains(&words)),
                    "{words}: {problems:?}"
                )
            };
            named(format!("{missing:?} is missing"));
            named(format!(
                "{renamed:?} is missing; the nearest one there is {misspelt:?}"
            ));
            named(format!(
                "{misspelt:?} is unexpected; the nearest missing one is {renamed:?}"
            ));
            named(format!(
                "{transposed:?} has shape {:?}, expected {:?}: it is transposed",
                odd[&transposed], full[&transposed]
            ));
            let error = found
                .load::<NdArray>(&wan, &Default::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&missing) && error.contains("vae.safetensors"),
                "{error}"
            );
        }
    }
    // Something else altogether.
    let file = header_only(
        directory.path(),
        &[("blocks.0.ffn.0.weight".to_string(), vec![8, 4])].into(),
    );
    assert_eq!(WanVaeFile::find(&file).sizes(), None);
    assert!(!WanVaeFile::find(&file).problems(&wan).is_empty());
}

#[test]
fn a_vae_survives_both_layouts_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vae.safetensors");
    let vae = initialise(
        WanVae::<NdArray>::new(&small(), &Default::default()).unwrap(),
        5,
        "vae",
    );
    let original = store(&vae, Layout::Wan);
    let mut tensors = original.clone();
    for layout in [Layout::Wan, Layout::Diffusers, Layout::Wan] {
        std::fs::write(&path, to_bytes(&tensors, &BTreeMap::new()).unwrap()).unwrap();
        let file = WeightFile::open(&path, Pickles::Refused).unwrap();
        let found = WanVaeFile::find(&file);
        assert_eq!(found.sizes(), Some(small()));
        let loaded = found
            .load::<NdArray>(&small(), &Default::default())
            .unwrap();
        assert_eq!(collect(&loaded), collect(&vae));
        tensors = store(&loaded, layout);
    }
    assert_eq!(tensors, original);
    assert_eq!(
        tensors["decoder.upsamples.2.resample.1.weight"].shape,
        [6, 12, 3, 3]
    );
}

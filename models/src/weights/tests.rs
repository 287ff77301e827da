use super::*;
use crate::init::initialise;
use crate::student::{Student, StudentConfig};
use burn::backend::NdArray;

pub fn tiny() -> StudentConfig {
    StudentConfig {
        width: 24,
        layers: 2,
        heads: 2,
        feed_forward_width: 32,
        latent_channels: 4,
        patch: 2,
        text_width: 8,
        frequency_width: 16,
        frames_per_block: 3,
        window_frames: 0,
        sink_frames: 0,
    }
}

#[test]
fn a_student_survives_the_file_bit_for_bit_in_wan_layout() {
    let student = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let tensors = collect(&student);
    let wan = wan::to_wan(&tensors, tiny().patch);
    assert_eq!(wan["patch_embedding.weight"].shape, [24, 4, 1, 2, 2]);
    assert_eq!(wan["blocks.1.ffn.0.weight"].shape, [32, 24]);
    let directory = std::env::temp_dir().join(format!("afd-weights-{}", std::process::id()));
    std::fs::write(&directory, to_bytes(&wan, &BTreeMap::new()).unwrap()).unwrap();
    let (read, _) = read_file(&directory).unwrap();
    std::fs::remove_file(&directory).unwrap();
    let loaded = apply(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        wan::from_wan(read),
        "file",
    )
    .unwrap();
    assert_eq!(collect(&loaded), tensors);
}

#[test]
fn the_full_size_student_has_wans_tensors_and_parameters() {
    // docs/method.md B.1: 825 tensors, 1 418 996 800 parameters. Lazily built: no weight is ever
    // allocated.
    let mut config = StudentConfig::wan_1_3b();
    config.layers = 1;
    let shapes = shapes(&Student::<NdArray>::new(&config, &Default::default()));
    let count = |filter: &dyn Fn(&str) -> bool| -> (usize, usize) {
        let chosen: Vec<usize> = shapes
            .iter()
            .filter(|(name, _)| filter(name))
            .map(|(_, shape)| shape.iter().product())
            .collect();
        (chosen.len(), chosen.iter().sum())
    };
    let (block_tensors, block_parameters) = count(&|name| name.starts_with("blocks."));
    let (other_tensors, other_parameters) = count(&|name| !name.starts_with("blocks."));
    assert_eq!((block_tensors, block_parameters), (27, 46_440_704));
    assert_eq!(other_tensors + 30 * block_tensors, 825);
    assert_eq!(other_parameters + 30 * block_parameters, 1_418_996_800);
}

#[test]
fn missing_unexpected_and_misshapen_tensors_are_all_named() {
    let student = initialise(
        Student::<NdArray>::new(&tiny(), &Default::default()),
        5,
        "student",
    );
    let mut tensors = collect(&student);
    let moved = tensors.remove("head.output.bias").unwrap();
    tensors.insert("head.output.bia".to_string(), moved);
    tensors.get_mut("time_projection.bias").unwrap().shape = vec![1, 144];
    let error = apply(student, tensors, "file").unwrap_err().to_string();
    for part in [
        "\"head.output.bias\" [16] is missing",
        "\"head.output.bia\" is unexpected",
        "[1, 144], expected [144]",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

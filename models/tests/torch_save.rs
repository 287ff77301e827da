//! What torch.save writes besides contiguous tensors of a dictionary
//! (`fixtures/make_torch_odd.py`).

use std::path::{Path, PathBuf};

use afd_models::weights::{Pickles, WeightFile};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

#[test]
fn transposed_cut_out_and_wide_tensors_are_read_as_torch_reads_them_in_both_formats() {
    let flat = WeightFile::open(&path("torch_odd.safetensors"), Pickles::Refused).unwrap();
    assert_eq!(flat.entries().len(), 7);
    for name in ["torch_odd.pt", "torch_legacy.pt"] {
        let pickled = WeightFile::open(&path(name), Pickles::Allowed).unwrap();
        assert_eq!(
            pickled.entries().keys().collect::<Vec<_>>(),
            flat.entries().keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (tensor, entry) in flat.entries() {
            let found = &pickled.entries()[tensor];
            assert_eq!(
                (found.dtype, &found.shape, found.bytes),
                (entry.dtype, &entry.shape, entry.bytes),
                "{name} {tensor}"
            );
            let bytes = |file: &WeightFile| file.with_bytes(tensor, <[u8]>::to_vec).unwrap();
            assert_eq!(bytes(&pickled), bytes(&flat), "{name} {tensor}");
        }
    }
}

#[test]
fn a_pickled_module_is_refused_by_the_name_of_its_class() {
    let error = WeightFile::open(&path("torch_module.pt"), Pickles::Allowed)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("torch.nn.modules.linear.Linear") && error.contains("state_dict()"),
        "{error}"
    );
}

#[test]
fn files_of_the_old_format_that_are_cut_short_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cut = directory.path().join("cut.pt");
    let good = std::fs::read(path("torch_legacy.pt")).unwrap();
    for length in 0..good.len() {
        std::fs::write(&cut, &good[..length]).unwrap();
        let error = WeightFile::open(&cut, Pickles::Allowed)
            .unwrap_err()
            .to_string();
        assert!(error.contains("cut.pt"), "{error}");
    }
}

//! Weight files that are damaged or hostile: refused in words, without a panic and without the
//! memory that they ask for.
//!
//! Every case is one to eight random edits of a good file. The full count is
//! `AFD_FUZZ_CASES=1000000 cargo test --release -p afd-models --test hostile_weights`; pickles get
//! a tenth of it, VAEs and text encoders a twentieth, low-rank factors a fifth.

#[path = "hostile/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::umt5::UmT5File;
use afd_models::weights::wan_vae::WanVaeFile;
use afd_models::weights::{HostTensor, Pickles, WeightFile, to_bytes};
use mutate::{Random, mutated};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The peak is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What opening a file of a few kilobytes may take at most; tables of zip members and stacks of the
/// pickle machine are a few times the file.
const LARGEST_PEAK: usize = 4 << 20;

fn cases() -> u64 {
    std::env::var("AFD_FUZZ_CASES").map_or(20_000, |cases| {
        cases.parse().expect("AFD_FUZZ_CASES is a number")
    })
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name),
    )
    .unwrap()
}

/// Opens each mutation and reads all that it still claims to hold. Returns how many were refused.
fn survives(name: &str, good: &[u8], cases: u64, interesting: &[std::ops::Range<usize>]) -> u64 {
    let _alone = ALONE.lock().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    let mut refused = 0;
    for case in 0..cases {
        let bytes = mutated(
            good,
            &mut Random(case.wrapping_mul(0x5851_f42d_4c95_7f2d)),
            interesting,
        );
        std::fs::write(&path, &bytes).unwrap();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        match WeightFile::open(&path, Pickles::Allowed) {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains(name), "case {case}: {error}");
            }
            Ok(file) => {
                let read = |name: &String| drop(file.read(name));
                file.entries().keys().for_each(read);
                recognise(&file);
            }
        }
        let peak = MEMORY.peak_usage() - before;
        assert!(
            peak <= LARGEST_PEAK,
            "case {case}: {peak} bytes for a file of {}",
            bytes.len()
        );
    }
    refused
}

/// Takes the file for each thing that it could be, and compares it with that.
fn recognise(file: &WeightFile) {
    if let Ok(transformer) = TransformerFile::find(file, None)
        && let Some(config) = transformer.sizes()
    {
        transformer.problems(&config);
    }
    if let Ok(encoder) = UmT5File::find(file)
        && let Some(config) = encoder.sizes()
    {
        encoder.problems(&config);
    }
    let vae = WanVaeFile::find(file);
    if let Some(config) = vae.sizes() {
        vae.problems(&config);
    }
    drop(LoraFile::open(file));
}

/// Where a safetensors file's structure is: its length, and the header.
fn header(good: &[u8]) -> [std::ops::Range<usize>; 2] {
    [
        0..8,
        0..8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize,
    ]
}

#[test]
fn mutated_headers_of_every_kind_of_weights_are_compared_without_a_panic() {
    let all = cases() / 20;
    for name in ["umt5_model.safetensors", "wan_vae.safetensors"] {
        survives(name, &fixture(name), all, &header(&fixture(name)));
    }
    let factor = |name: &str, shape: [usize; 2]| {
        let values = vec![0.5; shape[0] * shape[1]];
        (
            format!("diffusion_model.blocks.{name}.weight"),
            HostTensor {
                shape: shape.to_vec(),
                values,
            },
        )
    };
    let factors = [
        factor("0.self_attn.q.lora_A", [2, 12]),
        factor("0.self_attn.q.lora_B", [12, 2]),
        factor("0.ffn.0.lora_A", [2, 12]),
        factor("0.ffn.0.lora_B", [24, 2]),
        (
            "diffusion_model.blocks.0.ffn.0.alpha".to_string(),
            HostTensor {
                shape: vec![],
                values: vec![4.0],
            },
        ),
        (
            "diffusion_model.blocks.0.self_attn.q.alpha".to_string(),
            HostTensor {
                shape: vec![],
                values: vec![4.0],
            },
        ),
    ];
    let good = to_bytes(&factors.into(), &BTreeMap::new()).unwrap();
    survives("lora.safetensors", &good, 4 * all, &header(&good));
}

#[test]
fn mutated_safetensors_headers_are_refused_without_a_panic() {
    let (name, all) = ("torch_save.safetensors", cases());
    let refused = survives(name, &fixture(name), all, &header(&fixture(name)));
    // Edits of names, types of one size and metadata are still valid files; nearly everything else
    // is not.
    assert!(refused > all / 2, "only {refused} of {all} were refused");
}

#[test]
fn mutated_pickles_are_refused_without_a_panic() {
    let good = fixture("torch_save.pt");
    let find = |bytes: &[u8], from: usize| {
        from + good[from..]
            .windows(bytes.len())
            .position(|window| window == bytes)
            .unwrap()
    };
    let program = find(b"data.pkl", 0);
    let (first, directory) = (find(b"data/0", program), find(b"PK\x01\x02", 0));
    let all = cases() / 10;
    let refused = survives(
        "torch_save.pt",
        &good,
        all,
        &[
            program..first,
            directory..good.len(),
            directory..good.len(),
            0..good.len(),
        ],
    );
    assert!(refused > all / 4, "only {refused} of {all} were refused");
}

#[test]
fn what_torch_saved_is_read_as_torch_reads_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let refused = WeightFile::open(&directory.join("torch_save.pt"), Pickles::Refused)
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("--allow-pickle"), "{refused}");
    let pickled = WeightFile::open(&directory.join("torch_save.pt"), Pickles::Allowed).unwrap();
    let flat =
        WeightFile::open(&directory.join("torch_save.safetensors"), Pickles::Refused).unwrap();
    assert_eq!(
        pickled.entries().keys().collect::<Vec<_>>(),
        flat.entries().keys().collect::<Vec<_>>()
    );
    for (name, entry) in flat.entries() {
        let found = &pickled.entries()[name];
        assert_eq!(
            (found.dtype, &found.shape),
            (entry.dtype, &entry.shape),
            "{name}"
        );
        let bytes = |file: &WeightFile| file.with_bytes(name, <[u8]>::to_vec).unwrap();
        assert_eq!(bytes(&pickled), bytes(&flat), "{name}");
    }
    let transformer = TransformerFile::find(&pickled, None).unwrap();
    assert_eq!(transformer.found().part.as_deref(), Some("generator_ema"));
    assert_eq!(
        transformer.found().names["blocks.0.self_attn.q.bias"],
        "generator_ema.model._fsdp_wrapped_module.blocks.0.self_attn.q.bias"
    );
}

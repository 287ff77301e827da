//! A campaign of mutants over every reader of weights and of the tokenizer: counts panics, and
//! mutants that take over 512 MiB or 2 seconds.
//!
//! `AFD_FUZZ_CASES=100000 AFD_FUZZ_SEED=1 cargo test -p afd-models --test mutants -- --ignored
//! --nocapture`. What fails is left in the directory AFD_FUZZ_KEEP, if that is set.

#[path = "hostile/mutate.rs"]
mod mutate;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use afd_models::caught::caught;
use afd_models::text::umt5::Tokenizer;
use afd_models::weights::lora::LoraFile;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::umt5::UmT5File;
use afd_models::weights::wan_vae::WanVaeFile;
use afd_models::weights::{Pickles, WeightFile};
use mutate::{Random, mutated};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MOST_MEMORY: usize = 512 << 20;
const MOST_TIME: Duration = Duration::from_secs(2);

/// A good file, where its structure is, and what else lies beside it.
struct Kind {
    name: &'static str,
    good: Vec<u8>,
    interesting: Vec<Range<usize>>,
    beside: Vec<(&'static str, Vec<u8>)>,
    read: fn(&Path),
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(directory.join(name)).unwrap()
}

/// Opens the file as everything that it could be, and reads all that it claims to hold.
fn weights(path: &Path) {
    let Ok(file) = WeightFile::open(path, Pickles::Allowed) else {
        return;
    };
    for name in file.entries().keys() {
        drop(file.not_finite(name));
        drop(file.read(name));
    }
    if let Ok(transformer) = TransformerFile::find(&file, None)
        && let Some(config) = transformer.sizes()
    {
        transformer.problems(&config);
    }
    if let Ok(encoder) = UmT5File::find(&file)
        && let Some(config) = encoder.sizes()
    {
        encoder.problems(&config);
    }
    let vae = WanVaeFile::find(&file);
    if let Some(config) = vae.sizes() {
        vae.problems(&config);
    }
    if let Ok(factors) = LoraFile::open(&file) {
        factors.summary();
    }
}

/// The weights beside which the mutant lies.
fn neighbour(path: &Path) {
    weights(&path.with_file_name("w.safetensors"));
}

fn tokenizer(path: &Path) {
    // Panics inside the library are errors; what is counted here would get past that.
    if let Ok(tokenizer) = Tokenizer::open(path, 32) {
        for prompt in [
            "a red ball",
            "",
            "ÅÄ 红球 \u{1f388}",
            "</s> <pad> <extra_id_0>",
        ] {
            drop(tokenizer.ids(prompt));
        }
    }
}

/// Four factors under PEFT's names.
fn factors() -> Vec<u8> {
    let values: Vec<u8> = (0..24)
        .flat_map(|value| (value as f32).to_le_bytes())
        .collect();
    let views = [
        ("q.lora_A", [2, 12]),
        ("q.lora_B", [12, 2]),
        ("k.lora_A", [2, 12]),
        ("k.lora_B", [12, 2]),
    ]
    .map(|(name, shape)| {
        let name = format!("base_model.model.blocks.0.self_attn.{name}.weight");
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &values);
        (name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn header(good: &[u8]) -> Vec<Range<usize>> {
    let length = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    vec![0..8, 0..8 + length]
}

fn kinds() -> Vec<Kind> {
    let all = |good: &[u8]| std::iter::once(0..good.len()).collect();
    let mut kinds = Vec::new();
    for name in [
        "torch_save.safetensors",
        "torch_odd.safetensors",
        "umt5_rows.safetensors",
    ] {
        let good = fixture(name);
        kinds.push(Kind {
            name,
            interesting: header(&good),
            good,
            beside: Vec::new(),
            read: weights,
        });
    }
    for name in ["torch_save.pt", "torch_odd.pt", "torch_legacy.pt"] {
        let good = fixture(name);
        kinds.push(Kind {
            name,
            interesting: all(&good),
            good,
            beside: Vec::new(),
            read: weights,
        });
    }
    let settings = br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 16, "use_rslora": true,
        "rank_pattern": {"blocks.0.self_attn.q": 2}, "alpha_pattern": {"k": 3.5}}"#;
    let sizes =
        br#"{"_class_name": "WanModel", "dim": 12, "eps": 1e-06, "ffn_dim": 24, "num_heads": 2,
        "num_layers": 1, "patch_size": [1, 2, 2], "qk_norm": true}"#;
    for (name, good) in [
        ("adapter_config.json", &settings[..]),
        ("config.json", &sizes[..]),
    ] {
        kinds.push(Kind {
            name,
            good: good.to_vec(),
            interesting: all(good),
            beside: vec![("w.safetensors", factors())],
            read: neighbour,
        });
    }
    let good = factors();
    kinds.push(Kind {
        name: "adapter_model.safetensors",
        interesting: header(&good),
        good,
        beside: vec![("adapter_config.json", settings.to_vec())],
        read: weights,
    });
    let good = fixture("text_tokenizer.json");
    kinds.push(Kind {
        name: "tokenizer.json",
        interesting: vec![0..good.len(), 0..2_000, good.len() - 2_000..good.len()],
        good,
        beside: Vec::new(),
        read: tokenizer,
    });
    kinds
}

#[test]
#[ignore = "a campaign of minutes; see the head of this file"]
fn no_mutant_panics_or_takes_more_than_it_may() {
    let (cases, seed) = (number("AFD_FUZZ_CASES", 10_000), number("AFD_FUZZ_SEED", 1));
    let keep = std::env::var_os("AFD_FUZZ_KEEP");
    let kinds = kinds();
    let mut failed = 0;
    for (which, kind) in kinds.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(kind.name);
        for (name, bytes) in &kind.beside {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        let (mut panics, mut large, mut slow, mut peak) = (0, 0, 0, 0);
        let mut longest = Duration::ZERO;
        let all = cases / kinds.len() as u64;
        for case in 0..all {
            let mut random = Random(
                (seed << 40 ^ (which as u64) << 32 ^ case).wrapping_mul(0x5851_f42d_4c95_7f2d),
            );
            let bytes = mutated(&kind.good, &mut random, &kind.interesting);
            std::fs::write(&path, &bytes).unwrap();
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let start = Instant::now();
            let read = caught(|| (kind.read)(&path));
            let took = start.elapsed();
            let held = MEMORY.peak_usage().saturating_sub(before);
            (peak, longest) = (peak.max(held), longest.max(took));
            let faults = [read.is_err(), held > MOST_MEMORY, took > MOST_TIME];
            for (count, fault) in [&mut panics, &mut large, &mut slow].into_iter().zip(faults) {
                *count += u64::from(fault);
            }
            if faults.contains(&true) {
                println!(
                    "{} case {case}: {read:?}, {held} bytes, {took:?}",
                    kind.name
                );
                if let Some(keep) = &keep {
                    std::fs::write(
                        Path::new(keep).join(format!("{case}-{}", kind.name)),
                        &bytes,
                    )
                    .unwrap();
                }
            }
        }
        failed += panics + large + slow;
        println!(
            "{}: {all} mutants, {panics} panics, {large} over 512 MiB, {slow} over 2 s; at most {} \
                KiB and {} ms",
            kind.name,
            peak >> 10,
            longest.as_millis()
        );
    }
    assert_eq!(failed, 0);
}

/// The library panics on about one in a hundred of these.
#[test]
fn mutated_tokenizers_are_refused_without_a_panic() {
    let good = fixture("text_tokenizer.json");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokenizer.json");
    let mut refused = 0;
    for case in 0..600 {
        let whole = 0..good.len();
        std::fs::write(&path, mutated(&good, &mut Random(case), &[whole])).unwrap();
        match Tokenizer::open(&path, 32) {
            Ok(_) => tokenizer(&path),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("tokenizer.json"), "{error}");
            }
        }
    }
    assert!(refused > 300, "only {refused} were refused");
}

#[test]
fn a_table_that_claims_gigabytes_is_refused_by_name() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer_claims_4_gib.json");
    let error = Tokenizer::open(&path, 32).unwrap_err().to_string();
    assert!(
        error.contains("precompiled_charsmap claims a table of"),
        "{error}"
    );
}

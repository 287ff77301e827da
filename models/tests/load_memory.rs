//! How much memory loading takes: the whole test binary is one measurement, because the counter is
//! the process's.

use std::collections::BTreeMap;

use afd_models::precision::Precision;
use afd_models::student::StudentConfig;
use afd_models::weights::transformer::TransformerFile;
use afd_models::weights::{Pickles, WeightFile, wan};
use burn::backend::Flex;
use peak_alloc::PeakAlloc;
use safetensors::tensor::{Dtype, TensorView};

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// Wan-1.3B with every width a sixth: the same share of the whole in its largest tensor.
fn config() -> StudentConfig {
    StudentConfig {
        width: 256,
        heads: 2,
        feed_forward_width: 1494,
        text_width: 682,
        frequency_width: 42,
        ..StudentConfig::wan_1_3b()
    }
}

#[test]
fn loading_a_bf16_transformer_takes_at_most_a_fifth_more_than_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("transformer.safetensors");
    let model = {
        let zeros: Vec<(String, Vec<usize>, Vec<u8>)> = wan::shapes(&config())
            .into_iter()
            .map(|(name, shape)| {
                (
                    name,
                    shape.clone(),
                    vec![0; 2 * shape.iter().product::<usize>()],
                )
            })
            .collect();
        let views: BTreeMap<&str, TensorView> = zeros
            .iter()
            .map(|(name, shape, bytes)| {
                (
                    name.as_str(),
                    TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
                )
            })
            .collect();
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        zeros.iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>()
    };
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    let file = WeightFile::open(&path, Pickles::Refused).unwrap();
    let student = TransformerFile::find(&file, None)
        .unwrap()
        .load::<Flex>(&config(), Precision::Bf16, &Default::default())
        .unwrap();
    let (held, peak) = (PEAK.current_usage() - before, PEAK.peak_usage() - before);
    drop(student);
    // Modulation and norms, and the small time embedding, are held in f32.
    assert!(
        held as f64 > 0.95 * model as f64,
        "{held} bytes held of a model of {model}: nothing was measured"
    );
    println!(
        "peak {:.3}, held {:.3} of the model's bytes",
        peak as f64 / model as f64,
        held as f64 / model as f64
    );
    assert!(
        (peak as f64) < 1.2 * model as f64,
        "loading takes {peak} bytes for a model of {model}"
    );
}

//! Counts against the modules themselves, the cost model, and what PyTorch counts.

use afd_models::discriminator::{ConvConfig, ConvDiscriminator, RegisterDiscriminator};
use afd_models::lora::{LoraTarget, adapted, is_factor};
use afd_models::student::Student;
use burn::backend::NdArray;
use burn::module::Module;

use super::*;

const FRAMES: usize = 21;
const TOKENS_PER_FRAME: usize = 30 * 52;

fn layout(frames_per_block: usize) -> BlockLayout {
    BlockLayout {
        frames: FRAMES,
        frames_per_block,
        window_frames: 0,
        sink_frames: 0,
    }
}

/// 1 TF.
const TERA: f64 = 1e12;

#[test]
fn the_parameters_of_wan_are_those_of_its_files() {
    // docs/method.md B.1; the 14B count is that of the shapes in Wan2.1-T2V-14B's own
    // configuration.
    let small = StudentConfig::wan_1_3b();
    assert_eq!(
        (
            wan::shapes(&small).len(),
            parameters(&small),
            block_parameters(&small)
        ),
        (825, 1_418_996_800, 46_440_704)
    );
    let large = StudentConfig::wan_14b();
    assert_eq!(
        (wan::shapes(&large).len(), parameters(&large)),
        (1095, 14_288_491_584)
    );
    assert_eq!(large.problem(), None);
}

#[test]
fn counted_parameters_are_those_of_the_modules() {
    let config = StudentConfig {
        width: 24,
        layers: 3,
        heads: 2,
        feed_forward_width: 40,
        text_width: 8,
        ..StudentConfig::wan_1_3b()
    };
    let device = Default::default();
    assert_eq!(
        Student::<NdArray>::new(&config, &device).num_params(),
        parameters(&config)
    );
    let registers = RegisterConfig {
        layers: vec![0, 2],
        feed_forward_width: 20,
        sigma: 0.0,
    };
    let module = RegisterDiscriminator::<NdArray>::new(&registers, &config, &device);
    assert_eq!(
        module.num_params(),
        parameters(&config) + register_parameters(&registers, 24)
    );
    let conv = ConvConfig {
        channels: vec![8, 16, 12],
        width: 10,
    };
    let latents = [5, 16, 6, 10];
    let module = ConvDiscriminator::<NdArray>::new(&conv, latents, 8, &device);
    assert_eq!(
        module.num_params() as u64,
        conv.graph_sizes(latents, 8).parameters
    );
}

#[test]
fn keys_and_values_of_a_clip_take_six_gigabytes_in_bf16() {
    // docs/method.md B.4.
    let bytes = 2 * cache_values(&StudentConfig::wan_1_3b(), FRAMES * TOKENS_PER_FRAME);
    assert_eq!(bytes, 6_038_323_200);
}

#[test]
fn operations_are_those_of_the_cost_model() {
    // docs/method.md G.8, to the digits given there.
    let config = StudentConfig::wan_1_3b();
    let wan = Computed {
        config: &config,
        lora: None,
        tokens_per_frame: TOKENS_PER_FRAME,
    };
    let near = |found: f64, expected: f64, digits: f64| {
        assert!(
            (found / expected - 1.0).abs() < digits,
            "{found:e} {expected:e}"
        )
    };
    let whole = wan.rollout(&layout(3), [4.0; 2], true);
    near(whole.linear, 465.0 * TERA, 2e-3);
    near(whole.attention, 565.0 * TERA, 2e-3);
    near(whole.total(), 1030.0 * TERA, 5e-3);
    near(
        wan.rollout(&layout(1), [4.0; 2], true).total(),
        980.0 * TERA,
        5e-3,
    );
    let causal = wan.forward(&Visibility::block_causal(&layout(3)));
    near(causal.total(), 206.0 * TERA, 3e-3);
    let forcing = causal.plus(wan.forward(&Visibility::teacher_forcing(&layout(3))));
    near(forcing.total(), 412.0 * TERA, 3e-3);
    near(
        wan.forward(&Visibility::bidirectional(FRAMES)).total(),
        291.0 * TERA,
        3e-3,
    );
}

fn factors(rank: usize) -> LoraConfig {
    LoraConfig {
        rank,
        alpha: 1.0,
        targets: LoraConfig::all(),
    }
}

/// `scripts/count-operations.py`: diffusers' transformer of the full size with PEFT's factors,
/// bidirectional, counted by PyTorch.
#[test]
fn operations_are_those_that_pytorch_counts() {
    let config = StudentConfig::wan_1_3b();
    let forward = |lora: Option<&LoraConfig>| {
        Computed {
            config: &config,
            lora,
            tokens_per_frame: TOKENS_PER_FRAME,
        }
        .forward(&Visibility::bidirectional(FRAMES))
    };
    let near = |found: f64, counted: f64, share: f64| {
        assert!(
            (found / counted - 1.0).abs() < share,
            "{found:e} {counted:e}"
        )
    };
    // The base to what `Flops::linear` says that it counts too much and leaves out.
    near(forward(None).total(), 283.0018 * TERA, 0.03);
    near(forward(None).backward(true).total(), 565.9907 * TERA, 0.03);
    // The factors but for those that read the text.
    for (rank, counted) in [(64, 4.971_556), (256, 19.886_223)] {
        let with = forward(Some(&factors(rank)));
        near(with.factors, counted * TERA, 3e-3);
        assert_eq!(with.backward(false).factors, 2.0 * with.factors);
    }
    // Backwards, PyTorch counts (522.9558 - 493.2026) TF more for 256 than for 64: twice the
    // factors' forward difference.
    let more = forward(Some(&factors(256))).backward(false).total()
        - forward(Some(&factors(64))).backward(false).total();
    near(more, (522.9558 - 493.2026) * TERA, 3e-3);
}

#[test]
fn factors_are_counted_for_the_layers_that_have_them() {
    let config = StudentConfig {
        width: 24,
        layers: 3,
        heads: 2,
        feed_forward_width: 40,
        text_width: 8,
        ..StudentConfig::wan_1_3b()
    };
    let student = Student::<NdArray>::new(&config, &Default::default());
    for targets in [
        vec![LoraTarget::SelfAttention],
        vec![LoraTarget::CrossAttention],
        vec![LoraTarget::FeedForward],
        LoraConfig::all(),
    ] {
        let lora = LoraConfig {
            targets,
            ..factors(4)
        };
        let weights = afd_models::weights::shapes(&adapted(student.clone(), &lora));
        let mut of_tokens = [0, 0];
        let (mut all, mut values) = (0, [0, 0]);
        for (name, shape) in weights.into_iter().filter(|(name, _)| is_factor(name)) {
            let text = usize::from(name.contains("cross_attn.k") || name.contains("cross_attn.v"));
            all += shape[0] * shape[1];
            of_tokens[text] += shape[0] * shape[1];
            if name.ends_with("lora.down") {
                values[text] += shape[1];
            }
        }
        assert_eq!(lora_parameters(&config, &lora), all, "{lora:?}");
        assert_eq!(
            lora_values(Some(&lora)).map(|values| config.layers * values),
            values,
            "{lora:?}"
        );
        // A multiply-add for every weight that a token meets.
        let one = Computed {
            config: &config,
            lora: Some(&lora),
            tokens_per_frame: 1,
        }
        .forward(&Visibility::bidirectional(1));
        assert_eq!(one.factors, 2.0 * of_tokens[0] as f64, "{lora:?}");
    }
}

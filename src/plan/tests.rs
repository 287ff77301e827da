//! Plans of the sizes that the method is made for.

use afd_models::codec::wan_vae::WanVaeConfig;
use afd_models::discriminator::RegisterConfig;
use afd_models::lora::{LoraConfig, LoraTarget};
use afd_models::precision::Precision;
use afd_models::student::StudentConfig;

use std::path::Path;

use super::Plan;
use super::codec::CodecSizes;
use super::inputs::{
    DiscriminatorSizes, Distill, KernelSet, PlanInputs, PlannedMethod, PlannedUpdate, Schedule,
};
use super::phase::Phase;
use crate::data::batch::CLIP_MEMORY;
use crate::recipe::Recipe;
use crate::recipe::tables::Context;

fn factors(rank: usize) -> LoraConfig {
    LoraConfig {
        rank,
        alpha: rank as f64,
        targets: LoraConfig::all(),
    }
}

/// One prompt with 8 rollouts of 81 frames at 480 x 832 by a chunk-wise Wan student in bf16, LoRA
/// 256; registers on a copy of it, LoRA 64.
fn wan(student: StudentConfig, micro_batch: usize, caches_kept: usize) -> PlanInputs {
    let layers = [14, 22, 30]
        .map(|depth| depth * student.layers / 30 - 1)
        .to_vec();
    PlanInputs {
        student,
        latents: [21, 16, 60, 104],
        pixels: 81 * 480 * 832 * 3,
        codec: None,
        text_length: 512,
        prompts: 200,
        held_out: 1,
        samples_per_prompt: 1,
        method: PlannedMethod::Distill(Distill {
            prompts: 1,
            rollouts: 8,
            teacher_clips: 1,
            teacher_positives: 0,
            sampler_steps: [4.0; 2],
            states: 0,
            update: PlannedUpdate::ForwardProcess,
            frozen_after_warm_up: false,
            supervised_start: None,
            discriminator_steps: 1,
            flow_steps: 1,
            context: Context::OwnClean,
            detach_context: true,
            lagging_old: true,
            reference: true,
            penalised: true,
            mismatched: false,
            discriminator: DiscriminatorSizes::Registers(RegisterConfig {
                layers,
                feed_forward_width: 8192,
                sigma: 0.0,
            }),
            discriminator_lora: Some(factors(64)),
        }),
        text_encoder: None,
        student_lora: Some(factors(256)),
        weight_bytes: 2,
        activation_bytes: 2,
        recompute_blocks: true,
        attention_queries: 1024,
        shards: 1,
        micro_batch,
        caches_kept,
        kernels: KernelSet::Operations,
        schedule: Schedule {
            start: 0,
            warm_up: 60,
            rounds: 200,
            checkpoints: 2,
        },
    }
}

const CARD: u64 = 80_000_000_000;

#[test]
fn eight_rollouts_of_wan_at_once_do_not_fit_one_card_but_one_at_a_time_does() {
    let all = Plan::new(wan(StudentConfig::wan_1_3b(), 8, 8), Some(CARD));
    println!("{all}");
    assert_eq!(all.fits, Some(false));
    // What is named first is what has to go: tokens, keys and values of several clips.
    let named = |what: &str| {
        all.largest[..3]
            .iter()
            .any(|part| part.what.contains(what) && part.bytes > 6_038_323_200 * 5)
    };
    assert!(
        named("keys and values") && named("tokens between blocks"),
        "{:?}",
        all.largest
    );
    let kept = Plan::new(wan(StudentConfig::wan_1_3b(), 1, 8), Some(CARD));
    println!("{kept}");
    let one = Plan::new(wan(StudentConfig::wan_1_3b(), 1, 0), Some(CARD));
    println!("{one}");
    assert!(one.peak < kept.peak && kept.peak < all.peak);
    assert_eq!(one.fits, Some(true));
    let large = Plan::new(wan(StudentConfig::wan_14b(), 1, 0), Some(CARD));
    println!("{large}");
    assert!(large.peak > one.peak);
}

#[test]
fn what_bounds_memory_bounds_the_plan() {
    let peak = |change: fn(&mut PlanInputs)| {
        let mut inputs = wan(StudentConfig::wan_1_3b(), 1, 0);
        change(&mut inputs);
        Plan::new(inputs, None)
    };
    let usual = peak(|_| ());
    assert_eq!(usual.fits, None);
    // One graph of all blocks, all weights trained, all queries at once, f32 everywhere.
    assert!(peak(|inputs| inputs.recompute_blocks = false).peak > 2 * usual.peak);
    assert!(
        peak(|inputs| inputs.student_lora = None)
            .weights
            .held_bytes()
            > usual.weights.held_bytes() + 8 * 1_418_996_800
    );
    assert!(peak(|inputs| inputs.attention_queries = 32_760).peak > usual.peak);
    let single = peak(|inputs| (inputs.weight_bytes, inputs.activation_bytes) = (4, 4));
    assert!(single.peak > usual.peak && single.cache_per_clip == 2 * usual.cache_per_clip);
    // Less memory is more work: each block runs again, but the operations of a rollout stay.
    let plain = peak(|inputs| inputs.recompute_blocks = false);
    let work = |plan: &Plan, name: &str| {
        plan.phases
            .iter()
            .find(|phase| phase.name == name)
            .unwrap()
            .flops
            .total()
    };
    assert!(work(&usual, "flow update") > work(&plain, "flow update"));
    assert_eq!(work(&usual, "rollout"), work(&plain, "rollout"));
}

#[test]
fn the_codec_is_counted_with_what_was_measured_of_it() {
    // docs/results/wan-vae.md: 237 MiB in f32 and 168 MiB in bf16 at 96 x 160; 4509 MiB for
    // encoding at 480 x 832, and decoding takes more.
    let config = WanVaeConfig::wan_2_1();
    let working = |precision, [rows, columns]: [usize; 2]| {
        CodecSizes::wan_vae(&config, precision, [81, rows, columns]).working as f64
            / f64::from(1 << 20)
    };
    assert!(
        (237.0..240.0).contains(&working(Precision::F32, [96, 160]))
            && (168.0..170.0).contains(&working(Precision::Bf16, [96, 160]))
    );
    assert!(working(Precision::F32, [480, 832]) > 4509.0);
    // docs/method.md C.1.
    assert_eq!(
        CodecSizes::wan_vae(&config, Precision::F32, [81, 480, 832]).parameters,
        126_892_531
    );
    let mut inputs = wan(StudentConfig::wan_1_3b(), 1, 0);
    let without = Plan::new(inputs.clone(), None);
    inputs.codec = Some(CodecSizes::wan_vae(
        &config,
        Precision::Bf16,
        [81, 480, 832],
    ));
    let with = Plan::new(inputs, None);
    assert_eq!(
        with.weights.held_bytes() - without.weights.held_bytes(),
        2 * 126_892_531
    );
}

#[test]
fn a_run_is_its_rounds_and_what_comes_before() {
    let mut inputs = wan(StudentConfig::wan_1_3b(), 1, 0);
    let codec = CodecSizes::wan_vae(&WanVaeConfig::wan_2_1(), Precision::Bf16, [81, 480, 832]);
    (inputs.codec, inputs.pixels) = (Some(codec), 0);
    let plan = Plan::new(inputs.clone(), None);
    let work = |name: &str| {
        plan.phases
            .iter()
            .find(|phase| phase.name == name)
            .unwrap()
            .flops
    };
    let scored =
        work("rollout").total() + work("scores").total() + work("discriminator update").total();
    let learnt =
        work("velocities of old policy and reference").total() + work("flow update").total();
    let prepared = 200.0 * codec.encoding;
    // The same terms in another order.
    let near = |found: f64, expected: f64| {
        assert!(
            (found / expected - 1.0).abs() < 1e-12,
            "{found:e} {expected:e}"
        )
    };
    near(
        plan.whole.total(),
        prepared + 60.0 * scored + 200.0 * (scored + learnt),
    );
    near(
        plan.clone().at(400e12).time.unwrap().hours,
        plan.whole.total() / 400e12 / 3600.0,
    );
    // Every rollout, and no teacher clip, goes through the codec and back.
    near(
        work("scores").codec,
        8.0 * (codec.decoding + codec.encoding),
    );
    assert_eq!(plan.whole.disk.checkpoints, 3 * plan.weights.checkpoint);
    assert_eq!(plan.whole.disk.latents, 200 * 4 * 21 * 16 * 60 * 104);
    // Clips that are not prepared are encoded in every round.
    inputs.pixels = 81 * 480 * 832 * 3;
    let unprepared = Plan::new(inputs, None);
    assert_eq!(
        (
            unprepared.whole.preparation.clips,
            unprepared.whole.disk.latents
        ),
        (0.0, 0)
    );
    near(
        unprepared.whole.round.codec,
        8.0 * codec.decoding + 9.0 * codec.encoding,
    );
}

#[test]
fn fewer_adapted_layers_take_less() {
    let inputs = wan(StudentConfig::wan_1_3b(), 1, 0);
    let all = Plan::new(inputs.clone(), None);
    let lora = LoraConfig {
        targets: vec![LoraTarget::SelfAttention],
        ..factors(256)
    };
    let some = Plan::new(
        PlanInputs {
            student_lora: Some(lora),
            ..inputs
        },
        None,
    );
    // Four of ten layers, each 1536 in and out.
    assert_eq!(some.weights.student_trainable, 30 * 256 * 4 * 2 * 1536);
    assert!(some.peak < all.peak && some.whole.round.factors < all.whole.round.factors);
    assert_eq!(some.whole.round.linear, all.whole.round.linear);
}

/// What a recipe of the repository is planned as.
fn planned(path: &str, set: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Plan::new(
        PlanInputs::of(&Recipe::load(&path, &set).unwrap(), "flex"),
        None,
    )
}

fn phase<'a>(plan: &'a Plan, name: &str) -> &'a Phase {
    let found = plan.phases.iter().find(|phase| phase.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:#?}", plan.phases))
}

#[test]
fn every_method_is_planned_with_what_its_update_reads() {
    const VELOCITIES: &str = "velocities of old policy and reference";
    let of = |method: &str, more: &[&str]| {
        let method = format!("method={method}");
        let set = [&[method.as_str(), "afd.teacher_positives=1"], more].concat();
        planned("tests/golden/recipe.toml", &set)
    };
    let names = |plan: &Plan| -> Vec<String> {
        plan.phases.iter().map(|phase| phase.name.clone()).collect()
    };
    let has_reference = |plan: &Plan| {
        let held = &plan.weights.held;
        held.iter().any(|part| part.what == "reference's weights")
    };
    let afd = of("afd", &["afd.reference_weight=0.1"]);
    assert!(has_reference(&afd));
    // No velocities to compare with and no reference; through the discriminator instead.
    let direct = of("direct-adversarial", &["afd.reference_weight=0.1"]);
    assert_eq!(
        names(&direct)[2..],
        ["discriminator update", "update through the discriminator"]
    );
    assert!(!has_reference(&direct));
    // A divergence weight, not AFD's, keeps the base student.
    let weighted = "reverse_chain.divergence_weight=0.1";
    let stop = "afd.old_policy=stop-gradient";
    let chain = of("reverse-chain", &[weighted, "afd.reference_weight=0", stop]);
    assert_eq!(names(&chain)[3..], [VELOCITIES, "reverse-chain update"]);
    assert!(has_reference(&chain) && !has_reference(&of("reverse-chain", &[])));
    // Neither learns from teacher clips, whatever afd.teacher_positives says.
    let flops = |plan: &Plan, name: &str| phase(plan, name).flops.total();
    assert!(flops(&chain, "reverse-chain update") < flops(&afd, "flow update"));
    // A discriminator that is frozen after the warm-up is not in the rounds that follow.
    let frozen = of("frozen-discriminator", &["afd.reference_weight=0.1"]);
    let update = flops(&afd, "discriminator update");
    let less = afd.whole.round.total() - frozen.whole.round.total();
    assert!((less / update - 1.0).abs() < 1e-9, "{less} {update}");
    assert_eq!(frozen.whole.warm_up_round, afd.whole.warm_up_round);
    assert_eq!(
        frozen.whole.round,
        of("offline", &["afd.reference_weight=0.1"]).whole.round
    );
    // Rollouts that end at a random step take (n + 1) / 2 of n on average.
    let own = |plan: &Plan| match &plan.inputs.method {
        PlannedMethod::Distill(distill) => (distill.sampler_steps, distill.states),
        PlannedMethod::Pretrain(_) => panic!(),
    };
    let ([steps, _], none) = own(&afd);
    assert_eq!(none, 0);
    assert_eq!(own(&direct), ([(steps + 1.0) / 2.0; 2], steps as usize));
}

#[test]
fn a_first_block_with_more_steps_is_more_work_for_that_block() {
    let one = ["sampler.denoising_step_list=[1000]"];
    let four = "sampler.denoising_step_list_first_chunk=[1000,750,500,250]";
    let rollout = |set: &[&str]| {
        let plan = planned("tests/golden/recipe.toml", set);
        phase(&plan, "rollout").flops.total()
    };
    let (plain, first) = (rollout(&one), rollout(&[one[0], four]));
    let all = rollout(&[four.replace("_first_chunk", "").as_str()]);
    assert!(plain < first && first < all, "{plain} {first} {all}");
}

#[test]
fn a_students_own_trajectories_are_planned() {
    let of = |steps: &str| planned("recipes/few-step/few-step.toml", &[steps]);
    let (none, few, many) = (
        of("supervised.trajectory_steps=0"),
        of("supervised.trajectory_steps=4"),
        of("supervised.trajectory_steps=16"),
    );
    let held = |plan: &Plan| plan.weights.held_bytes();
    let student = 4 * none.weights.student_parameters;
    assert_eq!(
        (held(&few) - held(&none), held(&many)),
        (student, held(&few))
    );
    let work = |plan: &Plan| phase(plan, "trajectories").flops.total();
    // Each step is a pass over the clip; committing its blocks is one too, but for the last.
    let ratio = work(&many) / work(&few);
    assert!((16.0 / 5.0..4.0).contains(&ratio), "{ratio}");
    assert!(many.whole.total() > none.whole.total());
    assert_eq!(none.phases.len(), 1);
}

#[test]
fn prepared_clips_that_stay_in_memory_have_a_limit() {
    let mut inputs = wan(StudentConfig::wan_1_3b(), 1, 0);
    let clip = 4 * inputs.pixels as u64;
    let plan = Plan::new(inputs.clone(), None);
    // 388 MB each: five of 200.
    let kept = CLIP_MEMORY / clip;
    assert_eq!(kept, 5);
    assert_eq!(
        (plan.whole.host_pixels, plan.whole.clips_again),
        (kept * clip, 195)
    );
    assert!(plan.to_string().contains("195 more are prepared each time"));
    inputs.prompts = 3;
    let few = Plan::new(inputs, None).whole;
    assert_eq!((few.host_pixels, few.clips_again), (3 * clip, 0));
}

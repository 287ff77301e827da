//! `afd plan`'s formulas against measured peaks of the same steps that training samples, at sizes
//! where a process can count its memory.
//!
//! `cargo test --workspace --test plan_memory -- --nocapture` prints the table of
//! docs/results/plan.md.

#[path = "plan_memory/run.rs"]
mod run;
#[path = "plan_memory/steps.rs"]
mod steps;

use afd::plan::inputs::KernelSet;
use afd_models::kernels::Trainable;
use afd_models::precision::Precision;
use burn::backend::{Autodiff, Flex, NdArray};
use peak_alloc::PeakAlloc;

use steps::{Problem, Step};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Steps that hold no graph.
const PASSES: [Step; 3] = [Step::Rollout, Step::Scores, Step::Velocities];
const UPDATES: [Step; 5] = [
    Step::Discriminator,
    Step::Flow,
    Step::ThroughDiscriminator,
    Step::TeacherForcing,
    Step::DiffusionForcing,
];

/// Planned over measured. The formulas count the tensors that are read in the code, not what a
/// backend's own products copy, nor the small ones (text, modulation), which weigh more at these
/// sizes than at real ones.
const BOUNDS: std::ops::RangeInclusive<f64> = 0.8..=1.2;

/// Rows outside the bounds.
fn compare<B: Trainable>(backend: &str, problem: Problem, steps: &[Step]) -> Vec<String> {
    let kernels = KernelSet::of(backend, problem.precision);
    let row = |step: Step| {
        let (planned, measured) = (problem.planned(step, kernels), problem.measured::<B>(step));
        let ratio = planned as f64 / measured as f64;
        let Problem {
            width,
            hidden,
            layers,
            frames,
            precision,
            lora,
            ..
        } = problem;
        let how = match problem.recompute {
            _ if PASSES.contains(&step) => "no graph",
            true => "block by block",
            false => "one graph",
        };
        let precision = if precision == Precision::F32 {
            "f32"
        } else {
            "bf16"
        };
        let trained = lora.map_or("all".to_string(), |[student, discriminator]| {
            format!("LoRA {student}, {discriminator}")
        });
        let row = format!(
            "| {backend} | {} | {how} | {precision} | {trained} | {width} | {hidden} | {layers} | \
                {} | {planned} | {measured} | {ratio:.2} |",
            step.name(),
            64 * frames
        );
        println!("{row}");
        (!BOUNDS.contains(&ratio)).then_some(row)
    };
    steps.iter().copied().filter_map(row).collect()
}

const SMALL: Problem = Problem {
    width: 64,
    hidden: 128,
    layers: 4,
    frames: 8,
    frames_per_block: 2,
    recompute: false,
    precision: Precision::F32,
    lora: None,
    penalised: false,
};

/// One test, because the counter is the process's.
#[test]
fn planned_memory_is_what_steps_and_a_run_take() {
    let wide = Problem {
        hidden: 512,
        layers: 3,
        frames: 12,
        frames_per_block: 3,
        ..SMALL
    };
    let factors = |problem| Problem {
        lora: Some([16, 8]),
        penalised: true,
        ..problem
    };
    let narrow = Problem {
        precision: Precision::Bf16,
        ..SMALL
    };
    // What the recipes for Wan do: bf16, low-rank factors on student and discriminator, R1 and R2.
    let shipped = Problem {
        precision: Precision::Bf16,
        ..factors(wide)
    };
    // The first large product of matrices makes room for itself that stays.
    wide.measured::<Autodiff<Flex>>(Step::Discriminator);
    let mut wrong = Vec::new();
    for problem in [SMALL, wide, narrow, shipped] {
        wrong.extend(compare::<Autodiff<Flex>>("flex", problem, &PASSES));
    }
    wrong.extend(compare::<Autodiff<NdArray>>("ndarray", SMALL, &PASSES));
    for recompute in [false, true] {
        let within = |problem| Problem {
            recompute,
            ..problem
        };
        for problem in [SMALL, wide, shipped].map(within) {
            wrong.extend(compare::<Autodiff<Flex>>("flex", problem, &UPDATES));
        }
        wrong.extend(compare::<Autodiff<Flex>>(
            "flex",
            within(narrow),
            &UPDATES[..3],
        ));
        wrong.extend(compare::<Autodiff<NdArray>>(
            "ndarray",
            within(SMALL),
            &UPDATES,
        ));
        wrong.extend(compare::<Autodiff<NdArray>>(
            "ndarray",
            within(factors(SMALL)),
            &UPDATES[..3],
        ));
    }
    let [planned, measured] = run::planned_and_measured();
    let ratio = planned as f64 / measured as f64;
    let row = format!(
        "| flex | a whole run | block by block | bf16 | LoRA 16, 8 | 64 | 512 | 3 | 576 | \
            {planned} | {measured} | {ratio:.2} |"
    );
    println!("{row}");
    if !BOUNDS.contains(&ratio) {
        wrong.push(row);
    }
    assert!(wrong.is_empty(), "outside {BOUNDS:?}: {wrong:#?}");
}

use super::*;

fn read(text: &str) -> Result<CheckedPlan, PlanError> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("benchmark.toml");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
    std::fs::write(&path, text.replace("RECIPE", &recipe.display().to_string())).unwrap();
    CheckedPlan::read(&path)
}

const PLAN: &str = r#"
name = "small"
title = "Small"
budget = "none"
reference = "afd"
seeds = [3, 4]
set = ["evaluation.clips_per_prompt=4"]
regime_title = "teacher clips"
main_metrics = ["trajectory_energy_distance"]
[[families]]
name = "chunk"
title = "chunk-wise"
recipe = "RECIPE"
[[regimes]]
name = "fresh"
title = "fresh"
[[regimes]]
name = "few"
title = "few"
set = ["teacher.samples_per_prompt=1"]
[[methods]]
name = "afd"
title = "AFD"
[[methods]]
name = "sft"
title = "SFT"
regimes = ["few"]
seeds = [4]
set = ["method=supervised", "evaluation.clips_per_prompt=8"]
[[methods]]
name = "scores"
title = "score distillation"
set = ["method=score-distillation"]
refused = true
"#;

#[test]
fn runs_come_seed_by_seed_with_controls_once_per_family_and_refused_methods_left_out() {
    let checked = read(PLAN).unwrap();
    let ids: Vec<String> = checked.runs.iter().map(PlannedRun::id).collect();
    let seed = |seed: u64| {
        [
            format!("teacher.chunk.any.s{seed}"),
            format!("base.chunk.any.s{seed}"),
            format!("afd.chunk.fresh.s{seed}"),
            format!("afd.chunk.few.s{seed}"),
        ]
    };
    let expected = [
        &seed(3)[..],
        &seed(4)[..],
        &["sft.chunk.few.s4".to_string()],
    ]
    .concat();
    assert_eq!(ids, expected);
    assert!(
        checked.methods[4]
            .refused
            .as_ref()
            .is_some_and(|reason| reason.contains("has no score"))
    );
    // The more particular comes later and wins.
    let sft = Recipe::load(&checked.runs[8].recipe, &checked.runs[8].set)
        .unwrap()
        .settings;
    assert_eq!(
        (
            sft.evaluation.clips_per_prompt,
            sft.teacher.samples_per_prompt,
            sft.seed
        ),
        (8, 1, 4)
    );
}

#[test]
fn what_cannot_work_is_named() {
    for (from, to, expected) in [
        (
            "reference = \"afd\"",
            "reference = \"adf\"",
            "none of [[methods]]",
        ),
        (
            "regimes = [\"few\"]",
            "regimes = [\"fewer\"]",
            "there is no family or regime \"fewer\"",
        ),
        (
            "seeds = [4]\nset",
            "seeds = [5]\nset",
            "seed 5 is not among",
        ),
        ("name = \"sft\"", "name = \"base\"", "is a control"),
        ("refused = true", "refused = false", "has no score"),
        (
            "\"method=supervised\"",
            "\"method=suprvised\"",
            "supervised",
        ),
        ("budget = \"none\"", "budgett = \"none\"", "budgett"),
    ] {
        let error = read(&PLAN.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

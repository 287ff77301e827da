use super::*;
use crate::{example::small, summary::Summary};

#[test]
fn one_run_stands_for_every_seed_and_regime() {
    let summary = Summary::of(&small());
    let base = summary.cell("distance", "base", "chunk", "8").unwrap();
    assert_eq!(
        (
            base.estimate.unwrap().mean,
            base.samples[0].seed,
            base.absent.len()
        ),
        (8.0, None, 0)
    );
    let comparison = summary
        .comparison("distance", None, Some("chunk"), Some("200"), "base")
        .unwrap();
    assert_eq!(
        comparison.difference.count, 3,
        "one pair per seed of the reference"
    );
}

#[test]
fn differences_are_paired_by_seed_and_judged_after_correction() {
    let benchmark = small();
    let summary = Summary::of(&benchmark);
    let sft = summary
        .comparison("distance", None, Some("chunk"), Some("200"), "sft")
        .unwrap();
    assert!((sft.difference.mean - 2.0).abs() < 1e-12 && sft.difference.count == 3);
    assert_eq!(
        sft.verdict,
        Verdict::Worse,
        "lower is better, and SFT is 2 higher in every seed: {sft:?}"
    );
    assert_eq!(sft.p_sign_flip, Some(0.25));
    let presence = summary
        .comparison("presence", None, Some("chunk"), Some("200"), "sft")
        .unwrap();
    assert_eq!(
        presence.verdict,
        Verdict::Better,
        "higher is better: {presence:?}"
    );
    let gan = summary
        .comparison("distance", None, Some("chunk"), Some("200"), "gan")
        .unwrap();
    assert_eq!(
        (gan.verdict, gan.p_corrected, gan.difference.count),
        (Verdict::TooFewSeeds, None, 1)
    );
    assert!(
        summary
            .comparison("distance", None, Some("frame"), Some("200"), "gan")
            .is_none(),
        "nothing to pair"
    );
    for pair in &sft.pairs {
        let (run, reference) = (
            &benchmark.runs[pair.run],
            &benchmark.runs[pair.reference_run],
        );
        assert_eq!(
            (&run.method[..], &reference.method[..], run.seed),
            ("sft", "afd", reference.seed)
        );
    }
    assert!(
        summary
            .comparisons
            .iter()
            .all(|found| found.method != "teacher" && found.method != "afd")
    );
}

#[test]
fn nobody_is_better_past_the_teacher_s_own() {
    // AFD is near 3 and SFT 2 further off; other clips of the teacher are at 0, then at 5.
    let verdict = |own: f64| {
        let mut benchmark = small();
        let teacher = benchmark
            .runs
            .iter_mut()
            .filter(|run| run.method == "teacher");
        teacher.for_each(|run| {
            run.values.insert("distance".into(), Some(own));
        });
        let summary = Summary::of(&benchmark);
        let of = |method: &str| {
            let found = summary.comparison("distance", None, Some("chunk"), Some("200"), method);
            found.unwrap().verdict
        };
        (of("sft"), of("base"))
    };
    assert_eq!(verdict(0.0), (Verdict::Worse, Verdict::Worse));
    // The reference is ahead of SFT, and past the teacher's own.
    assert_eq!(verdict(5.0), (Verdict::PastTeacher, Verdict::PastTeacher));
    // The other way round: SFT's presence, 0.95, is past the teacher's 0.9, then not.
    let presence = |own: f64| {
        let mut benchmark = small();
        for run in &mut benchmark.runs {
            if run.method == "teacher" {
                run.values.insert("presence".into(), Some(own));
            }
        }
        let summary = Summary::of(&benchmark);
        let found = summary.comparison("presence", None, Some("chunk"), Some("200"), "sft");
        found.unwrap().verdict
    };
    assert_eq!(
        (presence(0.9), presence(1.0)),
        (Verdict::PastTeacher, Verdict::Better)
    );
}

#[test]
fn a_method_far_from_the_teacher_is_worse_on_either_side() {
    let mut benchmark = small();
    benchmark.metrics[0].better = Better::Teacher;
    // The teacher is at 0, AFD near 3, SFT 2 further off, on the other side.
    benchmark
        .runs
        .iter_mut()
        .filter(|run| run.method == "sft")
        .for_each(|run| {
            let value = run.values.get_mut("distance").unwrap();
            *value = value.map(|value| -value);
        });
    let summary = Summary::of(&benchmark);
    let sft = summary
        .comparison("distance", None, Some("chunk"), Some("200"), "sft")
        .unwrap();
    assert!(
        (sft.difference.mean - 2.0).abs() < 1e-12 && sft.verdict == Verdict::Worse,
        "{sft:?}"
    );
    benchmark.runs.retain(|run| run.method != "teacher");
    let summary = Summary::of(&benchmark);
    assert!(
        summary
            .comparison("distance", None, Some("chunk"), Some("200"), "sft")
            .is_none(),
        "no teacher to be near"
    );
}

#[test]
fn everything_together_pairs_families_regimes_and_seeds() {
    let summary = Summary::of(&small());
    let sft = summary
        .comparison("distance", None, None, None, "sft")
        .unwrap();
    assert_eq!(sft.difference.count, 12, "2 families x 2 regimes x 3 seeds");
    let one_family = summary
        .comparison("distance", None, Some("chunk"), None, "sft")
        .unwrap();
    assert_eq!(one_family.difference.count, 6);
}

#[test]
fn ablations_are_compared_among_themselves() {
    let summary = Summary::of(&small());
    let found = summary
        .comparison(
            "distance",
            Some("Warm-up"),
            Some("chunk"),
            Some("200"),
            "no-warm-up",
        )
        .unwrap();
    assert_eq!(
        found.p_corrected, found.p_paired_t,
        "one method alone needs no correction"
    );
    assert!(
        summary
            .comparison("distance", None, Some("chunk"), Some("200"), "no-warm-up")
            .is_none()
    );
}

//! What runs took, and whether that was fair.

use super::scope_title;
use crate::{
    benchmark::{Benchmark, Method, Role, Run, State},
    number::count,
};

/// What a method's runs took in one family and regime: the means over its done runs.
pub(crate) struct Spent<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// Where.
    pub(crate) scope: String,
    /// How many runs are done.
    pub(crate) runs: usize,
    /// Means, in the order of [`COSTS`].
    pub(crate) means: [f64; 5],
}

/// The headings of costs.
pub(crate) const COSTS: [&str; 5] = [
    "student forward-backward (clips)",
    "student rollouts (clips)",
    "discriminator forward-backward (clips)",
    "teacher clips",
    "wall time (s)",
];

/// The costs of a run in the order of [`COSTS`].
pub(crate) fn costs(run: &Run) -> [f64; 5] {
    let cost = &run.cost;
    let counts = [
        cost.student_forward_backward,
        cost.student_rollouts,
        cost.discriminator_forward_backward,
        cost.teacher_clips,
    ];
    let [student, rollouts, discriminator, teacher] = counts.map(|count| count as f64);
    [student, rollouts, discriminator, teacher, cost.wall_seconds]
}

/// The cost of every method that was trained, place by place.
pub(crate) fn spent(benchmark: &Benchmark) -> Vec<Spent<'_>> {
    let mut spent = Vec::new();
    for family in &benchmark.families {
        for regime in &benchmark.regimes {
            for method in benchmark
                .methods
                .iter()
                .filter(|method| method.role == Role::Method)
            {
                let belongs = |run: &&Run| {
                    run.method == method.name
                        && run.family == family.name
                        && run.regime.as_ref().is_none_or(|name| *name == regime.name)
                        && run.state == State::Done
                };
                let runs: Vec<[f64; 5]> =
                    benchmark.runs.iter().filter(belongs).map(costs).collect();
                if !runs.is_empty() {
                    let means = std::array::from_fn(|at| {
                        runs.iter().map(|run| run[at]).sum::<f64>() / runs.len() as f64
                    });
                    spent.push(Spent {
                        method,
                        scope: scope_title(benchmark, Some(&family.name), Some(&regime.name)),
                        runs: runs.len(),
                        means,
                    });
                }
            }
        }
    }
    spent
}

/// Whether the methods of the main comparison had the same budget, in a sentence.
pub(crate) fn budget(benchmark: &Benchmark) -> String {
    let compared = |run: &&Run| {
        let method = benchmark
            .methods
            .iter()
            .find(|method| method.name == run.method);
        run.state == State::Done
            && method.is_some_and(|method| method.role == Role::Method && method.group.is_none())
    };
    let runs = benchmark.runs.iter().filter(compared);
    let Some(least) = runs
        .clone()
        .min_by_key(|run| run.cost.student_forward_backward)
    else {
        return "No method has a finished run.".into();
    };
    let most = runs
        .max_by_key(|run| run.cost.student_forward_backward)
        .unwrap_or(least);
    let [fewest, greatest] = [least, most].map(|run| count(run.cost.student_forward_backward));
    if fewest == greatest {
        return format!(
            "Equal budgets: in every run of the main comparison {fewest} clips went forward and \
                backward through the student."
        );
    }
    format!(
        "Unequal budgets: between {fewest} ({}) and {greatest} ({}) clips went forward and \
            backward through the student.",
        least.directory, most.directory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn costs_are_means_over_done_runs() {
        let benchmark = small();
        let spent = spent(&benchmark);
        let gan: Vec<_> = spent
            .iter()
            .filter(|spent| spent.method.name == "gan")
            .collect();
        assert_eq!(
            (gan.len(), gan[0].runs, gan[0].means),
            (1, 1, [400.0, 0.0, 0.0, 200.0, 61.0])
        );
        assert!(
            budget(&benchmark)
                .starts_with("Equal budgets: in every run of the main comparison 400 clips")
        );
    }

    #[test]
    fn a_method_that_was_given_more_is_named() {
        let mut benchmark = small();
        let run = benchmark
            .runs
            .iter_mut()
            .find(|run| run.method == "sft")
            .unwrap();
        run.cost.student_forward_backward = 500;
        assert!(budget(&benchmark).starts_with(
            "Unequal budgets: between 400 (runs/afd-chunk-8-0) and 500 (runs/sft-chunk-8-0)"
        ));
    }
}

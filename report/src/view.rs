//! What the page and the markdown both say, as text without markup.

use crate::{
    benchmark::{Benchmark, Better, Method, Metric, Role, Run, State},
    number::{count, decimals, fixed},
    summary::{Absence, Cell, Summary, Verdict, scopes},
};

/// What stands in cells that have no value.
pub(crate) const NOTHING: &str = "\u{2013}";

/// The metrics of the main table; all of them where none is marked.
pub(crate) fn main_metrics(benchmark: &Benchmark) -> Vec<&Metric> {
    let main: Vec<&Metric> = benchmark.metrics.iter().filter(|metric| metric.main).collect();
    if main.is_empty() { benchmark.metrics.iter().collect() } else { main }
}

/// Whether anything of a group was run, or was to be run, in a place; the reference and controls alone make no ablation.
pub(crate) fn is_shown(benchmark: &Benchmark, group: Option<&str>, family: Option<&str>, regime: Option<&str>) -> bool {
    benchmark.runs.iter().any(|run| {
        benchmark.methods.iter().any(|method| method.name == run.method && method.group.as_deref() == group)
            && family.is_none_or(|family| run.family == family)
            && regime.is_none_or(|regime| run.regime.as_deref().is_none_or(|of_run| of_run == regime))
    })
}

/// The scopes in which a group has something to show; a sum over places only where it has several.
pub(crate) fn shown_scopes<'a>(benchmark: &'a Benchmark, group: Option<&str>) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    let places = |family: Option<&str>| {
        let family_matches = |found: &&(Option<&str>, Option<&str>)| family.is_none() || found.0 == family;
        let single = scopes(benchmark).into_iter().filter(|scope| scope.1.is_some());
        single.collect::<Vec<_>>().iter().filter(family_matches).filter(|scope| is_shown(benchmark, group, scope.0, scope.1)).count()
    };
    scopes(benchmark)
        .into_iter()
        .filter(|(family, regime)| places(*family) > usize::from(regime.is_none()))
        .filter(|(family, regime)| is_shown(benchmark, group, *family, *regime))
        .collect()
}

/// The methods that are compared with the reference in a group.
pub(crate) fn tested<'a>(benchmark: &'a Benchmark, group: Option<&str>) -> impl Iterator<Item = &'a Method> {
    benchmark.methods.iter().filter(move |method| {
        let excluded = method.name == benchmark.reference || method.role == Role::Teacher || method.refused.is_some();
        method.group.as_deref() == group && !excluded
    })
}

/// The title of a group.
pub(crate) fn group_title(group: Option<&str>) -> String {
    group.map_or("Main comparison".into(), |group| format!("Ablation: {group}"))
}

/// "Chunk-wise, 200 clips"; "all families and regimes".
pub(crate) fn scope_title(benchmark: &Benchmark, family: Option<&str>, regime: Option<&str>) -> String {
    let family = family.map(|name| title(&benchmark.families, name));
    let regime = regime.map(|name| title(&benchmark.regimes, name));
    match (family, regime) {
        (Some(family), Some(regime)) => format!("{family}, {regime}"),
        (Some(family), None) => format!("{family}, all regimes"),
        (None, Some(regime)) => format!("all families, {regime}"),
        (None, None) if benchmark.regimes.len() > 1 => "all families and regimes".into(),
        (None, None) => "all families".into(),
    }
}

fn title<'a>(list: &'a [crate::Named], name: &'a str) -> &'a str {
    list.iter().find(|item| item.name == name).map_or(name, |item| &item.title)
}

/// "lower is better".
pub(crate) fn direction(better: Better) -> String {
    match better {
        Better::Lower => "lower is better".into(),
        Better::Higher => "higher is better".into(),
        Better::Target(target) => format!("best at {}", crate::number::short(target)),
        Better::Teacher => "best at the teacher's value".into(),
    }
}

/// "Trajectory distance (px) ↓".
pub(crate) fn metric_heading(metric: &Metric) -> String {
    let unit = if metric.unit.is_empty() { String::new() } else { format!(" ({})", metric.unit) };
    let arrow = match metric.better {
        Better::Lower => "\u{2193}".into(),
        Better::Higher => "\u{2191}".into(),
        Better::Target(target) => format!("\u{2192} {}", crate::number::short(target)),
        Better::Teacher => "\u{2192} teacher".into(),
    };
    format!("{}{unit} {arrow}", metric.title)
}

/// The decimals of all of a metric's numbers.
pub(crate) fn metric_decimals(summary: &Summary, metric: &str) -> usize {
    let estimates = || summary.cells.iter().filter(|cell| cell.metric == metric).filter_map(|cell| cell.estimate);
    decimals(estimates().map(|estimate| estimate.mean), estimates().filter_map(|estimate| estimate.half_width))
}

/// "3.07 ± 0.33", with the number of runs where it is not the planned one.
pub(crate) fn cell_text(cell: &Cell, decimals: usize) -> String {
    let (value, runs) = cell_parts(cell, decimals);
    if runs.is_empty() { value } else { format!("{value} ({runs})") }
}

/// "3.07 ± 0.33" and "2 of 3"; the latter is empty where all the planned runs are there, and where there is none.
pub(crate) fn cell_parts(cell: &Cell, decimals: usize) -> (String, String) {
    let planned = cell.samples.len() + cell.absent.len();
    let Some(estimate) = cell.estimate else {
        return match cell.absent.first() {
            Some(absence) if cell.absent.iter().all(|other| kind(other) == kind(absence)) => (kind(absence).into(), String::new()),
            _ => (NOTHING.into(), format!("0 of {planned}")),
        };
    };
    let mean = fixed(estimate.mean, decimals);
    let spread = estimate.half_width.map_or(String::new(), |half| format!(" ± {}", fixed(half, decimals)));
    let runs = match cell.samples[0].seed {
        None => "1 run".into(),
        Some(_) if cell.samples.len() < planned => format!("{} of {planned}", cell.samples.len()),
        Some(_) => String::new(),
    };
    (mean + &spread, runs)
}

/// The first word or two of an absence's reason.
fn kind(absence: &Absence) -> &str {
    absence.reason.split_once(':').map_or(&absence.reason, |(kind, _)| kind)
}

/// ▲ better than the reference, ▼ worse; nothing while undecided.
pub(crate) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "\u{25b2}",
        Verdict::Worse => "\u{25bc}",
        Verdict::Undecided | Verdict::TooFewSeeds => "",
    }
}

/// The verdict in words.
pub(crate) fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided => "undecided",
        Verdict::TooFewSeeds => "too few seeds",
    }
}

/// The method with the best mean in a place, among methods (not controls); `None` below two of them.
pub(crate) fn best<'a>(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    methods: &[&'a Method],
    family: &str,
    regime: &str,
) -> Option<&'a str> {
    let mean = |name: &str| Some(summary.cell(&metric.name, name, family, regime)?.estimate?.mean);
    let teacher = benchmark.methods.iter().find(|method| method.role == Role::Teacher).and_then(|method| mean(&method.name));
    let badness = |value: f64| match metric.better {
        Better::Lower => Some(value),
        Better::Higher => Some(-value),
        Better::Target(target) => Some((value - target).abs()),
        Better::Teacher => teacher.map(|teacher| (value - teacher).abs()),
    };
    let measured = methods.iter().filter(|method| method.role == Role::Method);
    let means: Vec<_> = measured.filter_map(|method| Some((method.name.as_str(), badness(mean(&method.name)?)?))).collect();
    if means.len() < 2 {
        return None;
    }
    means.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
}

/// Where the reference stands in one metric and scope: titles of the methods it is better than, and so on.
pub(crate) struct Standing<'a> {
    /// The metric.
    pub(crate) metric: &'a Metric,
    /// The scope's title.
    pub(crate) scope: String,
    /// Methods that are worse than the reference.
    pub(crate) beaten: Vec<&'a str>,
    /// Methods that are better than the reference.
    pub(crate) beating: Vec<&'a str>,
    /// Methods of which the seeds do not tell.
    pub(crate) undecided: Vec<&'a str>,
    /// Methods without a test: too few seeds, or no pairs.
    pub(crate) untested: Vec<&'a str>,
}

/// The reference's place among a group's methods, metric by metric, scope by scope.
pub(crate) fn standings<'a>(benchmark: &'a Benchmark, summary: &Summary, group: Option<&'a str>) -> Vec<Standing<'a>> {
    let mut standings = Vec::new();
    for metric in main_metrics(benchmark) {
        for (family, regime) in shown_scopes(benchmark, group) {
            let scope = scope_title(benchmark, family, regime);
            let mut standing = Standing { metric, scope, beaten: vec![], beating: vec![], undecided: vec![], untested: vec![] };
            for method in tested(benchmark, group) {
                let comparison = summary.comparison(&metric.name, group, family, regime, &method.name);
                let list = match comparison.map_or(Verdict::TooFewSeeds, |comparison| comparison.verdict) {
                    Verdict::Worse => &mut standing.beaten,
                    Verdict::Better => &mut standing.beating,
                    Verdict::Undecided => &mut standing.undecided,
                    Verdict::TooFewSeeds => &mut standing.untested,
                };
                list.push(&method.title);
            }
            standings.push(standing);
        }
    }
    standings
}

/// Planned runs of one method in one place without a value, for one reason.
pub(crate) struct Gap<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// Where.
    pub(crate) scope: String,
    /// Which seeds; `None`: the one run that stands for all.
    pub(crate) seeds: Vec<Option<u64>>,
    /// Why.
    pub(crate) reason: String,
    /// Titles of the metrics that lack a value; empty: all of them.
    pub(crate) metrics: Vec<&'a str>,
}

impl Gap<'_> {
    /// "0, 2".
    pub(crate) fn seed_text(&self) -> String {
        let texts = self.seeds.iter().map(|seed| seed.map_or("all".into(), |seed| seed.to_string()));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// "all" or their titles.
    pub(crate) fn metric_text(&self) -> String {
        if self.metrics.is_empty() { "all".into() } else { self.metrics.join(", ") }
    }
}

/// Everything that was planned and has no value.
pub(crate) fn gaps<'a>(benchmark: &'a Benchmark, summary: &Summary) -> Vec<Gap<'a>> {
    let mut gaps = Vec::new();
    for method in benchmark.methods.iter().filter(|method| method.refused.is_none()) {
        for family in &benchmark.families {
            for regime in &benchmark.regimes {
                if is_shown(benchmark, method.group.as_deref(), Some(&family.name), Some(&regime.name)) {
                    gaps.extend(gaps_of(benchmark, summary, method, &family.name, &regime.name));
                }
            }
        }
    }
    gaps
}

/// Per seed and reason the metrics; then equal ones together.
fn gaps_of<'a>(benchmark: &'a Benchmark, summary: &Summary, method: &'a Method, family: &str, regime: &str) -> Vec<Gap<'a>> {
    let mut found: Vec<(Option<u64>, &str, Vec<&str>)> = Vec::new();
    for metric in &benchmark.metrics {
        let cell = summary.cell(&metric.name, &method.name, family, regime);
        for absence in cell.map_or(&[][..], |cell| &cell.absent) {
            match found.iter_mut().find(|(seed, reason, _)| *seed == absence.seed && *reason == absence.reason) {
                Some((_, _, metrics)) => metrics.push(&metric.title),
                None => found.push((absence.seed, &absence.reason, vec![&metric.title])),
            }
        }
    }
    let mut gaps: Vec<Gap> = Vec::new();
    for (seed, reason, mut metrics) in found {
        if metrics.len() == benchmark.metrics.len() {
            metrics.clear();
        }
        match gaps.iter_mut().find(|gap| gap.reason == reason && gap.metrics == metrics) {
            Some(gap) => gap.seeds.push(seed),
            None => {
                let scope = scope_title(benchmark, Some(family), Some(regime));
                gaps.push(Gap { method, scope, seeds: vec![seed], reason: reason.into(), metrics });
            }
        }
    }
    gaps
}

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
    let counts = [cost.student_forward_backward, cost.student_rollouts, cost.discriminator_forward_backward, cost.teacher_clips];
    let [student, rollouts, discriminator, teacher] = counts.map(|count| count as f64);
    [student, rollouts, discriminator, teacher, cost.wall_seconds]
}

/// The cost of every method that was trained, place by place.
pub(crate) fn spent(benchmark: &Benchmark) -> Vec<Spent<'_>> {
    let mut spent = Vec::new();
    for family in &benchmark.families {
        for regime in &benchmark.regimes {
            for method in benchmark.methods.iter().filter(|method| method.role == Role::Method) {
                let belongs = |run: &&Run| {
                    run.method == method.name
                        && run.family == family.name
                        && run.regime.as_ref().is_none_or(|name| *name == regime.name)
                        && run.state == State::Done
                };
                let runs: Vec<[f64; 5]> = benchmark.runs.iter().filter(belongs).map(costs).collect();
                if !runs.is_empty() {
                    let means = std::array::from_fn(|at| runs.iter().map(|run| run[at]).sum::<f64>() / runs.len() as f64);
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
        let method = benchmark.methods.iter().find(|method| method.name == run.method);
        run.state == State::Done && method.is_some_and(|method| method.role == Role::Method && method.group.is_none())
    };
    let runs = benchmark.runs.iter().filter(compared);
    let Some(least) = runs.clone().min_by_key(|run| run.cost.student_forward_backward) else {
        return "No method has a finished run.".into();
    };
    let most = runs.max_by_key(|run| run.cost.student_forward_backward).unwrap_or(least);
    let [fewest, greatest] = [least, most].map(|run| count(run.cost.student_forward_backward));
    if fewest == greatest {
        return format!("Equal budgets: in every run of the main comparison {fewest} clips went forward and backward through the student.");
    }
    format!(
        "Unequal budgets: between {fewest} ({}) and {greatest} ({}) clips went forward and backward through the student.",
        least.directory, most.directory
    )
}

/// How the numbers are to be read, a sentence each.
pub(crate) fn reading(benchmark: &Benchmark) -> Vec<String> {
    let reference = benchmark.reference_title();
    let exact = 2.0 / f64::from(1u32 << benchmark.seeds.len().min(31));
    vec![
        "Numbers are means over seeds, with ± half the width of the 95 % confidence interval (Student's t). Bold: the best mean among the methods, \
         which alone says nothing about chance."
            .into(),
        format!(
            "{} better, {} worse than {reference}, unmarked undecided: paired t test on the differences over equal family, regime and seed, \
             two-sided, Holm-corrected over the methods of one metric and table, at p < 0.05; below three seeds nothing is tested.",
            mark(Verdict::Better),
            mark(Verdict::Worse)
        ),
        format!(
            "The exact sign-flip test stands beside it as a check that assumes no normal distribution. With {} pairs its p-value cannot be below {}, so \
             it can decide only where families and regimes are taken together; such pairs share seeds and data and are not fully independent.",
            benchmark.seeds.len(),
            crate::number::short(exact)
        ),
        "\"1 run\": one run stands for every seed, so that its own noise is in no interval. \"n of m\": that many of the planned runs have a value; \
         what is missing, and why, is listed."
            .into(),
        "For metrics that are best at a value, differences are those of the distances from it.".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn cells_say_how_many_runs_they_hold() {
        let summary = Summary::of(&small());
        let text = |method: &str, family: &str| cell_text(summary.cell("distance", method, family, "200").unwrap(), 2);
        assert_eq!(text("afd", "chunk"), "3.03 ± 0.87");
        assert_eq!(text("base", "chunk"), "8.00 (1 run)");
        assert_eq!((text("gan", "chunk"), text("gan", "frame")), ("4.00 (1 of 3)".into(), "no run".into()));
    }

    #[test]
    fn a_cell_whose_runs_all_failed_says_so() {
        let mut benchmark = small();
        let failed = |run: &mut Run| run.state = State::Failed("out of memory".into());
        benchmark.runs.iter_mut().filter(|run| run.method == "sft").for_each(failed);
        let summary = Summary::of(&benchmark);
        assert_eq!(cell_text(summary.cell("distance", "sft", "chunk", "8").unwrap(), 2), "failed");
    }

    #[test]
    fn the_reference_s_place_names_every_other_method_once() {
        let benchmark = small();
        let standings = standings(&benchmark, &Summary::of(&benchmark), None);
        let first = &standings[0];
        assert_eq!((first.metric.name.as_str(), first.scope.as_str()), ("distance", "Chunk-wise, 8 clips"));
        assert_eq!((&first.beaten[..], &first.untested[..]), (&["Base", "SFT"][..], &["GAN"][..]));
        // Two metrics; two families of two regimes and their sum, and everything.
        assert_eq!(standings.len(), 2 * (2 * 3 + 1));
        for standing in &standings {
            let lists = [&standing.beaten, &standing.beating, &standing.undecided, &standing.untested];
            assert_eq!(lists.map(|list| list.len()).iter().sum::<usize>(), 3);
        }
    }

    #[test]
    fn gaps_are_listed_run_by_run_with_their_reasons() {
        let benchmark = small();
        let gaps = gaps(&benchmark, &Summary::of(&benchmark));
        let found =
            |scope: &str, seed: &str| gaps.iter().find(|gap| gap.method.name == "gan" && gap.scope == scope && gap.seed_text() == seed);
        assert_eq!(found("Chunk-wise, 200 clips", "1").unwrap().reason, "failed: loss is NaN in round 40");
        assert_eq!(found("Frame-wise, 8 clips", "0, 1, 2").unwrap().reason, "no run");
        let unmeasured = gaps.iter().find(|gap| gap.method.name == "afd").unwrap();
        assert_eq!((unmeasured.reason.as_str(), &unmeasured.metrics[..]), ("no value", &["Flicker"][..]));
        assert!(gaps.iter().all(|gap| gap.method.name != "no-warm-up"), "its group was planned in one place alone");
    }

    #[test]
    fn costs_are_means_over_done_runs() {
        let benchmark = small();
        let spent = spent(&benchmark);
        let gan: Vec<_> = spent.iter().filter(|spent| spent.method.name == "gan").collect();
        assert_eq!((gan.len(), gan[0].runs, gan[0].means), (1, 1, [400.0, 0.0, 0.0, 200.0, 61.0]));
        assert!(budget(&benchmark).starts_with("Equal budgets: in every run of the main comparison 400 clips"));
    }

    #[test]
    fn a_method_that_was_given_more_is_named() {
        let mut benchmark = small();
        let run = benchmark.runs.iter_mut().find(|run| run.method == "sft").unwrap();
        run.cost.student_forward_backward = 500;
        assert!(budget(&benchmark).starts_with("Unequal budgets: between 400 (runs/afd-chunk-8-0) and 500 (runs/sft-chunk-8-0)"));
    }
}

//! What the page and the markdown both say, as text without markup.

mod costs;
mod gaps;
mod standing;

use crate::{
    benchmark::{Benchmark, Better, Method, Metric, Role},
    cells::{Absence, Cell},
    comparison::Verdict,
    number::{decimals, fixed},
    statistics::SIGNIFICANCE,
    summary::{Summary, scopes},
};

pub(crate) use costs::{COSTS, budget, spent};
pub(crate) use gaps::gaps;
pub(crate) use standing::standings;

/// What stands in cells that have no value.
pub(crate) const NOTHING: &str = "\u{2013}";

/// The metrics of the main table; all of them where none is marked.
pub(crate) fn main_metrics(benchmark: &Benchmark) -> Vec<&Metric> {
    let main: Vec<&Metric> = benchmark
        .metrics
        .iter()
        .filter(|metric| metric.main)
        .collect();
    if main.is_empty() {
        benchmark.metrics.iter().collect()
    } else {
        main
    }
}

/// Whether a group has a table for a place. The main comparison has all of them, so that what was
/// not run is seen; ablations have those where anything of theirs was run, or was to be.
pub(crate) fn is_shown(
    benchmark: &Benchmark,
    group: Option<&str>,
    family: Option<&str>,
    regime: Option<&str>,
) -> bool {
    group.is_none()
        || benchmark.runs.iter().any(|run| {
            benchmark
                .methods
                .iter()
                .any(|method| method.name == run.method && method.group.as_deref() == group)
                && family.is_none_or(|family| run.family == family)
                && regime.is_none_or(|regime| {
                    run.regime.as_deref().is_none_or(|of_run| of_run == regime)
                })
        })
}

/// The scopes in which a group has something to show; a sum over places only where it has several.
pub(crate) fn shown_scopes<'a>(
    benchmark: &'a Benchmark,
    group: Option<&str>,
) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    let places = |family: Option<&str>| {
        let family_matches =
            |found: &&(Option<&str>, Option<&str>)| family.is_none() || found.0 == family;
        let single = scopes(benchmark)
            .into_iter()
            .filter(|scope| scope.1.is_some());
        single
            .collect::<Vec<_>>()
            .iter()
            .filter(family_matches)
            .filter(|scope| is_shown(benchmark, group, scope.0, scope.1))
            .count()
    };
    scopes(benchmark)
        .into_iter()
        .filter(|(family, regime)| places(*family) > usize::from(regime.is_none()))
        .filter(|(family, regime)| is_shown(benchmark, group, *family, *regime))
        .collect()
}

/// The title of a group.
pub(crate) fn group_title(group: Option<&str>) -> String {
    group.map_or("Main comparison".into(), |group| {
        format!("Ablation: {group}")
    })
}

/// "Chunk-wise, 200 clips"; "all families and regimes".
pub(crate) fn scope_title(
    benchmark: &Benchmark,
    family: Option<&str>,
    regime: Option<&str>,
) -> String {
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
    list.iter()
        .find(|item| item.name == name)
        .map_or(name, |item| &item.title)
}

/// "Share of prompts whose ball bounces (lower is better)."
pub(crate) fn explanation(metric: &Metric) -> String {
    let direction = direction(metric.better);
    match metric.about.trim_end_matches('.') {
        "" => direction[..1].to_uppercase() + &direction[1..] + ".",
        about => format!("{about} ({direction})."),
    }
}

/// "lower is better".
fn direction(better: Better) -> String {
    match better {
        Better::Lower => "lower is better".into(),
        Better::Higher => "higher is better".into(),
        Better::Target(target) => format!("best at {}", crate::number::short(target)),
        Better::Teacher => "best at the teacher's value".into(),
    }
}

/// "Trajectory distance (px) ↓".
pub(crate) fn metric_heading(metric: &Metric) -> String {
    let unit = if metric.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", metric.unit)
    };
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
    let estimates = || {
        summary
            .cells
            .iter()
            .filter(|cell| cell.metric == metric)
            .filter_map(|cell| cell.estimate)
    };
    decimals(
        estimates().map(|estimate| estimate.mean),
        estimates().filter_map(|estimate| estimate.half_width),
    )
}

/// "3.07 ± 0.33", with the number of runs where it is not the planned one.
pub(crate) fn cell_text(cell: &Cell, decimals: usize) -> String {
    let (value, runs) = cell_parts(cell, decimals);
    if runs.is_empty() {
        value
    } else {
        format!("{value} ({runs})")
    }
}

/// "3.07 ± 0.33" and "2 of 3"; the latter is empty where all the planned runs are there, and where
/// there is none.
pub(crate) fn cell_parts(cell: &Cell, decimals: usize) -> (String, String) {
    let planned = cell.samples.len() + cell.absent.len();
    let Some(estimate) = cell.estimate else {
        return match cell.absent.first() {
            Some(absence) if cell.absent.iter().all(|other| kind(other) == kind(absence)) => {
                (kind(absence).into(), String::new())
            }
            _ => (NOTHING.into(), format!("0 of {planned}")),
        };
    };
    let mean = fixed(estimate.mean, decimals);
    let spread = estimate.half_width.map_or(String::new(), |half| {
        format!(" ± {}", fixed(half, decimals))
    });
    let runs = match cell.samples[0].seed {
        None => "1 run".into(),
        Some(_) if cell.samples.len() < planned => format!("{} of {planned}", cell.samples.len()),
        Some(_) => String::new(),
    };
    (mean + &spread, runs)
}

/// The first word or two of an absence's reason.
fn kind(absence: &Absence) -> &str {
    absence
        .reason
        .split_once(':')
        .map_or(&absence.reason, |(kind, _)| kind)
}

/// ▲ better than the reference, ▼ worse; nothing while undecided.
pub(crate) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "\u{25b2}",
        Verdict::Worse => "\u{25bc}",
        Verdict::PastTeacher | Verdict::Undecided | Verdict::TooFewSeeds => "",
    }
}

/// The verdict in words.
pub(crate) fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::PastTeacher => "past the teacher",
        Verdict::Undecided => "undecided",
        Verdict::TooFewSeeds => "too few seeds",
    }
}

/// The method with the best mean in a place, among methods (not controls); `None` below two of
/// them.
pub(crate) fn best<'a>(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    methods: &[&'a Method],
    family: &str,
    regime: &str,
) -> Option<&'a str> {
    let mean = |name: &str| {
        Some(
            summary
                .cell(&metric.name, name, family, regime)?
                .estimate?
                .mean,
        )
    };
    let teacher = benchmark
        .methods
        .iter()
        .find(|method| method.role == Role::Teacher)
        .and_then(|method| mean(&method.name));
    let badness = |value: f64| match metric.better {
        Better::Lower => Some(value),
        Better::Higher => Some(-value),
        Better::Target(target) => Some((value - target).abs()),
        Better::Teacher => teacher.map(|teacher| (value - teacher).abs()),
    };
    let measured = methods.iter().filter(|method| method.role == Role::Method);
    let means: Vec<_> = measured
        .filter_map(|method| Some((method.name.as_str(), badness(mean(&method.name)?)?)))
        .collect();
    if means.len() < 2 {
        return None;
    }
    means
        .iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|best| best.0)
}

/// How the numbers are to be read, a sentence each.
pub(crate) fn reading(benchmark: &Benchmark) -> Vec<String> {
    let reference = benchmark.reference_title();
    let mut reading =
        vec![
        "Numbers are means over seeds, with \u{b1} half the width of the 95 % confidence interval \
            (Student's t). Bold: the best mean among the methods, which alone says nothing about \
            chance."
            .into(),
        format!(
            "{} better, {} worse than {reference}, unmarked undecided: paired t test on the \
                differences over equal family, regime and seed, two-sided, Holm-corrected over the \
                methods of one metric in one place (not over metrics and places), at p < 0.05; \
                below three seeds nothing is tested.",
            mark(Verdict::Better),
            mark(Verdict::Worse)
        ),
        "Where families or regimes are taken together, pairs share seeds and data, which can make \
            p-values smaller than they should be.".into(),
        "Nobody is called better whose mean is past that of the teacher's own clips in the same \
            places.".into(),
        "The exact sign-flip test stands beside the t test as a check that assumes no normal \
            distribution.".into(),
    ];
    let exact = 2.0 / f64::from(1u32 << benchmark.seeds.len().min(31));
    if exact >= SIGNIFICANCE {
        reading.push(format!(
            "With {} seeds its p-value cannot be below {}: it can decide only where families or \
                regimes are taken together.",
            benchmark.seeds.len(),
            crate::number::short(exact)
        ));
    }
    reading.extend([
        "\"1 run\": one run stands for every seed, so that its own noise is in no interval. \"n of \
            m\": that many of the planned runs have a value; what is missing, and why, is listed."
            .into(),
        "For metrics that are best at a value, differences are those of the distances from \
            it.".into(),
    ]);
    reading
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Run, State, example::small};

    #[test]
    fn cells_say_how_many_runs_they_hold() {
        let summary = Summary::of(&small());
        let text = |method: &str, family: &str| {
            cell_text(summary.cell("distance", method, family, "200").unwrap(), 2)
        };
        assert_eq!(text("afd", "chunk"), "3.03 ± 0.87");
        assert_eq!(text("base", "chunk"), "8.00 (1 run)");
        assert_eq!(
            (text("gan", "chunk"), text("gan", "frame")),
            ("4.00 (1 of 3)".into(), "no run".into())
        );
    }

    #[test]
    fn a_cell_whose_runs_all_failed_says_so() {
        let mut benchmark = small();
        let failed = |run: &mut Run| run.state = State::Failed("out of memory".into());
        benchmark
            .runs
            .iter_mut()
            .filter(|run| run.method == "sft")
            .for_each(failed);
        let summary = Summary::of(&benchmark);
        assert_eq!(
            cell_text(summary.cell("distance", "sft", "chunk", "8").unwrap(), 2),
            "failed"
        );
    }
}

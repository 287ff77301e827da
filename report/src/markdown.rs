//! The report as markdown, for `docs/` and for reading in a terminal.

use crate::{
    benchmark::{Benchmark, Method, Metric},
    comparison::Comparison,
    number::{count, duration, probability, signed},
    summary::Summary,
    view,
};

/// The whole report: facts, one table per group, family and regime, where the reference stands, one
/// table per metric, costs, what is missing.
pub fn markdown(benchmark: &Benchmark, summary: &Summary) -> String {
    let mut text = format!("# {}\n\n", plain(&benchmark.title));
    for paragraph in &benchmark.summary {
        text += &format!("{}\n\n", plain(paragraph));
    }
    text += &facts(benchmark);
    text += "\n## How to read the numbers\n\n";
    for sentence in view::reading(benchmark) {
        text += &format!("- {}\n", plain(&sentence));
    }
    for group in benchmark.groups() {
        text += &group_section(benchmark, summary, group);
    }
    text += "\n## Metric by metric\n";
    for metric in &benchmark.metrics {
        text += &metric_section(benchmark, summary, metric);
    }
    text += &cost_section(benchmark);
    text + &gap_section(benchmark, summary)
}

fn facts(benchmark: &Benchmark) -> String {
    let commit = benchmark.commit.as_deref().map_or("not known".into(), code);
    let done = benchmark
        .runs
        .iter()
        .filter(|run| run.state == crate::State::Done)
        .count();
    format!(
        "- Command: {}\n- Commit: {commit}\n- Date: {}\n- Machine: {}\n- Wall time: {}\n- Budget: \
            {}\n- Seeds: {}\n- Runs: {done} done of {} listed; every number by run is in \
            `runs.csv`\n",
        code(&benchmark.command),
        plain(&benchmark.created),
        plain(&benchmark.machine),
        duration(benchmark.wall_seconds),
        plain(&benchmark.budget),
        benchmark
            .seeds
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        benchmark.runs.len()
    )
}

fn group_section(benchmark: &Benchmark, summary: &Summary, group: Option<&str>) -> String {
    let mut text = format!("\n## {}\n", plain(&view::group_title(group)));
    let methods = benchmark.methods_of(group);
    for family in &benchmark.families {
        for regime in &benchmark.regimes {
            if view::is_shown(benchmark, group, Some(&family.name), Some(&regime.name)) {
                text += &format!(
                    "\n### {}\n\n",
                    plain(&view::scope_title(
                        benchmark,
                        Some(&family.name),
                        Some(&regime.name)
                    ))
                );
                text += &main_table(
                    benchmark,
                    summary,
                    group,
                    &methods,
                    (&family.name, &regime.name),
                );
            }
        }
    }
    for method in &methods {
        if let Some(reason) = &method.refused {
            text += &format!(
                "\n{} is refused: {}.\n",
                plain(&method.title),
                plain(reason.trim_end_matches('.'))
            );
        }
    }
    text += &format!(
        "\n### Where {} stands\n\n",
        plain(benchmark.reference_title())
    );
    let reference = plain(benchmark.reference_title());
    let header = [
        "metric".into(),
        "where".into(),
        format!("{reference} is better than"),
        format!("{reference} is worse than"),
        "past the teacher".into(),
        "undecided".into(),
        "not tested".into(),
    ];
    let rows = view::standings(benchmark, summary, group)
        .into_iter()
        .map(|standing| {
            let list = |titles: &[&str]| {
                if titles.is_empty() {
                    view::NOTHING.into()
                } else {
                    plain(&titles.join(", "))
                }
            };
            let lists = [
                &standing.beaten,
                &standing.beating,
                &standing.past,
                &standing.undecided,
                &standing.untested,
            ]
            .map(|titles| list(titles));
            [plain(&standing.metric.title), plain(&standing.scope)]
                .into_iter()
                .chain(lists)
                .collect()
        });
    text + &table(&header, rows)
}

fn main_table(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
    methods: &[&Method],
    place: (&str, &str),
) -> String {
    let metrics = view::main_metrics(benchmark);
    let header: Vec<String> = ["method".into()]
        .into_iter()
        .chain(
            metrics
                .iter()
                .map(|metric| plain(&view::metric_heading(metric))),
        )
        .collect();
    let best: Vec<_> = metrics
        .iter()
        .map(|metric| view::best(benchmark, summary, metric, methods, place.0, place.1))
        .collect();
    let rows = methods.iter().map(|method| {
        let cell = |(metric, best): (&&Metric, &Option<&str>)| {
            let Some(cell) = summary.cell(&metric.name, &method.name, place.0, place.1) else {
                return "refused".into();
            };
            let text = view::cell_text(cell, view::metric_decimals(summary, &metric.name));
            let text = if *best == Some(&*method.name) {
                format!("**{text}**")
            } else {
                text
            };
            let comparison = summary.comparison(
                &metric.name,
                group,
                Some(place.0),
                Some(place.1),
                &method.name,
            );
            format!(
                "{text} {}",
                comparison.map_or("", |comparison| view::mark(comparison.verdict))
            )
            .trim_end()
            .to_string()
        };
        [plain(&method.title)]
            .into_iter()
            .chain(metrics.iter().zip(&best).map(cell))
            .collect()
    });
    table(&header, rows)
}

fn metric_section(benchmark: &Benchmark, summary: &Summary, metric: &Metric) -> String {
    let decimals = view::metric_decimals(summary, &metric.name);
    let mut text = format!("\n### {}\n\n", plain(&view::metric_heading(metric)));
    text += &format!("{}\n\n", plain(&view::explanation(metric)));
    let header = [
        "where",
        "method",
        "mean",
        "difference",
        "95 % interval",
        "pairs",
        "p (t)",
        "p (exact)",
        "p (Holm)",
        "verdict",
    ]
    .map(String::from);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for group in benchmark.groups() {
        for (family, regime) in view::shown_scopes(benchmark, group) {
            let place = plain(&view::scope_title(benchmark, family, regime));
            for method in benchmark
                .methods_of(group)
                .into_iter()
                .filter(|method| method.refused.is_none())
            {
                let comparison =
                    summary.comparison(&metric.name, group, family, regime, &method.name);
                // Means over different regimes say little; only their differences are shown.
                let mean = match (family, regime) {
                    (Some(family), Some(regime)) => {
                        summary.cell(&metric.name, &method.name, family, regime)
                    }
                    _ if comparison.is_none() => continue,
                    _ => None,
                };
                let mean = mean.map_or(String::new(), |cell| view::cell_text(cell, decimals));
                let row = [place.clone(), plain(&method.title), mean].into_iter();
                rows.push(
                    row.chain(comparison_columns(comparison, decimals))
                        .collect(),
                );
            }
        }
    }
    text + &table(&header, rows.into_iter())
}

/// Difference, interval, pairs, three p-values and the verdict.
pub(crate) fn comparison_columns(comparison: Option<&Comparison>, decimals: usize) -> [String; 7] {
    let Some(comparison) = comparison else {
        return Default::default();
    };
    let difference = &comparison.difference;
    let p_value = |value: Option<f64>| value.map_or(view::NOTHING.into(), probability);
    let interval = difference
        .interval()
        .map_or(view::NOTHING.into(), |(low, high)| {
            format!("{} to {}", signed(low, decimals), signed(high, decimals))
        });
    let verdict = format!(
        "{} {}",
        view::mark(comparison.verdict),
        view::verdict_text(comparison.verdict)
    );
    [
        signed(difference.mean, decimals),
        interval,
        difference.count.to_string(),
        p_value(comparison.p_paired_t),
        p_value(comparison.p_sign_flip),
        p_value(comparison.p_corrected),
        verdict.trim_start().into(),
    ]
}

fn cost_section(benchmark: &Benchmark) -> String {
    let header: Vec<String> = ["where", "method", "runs"]
        .into_iter()
        .chain(view::COSTS)
        .map(String::from)
        .collect();
    let rows = view::spent(benchmark).into_iter().map(|spent| {
        let names = [
            plain(&spent.scope),
            plain(&spent.method.title),
            spent.runs.to_string(),
        ];
        names
            .into_iter()
            .chain(spent.means.map(|mean| count(mean.round() as u64)))
            .collect()
    });
    format!(
        "\n## Costs\n\n{} Means per run:\n\n{}",
        plain(&view::budget(benchmark)),
        table(&header, rows)
    )
}

fn gap_section(benchmark: &Benchmark, summary: &Summary) -> String {
    let gaps = view::gaps(benchmark, summary);
    if gaps.is_empty() {
        return "\n## What is missing\n\nNothing: every planned run has every value.\n".into();
    }
    let header = ["where", "method", "seeds", "why", "metrics"].map(String::from);
    let rows = gaps.iter().map(|gap| {
        [
            &gap.scope,
            &gap.method.title,
            &gap.seed_text(),
            &gap.reason,
            &gap.metric_text(),
        ]
        .map(|text| plain(text))
        .into()
    });
    format!("\n## What is missing\n\n{}", table(&header, rows))
}

fn table(header: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(header.len()));
    [line(header), rule]
        .into_iter()
        .chain(rows.map(|row| line(&row)))
        .collect()
}

/// Text that markdown leaves as it is.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => plain += "&lt;",
            '&' => plain += "&amp;",
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' => plain.extend(['\\', letter]),
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
    }
    plain
}

/// Text between backticks, more of them than it holds.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let longest = text
        .split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if longest == 0 {
        format!("{fence}{text}{fence}")
    } else {
        format!("{fence} {text} {fence}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn the_small_benchmark_reads_as_in_the_snapshot() {
        let benchmark = small();
        let found = markdown(&benchmark, &Summary::of(&benchmark));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/small.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(path).unwrap();
        assert!(
            found == expected,
            "differs from {path}; if it should, run again with UPDATE=1 and read the \
                difference\n{found}"
        );
    }

    #[test]
    fn every_row_of_a_table_has_its_header_s_cells_whatever_the_names() {
        let mut benchmark = small();
        benchmark.methods[2].title = "a | b \\| <i>*c*</i>\n| d".into();
        benchmark.command = "a `b` ``c``".into();
        let text = markdown(&benchmark, &Summary::of(&benchmark));
        assert!(
            text.contains("a \\| b \\\\\\| &lt;i>\\*c\\*&lt;/i> \\| d")
                && text.contains("``` a `b` ``c`` ```"),
            "{text}"
        );
        let bars = |line: &str| {
            line.replace("\\\\", "")
                .replace("\\|", "")
                .matches('|')
                .count()
        };
        let mut columns = 0;
        for (line, next) in text.lines().zip(text.lines().skip(1)) {
            if next.starts_with("|---") {
                columns = bars(line);
            }
            assert!(!line.starts_with('|') || bars(line) == columns, "{line}");
        }
    }
}

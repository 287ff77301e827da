//! Tables of numbers.

use super::{escape, runs};
use crate::{
    benchmark::{Benchmark, Method, Metric},
    comparison::{Comparison, Verdict},
    markdown::comparison_columns,
    number::{count, fixed, signed},
    summary::{Cell, Summary},
    view,
};

/// One table per family and regime: methods by main metrics.
pub(super) fn places(benchmark: &Benchmark, summary: &Summary, group: Option<&str>) -> String {
    let mut html = String::new();
    let methods = benchmark.methods_of(group);
    for family in &benchmark.families {
        for regime in &benchmark.regimes {
            if view::is_shown(benchmark, group, Some(&family.name), Some(&regime.name)) {
                let title = view::scope_title(benchmark, Some(&family.name), Some(&regime.name));
                html += &format!("<h3>{}</h3>\n", escape(&title));
                html += &place(
                    benchmark,
                    summary,
                    group,
                    &methods,
                    (&family.name, &regime.name),
                );
            }
        }
    }
    html
}

fn place(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
    methods: &[&Method],
    place: (&str, &str),
) -> String {
    let metrics = view::main_metrics(benchmark);
    let header: Vec<(String, &str)> = [("method".into(), "")]
        .into_iter()
        .chain(
            metrics
                .iter()
                .map(|metric| (view::metric_heading(metric), metric.about.as_str())),
        )
        .collect();
    let mut rows = String::new();
    for method in methods {
        rows += &format!(
            "<tr{}>{}",
            reference_class(benchmark, method),
            row_head(method)
        );
        for metric in &metrics {
            let Some(cell) = summary.cell(&metric.name, &method.name, place.0, place.1) else {
                rows += "<td class=\"quiet\" data-value=\"\">refused</td>";
                continue;
            };
            let comparison = summary.comparison(
                &metric.name,
                group,
                Some(place.0),
                Some(place.1),
                &method.name,
            );
            let best = view::best(benchmark, summary, metric, methods, place.0, place.1)
                == Some(&*method.name);
            rows += &value(benchmark, summary, metric, cell, Some(comparison), best);
        }
        rows += "</tr>\n";
    }
    table(&header, &rows)
}

/// A cell that leads to its runs and names them on hovering.
fn value(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    cell: &Cell,
    marked: Option<Option<&Comparison>>,
    best: bool,
) -> String {
    let decimals = view::metric_decimals(summary, &metric.name);
    let seed = |seed: Option<u64>| {
        seed.map_or("one run for all seeds".into(), |seed| {
            format!("seed {seed}")
        })
    };
    let mut lines: Vec<String> = Vec::new();
    for sample in &cell.samples {
        lines.push(format!(
            "{}: {} ({})",
            seed(sample.seed),
            fixed(sample.value, decimals),
            benchmark.runs[sample.run].directory
        ));
    }
    lines.extend(
        cell.absent
            .iter()
            .map(|absence| format!("{}: {}", seed(absence.seed), absence.reason)),
    );
    let (text, runs) = view::cell_parts(cell, decimals);
    let text = runs::link(benchmark, cell, &lines.join("\n"), &escape(&text));
    let runs = if runs.is_empty() {
        runs
    } else {
        format!("<small>{}</small> ", escape(&runs))
    };
    let text = if best { format!("<b>{text}</b>") } else { text };
    let class = if cell.estimate.is_none() { "quiet" } else { "" };
    let sorted = cell
        .estimate
        .map_or(String::new(), |estimate| estimate.mean.to_string());
    format!(
        "<td class=\"{class}\" data-value=\"{sorted}\">{runs}{text}{}</td>",
        marked.map_or(String::new(), mark)
    )
}

/// The verdict's sign; room for it where there is none, so that numbers stay in line.
fn mark(comparison: Option<&Comparison>) -> String {
    let decided = comparison.filter(|comparison| !view::mark(comparison.verdict).is_empty());
    let Some(comparison) = decided else {
        return "<span class=\"mark\"></span>".into();
    };
    let (class, mark) = (
        verdict_class(comparison.verdict),
        view::mark(comparison.verdict),
    );
    let p = comparison.p_corrected.map_or(String::new(), |p| {
        format!(", corrected p {}", crate::number::probability(p))
    });
    let words = escape(&format!("{}{p}", view::verdict_text(comparison.verdict)));
    format!(
        "<span class=\"mark {class}\" role=\"img\" aria-label=\"{words}\" \
            title=\"{words}\">{mark}</span>"
    )
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Undecided | Verdict::TooFewSeeds => "quiet",
    }
}

/// The reference's place at a glance: a sign per method, metric and place.
pub(super) fn glance(benchmark: &Benchmark, summary: &Summary, group: Option<&str>) -> String {
    let metrics = view::main_metrics(benchmark);
    let places: Vec<_> = view::shown_scopes(benchmark, group);
    let single: Vec<_> = places
        .iter()
        .copied()
        .filter(|(_, regime)| regime.is_some())
        .collect();
    let all = places
        .iter()
        .copied()
        .filter(|scope| *scope == (None, None));
    let reference = escape(benchmark.reference_title());
    let titles = metrics
        .iter()
        .map(|metric| (metric.title.clone(), metric.about.as_str()));
    let tally = format!(
        "places: better / undecided / worse than {}",
        benchmark.reference_title()
    );
    let header: Vec<(String, &str)> = [("method".into(), "")]
        .into_iter()
        .chain(titles)
        .chain([(tally, "")])
        .collect();
    let mut rows = String::new();
    for method in view::tested(benchmark, group) {
        let verdict = |metric: &Metric, (family, regime): (Option<&str>, Option<&str>)| {
            summary
                .comparison(&metric.name, group, family, regime, &method.name)
                .map_or(Verdict::TooFewSeeds, |found| found.verdict)
        };
        let sign = |metric: &Metric, scope: (Option<&str>, Option<&str>)| {
            let (place, verdict) = (
                view::scope_title(benchmark, scope.0, scope.1),
                verdict(metric, scope),
            );
            let words = escape(&format!("{place}: {}", view::verdict_text(verdict)));
            format!(
                "<i class=\"{}\" role=\"img\" aria-label=\"{words}\" title=\"{words}\">{}</i>",
                verdict_class(verdict),
                sign_of(verdict)
            )
        };
        rows += &format!("<tr>{}", row_head(method));
        for metric in &metrics {
            let families = single.chunk_by(|a, b| a.0 == b.0);
            let signs: Vec<String> = families
                .map(|family| family.iter().map(|scope| sign(metric, *scope)).collect())
                .collect();
            let all: String = all
                .clone()
                .map(|scope| format!("<span class=\"all\">{}</span>", sign(metric, scope)))
                .collect();
            rows += &format!("<td class=\"signs\">{}{all}</td>", signs.join(" "));
        }
        let count = |wanted: Verdict| {
            metrics
                .iter()
                .flat_map(|metric| single.iter().map(|scope| verdict(metric, *scope)))
                .filter(|found| *found == wanted)
                .count()
        };
        let untested = count(Verdict::TooFewSeeds);
        let untested = if untested > 0 {
            format!(" <small>{untested} not tested</small>")
        } else {
            String::new()
        };
        rows += &format!(
            "<td>{} / {} / {}{untested}</td></tr>\n",
            count(Verdict::Better),
            count(Verdict::Undecided),
            count(Verdict::Worse)
        );
    }
    let order: Vec<String> = single
        .iter()
        .map(|(family, regime)| view::scope_title(benchmark, *family, *regime))
        .collect();
    let together = if all.count() > 0 {
        "; after the bar, all together"
    } else {
        ""
    };
    let caption = format!(
        "<p class=\"quiet\">Against {reference}, one sign per place: {}{together}. \u{25b2} \
            better, \u{25bc} worse than {reference} after correction, \u{25cb} undecided, \u{2013} \
            not tested.</p>\n",
        escape(&order.join("; "))
    );
    format!(
        "<h3>Against {reference} at a glance</h3>\n{caption}{}",
        table_of("glance", &header, &rows)
    )
}

fn sign_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better | Verdict::Worse => view::mark(verdict),
        Verdict::Undecided => "\u{25cb}",
        Verdict::TooFewSeeds => view::NOTHING,
    }
}

/// Where the reference stands among a group, in words.
pub(super) fn standings(benchmark: &Benchmark, summary: &Summary, group: Option<&str>) -> String {
    let reference = benchmark.reference_title();
    let titles = [
        "metric".into(),
        "where".into(),
        format!("{reference} is better than"),
        format!("{reference} is worse than"),
    ];
    let header: Vec<(String, &str)> = titles
        .into_iter()
        .chain(["undecided".into(), "not tested".into()])
        .map(|title| (title, ""))
        .collect();
    let mut rows = String::new();
    for standing in view::standings(benchmark, summary, group) {
        let lists = [
            &standing.beaten,
            &standing.beating,
            &standing.undecided,
            &standing.untested,
        ]
        .map(|titles| {
            if titles.is_empty() {
                format!("<td class=\"quiet\">{}</td>", view::NOTHING)
            } else {
                format!("<td>{}</td>", escape(&titles.join("; ")))
            }
        });
        let (metric, scope) = (escape(&standing.metric.title), escape(&standing.scope));
        rows += &format!(
            "<tr><th scope=\"row\">{metric}</th><td>{scope}</td>{}</tr>\n",
            lists.concat()
        );
    }
    format!(
        "<details><summary>Where {} stands, in words</summary>\n{}</details>\n",
        escape(reference),
        table_of("sort words", &header, &rows)
    )
}

/// Every metric with all means, differences and tests.
pub(super) fn metrics(benchmark: &Benchmark, summary: &Summary) -> String {
    benchmark
        .metrics
        .iter()
        .map(|metric| metric_details(benchmark, summary, metric))
        .collect()
}

fn metric_details(benchmark: &Benchmark, summary: &Summary, metric: &Metric) -> String {
    let decimals = view::metric_decimals(summary, &metric.name);
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
    ];
    let header: Vec<(String, &str)> = header.map(|title| (title.to_string(), "")).into();
    let mut rows = String::new();
    for group in benchmark.groups() {
        for (family, regime) in view::shown_scopes(benchmark, group) {
            for method in benchmark
                .methods_of(group)
                .into_iter()
                .filter(|method| method.refused.is_none())
            {
                let comparison =
                    summary.comparison(&metric.name, group, family, regime, &method.name);
                let mean = match (family, regime) {
                    (Some(family), Some(regime)) => summary
                        .cell(&metric.name, &method.name, family, regime)
                        .map_or(String::new(), |cell| {
                            value(benchmark, summary, metric, cell, None, false)
                        }),
                    _ if comparison.is_none() => continue,
                    _ => "<td data-value=\"\"></td>".into(),
                };
                let mut cells = String::new();
                for (place, text) in comparison_columns(comparison, decimals).iter().enumerate() {
                    let class = if place == 6 {
                        comparison.map_or("", |comparison| verdict_class(comparison.verdict))
                    } else {
                        ""
                    };
                    let hint = comparison
                        .filter(|_| place == 0)
                        .map_or(String::new(), |comparison| {
                            pair_hint(benchmark, comparison, decimals)
                        });
                    cells += &format!(
                        "<td class=\"{class}\"{hint}{}>{}</td>",
                        comparison_order(comparison, place),
                        escape(text)
                    );
                }
                rows += &format!(
                    "<tr{}><td class=\"text\">{}</td>{}{mean}{cells}</tr>\n",
                    reference_class(benchmark, method),
                    escape(&view::scope_title(benchmark, family, regime)),
                    row_head(method)
                );
            }
        }
    }
    format!(
        "<details><summary><b>{}</b></summary>\n<p>{}</p>\n{}</details>\n",
        escape(&view::metric_heading(metric)),
        escape(&view::explanation(metric)),
        table_of("sort tests", &header, &rows)
    )
}

/// The pairs behind a difference, on hovering.
fn pair_hint(benchmark: &Benchmark, comparison: &Comparison, decimals: usize) -> String {
    let line = |pair: &crate::Pair| {
        let reference = &benchmark.runs[pair.reference_run];
        let place = view::scope_title(
            benchmark,
            Some(&reference.family),
            reference.regime.as_deref(),
        );
        let seed = reference
            .seed
            .map_or(String::new(), |seed| format!(", seed {seed}"));
        format!(
            "{place}{seed}: {} ({})",
            signed(pair.difference, decimals),
            benchmark.runs[pair.run].directory
        )
    };
    let lines: Vec<String> = comparison.pairs.iter().map(line).collect();
    format!(
        " title=\"{}\"",
        escape(&lines.join("\n")).replace('\n', "&#10;")
    )
}

/// What a column of [`comparison_columns`] is sorted by, where its text will not do.
fn comparison_order(comparison: Option<&Comparison>, place: usize) -> String {
    let Some(comparison) = comparison else {
        return " data-value=\"\"".into();
    };
    let number = match place {
        0 | 1 => Some(comparison.difference.mean),
        3 => comparison.p_paired_t,
        4 => comparison.p_sign_flip,
        5 => comparison.p_corrected,
        _ => return String::new(),
    };
    format!(
        " data-value=\"{}\"",
        number.map_or(String::new(), |number| number.to_string())
    )
}

/// What every method took.
pub(super) fn costs(benchmark: &Benchmark) -> String {
    let header: Vec<(String, &str)> = ["where", "method", "runs"]
        .into_iter()
        .chain(view::COSTS)
        .map(|title| (title.to_string(), ""))
        .collect();
    let mut rows = String::new();
    for spent in view::spent(benchmark) {
        let cells: String = spent
            .means
            .iter()
            .map(|mean| {
                format!(
                    "<td data-value=\"{mean}\">{}</td>",
                    count(mean.round() as u64)
                )
            })
            .collect();
        rows += &format!(
            "<tr{}><td class=\"text\">{}</td>{}<td>{}</td>{cells}</tr>\n",
            reference_class(benchmark, spent.method),
            escape(&spent.scope),
            row_head(spent.method),
            spent.runs
        );
    }
    if rows.is_empty() {
        rows
    } else {
        format!(
            "<p>{} Means per run:</p>\n{}",
            escape(&view::budget(benchmark)),
            table_of("sort tests", &header, &rows)
        )
    }
}

/// What was planned and has no value.
pub(super) fn gaps(benchmark: &Benchmark, summary: &Summary) -> String {
    let header: Vec<(String, &str)> = ["where", "method", "seeds", "why", "metrics"]
        .map(|title| (title.to_string(), ""))
        .into();
    let mut rows = String::new();
    for gap in view::gaps(benchmark, summary) {
        let cells = [
            gap.scope.clone(),
            gap.method.title.clone(),
            gap.seed_text(),
            gap.reason.clone(),
            gap.metric_text(),
        ];
        rows += &format!(
            "<tr>{}</tr>\n",
            cells
                .map(|text| format!("<td>{}</td>", escape(&text)))
                .concat()
        );
    }
    if rows.is_empty() {
        "<p>Nothing: every planned run has every value.</p>\n".into()
    } else {
        table_of("sort words", &header, &rows)
    }
}

fn row_head(method: &Method) -> String {
    format!("<th scope=\"row\">{}</th>", escape(&method.title))
}

fn reference_class(benchmark: &Benchmark, method: &Method) -> &'static str {
    if method.name == benchmark.reference {
        " class=\"reference\""
    } else {
        ""
    }
}

fn table(header: &[(String, &str)], rows: &str) -> String {
    table_of("sort", header, rows)
}

/// A table that scrolls by itself where the page is narrow; headings have an explanation on
/// hovering.
fn table_of(class: &str, header: &[(String, &str)], rows: &str) -> String {
    let heading = |(title, about): &(String, &str)| {
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(" title=\"{}\"", escape(about))
        };
        format!("<th scope=\"col\"{about}>{}</th>", escape(title))
    };
    let header: String = header.iter().map(heading).collect();
    format!(
        "<div class=\"wide\"><table \
            class=\"{class}\">\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

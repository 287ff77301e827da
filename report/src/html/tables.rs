//! Tables of numbers.

mod details;
mod glance;

use super::runs;
use crate::{
    benchmark::{Benchmark, Method, Metric},
    cells::Cell,
    comparison::{Comparison, Verdict},
    escape::escape,
    number::{count, fixed},
    summary::Summary,
    view,
};

pub(super) use details::metrics;
pub(super) use glance::{glance, standings};

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
        Verdict::PastTeacher | Verdict::Undecided | Verdict::TooFewSeeds => "quiet",
    }
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
            class=\"{class}\">\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody></table>\
            </div>\n"
    )
}

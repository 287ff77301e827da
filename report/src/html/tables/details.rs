//! Metric by metric: every mean, difference and test.

use super::{reference_class, row_head, table_of, value, verdict_class};
use crate::{
    benchmark::{Benchmark, Metric},
    comparison::Comparison,
    escape::escape,
    markdown::comparison_columns,
    number::signed,
    summary::Summary,
    view,
};

/// Every metric with all means, differences and tests.
pub(in crate::html) fn metrics(benchmark: &Benchmark, summary: &Summary) -> String {
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

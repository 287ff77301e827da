//! Where the reference stands: at a glance, and in words.

use super::{row_head, table_of, verdict_class};
use crate::{
    benchmark::{Benchmark, Metric},
    comparison::Verdict,
    escape::escape,
    summary::Summary,
    view,
};

/// Family and regime; `None` stands for all of them together.
type Scope<'a> = (Option<&'a str>, Option<&'a str>);

/// The reference's place at a glance: a sign per method, metric and place.
pub(in crate::html) fn glance(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
) -> String {
    let metrics = view::main_metrics(benchmark);
    let places: Vec<_> = view::shown_scopes(benchmark, group);
    let single: Vec<Scope> = places
        .iter()
        .copied()
        .filter(|(_, regime)| regime.is_some())
        .collect();
    let all: Vec<Scope> = places
        .into_iter()
        .filter(|scope| *scope == (None, None))
        .collect();
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
    for method in benchmark.tested(group) {
        let verdict = |metric: &Metric, (family, regime): Scope| {
            summary
                .comparison(&metric.name, group, family, regime, &method.name)
                .map_or(Verdict::TooFewSeeds, |found| found.verdict)
        };
        rows += &format!("<tr>{}", row_head(method));
        for metric in &metrics {
            let sign = |scope: &Scope| sign(benchmark, *scope, verdict(metric, *scope));
            let signs: Vec<String> = single
                .chunk_by(|a, b| a.0 == b.0)
                .map(|family| family.iter().map(sign).collect())
                .collect();
            let all: String = all
                .iter()
                .map(|scope| format!("<span class=\"all\">{}</span>", sign(scope)))
                .collect();
            rows += &format!("<td class=\"signs\">{}{all}</td>", signs.join(" "));
        }
        let verdicts: Vec<Verdict> = metrics
            .iter()
            .flat_map(|metric| single.iter().map(|scope| verdict(metric, *scope)))
            .collect();
        rows += &counts(&verdicts);
    }
    let order: Vec<String> = single
        .iter()
        .map(|(family, regime)| view::scope_title(benchmark, *family, *regime))
        .collect();
    let together = if all.is_empty() {
        ""
    } else {
        "; after the bar, all together"
    };
    let caption = format!(
        "<p class=\"quiet\">Against {reference}, one sign per place: {}{together}. \u{25b2} \
            better, \u{25bc} worse than {reference} after correction, \u{25cb} undecided, \u{25d0} \
            the one ahead is past the teacher's own clips, \u{2013} \
            not tested.</p>\n",
        escape(&order.join("; "))
    );
    format!(
        "<h3>Against {reference} at a glance</h3>\n{caption}{}",
        table_of("glance", &header, &rows)
    )
}

/// A verdict's sign, with the place and the verdict in words.
fn sign(benchmark: &Benchmark, scope: Scope, verdict: Verdict) -> String {
    let place = view::scope_title(benchmark, scope.0, scope.1);
    let words = escape(&format!("{place}: {}", view::verdict_text(verdict)));
    format!(
        "<i class=\"{}\" role=\"img\" aria-label=\"{words}\" title=\"{words}\">{}</i>",
        verdict_class(verdict),
        sign_of(verdict)
    )
}

/// The end of a row: how often the method is better, undecided and worse.
fn counts(verdicts: &[Verdict]) -> String {
    let count = |wanted: Verdict| verdicts.iter().filter(|found| **found == wanted).count();
    let also = |wanted: Verdict, words: &str| match count(wanted) {
        0 => String::new(),
        number => format!(" <small>{number} {words}</small>"),
    };
    let untested = also(Verdict::TooFewSeeds, "not tested");
    let past = also(Verdict::PastTeacher, "past the teacher");
    format!(
        "<td>{} / {} / {}{past}{untested}</td></tr>\n",
        count(Verdict::Better),
        count(Verdict::Undecided),
        count(Verdict::Worse)
    )
}

fn sign_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better | Verdict::Worse => view::mark(verdict),
        Verdict::PastTeacher => "\u{25d0}",
        Verdict::Undecided => "\u{25cb}",
        Verdict::TooFewSeeds => view::NOTHING,
    }
}

/// Where the reference stands among a group, in words.
pub(in crate::html) fn standings(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
) -> String {
    let reference = benchmark.reference_title();
    let titles = [
        "metric".into(),
        "where".into(),
        format!("{reference} is better than"),
        format!("{reference} is worse than"),
    ];
    let header: Vec<(String, &str)> = titles
        .into_iter()
        .chain(["past the teacher", "undecided", "not tested"].map(String::from))
        .map(|title| (title, ""))
        .collect();
    let mut rows = String::new();
    for standing in view::standings(benchmark, summary, group) {
        let lists = [
            &standing.beaten,
            &standing.beating,
            &standing.past,
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

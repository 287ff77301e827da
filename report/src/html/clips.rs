//! Clips that play in the page: one row per method, the same prompt throughout, the teacher first;
//! the first seed stands for all, so that the page stays small.

use super::Previews;
use crate::{
    benchmark::{Benchmark, Method, Preview, Role, Run},
    escape::escape,
    view,
};

/// A block per family, regime and prompt.
pub(super) fn clips(benchmark: &Benchmark, previews: &Previews) -> String {
    let mut html = String::new();
    for family in &benchmark.families {
        for regime in &benchmark.regimes {
            let here = |run: &&Run| {
                run.family == family.name
                    && run.regime.as_ref().is_none_or(|name| *name == regime.name)
            };
            let mut labels: Vec<&str> = Vec::new();
            // A place with nothing but what is shown in every regime is no place of its own.
            let own = benchmark
                .runs
                .iter()
                .filter(here)
                .filter(|run| run.regime.is_some() || benchmark.regimes.len() == 1);
            for preview in own.flat_map(|run| &run.previews) {
                if !labels.contains(&&*preview.label) {
                    labels.push(&preview.label);
                }
            }
            if labels.is_empty() {
                continue;
            }
            html += &format!(
                "<h3>{}</h3>\n",
                escape(&view::scope_title(
                    benchmark,
                    Some(&family.name),
                    Some(&regime.name)
                ))
            );
            for label in labels {
                let runs: Vec<&Run> = benchmark.runs.iter().filter(here).collect();
                html += &block(benchmark, &runs, label, previews);
            }
        }
    }
    html
}

fn block(benchmark: &Benchmark, runs: &[&Run], label: &str, previews: &Previews) -> String {
    let (first, rest): (Vec<&Method>, Vec<&Method>) = benchmark
        .methods
        .iter()
        .partition(|method| method.role == Role::Teacher);
    let mut rows = String::new();
    for method in first.into_iter().chain(rest) {
        let mut of_method = runs
            .iter()
            .filter(|run| run.method == method.name)
            .collect::<Vec<_>>();
        of_method.sort_by_key(|run| run.seed);
        of_method.truncate(1);
        let pictures: String = of_method
            .into_iter()
            .flat_map(|run| {
                run.previews
                    .iter()
                    .filter(|preview| preview.label == label)
                    .map(|preview| picture(method, run, preview, previews))
            })
            .collect();
        if !pictures.is_empty() {
            let class = if method.name == benchmark.reference {
                " class=\"reference\""
            } else {
                ""
            };
            rows += &format!(
                "<tr{class}><th scope=\"row\">{}</th><td>{pictures}</td></tr>\n",
                escape(&method.title)
            );
        }
    }
    format!(
        "<div class=\"wide\"><table \
            class=\"clips\"><caption>\u{201c}{}\u{201d}</caption>\n<tbody>\n{rows}</tbody></table>\
            </div>\n",
        escape(label)
    )
}

fn picture(method: &Method, run: &Run, preview: &Preview, previews: &Previews) -> String {
    let seed = run
        .seed
        .map_or(String::new(), |seed| format!(", seed {seed}"));
    match previews.get(&preview.path) {
        Some(Ok(address)) => {
            let words = escape(&format!("{}{seed}: {}", method.title, preview.label));
            format!(
                "<img alt=\"{words}\" title=\"{}\" src=\"{address}\"/>",
                escape(&format!("{}{seed}\n{}", run.directory, run.command))
            )
        }
        Some(Err(reason)) => format!(
            "<span class=\"quiet\">no picture{}: {}</span>",
            escape(&seed),
            escape(&reason.to_string())
        ),
        None => format!(
            "<span class=\"quiet\">no picture{}: {} was not read</span>",
            escape(&seed),
            escape(&preview.path)
        ),
    }
}

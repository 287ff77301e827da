//! The report as one HTML page that fetches nothing and reads without its script.
//!
//! The markup is also well-formed XML, so that a strict parser can hold it to account.

mod clips;
mod figures;
mod runs;
mod tables;

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    benchmark::{Benchmark, Method, State},
    escape::escape,
    number::duration,
    palette::{self, Look},
    plot::{self, PlotError},
    summary::Summary,
    view,
};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/sort.js");

/// A preview's `data:` address, or why there is none, by its path.
pub(crate) type Previews = BTreeMap<String, Result<String, PreviewError>>;

/// Why a preview cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The picture would make the page too large.
    #[error("{} is over {most} MiB; make a smaller preview", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The most that is shown, in MiB.
        most: u64,
    },
    /// Browsers may not show it.
    #[error("{} is neither GIF nor PNG", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
}

/// The whole page.
pub(crate) fn page(
    benchmark: &Benchmark,
    summary: &Summary,
    previews: &Previews,
) -> Result<String, PlotError> {
    let mut sections = vec![section(
        "results",
        "Main comparison",
        &group_section(benchmark, summary, None)?,
    )];
    sections.push(section(
        "clips",
        "Clips",
        &clips::clips(benchmark, previews),
    ));
    sections.push(section(
        "curves",
        "Curves",
        &figures::curves(benchmark, None)?,
    ));
    for (place, group) in benchmark.groups().into_iter().enumerate().skip(1) {
        let body = group_section(benchmark, summary, group)? + &figures::curves(benchmark, group)?;
        sections.push(section(
            &format!("ablation-{place}"),
            &view::group_title(group),
            &body,
        ));
    }
    sections.push(section(
        "metrics",
        "Metric by metric",
        &tables::metrics(benchmark, summary),
    ));
    sections.push(section("costs", "Costs", &tables::costs(benchmark)));
    sections.push(section(
        "missing",
        "What is missing",
        &tables::gaps(benchmark, summary),
    ));
    sections.push(section("runs", "Runs", &runs::runs(benchmark)));
    let links: String = sections
        .iter()
        .flatten()
        .map(|(id, title, _)| format!("<a href=\"#{id}\">{}</a>\n", escape(title)))
        .collect();
    let body: String = sections
        .iter()
        .flatten()
        .map(|(_, _, html)| html.as_str())
        .collect();
    let title = escape(&benchmark.title);
    // The policy makes the browser itself refuse the network and every script but this one.
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'"
    );
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta \
            http-equiv=\"Content-Security-Policy\" content=\"{policy}\"/>\n<meta name=\"viewport\" \
            content=\"width=device-width, \
            initial-scale=1\"/>\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n\
            <body>\n<h1>{title}</h1>\n{}<nav>\n{links}</nav>\n{body}<script>{SCRIPT}</script>\n\
            </body>\n</html>\n",
        dark_style(),
        opening(benchmark)?
    ))
}

/// Style rules that give plots their colours on a dark page.
pub fn dark_style() -> String {
    let mut rules = String::new();
    for colour in palette::all() {
        let (light, dark) = (palette::hex(colour.light), palette::hex(colour.dark));
        rules += &format!(
            "svg [fill=\"{light}\"] {{ fill: {dark}; }} svg [stroke=\"{light}\"] {{ stroke: \
                {dark}; }}\n"
        );
    }
    format!("@media (prefers-color-scheme: dark) {{\n{rules}}}\n")
}

/// Id, title and markup; `None` for a section without content.
fn section(id: &str, title: &str, body: &str) -> Option<(String, String, String)> {
    let html = format!(
        "<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n",
        escape(title)
    );
    (!body.is_empty()).then(|| (id.into(), title.into(), html))
}

fn opening(benchmark: &Benchmark) -> Result<String, PlotError> {
    let mut html: String = benchmark
        .summary
        .iter()
        .map(|paragraph| format!("<p class=\"lead\">{}</p>\n", escape(paragraph)))
        .collect();
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    let done = benchmark
        .runs
        .iter()
        .filter(|run| run.state == State::Done)
        .count();
    let seeds = benchmark
        .seeds
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let facts = [
        ("Command", code(&benchmark.command)),
        (
            "Commit",
            benchmark.commit.as_deref().map_or("not known".into(), code),
        ),
        ("Date", escape(&benchmark.created)),
        ("Machine", escape(&benchmark.machine)),
        ("Wall time", duration(benchmark.wall_seconds)),
        ("Budget", escape(&benchmark.budget)),
        ("Seeds", seeds),
        (
            "Runs",
            format!("{done} done of {} listed", benchmark.runs.len()),
        ),
    ];
    let rows: String = facts
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"))
        .collect();
    let reading: String = view::reading(benchmark)
        .iter()
        .map(|sentence| format!("<li>{}</li>\n", escape(sentence)))
        .collect();
    html += &format!("<dl class=\"facts\">\n{rows}</dl>\n{}", legend(benchmark)?);
    Ok(html
        + &format!(
            "<details class=\"reading\"><summary>How to read the \
                numbers</summary>\n<ul>\n{reading}</ul></details>\n"
        ))
}

/// Every method of the main comparison with its look and what it is.
fn legend(benchmark: &Benchmark) -> Result<String, PlotError> {
    let mut items = String::new();
    for method in benchmark.methods_of(None) {
        let refused = method.refused.as_ref().map_or(String::new(), |reason| {
            format!(
                " <em>Refused: {}.</em>",
                escape(reason.trim_end_matches('.'))
            )
        });
        items += &format!(
            "<li>{} <span>{}{refused}</span></li>\n",
            named(benchmark, method)?,
            escape(&method.about)
        );
    }
    Ok(format!("<ul class=\"legend\">\n{items}</ul>\n"))
}

/// A method's line and title, as in every plot.
fn named(benchmark: &Benchmark, method: &Method) -> Result<String, PlotError> {
    let class = if method.name == benchmark.reference {
        "named reference"
    } else {
        "named"
    };
    // What cannot be run is in no plot.
    let key = if method.refused.is_some() {
        String::new()
    } else {
        plot::key(Look::of(benchmark, method))?
    };
    Ok(format!(
        "<span class=\"{class}\">{key}{}</span>",
        escape(&method.title)
    ))
}

/// A small legend of a group, to stand above its plots.
fn keys(benchmark: &Benchmark, group: Option<&str>) -> Result<String, PlotError> {
    let methods = benchmark
        .methods_of(group)
        .into_iter()
        .filter(|method| method.refused.is_none());
    let items = methods
        .map(|method| named(benchmark, method))
        .collect::<Result<String, _>>()?;
    Ok(format!("<p class=\"keys\">{items}</p>\n"))
}

fn group_section(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
) -> Result<String, PlotError> {
    let mut html = String::new();
    let methods: Vec<&Method> = benchmark.methods_of(group);
    if group.is_some() {
        let abouts = methods
            .iter()
            .filter(|method| method.group.is_some() && !method.about.is_empty());
        let items: String = abouts
            .map(|method| {
                format!(
                    "<li><b>{}</b>: {}</li>\n",
                    escape(&method.title),
                    escape(&method.about)
                )
            })
            .collect();
        html += &format!("<ul>\n{items}</ul>\n");
    }
    html += &tables::glance(benchmark, summary, group);
    html += &tables::places(benchmark, summary, group);
    html += &figures::metrics(benchmark, summary, group)?;
    Ok(html + &tables::standings(benchmark, summary, group))
}

#[cfg(test)]
mod tests;

//! The report as one HTML page that fetches nothing and reads without its script.
//!
//! The markup is also well-formed XML, so that a strict parser can hold it to account.

mod clips;
mod figures;
mod runs;
mod tables;

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    benchmark::{Benchmark, Method, State},
    number::duration,
    palette::{self, Look},
    plot::{self, PlotError},
    summary::Summary,
    view,
};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/sort.js");

/// A preview's `data:` address, or why there is none, by its path.
pub(crate) type Previews = BTreeMap<String, Result<String, String>>;

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
            initial-scale=1\"/>\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{}<nav>\n{links}</nav>\n{body}<script>{SCRIPT}</script>\n</body>\n</html>\n",
        dark_style(),
        opening(benchmark)?
    ))
}

/// Text as it may stand between tags and inside quoted attributes; what no document may hold
/// becomes a replacement character.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}')
            }
            _ => escaped.push(letter),
        }
    }
    escaped
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
mod tests {
    use super::*;
    use crate::example::small;

    fn small_page(benchmark: &Benchmark) -> String {
        let previews = [(
            "afd-chunk-200-0.gif".to_string(),
            Ok("data:image/gif;base64,AAAA".to_string()),
        )];
        page(benchmark, &Summary::of(benchmark), &previews.into()).unwrap()
    }

    fn parse(page: &str) -> roxmltree::Document<'_> {
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        roxmltree::Document::parse_with_options(page, options)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_page_is_well_formed_with_unique_ids_that_every_link_finds() {
        let page = small_page(&small());
        let document = parse(&page);
        let ids: Vec<&str> = document
            .descendants()
            .filter_map(|node| node.attribute("id"))
            .collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len());
        let links: Vec<&str> = document
            .descendants()
            .filter_map(|node| node.attribute("href"))
            .collect();
        assert!(links.len() > 50, "{}", links.len());
        for link in links {
            assert!(
                link.strip_prefix('#').is_some_and(|id| ids.contains(&id)),
                "{link}"
            );
        }
    }

    #[test]
    fn nothing_is_fetched_and_no_script_runs_but_ours() {
        let page = small_page(&small());
        let document = parse(&page);
        for node in document.descendants().filter(|node| node.is_element()) {
            for attribute in node.attributes() {
                let (name, value) = (attribute.name(), attribute.value());
                assert!(
                    !name.starts_with("on") && name != "srcset" && name != "style",
                    "{name}"
                );
                assert!(name != "src" || value.starts_with("data:image/"), "{value}");
                assert!(!value.contains("javascript:"), "{value}");
            }
            assert!(
                ![
                    "link", "iframe", "object", "embed", "base", "form", "image", "use"
                ]
                .contains(&node.tag_name().name())
            );
        }
        assert_eq!(
            document
                .descendants()
                .filter(|node| node.has_tag_name("script"))
                .count(),
            1
        );
        for forbidden in ["url(", "@import", "https://", "http://"] {
            assert!(
                !page
                    .replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
                    .contains(forbidden),
                "{forbidden}"
            );
        }
    }

    #[test]
    fn the_script_holds_nothing_that_ends_it_and_the_policy_names_it() {
        assert!(!SCRIPT.contains('<') && !SCRIPT.contains('&'));
        let hash = STANDARD.encode(Sha256::digest(SCRIPT));
        assert!(small_page(&small()).contains(&format!("script-src 'sha256-{hash}'\"")));
    }

    #[test]
    fn hostile_text_is_shown_and_never_markup() {
        let hostile = "<script>alert('1')</script> & \"two\" \u{0}";
        let mut benchmark = small();
        (benchmark.title, benchmark.command, benchmark.budget) =
            (hostile.into(), hostile.into(), hostile.into());
        (benchmark.machine, benchmark.created, benchmark.commit) =
            (hostile.into(), hostile.into(), Some(hostile.into()));
        benchmark.summary = vec![hostile.into()];
        benchmark.regime_title = hostile.into();
        for method in &mut benchmark.methods {
            method.title = format!("{} {hostile}", method.name);
            method.about = hostile.into();
            method.refused = method.refused.as_ref().map(|_| hostile.into());
            method.group = method.group.as_ref().map(|_| hostile.into());
        }
        benchmark
            .families
            .iter_mut()
            .chain(&mut benchmark.regimes)
            .for_each(|named| named.title = hostile.into());
        for metric in &mut benchmark.metrics {
            (metric.title, metric.unit, metric.about) =
                (hostile.into(), hostile.into(), hostile.into());
        }
        for curve in &mut benchmark.curves {
            (curve.title, curve.x_title, curve.y_title, curve.about) = (
                hostile.into(),
                hostile.into(),
                hostile.into(),
                hostile.into(),
            );
        }
        for run in &mut benchmark.runs {
            (run.directory, run.command, run.commit) =
                (hostile.into(), hostile.into(), Some(hostile.into()));
            run.previews
                .iter_mut()
                .for_each(|preview| preview.label = hostile.into());
            if let State::Failed(reason) = &mut run.state {
                *reason = hostile.into();
            }
        }
        benchmark.check().unwrap();
        let page = small_page(&benchmark);
        let document = parse(&page);
        let scripts: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("script"))
            .collect();
        assert!(scripts.len() == 1 && !scripts[0].text().unwrap().contains("alert"));
        assert!(!page.contains("<script>alert") && !page.contains('\u{0}'));
    }

    #[test]
    fn runs_that_failed_or_are_missing_are_shown_with_their_reasons() {
        let page = small_page(&small());
        for shown in [
            "failed: loss is NaN in round 40",
            "missing: stopped before",
            "no run",
            "<small>1 of 3</small>",
            "a black box has no score",
        ] {
            assert!(page.contains(shown), "{shown}");
        }
        let document = parse(&page);
        let runs = document
            .descendants()
            .find(|node| node.attribute("id") == Some("runs"))
            .unwrap();
        let rows = runs
            .descendants()
            .filter(|node| {
                node.attribute("id")
                    .is_some_and(|id| id.starts_with("run-"))
            })
            .count();
        assert_eq!(rows, small().runs.len());
    }

    #[test]
    fn a_benchmark_without_any_run_shows_what_is_to_come() {
        let benchmark = Benchmark {
            runs: vec![],
            ..small()
        };
        benchmark.check().unwrap();
        let page = small_page(&benchmark);
        parse(&page);
        let missing = &page[page.find("<section id=\"missing\"").unwrap()..];
        // Teacher, base, SFT, GAN and AFD in four places; the ablation was planned nowhere.
        assert_eq!(
            (
                missing.matches("<td>no run</td>").count(),
                page.matches("class=\"figures\"").count()
            ),
            (5 * 4, 0)
        );
    }

    #[test]
    fn every_cell_leads_to_its_runs_and_names_them() {
        let page = small_page(&small());
        let document = parse(&page);
        let link = document
            .descendants()
            .find(|node| node.has_tag_name("a") && node.text() == Some("3.03 ± 0.87"))
            .expect("AFD's cell of the main table");
        let title = link.attribute("title").unwrap();
        assert!(
            title.contains("seed 1: 2.70") && title.contains("runs/afd-chunk-200-1"),
            "{title}"
        );
        let target = &link.attribute("href").unwrap()[1..];
        let rows = document
            .descendants()
            .find(|node| node.attribute("id") == Some(target))
            .unwrap();
        let text: String = rows.descendants().filter_map(|node| node.text()).collect();
        assert!(
            text.contains("runs/afd-chunk-200-2")
                && text.contains("afd distill afd-chunk-200-2.toml"),
            "{text}"
        );
        assert!(!text.contains("runs/sft"), "{text}");
    }
}

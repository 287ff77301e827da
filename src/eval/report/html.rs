//! The report as one HTML page without scripts and without anything to fetch.

use super::{
    Report,
    metrics::{MetricsLine, curves},
};
use crate::eval::cells::{Cell, cells_of};
use crate::eval::table::METRICS;
use afd_report::{curve, dark_style, duration, escape, short};
use base64::{Engine, engine::general_purpose::STANDARD};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(
    report: &Report,
    metrics: &[MetricsLine],
    previews: &[(String, Vec<u8>)],
) -> String {
    // The policy makes the browser itself refuse scripts and the network.
    let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
    let sections = [
        facts(report),
        scores(report),
        notes(report),
        preview_section(previews),
        curve_section(metrics),
    ]
    .concat();
    let title = escape(&report.title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
            http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<meta name=\"viewport\" \
            content=\"width=device-width, \
            initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n\
            <body>\n<h1>{title}</h1>\n{sections}</body>\n</html>\n",
        dark_style()
    )
}

fn facts(report: &Report) -> String {
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    let facts = [
        ("Run", code(&report.run)),
        ("Command", code(&report.command)),
        ("Seed", report.seed.to_string()),
        (
            "Commit",
            report.commit.as_deref().map_or("not known".into(), code),
        ),
        ("Backend", escape(&report.backend)),
        ("Wall time", duration(report.wall_seconds)),
        ("Teacher queries", report.teacher_queries.to_string()),
    ];
    let rows: String = facts
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// A header and a row per metric, what its numbers rest on below them.
fn scores(report: &Report) -> String {
    if report.columns.is_empty() {
        return String::new();
    }
    let row = |(index, row): (usize, &Vec<Cell>)| {
        let tag = if index == 0 { "th" } else { "td" };
        let cell = |cell: &Cell| {
            let class = cell
                .verdict
                .map_or(String::new(), |verdict| format!(" class=\"{verdict}\""));
            let detail = match &*cell.detail {
                "" => String::new(),
                detail => format!("<br><small>{}</small>", escape(detail)),
            };
            format!("<{tag}{class}>{}{detail}</{tag}>", escape(&cell.text))
        };
        format!("<tr>{}</tr>\n", row.iter().map(cell).collect::<String>())
    };
    let rows: String = cells_of(&METRICS, &report.columns)
        .iter()
        .enumerate()
        .map(row)
        .collect();
    format!("<h2>Scores</h2>\n<div class=\"wide\"><table>\n{rows}</table></div>\n")
}

fn notes(report: &Report) -> String {
    if report.notes.is_empty() {
        return String::new();
    }
    let notes: String = report
        .notes
        .iter()
        .map(|note| format!("<p>{}</p>\n", escape(note)))
        .collect();
    format!("<h2>Notes</h2>\n<div class=\"notes\">\n{notes}</div>\n")
}

fn preview_section(previews: &[(String, Vec<u8>)]) -> String {
    if previews.is_empty() {
        return String::new();
    }
    let figure = |(title, gif): &(String, Vec<u8>)| {
        let (title, data) = (escape(title), STANDARD.encode(gif));
        format!(
            "<figure class=\"preview\"><figcaption>{title}</figcaption><img alt=\"{title}\" \
                src=\"data:image/gif;base64,{data}\"></figure>\n"
        )
    };
    format!(
        "<h2>Previews</h2>\n{}",
        previews.iter().map(figure).collect::<String>()
    )
}

fn curve_section(metrics: &[MetricsLine]) -> String {
    let curves = curves(metrics);
    if curves.is_empty() {
        return String::new();
    }
    let mut section = String::from("<h2>Learning curves</h2>\n");
    for phase in curves.chunk_by(|a, b| a.phase == b.phase) {
        if !phase[0].phase.is_empty() {
            section += &format!("<h3>{}</h3>\n", escape(phase[0].phase));
        }
        section += "<div class=\"curves\">\n";
        for drawn in phase {
            let last = drawn.points.last().map_or(String::new(), |(_, value)| {
                format!("last {}", short(*value))
            });
            section += &format!(
                "<figure><figcaption><span>{}</span><span \
                    class=\"quiet\">{last}</span></figcaption>{}</figure>\n",
                escape(drawn.name),
                curve(drawn.name, &drawn.points).unwrap_or_else(|error| escape(&error.to_string()))
            );
        }
        section += "</div>\n";
    }
    section
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::example;
    use super::*;

    fn metrics(name: &str, phase: &str) -> Vec<MetricsLine> {
        let values = |step: u32| BTreeMap::from([(name.to_string(), f64::from(step))]);
        (1..=3)
            .map(|step| MetricsLine {
                step: step.into(),
                phase: phase.into(),
                values: values(step),
            })
            .collect()
    }

    #[test]
    fn hostile_text_is_shown_and_never_run() {
        let hostile = "a red ball <script>alert('1')</script> & \"two\"";
        let mut report = example();
        (report.title, report.run, report.command) =
            (hostile.into(), hostile.into(), hostile.into());
        (report.commit, report.backend, report.notes) =
            (Some(hostile.into()), hostile.into(), vec![hostile.into()]);
        report.columns[1].name = hostile.into();
        let page = page(
            &report,
            &metrics(hostile, hostile),
            &[(hostile.into(), vec![1, 2, 3])],
        );
        let shown = "a red ball &lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; \
            &quot;two&quot;";
        // Title twice, run, command, commit, backend, note, score, preview with alt text, phase,
        // metric with its label.
        assert_eq!(page.matches(shown).count(), 13);
        assert!(
            !page.contains("<script") && !page.contains("\"two\"") && !page.contains("alert('")
        );
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let page = page(
            &example(),
            &metrics("loss", "flow"),
            &[("a".into(), vec![0; 100])],
        );
        // The name of SVG, which no browser fetches.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for forbidden in [
            "http://",
            "https://",
            "url(",
            "@import",
            "<link",
            "<script",
            "javascript:",
            " onload",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(
            page.matches("src=").count(),
            page.matches("src=\"data:image/gif;base64,").count()
        );
    }

    #[test]
    fn scores_become_a_table_with_the_same_cells_in_every_row() {
        let table = scores(&example());
        assert!(
            table.contains(
                "<tr><th>metric</th><th>unit</th><th>better</th><th>teacher</th><th>base</th>\
                    <th>distilled</th>"
            ),
            "{table}"
        );
        assert!(
            table.contains(
                "<td class=\"better\">-5.2500 better<br><small>-5.25 to -5.25</small></td></tr>"
            ),
            "{table}"
        );
        let rows: Vec<&str> = table
            .lines()
            .filter(|line| line.starts_with("<tr>"))
            .collect();
        assert_eq!(rows.len(), 9, "a header and the eight measured metrics");
        assert!(
            rows[1..].iter().all(|row| row.matches("<td").count() == 7),
            "{table}"
        );
    }

    #[test]
    fn sections_without_content_are_left_out() {
        let mut report = example();
        (report.columns, report.notes) = (vec![], vec![]);
        let page = page(&report, &[], &[]);
        assert!(
            !page.contains("<h2>") && page.contains("<dt>Seed</dt><dd>18446744073709551615</dd>")
        );
    }

    #[test]
    fn every_phase_has_a_heading_and_every_curve_its_last_value() {
        let lines = [metrics("loss", "flow"), metrics("loss", "discriminator")].concat();
        let section = curve_section(&lines);
        assert!(section.contains("<h3>flow</h3>") && section.contains("<h3>discriminator</h3>"));
        assert_eq!(
            (
                section.matches("<svg").count(),
                section.matches("last 3<").count()
            ),
            (2, 2)
        );
    }
}

//! Figures: metrics with their intervals, and curves.

use super::keys;
use crate::{
    benchmark::{Benchmark, Metric, Role},
    curves,
    escape::escape,
    palette::Look,
    plot::{Interval, Line, PlotError, Point, categories, intervals, lines},
    summary::Summary,
    view,
};

/// The main metrics of a group: a figure per family, over the regimes where there are several.
pub(super) fn metrics(
    benchmark: &Benchmark,
    summary: &Summary,
    group: Option<&str>,
) -> Result<String, PlotError> {
    let mut figures = String::new();
    for metric in view::main_metrics(benchmark) {
        for family in &benchmark.families {
            let shown = |regime: &&crate::Named| {
                view::is_shown(benchmark, group, Some(&family.name), Some(&regime.name))
            };
            let regimes: Vec<_> = benchmark.regimes.iter().filter(shown).collect();
            let title = format!("{}: {}", metric.title, family.title);
            let svg = match &regimes[..] {
                [] => continue,
                [regime] => one_regime(
                    benchmark,
                    summary,
                    metric,
                    group,
                    &family.name,
                    &regime.name,
                    &title,
                )?,
                regimes => over_regimes(
                    benchmark,
                    summary,
                    metric,
                    group,
                    &family.name,
                    regimes,
                    &title,
                )?,
            };
            if svg.is_empty() {
                continue;
            }
            let place = if regimes.len() == 1 {
                format!("{}, {}", family.title, regimes[0].title)
            } else {
                family.title.clone()
            };
            figures += &figure(&view::metric_heading(metric), &place, &svg);
        }
    }
    if figures.is_empty() {
        return Ok(figures);
    }
    Ok(format!(
        "<h3>Means and intervals</h3>\n{}<div class=\"figures\">\n{figures}</div>\n<p \
            class=\"quiet\">Points are means over seeds, bars their 95 % intervals; ticks, where \
            drawn, the single seeds.</p>\n",
        keys(benchmark, group)?
    ))
}

fn one_regime(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    group: Option<&str>,
    family: &str,
    regime: &str,
    title: &str,
) -> Result<String, PlotError> {
    let mut rows = Vec::new();
    for method in benchmark.methods_of(group) {
        let cell = summary.cell(&metric.name, &method.name, family, regime);
        let estimate = cell.and_then(|cell| cell.estimate);
        rows.push(Interval {
            label: method.title.clone(),
            look: Look::of(benchmark, method),
            mean: estimate.map(|estimate| estimate.mean),
            ends: estimate.and_then(|estimate| estimate.interval()),
            values: cell.map_or(vec![], |cell| {
                cell.samples.iter().map(|sample| sample.value).collect()
            }),
            note: cell.map_or("refused".into(), |cell| view::cell_text(cell, 2)),
        });
    }
    if rows.iter().all(|row| row.mean.is_none()) {
        return Ok(String::new());
    }
    intervals(
        title,
        &metric.unit,
        &rows,
        teacher(benchmark, summary, metric, family, regime),
    )
}

/// The teacher's mean, where it is not a row of the figure anyway or is.
fn teacher(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    family: &str,
    regime: &str,
) -> Option<f64> {
    let teacher = benchmark
        .methods
        .iter()
        .find(|method| method.role == Role::Teacher)?;
    Some(
        summary
            .cell(&metric.name, &teacher.name, family, regime)?
            .estimate?
            .mean,
    )
}

fn over_regimes(
    benchmark: &Benchmark,
    summary: &Summary,
    metric: &Metric,
    group: Option<&str>,
    family: &str,
    regimes: &[&crate::Named],
    title: &str,
) -> Result<String, PlotError> {
    let mut drawn = Vec::new();
    for method in benchmark.methods_of(group) {
        let point = |(place, regime): (usize, &&crate::Named)| {
            let estimate = summary
                .cell(&metric.name, &method.name, family, &regime.name)?
                .estimate?;
            let (low, high) = estimate
                .interval()
                .unwrap_or((estimate.mean, estimate.mean));
            Some(Point {
                x: place as f64,
                mean: estimate.mean,
                low,
                high,
            })
        };
        let points: Vec<Point> = regimes.iter().enumerate().filter_map(point).collect();
        if !points.is_empty() {
            drawn.push(Line {
                look: Look::of(benchmark, method),
                points,
            });
        }
    }
    if drawn.is_empty() {
        return Ok(String::new());
    }
    let names: Vec<&str> = regimes.iter().map(|regime| regime.title.as_str()).collect();
    categories(title, &benchmark.regime_title, &names, &drawn)
}

/// All curves of a group: a figure per curve, family and regime.
pub(super) fn curves(benchmark: &Benchmark, group: Option<&str>) -> Result<String, PlotError> {
    let mut html = String::new();
    for curve in &benchmark.curves {
        let mut figures = String::new();
        for family in &benchmark.families {
            for regime in &benchmark.regimes {
                // The reference and controls alone are no comparison.
                if !view::is_shown(benchmark, group, Some(&family.name), Some(&regime.name)) {
                    continue;
                }
                let drawn =
                    curves::lines(benchmark, &curve.name, group, &family.name, &regime.name);
                if drawn.is_empty() {
                    continue;
                }
                let place = view::scope_title(benchmark, Some(&family.name), Some(&regime.name));
                let svg = lines(&format!("{}: {place}", curve.title), &curve.x_title, &drawn)?;
                figures += &figure(&curve.y_title, &place, &svg);
            }
        }
        if !figures.is_empty() {
            html += &format!(
                "<h3>{}</h3>\n<p>{}</p>\n<div class=\"figures\">\n{figures}</div>\n",
                escape(&curve.title),
                escape(&curve.about)
            );
        }
    }
    if html.is_empty() {
        return Ok(html);
    }
    Ok(format!(
        "{}<p class=\"quiet\">Lines are means over seeds, bands reach from the least seed to the \
            greatest; drawn where all seeds have points.</p>\n{html}",
        keys(benchmark, group)?
    ))
}

fn figure(title: &str, place: &str, svg: &str) -> String {
    format!(
        "<figure><figcaption><b>{}</b> <span>{}</span></figcaption>{svg}</figure>\n",
        escape(title),
        escape(place)
    )
}

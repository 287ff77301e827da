//! The table that compares students: numbers, what they rest on, and what may be said of them.

use super::estimate::{Column, Verdict};
use super::metric::{Better, Metric};

/// One cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// What that rests on, in a second line.
    pub detail: String,
    /// The verdict, if it is `better` or `worse`.
    pub verdict: Option<&'static str>,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_string(),
            ..Self::default()
        }
    }
}

/// A header, and a row per metric that somebody has a value of: title, unit, better direction, a
/// cell per column, and the change from the last column but one to the last.
///
/// Put the teacher first, then the base, then the distilled student. Cells have the 95 % interval
/// and the number of clips below them; see [`crate::estimate`].
pub fn cells_of<S>(metrics: &[Metric<S>], columns: &[Column<S>]) -> Vec<Vec<Cell>> {
    let mut header: Vec<Cell> = ["metric", "unit", "better"].map(Cell::from).to_vec();
    let names = columns.iter().map(|column| column.name.replace('|', "/"));
    header.extend(names.map(|name| Cell::from(name.as_str())));
    if columns.len() >= 2 {
        header.push("change".into());
    }
    let mut rows = vec![header];
    for metric in metrics {
        let estimates: Vec<_> = columns
            .iter()
            .map(|column| column.estimate(metric))
            .collect();
        if estimates.iter().all(Option::is_none) {
            continue;
        }
        let direction = match metric.better {
            Better::Lower => "↓",
            Better::Higher => "↑",
            Better::LikeTeacher => "≈ teacher",
        };
        let mut row: Vec<Cell> = [metric.title, metric.unit, direction]
            .map(Cell::from)
            .to_vec();
        row.extend(estimates.into_iter().map(|estimate| {
            let Some(estimate) = estimate else {
                return Cell::from("-");
            };
            let clips = match estimate.clips {
                [0, own] => format!("n {own}"),
                [teacher, own] => format!("n {teacher}+{own}"),
            };
            Cell {
                text: format!("{:.4}", estimate.value),
                detail: with_interval(estimate.interval, &clips),
                verdict: None,
            }
        }));
        if let [teacher, ..] = columns
            && let [.., before, after] = columns
        {
            row.push(change_cell(metric, before, after, teacher));
        }
        rows.push(row);
    }
    rows
}

fn change_cell<S>(
    metric: &Metric<S>,
    before: &Column<S>,
    after: &Column<S>,
    teacher: &Column<S>,
) -> Cell {
    let Some(change) = after.change(before, teacher, metric) else {
        return Cell::from("-");
    };
    // Four decimals are shown: less is no change.
    let difference = (change.difference * 1e4).round() / 1e4;
    let verdict = change.verdict.filter(|_| difference != 0.0);
    let verdict = verdict.map(Verdict::word);
    let shown = if difference == 0.0 {
        "0.0000".to_string()
    } else {
        format!("{difference:+.4}")
    };
    Cell {
        text: verdict.map_or(shown.clone(), |verdict| format!("{shown} {verdict}")),
        detail: with_interval(change.interval, ""),
        verdict: verdict.filter(|verdict| ["better", "worse"].contains(verdict)),
    }
}

fn with_interval(interval: Option<[f64; 2]>, clips: &str) -> String {
    let ends = interval.map(|[low, high]| format!("{} to {}", short(low), short(high)));
    let parts = [ends.as_deref().unwrap_or(""), clips];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Three digits, at most four of them decimals.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    // No minus before nothing.
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_string(),
        _ => text,
    }
}

/// [`cells_of`] as a Markdown table that is aligned for plain text: details are a row of their own.
pub fn table_of<S>(metrics: &[Metric<S>], columns: &[Column<S>]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in cells_of(metrics, columns) {
        lines.push(row.iter().map(|cell| cell.text.clone()).collect());
        if row.iter().any(|cell| !cell.detail.is_empty()) {
            lines.push(row.into_iter().map(|cell| cell.detail).collect());
        }
    }
    layout(&lines)
}

/// Pads the cells: the first three columns to the left, numbers to the right.
fn layout(lines: &[Vec<String>]) -> String {
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            lines
                .iter()
                .map(|line| length(&line[column]))
                .max()
                .unwrap_or(0)
                .max(3)
        })
        .collect();
    let is_text = |column: usize| column < 3;
    let mut table = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            table += &if is_text(column) {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            };
        }
        table += "|\n";
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                table += &if is_text(column) {
                    format!("|:{}", "-".repeat(width + 1))
                } else {
                    format!("|{}:", "-".repeat(width + 1))
                };
            }
            table += "|\n";
        }
    }
    table
}

//! What a number means, and the table that compares students by such numbers.

/// Which way a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Down to zero, or to what the teacher itself reaches.
    Lower,
    /// Up to the metric's upper end, or to what the teacher itself reaches.
    Higher,
    /// At the teacher's value: neither way is better by itself.
    LikeTeacher,
}

/// One field of the scores `S`.
#[derive(Debug)]
pub struct Metric<S> {
    /// The field's name, as in JSON.
    pub name: &'static str,
    /// What tables and plots call it.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way it improves.
    pub better: Better,
    /// Its value; `None` where nobody measured it.
    pub value: fn(&S) -> Option<f64>,
}

/// A Markdown table, aligned for plain text: a row per metric (title, unit, better direction), a
/// column per named student.
///
/// With two or more students a last column gives the change from the last but one to the last and
/// whether that is better: put the teacher first, then the base, then the distilled student. `≈
/// teacher` marks metrics that are best at the teacher's value; metrics nobody measured are left
/// out.
pub fn table_of<S>(metrics: &[Metric<S>], rows: &[(&str, &S)]) -> String {
    let mut header = vec!["metric".to_string(), "unit".into(), "better".into()];
    header.extend(rows.iter().map(|(name, _)| name.replace('|', "/")));
    if rows.len() >= 2 {
        header.push("change".into());
    }
    let mut lines = vec![header];
    for metric in metrics {
        let values: Vec<Option<f64>> = rows
            .iter()
            .map(|(_, scores)| (metric.value)(scores))
            .collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let direction = match metric.better {
            Better::Lower => "↓",
            Better::Higher => "↑",
            Better::LikeTeacher => "≈ teacher",
        };
        let mut line = vec![
            metric.title.to_string(),
            metric.unit.into(),
            direction.into(),
        ];
        line.extend(
            values
                .iter()
                .map(|value| value.map_or("-".into(), |value| format!("{value:.4}"))),
        );
        if let [.., before, after] = values[..] {
            line.push(before.zip(after).map_or("-".into(), |(before, after)| {
                change(metric.better, before, after)
            }));
        }
        lines.push(line);
    }
    layout(&lines)
}

/// `-0.1234 better`, the verdict only where a direction is better and four decimals show a change.
fn change(better: Better, before: f64, after: f64) -> String {
    let difference = ((after - before) * 1e4).round() / 1e4;
    let verdict = match better {
        _ if difference == 0.0 => return "0.0000".into(),
        Better::LikeTeacher => return format!("{difference:+.4}"),
        Better::Lower => difference < 0.0,
        Better::Higher => difference > 0.0,
    };
    format!(
        "{difference:+.4} {}",
        if verdict { "better" } else { "worse" }
    )
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

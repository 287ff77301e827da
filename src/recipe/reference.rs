//! The fields of a recipe as a text for terminals and as `docs/recipe.md`.

use std::fmt::Write as _;

use super::schema::{Table, tables};

/// Columns of a terminal.
const WIDTH: usize = 100;

/// Every field of the tables at or below `path` (all without one), for a terminal. `None` if there
/// is no such table.
pub fn as_text(path: Option<&str>) -> Option<String> {
    let below = |table: &Table| match path {
        None => true,
        Some(path) => {
            table.path == path
                || table
                    .path
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with('.'))
        }
    };
    let shown: Vec<Table> = tables().into_iter().filter(below).collect();
    if shown.is_empty() {
        return None;
    }
    let mut text = String::new();
    for table in shown.iter().filter(|table| !table.fields.is_empty()) {
        let name = if table.path.is_empty() {
            "at the top".to_string()
        } else {
            format!("[{}]", table.path)
        };
        let _ = writeln!(text, "{name}  {}", first_sentence(&table.doc));
        for field in &table.fields {
            let parts = [
                field.kind.clone(),
                field.unit.clone(),
                field.bound.clone(),
                match &field.default {
                    Some(default) => format!("default {default}"),
                    None => "required".to_string(),
                },
            ];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let _ = writeln!(text, "  {}: {}", field.path, parts.join(", "));
            for line in field.doc.lines().flat_map(|line| wrapped(line, WIDTH - 6)) {
                let _ = writeln!(text, "      {line}");
            }
        }
        text.push('\n');
    }
    Some(text)
}

fn first_sentence(doc: &str) -> &str {
    doc.find(". ").map_or(doc, |end| &doc[..=end])
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width
        {
            lines.push(word.to_string());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

/// The text of `docs/recipe.md`.
pub fn as_markdown() -> String {
    let mut text = String::from(
        "# Every field of a recipe\n\n\
         This page is generated from the tables in `src/recipe/tables/`; a test compares it.\n\
         `afd recipes fields [TABLE]` prints the same, `afd recipes schema` the JSON Schema.\n\n\
         A field without a default must be given.\n\
         Any field can be overridden: `--set afd.beta=0.5`.\n",
    );
    for table in tables().iter().filter(|table| !table.fields.is_empty()) {
        let name = if table.path.is_empty() {
            "At the top".to_string()
        } else {
            format!("`[{}]`", table.path)
        };
        let _ = write!(
            text,
            "\n## {name}\n\n{}\n\n| field | type | unit | bound | default | meaning |\n\
             |---|---|---|---|---|---|\n",
            table.doc
        );
        for field in &table.fields {
            let name = field.path.rsplit('.').next().unwrap_or(&field.path);
            let cells = [
                format!("`{name}`"),
                field.kind.clone(),
                field.unit.clone(),
                field.bound.clone(),
                field
                    .default
                    .as_ref()
                    .map_or_else(|| "required".to_string(), |default| format!("`{default}`")),
                field.doc.replace('\n', "<br>"),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

//! From a failed reading to a sentence: which field, which line or override, and the nearest known
//! name.

use std::path::Path;

use afd_models::weights::check::nearest;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::failure::{self, Failure, Kind, Part, dotted};
use super::{DocumentError, brief, one_line};

/// Where the fields of a document came from.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) origin: &'a Path,
    /// Path and text of every override, in order.
    pub(super) overridden: Vec<(Vec<String>, &'a str)>,
}

impl Source<'_> {
    /// "recipe.toml:3", or the override that set the field, a table around it, or a table that the
    /// text does not hold.
    fn place_of(&self, path: &[Part]) -> String {
        let (offset, depth) = self.offset_of(path);
        let absent = depth < path.len();
        let set = |keys: &[String]| {
            (keys.len() <= path.len() || absent)
                && keys
                    .iter()
                    .zip(path)
                    .all(|(key, part)| part.to_string() == *key)
        };
        if let Some((_, change)) = self.overridden.iter().rev().find(|(keys, _)| set(keys)) {
            let (field, _) = change.split_once('=').unwrap_or((change, ""));
            // Somebody may have put the key itself there.
            let secret = path.iter().any(|part| part.to_string() == "key");
            return if secret {
                format!("the override \"{field}=...\"")
            } else {
                format!("the override {:?}", brief(change))
            };
        }
        match offset {
            Some(offset) => format!(
                "{}:{}",
                self.origin.display(),
                line_and_column(self.text, offset).0
            ),
            None => self.origin.display().to_string(),
        }
    }

    /// Byte offset of the deepest part of `path` that the text holds, and how deep that is.
    fn offset_of(&self, path: &[Part]) -> (Option<usize>, usize) {
        let Ok(document) = DeTable::parse(self.text) else {
            return (None, 0);
        };
        let mut value = &DeValue::Table(document.into_inner());
        let (mut offset, mut depth) = (None, 0);
        for part in path {
            let (start, inner) = match (part, value) {
                (Part::Key(key), DeValue::Table(table)) => {
                    match table.get_key_value(key.as_str()) {
                        Some((key, inner)) => (key.span().start, inner),
                        None => break,
                    }
                }
                (Part::Index(index), DeValue::Array(array)) => match array.get(*index) {
                    Some(inner) => (inner.span().start, inner),
                    None => break,
                },
                _ => break,
            };
            (offset, depth, value) = (Some(start), depth + 1, inner.get_ref());
        }
        (offset, depth)
    }
}

/// Places a failure in the document and says what was meant.
pub(super) fn explain(failure: Failure, document: &Value, source: &Source) -> DocumentError {
    let Failure { path, kind } = failure;
    match kind {
        Kind::UnknownField { field, known } => {
            let around =
                failure::find(document, &path, |value| value.get(&field).is_some()).unwrap_or(path);
            let within = |name: &str| dotted(&[&around[..], &[Part::Key(name.into())]].concat());
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let advice = match nearest(&field, &names) {
                Some(name) => format!(
                    "the nearest known field is `{}` (known there: {})",
                    within(name),
                    known.join(", ")
                ),
                None if known.is_empty() => "remove it, no field is known there".into(),
                None => format!("remove it (known there: {})", known.join(", ")),
            };
            let full = [&around[..], &[Part::Key(field.clone())]].concat();
            DocumentError::UnknownField {
                field: brief(&dotted(&full)),
                place: source.place_of(&full),
                advice,
            }
        }
        Kind::MissingField { field } => {
            let place = source.place_of(&path);
            DocumentError::MissingField {
                field: dotted(&[&path[..], &[Part::Key(field)]].concat()),
                place,
            }
        }
        Kind::UnknownName { found, known } => {
            let path = failure::find(document, &path, |value| value.as_str() == Some(&found))
                .unwrap_or(path);
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let expected = match nearest(&found, &names) {
                Some(name) => format!("{name:?} or another of: {}", known.join(", ")),
                None => format!("one of: {}", known.join(", ")),
            };
            DocumentError::WrongValue {
                field: dotted(&path),
                place: source.place_of(&path),
                found: format!("{:?}", brief(&found)),
                expected,
            }
        }
        Kind::WrongType { found, expected } => {
            let path = failure::find(document, &path, |value| failure::describe(value) == found)
                .unwrap_or(path);
            DocumentError::WrongValue {
                field: dotted(&path),
                place: source.place_of(&path),
                found: brief(&found),
                expected,
            }
        }
        Kind::Refused { message } => DocumentError::Refused {
            field: dotted(&path),
            place: source.place_of(&path),
            message: one_line(&message),
        },
    }
}

/// The TOML reader's complaint with its line and column.
pub(super) fn syntax_error(text: &str, origin: &Path, error: &toml::de::Error) -> DocumentError {
    let place = match error.span() {
        Some(span) => {
            let (line, column) = line_and_column(text, span.start);
            format!("{}:{line}:{column}", origin.display())
        }
        None => origin.display().to_string(),
    };
    DocumentError::Syntax {
        place,
        message: one_line(error.message()),
    }
}

/// Both counted from 1; columns in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

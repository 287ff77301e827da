//! Strict TOML: every field is known, has the right type, and an error says where it stands and
//! what was meant.

mod explain;
mod failure;
mod overrides;
#[cfg(test)]
mod tests;
mod tracked;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use explain::{Source, explain, syntax_error};

/// Why a recipe cannot be used: one sentence with the field, what was found, what was expected, and
/// where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The text is not TOML; a key given twice is of this kind.
    #[error("{place} is not valid TOML: {message}")]
    Syntax {
        /// File, line and column.
        place: String,
        /// What the TOML reader said.
        message: String,
    },
    /// A command-line override cannot be applied.
    #[error("the override {text:?} cannot be applied: {reason}")]
    Override {
        /// The override as it was given.
        text: String,
        /// What was expected.
        reason: String,
    },
    /// A field that nothing reads.
    #[error("unknown field `{field}` in {place}: {advice}")]
    UnknownField {
        /// Dotted path.
        field: String,
        /// File and line, or the override.
        place: String,
        /// The nearest known field and all known ones.
        advice: String,
    },
    /// A field that has no default is absent.
    #[error("missing field `{field}` in {place}: add it, or set it with an override `{field}=...`")]
    MissingField {
        /// Dotted path.
        field: String,
        /// File and, where its table is written, line.
        place: String,
    },
    /// A value of another type or outside the type's range.
    #[error("wrong value for `{field}` in {place}: found {found}, expected {expected}")]
    WrongValue {
        /// Dotted path.
        field: String,
        /// File and line, or the override.
        place: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A value that the field's own check refused.
    #[error("`{field}` in {place} was refused: {message}")]
    Refused {
        /// Dotted path.
        field: String,
        /// File and line, or the override.
        place: String,
        /// What the check said.
        message: String,
    },
    /// A resolved recipe cannot be written as TOML.
    #[error(
        "the resolved recipe cannot be written as TOML: {message}; keep whole numbers below 2^63 \
            and lists free of empty values"
    )]
    Snapshot {
        /// What the TOML writer said.
        message: String,
    },
}

/// Reads a `T` from TOML, after `overrides` of the form `a.b=value` were applied in order.
///
/// `origin` is the file that `text` came from, for messages. An override's value is TOML, or a bare
/// string where it is none (`device=cuda:0`). A field that `T` does not know is an error, with or
/// without `#[serde(deny_unknown_fields)]`; only inside internally tagged enums, which serde
/// buffers, is that attribute needed.
///
/// # Errors
/// [`DocumentError`], for the first problem found.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    origin: &Path,
    overrides: &[String],
) -> Result<T, DocumentError> {
    let mut table: Table =
        toml::from_str(text).map_err(|error| syntax_error(text, origin, &error))?;
    let mut overridden = Vec::with_capacity(overrides.len());
    for change in overrides {
        overridden.push((overrides::apply(&mut table, change)?, change.as_str()));
    }
    let document = Value::Table(table);
    tracked::read(document.clone()).map_err(|failure| {
        explain(
            failure,
            &document,
            &Source {
                text,
                origin,
                overridden,
            },
        )
    })
}

/// The fields of the table at `path` of a `T` (dotted; empty for the document itself), in the order
/// of its type. Empty if there is no such table.
pub fn fields_of<T: DeserializeOwned>(path: &str) -> Vec<String> {
    // No field is called "?", so the reader says which ones there are.
    let mut table = Table::from_iter([("?".to_string(), Value::Boolean(true))]);
    for name in path.rsplit('.').filter(|name| !name.is_empty()) {
        table = Table::from_iter([(name.to_string(), Value::Table(table))]);
    }
    match tracked::read::<T>(Value::Table(table)) {
        Err(failure) => failure.known_fields(),
        Ok(_) => Vec::new(),
    }
}

/// The value as TOML that [`parse`] reads back.
///
/// # Errors
/// [`DocumentError::Snapshot`] for what TOML cannot hold: integers from 2^63, absent values inside
/// lists, a value that is no table.
pub fn to_toml<T: Serialize>(value: &T) -> Result<String, DocumentError> {
    let refuse = |message: &str| DocumentError::Snapshot {
        message: one_line(message),
    };
    let text = toml::to_string(value).map_err(|error| refuse(&error.to_string()))?;
    // The writer knows integers that the reader does not.
    toml::from_str::<Table>(&text).map_err(|error| refuse(error.message()))?;
    Ok(text)
}

/// The same as a table.
///
/// # Errors
/// As [`to_toml`].
pub fn to_table<T: Serialize>(value: &T) -> Result<Table, DocumentError> {
    let text = to_toml(value)?;
    toml::from_str(&text).map_err(|error| DocumentError::Snapshot {
        message: one_line(error.message()),
    })
}

/// Letters of a quoted value that a message shows.
const SHOWN: usize = 80;

/// What was found, cut where nobody would read on.
fn brief(found: &str) -> String {
    let mut letters = found.chars();
    let shown: String = letters.by_ref().take(SHOWN).collect();
    match letters.count() {
        0 => shown,
        more => format!("{shown}... ({more} letters more)"),
    }
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

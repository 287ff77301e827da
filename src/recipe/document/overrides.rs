//! `a.b=value` from the command line, put into a parsed document before its types are checked.

use toml::{Table, Value};

use super::failure::describe;
use super::{DocumentError, brief, one_line};

/// Why an override cannot be applied.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("no value follows the `=`; write `\"\"` for an empty text")]
    Empty,
    #[error("its value is not valid TOML: {0}")]
    Syntax(String),
    #[error("expected one value")]
    SeveralValues,
    #[error("expected a field")]
    NoField,
    #[error("`{parent}` is a list of {length}, expected an index below that instead of `{key}`")]
    Index {
        parent: String,
        length: usize,
        key: String,
    },
    #[error("`{parent}` is {found}, not a table that could hold `{key}`")]
    NoTable {
        parent: String,
        found: String,
        key: String,
    },
}

/// Sets one field and returns its path. Tables on the way are created; whether the field is known
/// is found out later.
pub(super) fn apply(document: &mut Table, change: &str) -> Result<Vec<String>, DocumentError> {
    let refuse = |reason: String| DocumentError::Override {
        text: brief(change),
        reason,
    };
    let Some((path, value)) = change.split_once('=') else {
        return Err(refuse("expected `table.field=value`".into()));
    };
    let path: Vec<String> = path.split('.').map(|key| key.trim().to_string()).collect();
    if path.iter().any(String::is_empty) {
        return Err(refuse(
            "expected `table.field=value` without empty names".into(),
        ));
    }
    let refused = |problem: Unusable| refuse(problem.to_string());
    let value = read_value(value.trim()).map_err(refused)?;
    set(document, &path, value).map_err(refused)?;
    Ok(path)
}

/// The text as a TOML value, or as a bare string where it does not look like TOML at all.
fn read_value(text: &str) -> Result<Value, Unusable> {
    if text.is_empty() {
        return Err(Unusable::Empty);
    }
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").ok_or(Unusable::SeveralValues),
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            Err(Unusable::Syntax(one_line(error.message())))
        }
        _ => Ok(Value::String(text.into())),
    }
}

fn set(document: &mut Table, path: &[String], value: Value) -> Result<(), Unusable> {
    let Some((first, rest)) = path.split_first() else {
        return Err(Unusable::NoField);
    };
    if rest.is_empty() {
        document.insert(first.clone(), value);
        return Ok(());
    }
    let mut slot = document
        .entry(first.as_str())
        .or_insert_with(|| Value::Table(Table::new()));
    for (depth, key) in rest.iter().enumerate() {
        let parent = path[..=depth].join(".");
        slot = match slot {
            Value::Table(table) => table
                .entry(key.as_str())
                .or_insert_with(|| Value::Table(Table::new())),
            Value::Array(entries) => {
                let length = entries.len();
                key.parse::<usize>()
                    .ok()
                    .and_then(|index| entries.get_mut(index))
                    .ok_or_else(|| Unusable::Index {
                        parent: parent.clone(),
                        length,
                        key: key.clone(),
                    })?
            }
            other => {
                return Err(Unusable::NoTable {
                    parent,
                    found: describe(other),
                    key: key.clone(),
                });
            }
        };
    }
    *slot = value;
    Ok(())
}

//! Values of TOML that JSON cannot say, and would say otherwise.

use toml::Value;

/// A value that cannot be sent as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is {found}, which JSON cannot say; expected {expected}")]
pub struct NumberError {
    /// Its path, with dots.
    place: String,
    /// What was found.
    found: String,
    /// What is expected.
    expected: &'static str,
}

/// Refuses what becomes something else on its way to JSON: NaN and infinities, which become null,
/// and dates, which become tables.
pub(crate) fn plain(table: &toml::Table) -> Result<(), NumberError> {
    table
        .iter()
        .try_for_each(|(name, value)| check(name.clone(), value))
}

fn check(place: String, value: &Value) -> Result<(), NumberError> {
    let refuse = |found: String, expected: &'static str| {
        let place = place.clone();
        Err(NumberError {
            place,
            found,
            expected,
        })
    };
    match value {
        Value::Float(number) if !number.is_finite() => {
            refuse(number.to_string(), "a finite number")
        }
        Value::Datetime(date) => refuse(format!("the date {date}"), "a string"),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(format!("{place}.{index}"), item)),
        Value::Table(table) => table
            .iter()
            .try_for_each(|(name, value)| check(format!("{place}.{name}"), value)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_would_change_is_refused_by_its_path() {
        for (text, part) in [
            ("n = nan", "n is NaN"),
            ("a = { b = [1.0, -inf] }", "a.b.1 is -inf"),
            ("when = 2026-01-02", "when is the date 2026-01-02"),
        ] {
            let message = plain(&toml::from_str(text).unwrap())
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(part), "{message}");
        }
        assert!(plain(&toml::from_str("a = [1, 2.5, true, \"x\", {}]").unwrap()).is_ok());
    }
}

//! Placeholders in an adapter's addresses and bodies.

use serde_json::{Map, Value};

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values<'a> {
    /// `{prompt}`.
    pub prompt: &'a str,
    /// `{model}`, and `{app}`: its first two parts.
    pub model: &'a str,
    /// `{handle}`: what tells this submission from all others.
    pub handle: &'a str,
    /// `{id}`: the provider's name for the job.
    pub id: &'a str,
    /// `{seed}`: a number of 31 bits, different for each sample.
    pub seed: u32,
}

/// The names that may stand in braces.
pub(crate) const NAMES: [&str; 6] = ["prompt", "model", "app", "handle", "id", "seed"];

impl Values<'_> {
    fn text(&self, name: &str) -> Option<String> {
        Some(match name {
            "prompt" => self.prompt.to_string(),
            "model" => self.model.to_string(),
            "app" => self
                .model
                .splitn(3, '/')
                .take(2)
                .collect::<Vec<_>>()
                .join("/"),
            "handle" => self.handle.to_string(),
            "id" => self.id.to_string(),
            "seed" => self.seed.to_string(),
            _ => return None,
        })
    }

    /// A body: strings are filled in, and one that is nothing but `{seed}` becomes a number.
    pub fn fill(&self, template: &Value) -> Value {
        match template {
            Value::String(text) if text == "{seed}" => Value::from(self.seed),
            Value::String(text) => Value::String(self.fill_text(text, &|text| text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill(item)).collect()),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), self.fill(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// An address below the base, with everything encoded that could lead elsewhere.
    pub fn fill_path(&self, template: &str) -> String {
        self.fill_text(template, &|text| encode_path(&text))
    }

    /// Goes through the template once, so that a prompt with braces in it stays as it is.
    fn fill_text(&self, template: &str, encode: &dyn Fn(String) -> String) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let value = rest
                .find('}')
                .and_then(|end| Some((self.text(&rest[1..end])?, end)));
            match value {
                Some((value, end)) => {
                    filled.push_str(&encode(value));
                    rest = &rest[end + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled + rest
    }
}

/// Slashes stay, since models and operations have them; `.` and `..` as whole parts do not.
fn encode_path(text: &str) -> String {
    let part = |part: &str| {
        if part.chars().all(|letter| letter == '.') {
            return part.replace('.', "%2E");
        }
        part.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte) {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    };
    text.split('/').map(part).collect::<Vec<String>>().join("/")
}

/// The first name in braces that stands for nothing.
pub(crate) fn unknown_name(template: &str) -> Option<&str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .find(|name| !NAMES.contains(name))
}

/// The same in all strings of a body.
pub(crate) fn unknown_name_in(body: &Value) -> Option<&str> {
    match body {
        Value::String(text) => unknown_name(text),
        Value::Array(items) => items.iter().find_map(unknown_name_in),
        Value::Object(fields) => fields.values().find_map(unknown_name_in),
        _ => None,
    }
}

/// Why parameters cannot be put into an adapter's body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The body has no table at that pointer.
    #[error("parameters_at = {0:?} is no table of submit.body")]
    NoTable(String),
    /// A parameter has the name of a field that the adapter fills in.
    #[error("the parameter {0:?} is filled in by the adapter itself; leave it out")]
    FilledIn(String),
}

/// Puts `parameters` beside what stands at the JSON pointer `at`, which the template must have.
pub(crate) fn merge(
    body: &mut Value,
    at: &str,
    parameters: &Map<String, Value>,
) -> Result<(), MergeError> {
    let Some(Value::Object(fields)) = body.pointer_mut(at) else {
        return Err(MergeError::NoTable(at.to_string()));
    };
    for (name, value) in parameters {
        if fields.insert(name.clone(), value.clone()).is_some() {
            return Err(MergeError::FilledIn(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VALUES: Values = Values {
        prompt: "a {model} \"x\"",
        model: "owner/app/v1/fast",
        handle: "h",
        id: "models/m/operations/../7?x",
        seed: 5,
    };

    #[test]
    fn bodies_are_filled_in_once_and_seeds_are_numbers() {
        let template = json!({
            "input": { "prompt": "{prompt}", "seed": "{seed}", "n": 3 },
            "list": ["{model}: {seed}", "{unknown} {"],
        });
        let expected = json!({
            "input": { "prompt": "a {model} \"x\"", "seed": 5, "n": 3 },
            "list": ["owner/app/v1/fast: 5", "{unknown} {"],
        });
        assert_eq!(VALUES.fill(&template), expected);
    }

    #[test]
    fn addresses_cannot_be_led_elsewhere() {
        assert_eq!(
            VALUES.fill_path("/{app}/requests/{id}/status"),
            "/owner/app/requests/models/m/operations/%2E%2E/7%3Fx/status"
        );
        assert_eq!(
            VALUES.fill_path("/v1/{prompt}"),
            "/v1/a%20%7Bmodel%7D%20%22x%22"
        );
    }

    #[test]
    fn parameters_go_where_the_adapter_wants_them_and_replace_nothing() {
        let parameters = json!({ "duration": 5 }).as_object().unwrap().clone();
        let mut body = json!({ "input": { "prompt": "{prompt}" } });
        merge(&mut body, "/input", &parameters).unwrap();
        assert_eq!(
            body,
            json!({ "input": { "prompt": "{prompt}", "duration": 5 } })
        );
        assert!(
            merge(&mut body, "/input", &parameters)
                .unwrap_err()
                .to_string()
                .contains("\"duration\"")
        );
        assert!(
            merge(&mut body, "/elsewhere", &parameters)
                .unwrap_err()
                .to_string()
                .contains("elsewhere")
        );
        assert_eq!(unknown_name("/{id}/{what}"), Some("what"));
    }
}

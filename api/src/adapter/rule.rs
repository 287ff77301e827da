//! What a provider's answers mean.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// If an answer has this status and this value, it means that. The first rule that fits counts.
/// What a server in trouble says (429, 5xx) is not about the job, so that only rules with that
/// status fit it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// HTTP status.
    #[serde(default)]
    pub http: Option<u16>,
    /// Pointer to the value; numbers and booleans count by their text.
    #[serde(default)]
    pub at: Option<String>,
    /// It is one of these.
    #[serde(default)]
    pub is: Option<Vec<String>>,
    /// It is there and none of these.
    #[serde(default)]
    pub is_not: Option<Vec<String>>,
    /// It begins with one of these.
    #[serde(default)]
    pub starts_with: Option<Vec<String>>,
    /// One of these is in it, in capitals or not.
    #[serde(default)]
    pub contains: Option<Vec<String>>,
    /// It is there and not null.
    #[serde(default)]
    pub exists: Option<bool>,
    /// What that means.
    pub outcome: Outcome,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The job waits.
    Pending,
    /// The job runs.
    Running,
    /// The clip is ready.
    Done,
    /// The job failed, and would again.
    Failed,
    /// The job failed through no fault of the request; another attempt may do better.
    FailedRetry,
    /// The provider will not make this clip.
    Refused,
    /// The request is not one that the provider understands; nothing was accepted.
    Rejected,
    /// Busy: nothing was accepted, ask again later.
    Again,
    /// Key, account or address: nothing will be accepted until the user does something.
    Stop,
    /// This handle was accepted before.
    Duplicate,
    /// There is no job of this handle.
    Missing,
}

impl Rule {
    /// Whether the rule fits an answer.
    pub(crate) fn fits(&self, status: u16, answer: &Value) -> bool {
        if self.http.is_some_and(|expected| expected != status) {
            return false;
        }
        if self.http.is_none() && (status == 429 || status >= 500) {
            return false;
        }
        let Some(pointer) = &self.at else {
            return self.http.is_some();
        };
        let value = text_at(answer, pointer);
        let any = |list: &Option<Vec<String>>, fits: &dyn Fn(&str, &str) -> bool| {
            list.as_ref().is_none_or(|list| {
                value
                    .as_ref()
                    .is_some_and(|value| list.iter().any(|item| fits(value, item)))
            })
        };
        any(&self.is, &|value, item| value == item)
            && any(&self.starts_with, &|value, item| value.starts_with(item))
            && any(&self.contains, &|value, item| {
                value.to_lowercase().contains(&item.to_lowercase())
            })
            && self
                .is_not
                .as_ref()
                .is_none_or(|list| value.as_ref().is_some_and(|value| !list.contains(value)))
            && self
                .exists
                .is_none_or(|expected| value.is_some() == expected)
    }
}

/// What the first rule that fits says.
pub(crate) fn outcome_of(rules: &[Rule], status: u16, answer: &Value) -> Option<Outcome> {
    rules
        .iter()
        .find(|rule| rule.fits(status, answer))
        .map(|rule| rule.outcome)
}

/// A value as text; `None` where there is none, or null, or an empty string.
pub(crate) fn text_at(answer: &Value, pointer: &str) -> Option<String> {
    match answer.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_fit_by_status_and_value() {
        let rule = |text: &str| toml::from_str::<Rule>(text).unwrap();
        let answer = json!({
            "code": 1301,
            "error": { "message": "Safety first" },
            "done": false,
            "nothing": null,
        });
        for (text, fits) in [
            ("http = 400\noutcome = \"refused\"", true),
            ("http = 401\noutcome = \"refused\"", false),
            (
                "at = \"/code\"\nis = [\"1301\"]\noutcome = \"refused\"",
                true,
            ),
            (
                "at = \"/code\"\nis_not = [\"0\"]\noutcome = \"refused\"",
                true,
            ),
            (
                "at = \"/absent\"\nis_not = [\"0\"]\noutcome = \"refused\"",
                false,
            ),
            (
                "at = \"/error/message\"\ncontains = [\"safety\"]\noutcome = \"refused\"",
                true,
            ),
            (
                "at = \"/error/message\"\nstarts_with = [\"first\"]\noutcome = \"refused\"",
                false,
            ),
            (
                "at = \"/done\"\nis = [\"false\"]\noutcome = \"running\"",
                true,
            ),
            (
                "at = \"/nothing\"\nexists = true\noutcome = \"failed\"",
                false,
            ),
            (
                "http = 400\nat = \"/error\"\nexists = true\noutcome = \"failed\"",
                true,
            ),
        ] {
            assert_eq!(rule(text).fits(400, &answer), fits, "{text}");
            assert!(
                !rule(text).fits(500, &answer) && !rule(text).fits(429, &answer),
                "{text}"
            );
        }
        assert!(
            rule("http = 500\nat = \"/error\"\nexists = true\noutcome = \"failed\"")
                .fits(500, &answer)
        );
    }
}

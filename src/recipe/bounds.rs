//! The bounds that the tables' attributes give, checked.

use serde_json::{Map, Value};

use super::Problem;
use super::schema::{first_type, number_text, resolve, schema};
use super::tables::Settings;

/// Checks every bound that a field's attributes give.
///
/// # Errors
/// The first field outside its bound, with its value and what it may be.
pub(super) fn check(settings: &Settings) -> Result<(), Problem> {
    let value = serde_json::to_value(settings).map_err(Problem::from_error)?;
    within("", schema(), &value)
}

/// The same for one table, such as those that a student carries away; `name` is the table's.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_table(name: &str, table: &impl serde::Serialize) -> Result<(), Problem> {
    let value = serde_json::to_value(table).map_err(Problem::from_error)?;
    within(name, &schema()["properties"][name], &value)
}

fn within(path: &str, property: &Value, value: &Value) -> Result<(), Problem> {
    let schema = resolve(property);
    match value {
        Value::Object(fields) => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            for (name, value) in fields {
                let Some(property) = properties.get(name) else {
                    continue;
                };
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                within(&path, property, value)?;
            }
            Ok(())
        }
        Value::Array(values) => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            if (values.len() as u64) < least {
                return Err(Problem::new(format!(
                    "{path} is {value}, must have {least} or more values"
                )));
            }
            let fits = |value| within(path, &schema["items"], value).is_ok();
            if values.iter().all(fits) {
                return Ok(());
            }
            Err(refusal(path, value, &schema["items"]))
        }
        // What JSON cannot hold: serde_json writes infinities and NaN as null.
        Value::Null if first_type(schema) == Some("number") => Err(refusal(path, value, property)),
        Value::Number(number) => {
            let found = number.as_f64().unwrap_or(f64::NAN);
            let limit = |name: &str| property[name].as_f64().or_else(|| schema[name].as_f64());
            let fits = limit("minimum").is_none_or(|least| found >= least)
                && limit("exclusiveMinimum").is_none_or(|least| found > least)
                && limit("maximum").is_none_or(|most| found <= most)
                && limit("exclusiveMaximum").is_none_or(|most| found < most);
            if fits {
                return Ok(());
            }
            Err(refusal(path, value, property))
        }
        _ => Ok(()),
    }
}

fn refusal(path: &str, value: &Value, property: &Value) -> Problem {
    let found = match value {
        Value::Null => "no finite number".to_string(),
        Value::Number(number) => number_text(number),
        other => other.to_string(),
    };
    let schema = resolve(property);
    let limit = |name: &str| property[name].as_f64().or_else(|| schema[name].as_f64());
    let number = if first_type(schema) == Some("number") {
        "a finite number "
    } else {
        ""
    };
    let least = match (limit("minimum"), limit("exclusiveMinimum")) {
        (_, Some(least)) => Some(format!("above {least}")),
        (Some(least), None)
            if number.is_empty()
                || limit("maximum").is_some()
                || limit("exclusiveMaximum").is_some() =>
        {
            Some(format!("at least {least}"))
        }
        (Some(least), None) => Some(format!("of at least {least}")),
        (None, None) => None,
    };
    let most = match (limit("maximum"), limit("exclusiveMaximum")) {
        (_, Some(most)) => Some(format!("below {most}")),
        (Some(most), None) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let number = if most.is_some() { "" } else { number };
    let range: Vec<String> = least.into_iter().chain(most).collect();
    let what = if range.is_empty() {
        "a finite number".to_string()
    } else {
        format!("{number}{}", range.join(" and "))
    };
    let each = if value.is_array() { "each " } else { "" };
    Problem::new(format!("{path} is {found}, {each}must be {what}"))
}

#[cfg(test)]
mod tests {
    use crate::recipe::Recipe;
    use std::path::Path;

    fn refused(change: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        Recipe::load(&path, &[change.to_string()])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn bounds_are_refused_with_the_field_the_value_and_what_it_may_be() {
        for (change, expected) in [
            (
                "afd.beta=0",
                "afd.beta is 0, must be a finite number above 0",
            ),
            (
                "afd.beta=nan",
                "afd.beta is no finite number, must be a finite number above 0",
            ),
            (
                "afd.reference_weight=-1",
                "afd.reference_weight is -1, must be a finite number of at least 0",
            ),
            (
                "afd.ema_decay=1",
                "afd.ema_decay is 1, must be at least 0 and below 1",
            ),
            (
                "optimizer.beta_1=1.5",
                "optimizer.beta_1 is 1.5, must be at least 0 and below 1",
            ),
            ("run.shards=0", "run.shards is 0, must be at least 1"),
            (
                "clip.frames_per_second=inf",
                "clip.frames_per_second is no finite number",
            ),
            (
                "afd.warmup_pair_accuracy=[0.2, 1]",
                "each must be at least 0.5 and at most 1",
            ),
            (
                "discriminator.channels=[4, 0]",
                "discriminator.channels is [4,0], each must be at least 1",
            ),
            (
                "sampler.denoising_step_list=[]",
                "sampler.denoising_step_list is [], must have 1 or more values",
            ),
            (
                "reverse_chain.fresh_noise=0",
                "reverse_chain.fresh_noise is 0, must be above 0 and at most 1",
            ),
            (
                "student.lora={rank=0, alpha=1}",
                "student.lora.rank is 0, must be at least 1",
            ),
        ] {
            let error = refused(change);
            assert!(error.contains(expected), "{change}: {error}");
        }
    }
}

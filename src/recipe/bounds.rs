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
            if let Some(most) = schema["maxItems"].as_u64()
                && values.len() as u64 > most
            {
                let found = values.len();
                return Err(Problem::new(format!(
                    "{path} has {found} values, must have at most {most}"
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
            // Tensors are made of f32, whatever the recipe's own numbers are.
            if found.abs() > f64::from(f32::MAX) {
                return Err(Problem::new(format!(
                    "{path} is {}, must be a number that f32 can hold",
                    number_text(number)
                )));
            }
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

    /// Path, type and bound of every number of the tables.
    fn numbers() -> Vec<(String, String)> {
        let tables = crate::recipe::field_tables();
        let fields = tables.into_iter().flat_map(|table| table.fields);
        let numbers = fields.filter(|field| ["number", "integer"].contains(&field.kind.as_str()));
        // An API's settings are another crate's, and are tested with a whole table below.
        numbers
            .map(|field| (field.path, field.kind))
            .filter(|(path, _)| !path.starts_with("teacher.api"))
            .collect()
    }

    /// The overrides that a field's table needs to be there.
    fn loaded(set: &[String]) -> Result<Recipe, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/golden/recipe.toml");
        Recipe::load(&path, set).map_err(|error| error.to_string())
    }

    fn with_its_table(path: &str, value: &str) -> Vec<String> {
        let mut set = Vec::new();
        if path.starts_with("data.") {
            set.push("data.path=nowhere".to_string());
        }
        if let Some((table, _)) = path
            .rsplit_once('.')
            .filter(|(table, _)| table.ends_with("lora"))
        {
            set.push(format!("{table}={{rank=1, alpha=1}}"));
        }
        set.push(format!("{path}={value}"));
        set
    }

    #[test]
    fn every_number_of_a_recipe_is_finite_and_every_count_has_an_end() {
        // Any whole number is as good a seed as another.
        let seeds = ["seed", "teacher.seed"];
        let all = numbers();
        assert!(all.len() > 60, "{all:?}");
        for (path, kind) in &all {
            let values: &[&str] = match kind.as_str() {
                "number" => &["nan", "inf", "-inf", "1e39", "-1e39"],
                _ => &["9223372036854775807", "1000000000000000000"],
            };
            for value in values {
                match loaded(&with_its_table(path, value)) {
                    Ok(_) => assert!(seeds.contains(&path.as_str()), "{path} = {value}"),
                    Err(error) => assert!(error.contains(path.as_str()), "{path}: {error}"),
                }
            }
        }
    }

    /// What the tables allow, one field at a time, can be planned: no sum overflows.
    #[test]
    fn the_largest_value_of_every_count_is_planned_or_refused() {
        let largest = |path: &str| {
            let mut schema = super::schema();
            for part in path.split('.') {
                schema = &super::resolve(schema)["properties"][part];
            }
            schema["maximum"]
                .as_f64()
                .or(super::resolve(schema)["maximum"].as_f64())
        };
        let mut planned = 0;
        for (path, kind) in numbers() {
            let Some(value) = largest(&path).filter(|_| kind == "integer") else {
                continue;
            };
            let set = with_its_table(&path, &format!("{value}"));
            if let Ok(recipe) = loaded(&set) {
                let inputs = crate::plan::inputs::PlanInputs::of(&recipe, "flex");
                let plan = crate::plan::Plan::new(inputs, Some(1 << 30));
                assert!(plan.peak > 0, "{path}");
                let _ = recipe.settings.within_passes(Some(1 << 40));
                planned += 1;
            }
        }
        assert!(planned > 20, "{planned}");
    }

    #[test]
    fn what_documents_say_of_single_fields_is_kept() {
        for (set, expected) in [
            (
                "codec.mean=50",
                "codec.mean is 50, must be at least -1 and at most 1",
            ),
            (
                "codec.std=0.001",
                "codec.std is 0.001, must be at least 0.01 and at most 1",
            ),
            (
                "supervised.context_noise=5",
                "must be at least 0 and below 1",
            ),
            (
                "supervised.context_noise=-1",
                "must be at least 0 and below 1",
            ),
            (
                "clip.frames_per_second=1e300",
                "clip.frames_per_second is 1e300, must",
            ),
            (
                "optimizer.learning_rate=1e39",
                "1e39, must be a number that f32 can hold",
            ),
            ("run.keep=0", "run.keep is 0, must be at least 1"),
        ] {
            let error = loaded(&[set.to_string()]).unwrap_err();
            assert!(error.contains(expected), "{set}: {error}");
        }
    }
}

//! What the tables say of their fields, as a JSON Schema, and everything that is made of it: the
//! list of fields, `docs/recipe.md`, and the check of bounds.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Problem;
use super::document::fields_of;
use super::tables::Settings;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(Settings).to_value();
    schema["title"] = "afd recipe".into();
    shorten(&mut schema);
    schema
});

/// Writes f32 values without the digits that f64 adds.
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_u64() && !number.is_i64() => {
            if let Ok(short) = number_text(number).parse::<f64>() {
                *value = short.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// The JSON Schema (draft 2020-12) of a recipe. Editors complete and check TOML with it.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// One field of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Dotted path, such as `afd.beta`.
    pub path: String,
    /// Type in words: `number`, `integer`, `string`, `true/false`, or the names it may have.
    pub kind: String,
    /// Unit, empty for plain numbers and everything else.
    pub unit: String,
    /// What it may be, such as `> 0`; empty where every value of the type is allowed.
    pub bound: String,
    /// The default as TOML; `None` for a field that has to be given.
    pub default: Option<String>,
    /// What it means.
    pub doc: String,
}

/// A table of a recipe and its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Dotted path; empty for the fields above all tables.
    pub path: String,
    /// What it is.
    pub doc: String,
    /// Its fields, in the order of the table's type.
    pub fields: Vec<Field>,
}

/// Every table of a recipe, nested ones after those that hold them.
pub fn tables() -> Vec<Table> {
    let mut tables = Vec::new();
    collect("", schema(), &Value::Null, &mut tables);
    tables
}

/// `defaults` is the table that stands where the recipe has none.
fn collect(path: &str, schema: &Value, defaults: &Value, tables: &mut Vec<Table>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = strings(&schema["required"]);
    let place = tables.len();
    tables.push(Table {
        path: path.to_string(),
        doc: first_paragraph(schema),
        fields: Vec::new(),
    });
    for name in fields_of::<Settings>(path) {
        let Some((name, property)) = properties.get_key_value(&name) else {
            continue;
        };
        let inner = resolve(property);
        let full = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if inner["properties"].is_object() {
            let before = tables.len();
            let own = property.get("default").or_else(|| defaults.get(name));
            collect(&full, inner, own.unwrap_or(&Value::Null), tables);
            // The field's own sentence says more than the table's type.
            if let (Some(doc), Some(table)) =
                (property["description"].as_str(), tables.get_mut(before))
            {
                table.doc = plain(doc);
            }
            continue;
        }
        let field = Field {
            kind: kind(property),
            unit: property["unit"].as_str().unwrap_or_default().to_string(),
            bound: bound(property),
            default: (!required.contains(&name.as_str()))
                .then(|| default_text(defaults.get(name).or_else(|| property.get("default")))),
            doc: description(property, inner),
            path: full,
        };
        tables[place].fields.push(field);
    }
}

fn strings(list: &Value) -> Vec<&str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

/// The schema itself where the property is a reference to one, or such a reference or nothing.
fn resolve(property: &Value) -> &Value {
    if let Some(name) = property["$ref"].as_str() {
        return name
            .strip_prefix("#/$defs/")
            .map_or(property, |name| &schema()["$defs"][name]);
    }
    let options = property["anyOf"].as_array();
    let present = options.and_then(|options| options.iter().find(|one| one["type"] != "null"));
    present.map_or(property, resolve)
}

fn kind(property: &Value) -> String {
    let schema = resolve(property);
    if let Some(names) = names(schema) {
        return names.join(" | ");
    }
    let Some(first) = first_type(schema) else {
        // An untagged choice, such as a file or a list of prompts.
        if schema["oneOf"].is_array() {
            return "table".to_string();
        }
        let options = schema["anyOf"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        return options.iter().map(kind).collect::<Vec<_>>().join(" or ");
    };
    match first {
        "array" => {
            let items = kind(&schema["items"]);
            match schema["maxItems"].as_u64() {
                Some(count) if schema["minItems"].as_u64() == Some(count) => {
                    format!("{count} of {items}")
                }
                _ => format!("list of {items}"),
            }
        }
        "boolean" => "true | false".to_string(),
        "object" => "table".to_string(),
        other => other.to_string(),
    }
}

fn first_type(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|one| *one != "null"),
        one => one.as_str(),
    }
}

/// The names of an enum.
fn names(schema: &Value) -> Option<Vec<String>> {
    if schema["enum"].is_array() {
        return Some(
            strings(&schema["enum"])
                .iter()
                .map(|name| format!("{name:?}"))
                .collect(),
        );
    }
    let options = schema["oneOf"].as_array()?;
    options
        .iter()
        .map(|option| {
            option["const"]
                .as_str()
                .map(|name| vec![format!("{name:?}")])
                .or_else(|| names(option))
        })
        .collect::<Option<Vec<_>>>()
        .map(|names| names.concat())
}

fn bound(property: &Value) -> String {
    let mut parts = Vec::new();
    let schema = resolve(property);
    let of_items = &schema["items"];
    let of_property = (!std::ptr::eq(property, schema)).then_some((property, ""));
    for (of, prefix) in of_property
        .into_iter()
        .chain([(schema, ""), (of_items, "each ")])
    {
        let unsigned = of["format"]
            .as_str()
            .is_some_and(|format| format.starts_with("uint"));
        let mut add = |name: &str, sign: &str| {
            if let Some(limit) = of[name].as_f64() {
                // That counts are not negative goes without saying.
                if !(unsigned && name == "minimum" && limit == 0.0) {
                    parts.push(format!("{prefix}{sign} {limit}"));
                }
            }
        };
        add("exclusiveMinimum", ">");
        add("minimum", ">=");
        add("exclusiveMaximum", "<");
        if first_type(of) == Some("number") || !unsigned {
            add("maximum", "<=");
        }
    }
    parts.join(", ")
}

fn default_text(default: Option<&Value>) -> String {
    match default {
        None | Some(Value::Null) => "none".to_string(),
        Some(Value::Number(number)) => number_text(number),
        Some(other) => other.to_string(),
    }
}

/// A number as one would write it: f32 values without the digits that f64 adds.
fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if !number.is_u64() && !number.is_i64() => {
            let short = value as f32;
            let text = if f64::from(short) == value {
                format!("{short:?}")
            } else {
                format!("{value:?}")
            };
            text.strip_suffix(".0").unwrap_or(&text).to_string()
        }
        _ => number.to_string(),
    }
}

fn description(property: &Value, inner: &Value) -> String {
    let own = property["description"].as_str().map(plain);
    let mut text = own.unwrap_or_else(|| first_paragraph(inner));
    if let Some(options) = inner["oneOf"].as_array() {
        for option in options {
            if let (Some(name), Some(doc)) =
                (option["const"].as_str(), option["description"].as_str())
            {
                let _ = write!(text, "\n{name:?}: {}", plain(doc));
            }
        }
    }
    text
}

fn first_paragraph(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    plain(text.split("\n\n").next().unwrap_or_default())
}

/// Rustdoc's links as plain code, on one line.
fn plain(doc: &str) -> String {
    let line = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("[`", "`").replace("`]", "`")
}

/// Checks every bound that a field's attributes give.
///
/// # Errors
/// The first field outside its bound, with its value and what it may be.
pub(super) fn check_bounds(settings: &Settings) -> Result<(), Problem> {
    let value = serde_json::to_value(settings).map_err(Problem::from_error)?;
    within("", schema(), &value)
}

/// The same for one table, such as those that a student carries away; `name` is the table's.
///
/// # Errors
/// As [`check_bounds`].
pub(crate) fn check_bounds_of(name: &str, table: &impl serde::Serialize) -> Result<(), Problem> {
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
            let mut values = values.iter();
            let outside = values.any(|value| within(path, &schema["items"], value).is_err());
            let few = schema["minItems"].as_u64().unwrap_or(0) > values.len() as u64;
            if outside || few && values.len() == 0 && value.as_array().is_some_and(Vec::is_empty) {
                return Err(refusal(path, value, &schema["items"]));
            }
            Ok(())
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
    use super::*;
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

    #[test]
    fn every_field_of_every_table_is_listed_with_type_default_and_meaning() {
        let tables = tables();
        let fields: Vec<&Field> = tables.iter().flat_map(|table| &table.fields).collect();
        let field = |path: &str| {
            *fields
                .iter()
                .find(|field| field.path == path)
                .unwrap_or_else(|| panic!("{path}"))
        };
        let beta = field("afd.beta");
        assert_eq!(
            (
                beta.kind.as_str(),
                beta.bound.as_str(),
                beta.default.as_deref()
            ),
            ("number", "> 0", Some("1"))
        );
        assert_eq!(field("student.frames_per_block").default, None);
        assert_eq!(field("optimizer.beta_1").default.as_deref(), Some("0.9"));
        assert_eq!(
            field("discriminator.optimizer.learning_rate")
                .default
                .as_deref(),
            Some("0.0005")
        );
        assert!(
            field("afd.loss").kind.contains("\"adaptive\""),
            "{:?}",
            field("afd.loss")
        );
        assert!(
            fields.iter().all(|field| !field.doc.is_empty()),
            "{fields:?}"
        );
    }
}

//! What the tables say of their fields, as a JSON Schema, and everything that is made of it: the
//! list of fields, `docs/recipe.md`, and the check of bounds.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::Value;

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
pub(super) fn resolve(property: &Value) -> &Value {
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

pub(super) fn first_type(schema: &Value) -> Option<&str> {
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
        add("maximum", "<=");
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
pub(super) fn number_text(number: &serde_json::Number) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! What went wrong while a document was read, and in which field.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};
use toml::Value;

/// One part of a field's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Key(String),
    Index(usize),
}

impl Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Part::Key(key) => formatter.write_str(key),
            Part::Index(index) => write!(formatter, "{index}"),
        }
    }
}

/// `stages[1].steps`; the whole document is `(top level)`.
pub(super) fn dotted(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Index(index) => text.push_str(&format!("[{index}]")),
            Part::Key(key) if text.is_empty() => text.push_str(key),
            Part::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    if text.is_empty() {
        "(top level)".into()
    } else {
        text
    }
}

/// What went wrong, and in which field.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: Vec<Part>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    UnknownField { field: String, known: Vec<String> },
    MissingField { field: String },
    UnknownName { found: String, known: Vec<String> },
    WrongType { found: String, expected: String },
    Refused { message: String },
}

impl Failure {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            path: Vec::new(),
            kind,
        }
    }

    /// The fields that are known where an unknown one stands; `"?"` at the top is the caller's own.
    pub(super) fn known_fields(self) -> Vec<String> {
        match self.kind {
            Kind::UnknownField { field, known } if field == "?" => known,
            _ => Vec::new(),
        }
    }

    pub(super) fn inside(mut self, part: Part) -> Self {
        self.path.insert(0, part);
        self
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}: {:?}", dotted(&self.path), self.kind)
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Refused {
            message: message.to_string(),
        })
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::new(Kind::WrongType {
            found: name_found(found),
            expected: name_expected(expected),
        })
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Kind::WrongType {
            found: format!("a list of {length}"),
            expected: name_expected(expected),
        })
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownName {
            found: found.into(),
            known: owned(known),
        })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownField {
            field: field.into(),
            known: owned(known),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingField {
            field: field.into(),
        })
    }
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn name_found(found: Unexpected) -> String {
    match found {
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Signed(number) => format!("the integer {number}"),
        Unexpected::Unsigned(number) => format!("the integer {number}"),
        Unexpected::Float(number) => format!("the number {number:?}"),
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Map => "a table".into(),
        Unexpected::Seq => "a list".into(),
        other => other.to_string(),
    }
}

/// serde names Rust types; a recipe's author thinks in TOML.
pub(super) fn name_expected(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "usize" | "u64" => "a whole number from 0".into(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "isize" | "i64" | "i32" | "i16" | "i8" => "a whole number".into(),
        "f64" | "f32" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        text if text.starts_with("struct ") || text.starts_with("internally tagged enum ") => "a \
            table"
            .into(),
        text => text.replace("an array of length", "a list of length"),
    }
}

/// The value in a message's words, exactly as a wrong-type error would have it.
pub(super) fn describe(value: &Value) -> String {
    name_found(unexpected(value))
}

pub(super) fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::String(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(truth) => Unexpected::Bool(*truth),
        Value::Datetime(_) => Unexpected::Other("a date"),
        Value::Array(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    }
}

/// The path of the one value at or below `path` that matches.
///
/// serde buffers internally tagged enums, so errors inside them carry only the path of the enum;
/// this finds the culprit.
pub(super) fn find(
    document: &Value,
    path: &[Part],
    matches: impl Fn(&Value) -> bool,
) -> Option<Vec<Part>> {
    fn search(
        value: &Value,
        path: Vec<Part>,
        matches: &dyn Fn(&Value) -> bool,
        found: &mut Vec<Vec<Part>>,
    ) {
        if matches(value) {
            found.push(path);
            return;
        }
        let below = |part| [&path[..], &[part]].concat();
        match value {
            Value::Table(table) => {
                table.iter().for_each(|(key, inner)| {
                    search(inner, below(Part::Key(key.clone())), matches, found)
                });
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(index, inner)| {
                    search(inner, below(Part::Index(index)), matches, found)
                });
            }
            _ => {}
        }
    }
    let start = path.iter().try_fold(document, |value, part| match part {
        Part::Key(key) => value.get(key),
        Part::Index(index) => value.get(index),
    })?;
    let mut found = Vec::new();
    search(start, path.to_vec(), &matches, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

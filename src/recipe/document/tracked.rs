//! A serde deserializer over TOML values whose errors carry the path to the field and stay
//! structured.
//!
//! serde calls the error type's `unknown_field`, `missing_field` and so on where it notices a
//! mistake; each table and list on the way out adds its own part of the path.

use std::fmt::{self, Display};

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
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
    fn new(kind: Kind) -> Self {
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

    fn inside(mut self, part: Part) -> Self {
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

fn owned(names: &[&str]) -> Vec<String> {
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
fn name_expected(expected: &dyn Expected) -> String {
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

fn unexpected(value: &Value) -> Unexpected<'_> {
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

/// Reads a `T`; every field must be known to it.
pub(super) fn read<T: DeserializeOwned>(document: Value) -> Result<T, Failure> {
    T::deserialize(Tracked(document))
}

struct Tracked(Value);

impl Tracked {
    fn wrong_type<'de, V: Visitor<'de>>(&self, visitor: &V) -> Failure {
        serde::de::Error::invalid_type(unexpected(&self.0), visitor)
    }
}

impl<'de> Deserializer<'de> for Tracked {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(truth) => visitor.visit_bool(truth),
            Value::Datetime(_) => Err(self.wrong_type(&visitor)),
            Value::Array(list) => {
                let length = list.len();
                let mut entries = Entries {
                    rest: list.into_iter(),
                    index: 0,
                };
                let value = visitor.visit_seq(&mut entries)?;
                // Arrays and tuples stop reading when they are full.
                if entries.rest.len() > 0 {
                    let expected = format!("a list of {}", entries.index);
                    return Err(Failure::new(Kind::WrongType {
                        found: format!("a list of {length}"),
                        expected,
                    }));
                }
                Ok(value)
            }
            Value::Table(table) => visitor.visit_map(Fields::new(table, &[])),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Table(table) => visitor.visit_map(Fields::new(table, known)),
            // serde would take a list as the fields in order, which nobody means in a recipe.
            _ => Err(self.wrong_type(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.0 {
            Value::String(name) => {
                let name: StringDeserializer<Failure> = name.into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Table(table) if table.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Fields::new(table, known)))
            }
            other => Err(Failure::new(Kind::WrongType {
                found: describe(&other),
                expected: format!("one of: {}", known.join(", ")),
            })),
        }
    }

    /// Only fields that the type would skip come here: [`Fields`] turns this into an unknown field.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Failure> {
        Err(Failure::new(Kind::UnknownField {
            field: String::new(),
            known: Vec::new(),
        }))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Entries {
    rest: std::vec::IntoIter<Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for &mut Entries {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(value) = self.rest.next() else {
            return Ok(None);
        };
        let read = seed
            .deserialize(Tracked(value))
            .map_err(|failure| failure.inside(Part::Index(self.index)))?;
        self.index += 1;
        Ok(Some(read))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Fields {
    rest: toml::map::IntoIter<String, Value>,
    pending: Option<(String, Value)>,
    known: &'static [&'static str],
}

impl Fields {
    fn new(table: toml::Table, known: &'static [&'static str]) -> Self {
        Self {
            rest: table.into_iter(),
            pending: None,
            known,
        }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        let name: StringDeserializer<Failure> = key.clone().into_deserializer();
        self.pending = Some((key, value));
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, value)) = self.pending.take() else {
            return Err(Failure::new(Kind::Refused {
                message: "a value was read before its name".into(),
            }));
        };
        seed.deserialize(Tracked(value))
            .map_err(|failure| match failure.kind {
                Kind::UnknownField { field, .. } if field.is_empty() && failure.path.is_empty() => {
                    Failure::new(Kind::UnknownField {
                        field: key,
                        known: owned(self.known),
                    })
                }
                _ => failure.inside(Part::Key(key)),
            })
    }
}

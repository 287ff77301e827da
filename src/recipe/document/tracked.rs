//! A serde deserializer over TOML values whose errors carry the path to the field and stay
//! structured.
//!
//! serde calls the error type's `unknown_field`, `missing_field` and so on where it notices a
//! mistake; each table and list on the way out adds its own part of the path.

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Value;

use super::failure::{Failure, Kind, Part, describe, owned, unexpected};

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
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple
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

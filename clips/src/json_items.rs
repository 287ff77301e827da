//! Arrays of JSON, read one item at a time: a list of any length takes the memory of its text and
//! of one item.

use serde::{Deserializer, de};
use serde_json::value::RawValue;

/// Tells `each` the text of every item of an array, until it says `false`.
///
/// # Errors
/// What is no array, or is damaged; items before the damage have been told.
pub(crate) fn items(
    text: &str,
    each: &mut dyn FnMut(&str) -> bool,
) -> Result<(), serde_json::Error> {
    struct Items<'a>(&'a mut dyn FnMut(&str) -> bool);

    impl<'de> de::Visitor<'de> for Items<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("an array")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
            let mut goes_on = true;
            while let Some(item) = sequence.next_element::<&RawValue>()? {
                goes_on = goes_on && (self.0)(item.get());
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_seq(Items(each))?;
    reader.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_told_one_by_one_and_what_is_no_array_is_named() {
        let mut found = Vec::new();
        let mut hear = |item: &str| {
            found.push(item.to_string());
            found.len() < 2
        };
        items(" [1, {\"a\": [2]} , \"b\"]\n", &mut hear).unwrap();
        assert_eq!(found, ["1", "{\"a\": [2]}"]);
        for (text, expected) in [
            ("{\"a\": 1}", "expected an array"),
            ("[1, ", "EOF"),
            ("[1] [2]", "trailing"),
        ] {
            let message = items(text, &mut |_| true).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}

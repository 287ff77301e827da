//! What tells two recipes apart, field by field.

use std::collections::BTreeMap;

use toml::Value;

use super::{Recipe, RecipeError};

/// Most characters of a value that a message shows.
const SHOWN: usize = 60;

impl Recipe {
    /// Every field in which `asked` differs from this recipe, as "afd.beta is 0.5 there, 0.4 was
    /// asked for".
    ///
    /// # Errors
    /// A recipe that cannot be written as TOML.
    pub fn differences(&self, asked: &Self) -> Result<Vec<String>, RecipeError> {
        let (there, asked) = (self.fields()?, asked.fields()?);
        let mut names: Vec<&String> = there.keys().chain(asked.keys()).collect();
        names.sort();
        names.dedup();
        let differs = names
            .into_iter()
            .filter(|name| there.get(*name) != asked.get(*name));
        let say = |name: &String| {
            let (there, asked) = (shown(there.get(name)), shown(asked.get(name)));
            format!("{name} is {there} there, {asked} was asked for")
        };
        Ok(differs.map(say).collect())
    }

    /// Every field by its dotted name.
    fn fields(&self) -> Result<BTreeMap<String, Value>, RecipeError> {
        let table = super::document::to_table(&self.settings)?;
        let mut fields = BTreeMap::new();
        flatten(String::new(), Value::Table(table), &mut fields);
        Ok(fields)
    }
}

fn flatten(name: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let name = match name.as_str() {
                    "" => key,
                    _ => format!("{name}.{key}"),
                };
                flatten(name, value, fields);
            }
        }
        value => {
            fields.insert(name, value);
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_string(),
        Some(Value::Array(items)) if items.len() > 3 => format!("a list of {}", items.len()),
        Some(value) => {
            let text = value.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_field_that_differs_is_named_with_both_values() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/physics-world/distill.toml");
        let recipe = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            Recipe::load(&path, &set).unwrap()
        };
        let there = recipe(&["afd.beta=0.5", "teacher.seed=3"]);
        assert_eq!(there.differences(&there).unwrap(), Vec::<String>::new());
        let asked = recipe(&[
            "afd.beta=0.25",
            "teacher.seed=4",
            "prompts.held_out=[\"a small red ball is dropped on the moon\"]",
        ]);
        let differences = there.differences(&asked).unwrap();
        assert_eq!(differences.len(), 3, "{differences:?}");
        assert_eq!(differences[0], "afd.beta is 0.5 there, 0.25 was asked for");
        assert!(
            differences[1].starts_with("prompts.held_out is a list of ")
                && differences[1]
                    .ends_with("[\"a small red ball is dropped on the moon\"] was asked for"),
            "{differences:?}"
        );
        assert_eq!(differences[2], "teacher.seed is 3 there, 4 was asked for");
    }
}

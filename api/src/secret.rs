//! Keys: where they come from, and how they stay out of everything that is written.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::ApiError;

/// A key. Printing it, in any way, prints `[key]`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub fn new(key: String) -> Self {
        Self(key)
    }

    /// The key itself: for headers and signatures only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("[key]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("[key]")
    }
}

/// Where a key is found. The key itself never stands in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// The environment variable of this name.
    Env(String),
    /// The first line of this file, relative to the recipe.
    File(PathBuf),
}

impl KeySource {
    /// Reads the key.
    ///
    /// # Errors
    /// [`ApiError::Settings`] names the variable or the file, never what is in it.
    pub fn read(&self) -> Result<Secret, ApiError> {
        let (place, text) = match self {
            Self::Env(name) => (
                format!("the environment variable {name}"),
                std::env::var(name).map_err(|error| error.to_string()),
            ),
            Self::File(path) => (
                format!("the file {}", path.display()),
                std::fs::read_to_string(path).map_err(|error| error.to_string()),
            ),
        };
        let refuse =
            |problem: &str| ApiError::Settings(format!("teacher.api.key: {place} {problem}"));
        // `VarError` quotes a variable that is no UTF-8.
        let text = text.map_err(|_| refuse("cannot be read; set it, or name another place"))?;
        let key = text.lines().next().unwrap_or_default().trim();
        // What cannot stand in a header would show up in the error about the header.
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(
                "holds no key; expected one line of printable ASCII without spaces",
            ));
        }
        Ok(Secret(key.to_string()))
    }
}

impl<'de> Deserialize<'de> for KeySource {
    /// Written by hand so that a key that was pasted into a recipe is not quoted in the error about
    /// it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;
        const EXPECTED: &str = "expected { env = \"NAME\" } or { file = \"PATH\" }: a key itself \
            never stands in a recipe";
        impl<'de> serde::de::Visitor<'de> for Place {
            type Value = KeySource;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<KeySource, E> {
                Err(E::custom(EXPECTED))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<KeySource, A::Error> {
                use serde::de::Error;
                let mut found = None;
                while let Some(name) = map.next_key::<String>()? {
                    let value: String = map.next_value().map_err(|_| A::Error::custom(EXPECTED))?;
                    let place = match name.as_str() {
                        "env" => KeySource::Env(value),
                        "file" => KeySource::File(PathBuf::from(value)),
                        _ => return Err(A::Error::custom(EXPECTED)),
                    };
                    if found.replace(place).is_some() {
                        return Err(A::Error::custom(EXPECTED));
                    }
                }
                found.ok_or_else(|| A::Error::custom(EXPECTED))
            }
        }
        deserializer.deserialize_any(Place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Settings {
        key: KeySource,
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("sk-1234567890".to_string());
        let shown = format!("{secret} {secret:?} {:#?}", Some(&secret));
        assert!(
            !shown.contains("1234") && shown.contains("[key]"),
            "{shown}"
        );
    }

    #[test]
    fn a_key_pasted_into_a_recipe_is_refused_without_being_quoted() {
        for text in [
            "key = \"sk-1234\"",
            "key = { value = \"sk-1234\" }",
            "key = { env = [\"sk-1234\"] }",
            "key = { env = \"a\", file = \"sk-1234\" }",
        ] {
            let error = toml::from_str::<Settings>(text).unwrap_err();
            assert!(!error.message().contains("1234"), "{}", error.message());
            assert!(
                error.message().contains("never stands in a recipe"),
                "{}",
                error.message()
            );
        }
        let settings: Settings = toml::from_str("key = { env = \"KLING_KEY\" }").unwrap();
        assert_eq!(settings.key, KeySource::Env("KLING_KEY".to_string()));
        assert_eq!(
            toml::from_str::<Settings>(&toml::to_string(&settings).unwrap())
                .unwrap()
                .key,
            settings.key
        );
    }

    #[test]
    fn a_key_file_gives_its_first_line_and_errors_name_the_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "  sk-1234 \r\nmore\n").unwrap();
        assert_eq!(
            KeySource::File(path.clone()).read().unwrap().reveal(),
            "sk-1234"
        );
        for bytes in [
            &b""[..],
            b"\n",
            b"sk 1234",
            b"sk-\xff1234",
            "sk-1234\u{e9}".as_bytes(),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let message = KeySource::File(path.clone())
                .read()
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("key") && !message.contains("1234"),
                "{message}"
            );
        }
        let message = KeySource::Env("AFD_NO_SUCH_VARIABLE".to_string())
            .read()
            .unwrap_err()
            .to_string();
        assert!(message.contains("AFD_NO_SUCH_VARIABLE"), "{message}");
    }
}

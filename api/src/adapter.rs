//! What a provider's interface looks like, as data: where to submit, how to ask, what its answers
//! mean.

mod check;
mod numbers;
mod rule;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value};

pub use check::AdapterError;
pub(crate) use check::MOST_JOBS;
pub use numbers::NumberError;
pub(crate) use numbers::plain;
pub use rule::{Outcome, Rule};
pub(crate) use rule::{outcome_of, text_at};

pub use crate::template::MergeError;

use crate::{
    ApiError,
    clean::{brief, shown},
};

/// The adapters that ship, by name.
pub const BUILT_IN: [(&str, &str); 7] = [
    ("v1-videos", include_str!("../adapters/v1-videos.toml")),
    ("fal", include_str!("../adapters/fal.toml")),
    ("replicate", include_str!("../adapters/replicate.toml")),
    ("veo", include_str!("../adapters/veo.toml")),
    ("runway", include_str!("../adapters/runway.toml")),
    ("kling", include_str!("../adapters/kling.toml")),
    ("dashscope", include_str!("../adapters/dashscope.toml")),
];

/// A provider's interface.
///
/// `{prompt}`, `{model}`, `{app}` (the model's first two parts), `{handle}`, `{id}` and `{seed}` in
/// addresses and bodies are filled in. Addresses are below the base; pointers are JSON pointers
/// (RFC 6901) into an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// Its name: part of where a store's clips come from.
    pub name: String,
    /// One line for lists.
    pub about: String,
    /// Where the provider's terms stand.
    pub terms: String,
    /// The provider's address, without a path; a recipe may name another.
    #[serde(default)]
    pub base_url: Option<String>,
    /// How requests are signed.
    pub auth: Auth,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Parameters that are sent unless the recipe names others.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Where answers explain themselves; the first that is there is quoted in errors.
    #[serde(default)]
    pub messages: Vec<String>,
    /// The submission.
    pub submit: Submit,
    /// The question whether a job is done.
    pub poll: Poll,
    /// The way to the clip.
    pub result: ResultStep,
    /// What tells one submission from another.
    pub handle: Handle,
    /// What the price depends on.
    #[serde(default)]
    pub price: PriceShape,
    /// How fast the provider may be asked.
    #[serde(default)]
    pub limits: Limits,
}

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `Authorization: Key KEY`.
    Key,
    /// `NAME: KEY`.
    Header {
        /// The header.
        name: String,
    },
    /// `Authorization: Bearer TOKEN`, a JSON web token signed with HMAC-SHA256; the key is
    /// `ISSUER:SECRET`.
    JwtHs256 {
        /// How long a token is valid; a fresh one is made for every request.
        lifetime_secs: u64,
    },
    /// Not at all.
    None,
}

/// The submission: `POST base_url + path`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// Address.
    pub path: String,
    /// The JSON body.
    pub body: Value,
    /// Pointer into the body: where parameters go.
    pub parameters_at: String,
    /// Pointer to the provider's name for the job.
    pub id: String,
    /// Pointer to the address to poll, where the provider wants its own used; it must have the
    /// base's origin.
    #[serde(default)]
    pub poll_at: Option<String>,
    /// Pointer to the address of the result, under the same condition.
    #[serde(default)]
    pub result_at: Option<String>,
    /// Statuses that say that nothing was accepted, so that asking again pays nothing twice.
    #[serde(default = "overloaded")]
    pub not_accepted: Vec<u16>,
    /// What answers mean, before the status decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

fn overloaded() -> Vec<u16> {
    vec![429, 503]
}

/// The question whether a job is done: `GET`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// Address.
    pub path: String,
    /// Pointer to the state.
    pub state: String,
    /// What the states mean; numbers and booleans by their text.
    pub states: BTreeMap<String, Outcome>,
    /// What it means if there is no state.
    #[serde(default)]
    pub absent: Option<Outcome>,
    /// What answers mean, before the state decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// The way to the clip.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultStep {
    /// Address of the clip, or of an answer that names it; without it the poll's answer names it.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether that address is the clip.
    pub kind: ResultKind,
    /// Pointers to the clip's address; the first that is a string counts.
    #[serde(default)]
    pub url: Vec<String>,
    /// Whether the clip's address needs the key; it is sent to the base's origin only.
    #[serde(default)]
    pub authorised: bool,
    /// Hosts besides the provider's own and public ones that clips may be fetched from, over https:
    /// private names and addresses.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Whether clips are videos that only ffmpeg decodes; it is then looked for before anything is
    /// paid. Servers that hand out GIF files need none.
    #[serde(default = "yes")]
    pub needs_ffmpeg: bool,
    /// What answers mean, before the status decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

fn yes() -> bool {
    true
}

/// What the result's address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultKind {
    /// JSON that names the clip's address.
    Url,
    /// The clip.
    Bytes,
}

/// What tells one submission from another, so that a submission whose answer was lost is neither
/// lost nor repeated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Handle {
    /// Nothing: a submission without an answer stays unknown until the user decides.
    None,
    /// The same submission with the same handle gives the same job.
    Repeat {
        /// The header that carries the handle; without it, the body does.
        #[serde(default)]
        header: Option<String>,
    },
    /// The provider can be asked for the job of a handle, and accepts a handle once.
    Find {
        /// Address.
        path: String,
        /// Pointer to the job's name.
        id: String,
        /// What answers mean; status 404 means `missing`.
        #[serde(default)]
        rules: Vec<Rule>,
    },
}

/// What the price depends on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceShape {
    /// Pointer into the parameters: the clip's seconds.
    #[serde(default)]
    pub seconds_at: Option<String>,
}

/// How fast the provider may be asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Jobs under way at once, unless the recipe says otherwise.
    pub concurrency: usize,
    /// Submissions a minute; 0 = no limit.
    pub submissions_per_minute: u32,
    /// Seconds before the first poll, where the provider asks for more than the usual 2.
    pub first_poll_secs: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 4,
            submissions_per_minute: 0,
            first_poll_secs: None,
        }
    }
}

impl Adapter {
    /// The adapter of this name, or in this file (a name with a dot or a slash), relative to
    /// `directory`.
    ///
    /// # Errors
    /// [`ApiError::Settings`] for an unknown name and for a file that is no adapter.
    pub fn find(name: &str, directory: &Path) -> Result<Self, ApiError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text)
                .map_err(|problem| ApiError::Settings(format!("the adapter {name}: {problem}")));
        }
        let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        if !name.contains(['.', '/', '\\']) {
            let problem = format!(
                "there is no adapter {:?}; expected one of {}, or a path to a .toml file",
                brief(name),
                names.join(", ")
            );
            return Err(ApiError::Settings(problem));
        }
        let path = directory.join(name);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            ApiError::Settings(format!(
                "the adapter {} cannot be read: {error}",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|problem| {
            ApiError::Settings(format!("the adapter {}: {problem}", path.display()))
        })
    }

    /// Reads and checks an adapter.
    ///
    /// # Errors
    /// [`AdapterError`]: what was found and expected.
    pub fn parse(text: &str) -> Result<Self, AdapterError> {
        let refuse = |error: toml::de::Error| AdapterError::Toml(shown(error.to_string().trim()));
        plain(&toml::from_str(text).map_err(refuse)?)?;
        let adapter: Self = toml::from_str(text).map_err(refuse)?;
        adapter.check()?;
        Ok(adapter)
    }
}

#[cfg(test)]
mod tests;

//! An API teacher's settings as a recipe has them, and the checked [`Service`] that they make.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    ApiError,
    adapter::{Adapter, Auth, MOST_JOBS, plain},
    address::{is_local, origin},
    clean::{brief, shown},
    ledger::Sample,
    money::Money,
    pace::Pace,
    secret::{KeySource, Secret},
    template::{self, Values},
};

/// What is wrong where an adapter signs requests and no key is named.
pub(crate) const KEY_MISSING: &str =
    "key is missing; name { env = \"NAME\" } or { file = \"PATH\" }";

/// `[teacher.api]` of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// A shipped adapter (`afd teacher adapters` lists them), or a path to one, relative to the
    /// recipe.
    pub adapter: String,
    /// The provider's name for the model.
    #[serde(default)]
    pub model: String,
    /// The provider's address, for gateways, regions and own servers; https, or http on this
    /// machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Where the key is: `{ env = "NAME" }` or `{ file = "PATH" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySource>,
    /// What the provider is asked for besides the prompt, in its own words; replaces the adapter's
    /// defaults name by name. `"{seed}"` becomes a number of each sample's own.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub parameters: toml::Table,
    /// The most that may be spent on this store, in the provider's currency; never exceeded.
    pub budget: Money,
    /// What a clip costs.
    pub price: Price,
    /// Jobs under way at once, at most 256; 0 = the adapter's number.
    #[serde(default)]
    #[schemars(range(max = 256))]
    pub concurrency: usize,
    /// Whether training asks the provider for the clips that it needs and the store lacks;
    /// otherwise it replays the store.
    #[serde(default)]
    pub live: bool,
    /// How many clips ahead of training are asked for.
    #[serde(default = "default_ahead")]
    #[schemars(range(max = 100_000))]
    pub ahead: usize,
    /// Attempts at a sample whose job failed through no fault of the request.
    #[serde(default = "default_attempts")]
    #[schemars(range(max = 1000))]
    pub attempts: u32,
    /// Seconds of asking after which a job that is not done is given up.
    #[serde(default = "default_deadline")]
    #[schemars(range(max = 31_536_000))]
    pub deadline_secs: u64,
    /// Largest share of samples that may be refused, failed, overdue or unknown before training
    /// stops, in [0, 1].
    #[serde(default = "default_share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub refused_share: f64,
    /// Waits between polls and before repeated requests.
    #[serde(default)]
    pub pace: Pace,
    /// Longest waits for the provider.
    #[serde(default)]
    pub timeouts: Timeouts,
}

fn default_ahead() -> usize {
    32
}

fn default_attempts() -> u32 {
    3
}

fn default_deadline() -> u64 {
    3600
}

fn default_share() -> f64 {
    0.1
}

/// What a clip costs: `per_clip`, plus `per_second` times its seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For each clip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_clip: Option<Money>,
    /// For each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<Money>,
    /// JSON pointer into the parameters: the seconds, where the adapter does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_at: Option<String>,
}

/// Longest waits, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection.
    pub connect_secs: f64,
    /// For an answer.
    pub answer_secs: f64,
    /// For a clip.
    pub clip_secs: f64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_secs: 15.0,
            answer_secs: 60.0,
            clip_secs: 600.0,
        }
    }
}

/// A checked API teacher: what to send, where, for how much.
#[derive(Debug, Clone)]
pub struct Service {
    /// The provider's interface.
    pub adapter: Adapter,
    /// The settings it was made of.
    pub settings: ApiSettings,
    /// Scheme, host, port and path below which the adapter's addresses are, without a last slash.
    pub base_url: String,
    /// The price of a clip.
    pub price: Money,
    /// The directory of the store.
    pub store: PathBuf,
    /// Parameters, the adapter's and the recipe's.
    parameters: Map<String, Value>,
    /// `submit.body` with parameters, not filled in.
    body: Value,
}

impl Service {
    /// Checks settings; paths are relative to `directory`. Reads the adapter, but not the key.
    ///
    /// # Errors
    /// [`ApiError::Settings`] names the field, what was found and what is needed.
    pub fn new(settings: &ApiSettings, store: &Path, directory: &Path) -> Result<Self, ApiError> {
        let adapter = Adapter::find(&settings.adapter, directory)?;
        let base_url = base_url(settings, &adapter)?;
        check_needs(settings, &adapter)?;
        check_ranges(settings)?;
        let mut parameters = adapter.parameters.clone();
        plain(&settings.parameters).map_err(|problem| invalid(format!("parameters.{problem}")))?;
        let given = serde_json::to_value(&settings.parameters)
            .map_err(|error| invalid(format!("parameters: {error}")))?;
        let Value::Object(given) = given else {
            return Err(invalid("parameters is no table"));
        };
        parameters.extend(given);
        let mut body = adapter.submit.body.clone();
        template::merge(&mut body, &adapter.submit.parameters_at, &parameters)
            .map_err(|problem| invalid(format!("parameters: {problem}")))?;
        let price = price(&settings.price, &adapter, &parameters).map_err(invalid)?;
        Ok(Self {
            adapter,
            settings: settings.clone(),
            base_url,
            price,
            store: store.to_path_buf(),
            parameters,
            body,
        })
    }

    /// What the store's clips depend on: another adapter, model or parameter makes other clips. The
    /// address is left out: regions and gateways of one provider hold the same models.
    pub fn origin(&self) -> Value {
        json!({
            "teacher": "api",
            "adapter": self.adapter.name,
            "model": self.settings.model,
            "submit": self.adapter.submit.path,
            "body": self.body,
            "parameters": self.parameters,
        })
    }

    /// The key.
    pub(crate) fn key(&self) -> Result<Option<Secret>, ApiError> {
        match self.adapter.auth {
            Auth::None => Ok(None),
            _ => self.settings.key.as_ref().map(KeySource::read).transpose(),
        }
    }

    /// Jobs under way at once.
    pub fn concurrency(&self) -> usize {
        match self.settings.concurrency {
            0 => self.adapter.limits.concurrency.clamp(1, MOST_JOBS),
            number => number,
        }
    }

    /// What tells an attempt at a sample from all other submissions: the same in every process.
    pub(crate) fn handle(&self, sample: &Sample, attempt: u32) -> String {
        let text = json!([self.origin(), sample.0, sample.1, attempt]).to_string();
        format!("afd-{}", &blake3::hash(text.as_bytes()).to_hex()[..32])
    }

    /// A seed of the sample's own, below 2^31: the same in every attempt.
    pub(crate) fn seed(sample: &Sample) -> u32 {
        let hash = blake3::hash(json!([sample.0, sample.1]).to_string().as_bytes());
        let bytes = hash.as_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> 1
    }

    /// Address and body of a submission.
    pub(crate) fn submission(&self, sample: &Sample, handle: &str) -> (String, Value) {
        let values = Values {
            prompt: &sample.0,
            model: &self.settings.model,
            handle,
            seed: Self::seed(sample),
            id: "",
        };
        (
            format!(
                "{}{}",
                self.base_url,
                values.fill_path(&self.adapter.submit.path)
            ),
            values.fill(&self.body),
        )
    }

    /// An address of the adapter for a job, or for a handle.
    pub(crate) fn address(&self, path: &str, id: &str, handle: &str) -> String {
        let values = Values {
            model: &self.settings.model,
            handle,
            id,
            ..Values::default()
        };
        format!("{}{}", self.base_url, values.fill_path(path))
    }
}

/// The refusal of a field of `[teacher.api]`; `problem` begins with its name.
fn invalid(problem: impl Display) -> ApiError {
    ApiError::Settings(format!("teacher.api.{problem}"))
}

/// The address below which the adapter's paths are, without a last slash.
fn base_url(settings: &ApiSettings, adapter: &Adapter) -> Result<String, ApiError> {
    let given = settings.base_url.as_ref().or(adapter.base_url.as_ref());
    let url = given.ok_or_else(|| {
        invalid(format!(
            "base_url is missing: the adapter {} knows no address",
            adapter.name
        ))
    })?;
    let url = url.trim_end_matches('/').to_string();
    let secure = url.starts_with("https://") || is_local(&url);
    if origin(&url).is_none() || !secure || url.contains(['?', '#']) {
        // Before an @ and behind a ? stand passwords and signatures.
        let place = url.split(['?', '#']).next().unwrap_or_default();
        let found = shown(place.rsplit_once('@').map_or(place, |(_, host)| host));
        return Err(invalid(format!(
            "base_url is {found:?}; expected https://HOST, or http:// for a server on this machine"
        )));
    }
    Ok(url)
}

/// What the adapter cannot do without.
fn check_needs(settings: &ApiSettings, adapter: &Adapter) -> Result<(), ApiError> {
    let needs_model = [adapter.submit.body.to_string(), adapter.submit.path.clone()]
        .iter()
        .any(|text| text.contains("{model}"));
    if needs_model && settings.model.trim().is_empty() {
        return Err(invalid(format!(
            "model is missing: the adapter {} sends it",
            adapter.name
        )));
    }
    if adapter.auth != Auth::None && settings.key.is_none() {
        return Err(invalid(KEY_MISSING));
    }
    Ok(())
}

/// Numbers that cannot work with any adapter.
fn check_ranges(settings: &ApiSettings) -> Result<(), ApiError> {
    if settings.attempts == 0 || settings.deadline_secs == 0 || settings.ahead == 0 {
        return Err(invalid(
            "attempts, ahead and deadline_secs must be at least 1",
        ));
    }
    if settings.concurrency > MOST_JOBS {
        return Err(invalid(format!(
            "concurrency is {}, must be at most {MOST_JOBS}",
            settings.concurrency
        )));
    }
    if !(0.0..=1.0).contains(&settings.refused_share) {
        return Err(invalid(format!(
            "refused_share is {:?}, must be in [0, 1]",
            settings.refused_share
        )));
    }
    if let Some(problem) = settings.pace.problem() {
        return Err(invalid(problem));
    }
    let Timeouts {
        connect_secs,
        answer_secs,
        clip_secs,
    } = settings.timeouts;
    let possible = |seconds: &f64| (0.01..=86_400.0).contains(seconds);
    if ![connect_secs, answer_secs, clip_secs].iter().all(possible) {
        return Err(invalid(format!(
            "timeouts is {:?}; expected seconds from 0.01 to 86400",
            settings.timeouts
        )));
    }
    Ok(())
}

/// Why the price of a clip cannot be known.
#[derive(Debug, thiserror::Error)]
enum PriceError {
    #[error(
        "price has neither per_clip nor per_second; a budget cannot be kept without (0 for a \
            server of your own)"
    )]
    Missing,
    #[error("price.seconds_at is missing: say which parameter is the clip's seconds")]
    SecondsAt,
    #[error(
        "price.per_second needs the clip's seconds at {0:?} of the parameters, which is not there; \
            set that parameter"
    )]
    NoSeconds(String),
    #[error("the parameter {pointer:?} is {found:?}; expected seconds")]
    Seconds { pointer: String, found: String },
}

/// What a clip costs with these parameters.
fn price(
    price: &Price,
    adapter: &Adapter,
    parameters: &Map<String, Value>,
) -> Result<Money, PriceError> {
    if price.per_clip.is_none() && price.per_second.is_none() {
        return Err(PriceError::Missing);
    }
    let mut total = price.per_clip.unwrap_or_default();
    if let Some(per_second) = price.per_second {
        let pointer = price
            .seconds_at
            .as_ref()
            .or(adapter.price.seconds_at.as_ref())
            .ok_or(PriceError::SecondsAt)?;
        let seconds = crate::adapter::text_at(&Value::Object(parameters.clone()), pointer)
            .ok_or_else(|| PriceError::NoSeconds(pointer.clone()))?;
        // Some providers write 5, some "5", some "5s".
        let number =
            Money::parse(seconds.trim_end_matches('s')).map_err(|_| PriceError::Seconds {
                pointer: pointer.clone(),
                found: brief(&seconds),
            })?;
        total = total.plus(per_second.times_millionths(number.micros));
    }
    Ok(total)
}

#[cfg(test)]
mod tests;

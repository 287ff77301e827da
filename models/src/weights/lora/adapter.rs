//! The scale of factors as trainers write it down beside them: PEFT's adapter_config.json, the same
//! as diffusers puts it into the header, and Kohya's header.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::weights::WeightsError;
use crate::weights::file::{WeightFile, small_text};

/// Where the scale of factors was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlphaSource {
    /// An `.alpha` tensor beside each pair.
    Tensors,
    /// This entry of the file's header.
    Header(&'static str),
    /// PEFT's file beside the factors.
    Beside(PathBuf),
    /// Nowhere: alpha was taken to be the rank, as most programs do.
    Assumed,
}

impl fmt::Display for AlphaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensors => f.write_str("in its .alpha tensors"),
            Self::Header(key) => write!(f, "{key} in its header"),
            Self::Beside(path) => write!(f, "{}", path.display()),
            Self::Assumed => f.write_str(
                "assumed to be the rank: neither the file nor an adapter_config.json beside it \
                    tells",
            ),
        }
    }
}

/// diffusers' entry of the header: PEFT's settings as JSON.
const DIFFUSERS: &str = "lora_adapter_metadata";
/// What diffusers writes before the names of a transformer's settings.
const COMPONENT: &str = "transformer.";
/// Kohya's entries of the header.
const KOHYA_ALPHA: &str = "ss_network_alpha";
const KOHYA_RANK: &str = "ss_network_dim";
/// PEFT's file.
const PEFT: &str = "adapter_config.json";
/// Bytes of settings; those of thousands of layers are below.
const MOST_TEXT: u64 = 1 << 20;
/// Patterns of layers in settings.
const MOST_PATTERNS: usize = 4096;
/// What makes a pattern more than the end of a layer's name.
const SPECIAL: [char; 11] = ['\\', '*', '+', '?', '(', ')', '[', ']', '{', '|', '$'];

/// Ranks and scales as a trainer wrote them down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adapter {
    pub source: AlphaSource,
    rank: Option<usize>,
    /// `None`: the rank, whatever it is.
    alpha: Option<f64>,
    /// Ranks and alphas of layers whose names end so.
    ranks: BTreeMap<String, f64>,
    alphas: BTreeMap<String, f64>,
    /// Whether the scale is alpha / sqrt(rank)
    /// ([arXiv 2312.03732](https://arxiv.org/abs/2312.03732)).
    by_square_root: bool,
}

impl Adapter {
    /// What is written down in the header of `file` or beside it.
    pub fn of(file: &WeightFile) -> Result<Self, WeightsError> {
        let header = file.metadata();
        if let Some(text) = header.get(DIFFUSERS) {
            return Self::parse(text, AlphaSource::Header(DIFFUSERS), file);
        }
        let beside = file.path().with_file_name(PEFT);
        if beside.exists() {
            let text = small_text(&beside, MOST_TEXT)
                .map_err(|error| WeightsError::read(&beside, error.to_string()))?;
            return Self::parse(&text, AlphaSource::Beside(beside), file);
        }
        let mut adapter = Self {
            source: AlphaSource::Assumed,
            rank: None,
            alpha: None,
            ranks: BTreeMap::new(),
            alphas: BTreeMap::new(),
            by_square_root: false,
        };
        // Resized files say "Dynamic": every layer has an alpha of its own.
        let own = || file.entries().keys().any(|name| name.ends_with(".alpha"));
        let of_all = |alpha: &&String| *alpha != "Dynamic" || !own();
        if let Some(alpha) = header.get(KOHYA_ALPHA).filter(of_all) {
            adapter.source = AlphaSource::Header(KOHYA_ALPHA);
            adapter.alpha = match alpha.trim() {
                // Kohya's trainers take the rank then.
                "None" | "0" | "0.0" => None,
                number => Some(number.parse().map_err(|_| {
                    let problem = format!("{KOHYA_ALPHA} is {alpha:?}, expected a number");
                    WeightsError::read(file.path(), problem)
                })?),
            };
            adapter.rank = header.get(KOHYA_RANK).and_then(|rank| rank.parse().ok());
        }
        Ok(adapter)
    }

    fn parse(text: &str, source: AlphaSource, file: &WeightFile) -> Result<Self, WeightsError> {
        let fail = |problem: String| {
            let what = match &source {
                AlphaSource::Beside(path) => path.display().to_string(),
                _ => format!("{DIFFUSERS} in its header"),
            };
            WeightsError::read(file.path(), format!("{what} {problem}"))
        };
        if text.len() as u64 > MOST_TEXT {
            let (found, most) = (text.len(), MOST_TEXT);
            return Err(fail(format!("has {found} bytes, expected at most {most}")));
        }
        let settings: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| fail(format!("is no JSON of settings: {error}")))?;
        let get = |name: &str| {
            settings
                .get(&format!("{COMPONENT}{name}"))
                .or_else(|| settings.get(name))
                .filter(|value| !value.is_null())
        };
        let is = |name: &str| get(name).and_then(Value::as_bool) == Some(true);
        match get("peft_type").map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some("LORA") => {}
            Some(kind) => {
                return Err(fail(format!(
                    "says peft_type {kind:?}, and only LORA is read"
                )));
            }
        }
        for unread in [
            "use_dora",
            "use_qalora",
            "alora_invocation_tokens",
            "layer_replication",
        ] {
            if is(unread) || get(unread).is_some_and(|value| !value.is_boolean()) {
                return Err(fail(format!("says {unread}, which is not read")));
            }
        }
        let patterns = |name: &str| -> Result<BTreeMap<String, f64>, WeightsError> {
            let patterns: BTreeMap<String, f64> = match get(name) {
                None => BTreeMap::new(),
                Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
                    fail(format!("has a {name} that is no map to numbers: {error}"))
                })?,
            };
            if patterns.len() > MOST_PATTERNS {
                return Err(fail(format!("has a {name} of over {MOST_PATTERNS} layers")));
            }
            match patterns.keys().find(|pattern| pattern.contains(SPECIAL)) {
                Some(pattern) => Err(fail(format!(
                    "has the regular expression {pattern:?} in {name}, where only names of layers \
                        or their ends are read"
                ))),
                None => Ok(patterns),
            }
        };
        let alpha = get("lora_alpha").and_then(Value::as_f64).ok_or_else(|| {
            fail("has no number lora_alpha, which gives the factors' scale".to_string())
        })?;
        Ok(Self {
            rank: get("r").and_then(Value::as_u64).map(|rank| rank as usize),
            alpha: Some(alpha),
            ranks: patterns("rank_pattern")?,
            alphas: patterns("alpha_pattern")?,
            by_square_root: is("use_rslora"),
            source,
        })
    }

    /// Whether PEFT's settings were found, which every `.alpha` tensor must agree with.
    pub fn is_peft(&self) -> bool {
        !matches!(
            self.source,
            AlphaSource::Assumed | AlphaSource::Header(KOHYA_ALPHA)
        )
    }

    /// The alpha of a layer's factors of `rank`, so that they count alpha / rank; `names` are all
    /// that the layer has.
    ///
    /// # Errors
    /// What is written down and contradicts the rank, or itself.
    pub fn alpha(&self, names: [&str; 2], rank: usize) -> Result<f64, String> {
        let layer = names[1];
        let written = match chosen(&self.ranks, names)? {
            Some(rank) => Some(rank),
            None => self.rank.map(|rank| rank as f64),
        };
        if let Some(written) = written.filter(|written| *written != rank as f64) {
            return Err(format!(
                "the factors of {layer:?} have rank {rank}, but {} says {written}",
                self.source
            ));
        }
        let alpha = chosen(&self.alphas, names)?.or(self.alpha);
        let alpha = alpha.unwrap_or(rank as f64);
        Ok(if self.by_square_root {
            alpha * (rank as f64).sqrt()
        } else {
            alpha
        })
    }
}

/// The number of the pattern that fits one of a layer's names: a whole name or the end of one after
/// a dot; after ^ only a whole one.
fn chosen(patterns: &BTreeMap<String, f64>, names: [&str; 2]) -> Result<Option<f64>, String> {
    let fits = |pattern: &str| {
        names.iter().any(|name| match pattern.strip_prefix('^') {
            Some(whole) => *name == whole,
            None => name
                .strip_suffix(pattern)
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
        })
    };
    let mut found = patterns.iter().filter(|(pattern, _)| fits(pattern));
    let Some((first, number)) = found.next() else {
        return Ok(None);
    };
    match found.find(|(_, other)| *other != number) {
        None => Ok(Some(*number)),
        Some((second, _)) => Err(format!(
            "{first:?} and {second:?} both name the layer {:?} and give it other numbers",
            names[1]
        )),
    }
}

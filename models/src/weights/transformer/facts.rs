//! What is written down about a transformer besides its tensors: this program's own header, and
//! config.json as Wan and diffusers write it beside the file.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::student::StudentConfig;
use crate::weights::file::{WeightFile, small_text};

/// The file beside the weights.
const NAME: &str = "config.json";
/// Bytes of it; real ones have a few hundred.
const MOST_BYTES: u64 = 1 << 20;

/// What Wan and diffusers call the number of attention heads.
const HEADS: [&str; 2] = ["num_heads", "num_attention_heads"];

/// A whole number, also where it is written as 4.0.
fn whole(value: &Value) -> Option<u64> {
    let float = || {
        let value = value.as_f64()?;
        (value >= 0.0 && value.fract() == 0.0 && value < 1e15).then_some(value as u64)
    };
    value.as_u64().or_else(float)
}

/// What is written down.
pub(super) struct Facts {
    /// Attention heads, and who says so.
    pub heads: Option<(usize, String)>,
    /// Heads of this program's own header.
    own: Option<usize>,
    beside: Option<Beside>,
}

/// config.json of a Wan transformer, or why it cannot be read.
struct Beside {
    path: PathBuf,
    settings: Result<Map<String, Value>, String>,
}

impl Facts {
    pub fn of(file: &WeightFile) -> Self {
        let beside = Beside::of(file);
        let own = file.own_metadata().ok().and_then(|own| {
            let config: StudentConfig = serde_json::from_str(own.get("config")?).ok()?;
            Some(config.heads)
        });
        let told = || {
            let beside = beside.as_ref()?;
            Some((beside.heads()?, format!("as {NAME} beside it says")))
        };
        let heads = own
            .map(|heads| (heads, "as afd wrote into its header".to_string()))
            .or_else(told)
            .filter(|(heads, _)| *heads > 0);
        Self { heads, own, beside }
    }

    /// Every way in which header or config.json are not those of a transformer of these sizes.
    pub fn problems(&self, config: &StudentConfig) -> Vec<String> {
        let other = self.own.filter(|heads| *heads != config.heads);
        let mut problems: Vec<String> = other
            .map(|heads| format!("its header says heads {heads}, expected {}", config.heads))
            .into_iter()
            .collect();
        let Some(Beside { path, settings }) = &self.beside else {
            return problems;
        };
        let path = path.display();
        let settings = match settings {
            Ok(settings) => settings,
            Err(problem) => {
                problems.push(format!("{path} {problem}"));
                return problems;
            }
        };
        for (names, expected) in [
            (&HEADS[..], config.heads),
            (&["attention_head_dim"], config.head_width()),
            (&["dim"], config.width),
            (&["num_layers"], config.layers),
            (&["ffn_dim"], config.feed_forward_width),
            (&["freq_dim"], config.frequency_width),
            (&["text_dim"], config.text_width),
            (&["in_dim", "in_channels"], config.latent_channels),
            (&["out_dim", "out_channels"], config.latent_channels),
        ] {
            // Where both names stand there, both count.
            let told = names
                .iter()
                .filter_map(|name| Some((name, settings.get(*name)?)));
            for (name, found) in told {
                if whole(found) != Some(expected as u64) {
                    problems.push(format!("{path} says {name} {found}, expected {expected}"));
                }
            }
        }
        // What a student is, whatever its sizes.
        let patch = serde_json::json!([1, config.patch, config.patch]);
        let fits = |name: &str, value: &Value| match name {
            "patch_size" => *value == patch,
            "eps" => value.as_f64() == Some(StudentConfig::EPSILON),
            "cross_attn_norm" => *value == true,
            _ => *value == true || *value == "rms_norm_across_heads",
        };
        for name in ["patch_size", "eps", "cross_attn_norm", "qk_norm"] {
            if let Some(value) = settings.get(name).filter(|value| !fits(name, value)) {
                let expected = match name {
                    "patch_size" => patch.to_string(),
                    "eps" => format!("{:e}", StudentConfig::EPSILON),
                    "cross_attn_norm" => "true".to_string(),
                    _ => "true or \"rms_norm_across_heads\"".to_string(),
                };
                problems.push(format!("{path} says {name} {value}, expected {expected}"));
            }
        }
        problems
    }
}

impl Beside {
    /// config.json beside `file`, unless it is another model's.
    fn of(file: &WeightFile) -> Option<Self> {
        let path = file.path().with_file_name(NAME);
        if !path.exists() {
            return None;
        }
        let settings: Result<Map<String, Value>, String> = small_text(&path, MOST_BYTES)
            .map_err(|error| format!("cannot be read: {error}"))
            .and_then(|text| {
                serde_json::from_str(&text).map_err(|error| format!("is damaged: {error}"))
            });
        let is_wan = |settings: &Map<String, Value>| match settings
            .get("_class_name")
            .and_then(Value::as_str)
        {
            Some(class) => {
                class.contains("Wan") && class.ends_with("Model") && !class.contains("VAE")
            }
            None => HEADS.iter().any(|name| settings.contains_key(*name)),
        };
        let is_other = settings.as_ref().is_ok_and(|settings| !is_wan(settings));
        (!is_other).then_some(Self { path, settings })
    }

    fn heads(&self) -> Option<usize> {
        let settings = self.settings.as_ref().ok()?;
        let heads = HEADS.iter().find_map(|name| whole(settings.get(*name)?))?;
        usize::try_from(heads).ok()
    }
}

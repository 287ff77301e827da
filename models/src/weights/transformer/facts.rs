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

/// What is written down.
pub(super) struct Facts {
    /// Attention heads, and who says so.
    pub heads: Option<(usize, String)>,
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
            Some((config.heads, "as afd wrote into its header".to_string()))
        });
        let told = || {
            let beside = beside.as_ref()?;
            Some((beside.heads()?, format!("as {NAME} beside it says")))
        };
        let heads = own.or_else(told).filter(|(heads, _)| *heads > 0);
        Self { heads, beside }
    }

    /// Every way in which config.json is not that of a transformer of these sizes.
    pub fn problems(&self, config: &StudentConfig) -> Vec<String> {
        let Some(Beside { path, settings }) = &self.beside else {
            return Vec::new();
        };
        let path = path.display();
        let settings = match settings {
            Ok(settings) => settings,
            Err(problem) => return vec![format!("{path} {problem}")],
        };
        let number = |name: &str| settings.get(name).and_then(Value::as_u64);
        let mut problems = Vec::new();
        for (names, expected) in [
            (&["num_heads", "num_attention_heads"][..], config.heads),
            (&["attention_head_dim"], config.head_width()),
            (&["dim"], config.width),
            (&["num_layers"], config.layers),
            (&["ffn_dim"], config.feed_forward_width),
            (&["freq_dim"], config.frequency_width),
            (&["text_dim"], config.text_width),
            (&["in_dim", "in_channels"], config.latent_channels),
            (&["out_dim", "out_channels"], config.latent_channels),
        ] {
            let told = names.iter().find_map(|name| Some((*name, number(name)?)));
            if let Some((name, found)) = told.filter(|(_, found)| *found != expected as u64) {
                problems.push(format!("{path} says {name} {found}, expected {expected}"));
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
        let is_wan = |settings: &Map<String, Value>| {
            let class = settings.get("_class_name").and_then(Value::as_str);
            class.is_some_and(|class| {
                class.contains("Wan") && (class.ends_with("Model") && !class.contains("VAE"))
            })
        };
        let is_other = settings.as_ref().is_ok_and(|settings| !is_wan(settings));
        (!is_other).then_some(Self { path, settings })
    }

    fn heads(&self) -> Option<usize> {
        let settings = self.settings.as_ref().ok()?;
        let names = ["num_heads", "num_attention_heads"];
        let heads = names
            .iter()
            .find_map(|name| settings.get(*name)?.as_u64())?;
        usize::try_from(heads).ok()
    }
}

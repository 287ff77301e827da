//! Low-rank factors out of a file, whoever named them.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use super::adapter::Adapter;
use super::{AlphaSource, Factors, LoraFile, same};
use crate::lora::LoraConfig;
use crate::weights::check::few;
use crate::weights::file::WeightFile;
use crate::weights::layout::Layout;
use crate::weights::{HostTensor, WeightsError};

/// Prefixes that programs put before a transformer's factors.
const PREFIXES: [&str; 4] = [
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "base_model.model.",
];
/// What Kohya's trainers and musubi-tuner begin their names with, which have underscores for dots.
const UNDERSCORED: [&str; 2] = ["lora_unet_blocks_", "lora_transformer_blocks_"];
/// What programs call A and B.
const DOWN: [&str; 4] = [
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora_down.weight",
    ".lora.down.weight",
];
const UP: [&str; 4] = [
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora_up.weight",
    ".lora.up.weight",
];
/// Pieces of names of what is not read, and what it is.
const UNREAD: [(&str, &str); 8] = [
    ("lora_magnitude_vector", "is DoRA's, which is not read"),
    (".dora_scale", "is DoRA's, which is not read"),
    (".hada_", "is LoHa's, which is not read"),
    (".lokr_", "is LoKr's, which is not read"),
    (".lora_mid.", "is a convolution's, which no Wan block has"),
    ("lora_te", "is of a text encoder, which is not trained here"),
    (
        "text_encoder.",
        "is of a text encoder, which is not trained here",
    ),
    (
        ".lora_B.bias",
        "is a bias beside factors, which is not read",
    ),
];

/// Endings of names of whole weights' differences.
const DIFFERENCES: [&str; 2] = [".diff", ".diff_b"];

/// What a file has for one layer.
#[derive(Default)]
struct Parts {
    /// The layer's name in the file, without prefix.
    name: String,
    down: Option<HostTensor>,
    up: Option<HostTensor>,
    alpha: Option<f64>,
}

impl LoraFile {
    /// Reads the factors of a file in any layout. Their scale is taken from `.alpha` tensors,
    /// diffusers' or Kohya's entries of the header, or PEFT's adapter_config.json beside the file;
    /// without any of these alpha is the rank (see [`LoraFile::alpha_source`]).
    ///
    /// # Errors
    /// Everything that is not a pair of factors for a transformer's layer, by name; scales that
    /// contradict each other; values that are not finite.
    pub fn open(file: &WeightFile) -> Result<Self, WeightsError> {
        let mut parts = BTreeMap::<String, Parts>::new();
        let mut problems = Vec::new();
        let mut types = Vec::new();
        for (name, entry) in file.entries() {
            let (layer, part) = match place_of(name) {
                Ok(place) => place,
                Err(problem) => {
                    problems.push(format!("tensor {name:?} {problem}"));
                    continue;
                }
            };
            let Some(wan) = wan_layer(layer) else {
                problems.push(format!(
                    "tensor {name:?} belongs to no linear layer of a Wan transformer's blocks"
                ));
                continue;
            };
            if part != Part::Alpha && entry.shape.len() != 2 {
                problems.push(format!(
                    "tensor {name:?} has shape {:?}, expected a matrix",
                    entry.shape
                ));
                continue;
            }
            if part == Part::Alpha && entry.count() != 1 {
                problems.push(format!(
                    "tensor {name:?} has shape {:?}, expected one number",
                    entry.shape
                ));
                continue;
            }
            let tensor = file.read(name)?;
            let parts = parts.entry(wan).or_default();
            parts.name = layer.to_string();
            let twice = match part {
                Part::Alpha => {
                    let alpha = tensor.values.first().map(|alpha| f64::from(*alpha));
                    std::mem::replace(&mut parts.alpha, alpha).is_some()
                }
                Part::Down => parts.down.replace(tensor).is_some(),
                Part::Up => parts.up.replace(tensor).is_some(),
            };
            if part != Part::Alpha {
                types.push(entry.dtype);
            }
            if twice {
                problems.push(format!("tensor {name:?} is there under another name too"));
            }
        }
        let (layers, alpha_source) = scaled(parts, &Adapter::of(file)?, &mut problems);
        if layers.is_empty() && problems.is_empty() {
            problems.push("there are no low-rank factors in it".to_string());
        }
        if !problems.is_empty() {
            return Err(WeightsError::Mismatch {
                origin: file.path().display().to_string(),
                problems: few(problems),
            });
        }
        Ok(Self {
            layers,
            dtype: common(&types),
            alpha_source,
        })
    }

    /// Whether most names of a file are factors'.
    pub fn is_recognised(file: &WeightFile) -> bool {
        let factors = file
            .entries()
            .keys()
            .filter(|name| DOWN.iter().chain(&UP).any(|ending| name.ends_with(ending)))
            .count();
        2 * factors > file.entries().len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Down,
    Up,
    Alpha,
}

/// The layer, as the file names it, that a tensor belongs to, and as what; or why it does not.
fn place_of(name: &str) -> Result<(&str, Part), &'static str> {
    let bare = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if DIFFERENCES.iter().any(|ending| bare.ends_with(ending)) {
        return Err("is a difference of whole weights, which is not read");
    }
    if let Some((_, what)) = UNREAD.iter().find(|(piece, _)| bare.contains(piece)) {
        return Err(what);
    }
    let part = |endings: &[&str]| endings.iter().find_map(|ending| bare.strip_suffix(ending));
    match (part(&DOWN), part(&UP), bare.strip_suffix(".alpha")) {
        (Some(layer), _, _) => Ok((layer, Part::Down)),
        (_, Some(layer), _) => Ok((layer, Part::Up)),
        (_, _, Some(layer)) => Ok((layer, Part::Alpha)),
        _ => {
            Err("is no low-rank factor; expected names that end in lora_A.weight or lora_B.weight")
        }
    }
}

/// The type that holds all factors' values.
pub(super) fn common(types: &[Dtype]) -> Dtype {
    match types {
        [first, rest @ ..] if *first != Dtype::F64 && rest.iter().all(|dtype| dtype == first) => {
            *first
        }
        _ => Dtype::F32,
    }
}

/// Wan's name of a layer in any layout, if it is a linear layer of a block.
fn wan_layer(layer: &str) -> Option<String> {
    let all = LoraConfig {
        rank: 1,
        alpha: 1.0,
        targets: LoraConfig::all(),
    };
    let inside = all.layers();
    if let Some(rest) = UNDERSCORED
        .iter()
        .find_map(|prefix| layer.strip_prefix(prefix))
    {
        let (number, rest) = rest.split_once('_')?;
        let number: usize = number.parse().ok()?;
        // A block has so few layers that their names with underscores tell them apart.
        return inside.into_iter().find_map(|layer| {
            let wan = format!("blocks.{number}.{layer}");
            let diffusers = Layout::Diffusers.name(&format!("{wan}.weight"));
            let names = [format!("{wan}.weight"), diffusers];
            let same = names.iter().any(|name| {
                let piece = name.splitn(3, '.').nth(2).unwrap_or_default();
                piece.trim_end_matches(".weight").replace('.', "_") == rest
            });
            same.then_some(wan)
        });
    }
    let weight = format!("{layer}.weight");
    let wan = [Layout::Wan, Layout::Diffusers]
        .into_iter()
        .find_map(|layout| layout.wan_name(&weight))?;
    let wan = wan.strip_suffix(".weight")?.to_string();
    let piece = wan.strip_prefix("blocks.")?.split_once('.')?.1;
    inside.contains(&piece).then_some(wan)
}

/// Whole pairs with their scales, and where those were found.
fn scaled(
    parts: BTreeMap<String, Parts>,
    adapter: &Adapter,
    problems: &mut Vec<String>,
) -> (BTreeMap<String, Factors>, AlphaSource) {
    let in_tensors = parts.values().any(|parts| parts.alpha.is_some());
    let mut layers = BTreeMap::new();
    for (layer, parts) in parts {
        let (down, up) = match (parts.down, parts.up) {
            (Some(down), Some(up)) => (down, up),
            (down, _) => {
                let lacked = if down.is_none() { "A" } else { "B" };
                problems.push(format!("the factors of {layer:?} lack lora_{lacked}"));
                continue;
            }
        };
        let rank = down.shape[0];
        if up.shape[1] != rank || rank == 0 {
            problems.push(format!(
                "the factors of {layer:?} have shapes {:?} and {:?}, expected one rank of at \
                    least 1",
                down.shape, up.shape
            ));
            continue;
        }
        let told = if adapter.is_peft() || !in_tensors {
            adapter.alpha([&parts.name, &layer], rank).map(Some)
        } else {
            Ok(None)
        };
        let alpha = match (parts.alpha, told) {
            (_, Err(problem)) => Err(problem),
            (Some(alpha), Ok(Some(told))) if !same(alpha, told) => Err(format!(
                "alpha of {layer:?} is {alpha} in its tensor and {told} by {}",
                adapter.source
            )),
            (Some(alpha), _) => Ok(alpha),
            (None, Ok(Some(told))) => Ok(told),
            (None, Ok(None)) => Err(format!(
                "{layer:?} has no alpha, though other layers have one"
            )),
        };
        match alpha {
            Err(problem) => problems.push(problem),
            Ok(alpha) if !(alpha.is_finite() && alpha > 0.0) => problems.push(format!(
                "alpha of {layer:?} is {alpha}, must be a finite number above 0"
            )),
            Ok(alpha) => {
                layers.insert(layer, Factors { down, up, alpha });
            }
        }
    }
    let source = if in_tensors {
        AlphaSource::Tensors
    } else {
        adapter.source.clone()
    };
    (layers, source)
}

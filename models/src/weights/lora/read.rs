//! Low-rank factors out of a file, whoever named them.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;

use super::{Factors, LoraFile};
use crate::lora::LoraConfig;
use crate::weights::WeightsError;
use crate::weights::file::WeightFile;
use crate::weights::layout::Layout;

/// Prefixes that programs put before a transformer's factors.
const PREFIXES: [&str; 3] = ["diffusion_model.", "transformer.", "base_model.model."];
/// What Kohya's trainers begin their names with.
const KOHYA: [&str; 2] = ["lora_unet_", "lora_te"];
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

impl LoraFile {
    /// Reads the factors of a file in any layout.
    ///
    /// # Errors
    /// Everything that is not a pair of factors of one rank for a transformer's layer, by name;
    /// factors of different ranks or scales.
    pub fn open(file: &WeightFile) -> Result<Self, WeightsError> {
        let mut layers = BTreeMap::<String, Factors>::new();
        let mut problems = Vec::new();
        let mut dtype = Dtype::F32;
        if let Some(name) = file
            .entries()
            .keys()
            .find(|name| KOHYA.iter().any(|prefix| name.starts_with(prefix)))
        {
            let problem = format!(
                "tensor {name:?} is named as Kohya's trainers name theirs, where underscores hide \
                    which layer it is; convert the file first, such as with musubi-tuner's \
                    convert_lora.py --target other"
            );
            return Err(WeightsError::Mismatch {
                origin: file.path().display().to_string(),
                problems: vec![problem],
            });
        }
        for (name, entry) in file.entries() {
            let bare = PREFIXES
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix))
                .unwrap_or(name);
            let part =
                |endings: &[&str]| endings.iter().find_map(|ending| bare.strip_suffix(ending));
            let (layer, part) = match (part(&DOWN), part(&UP), bare.strip_suffix(".alpha")) {
                (Some(layer), _, _) => (layer, 'A'),
                (_, Some(layer), _) => (layer, 'B'),
                (_, _, Some(layer)) => (layer, 'a'),
                _ => {
                    problems.push(format!(
                        "tensor {name:?} is no low-rank factor; expected names that end in \
                            lora_A.weight or lora_B.weight"
                    ));
                    continue;
                }
            };
            let Some(layer) = wan_layer(layer) else {
                problems.push(format!(
                    "tensor {name:?} belongs to no linear layer of a Wan transformer's blocks"
                ));
                continue;
            };
            let tensor = file.read(name)?;
            let factors = layers.entry(layer).or_default();
            match part {
                'a' => factors.alpha = tensor.values.first().map(|alpha| f64::from(*alpha)),
                _ if entry.shape.len() != 2 => problems.push(format!(
                    "tensor {name:?} has shape {:?}, expected a matrix",
                    entry.shape
                )),
                'A' => (factors.down, dtype) = (Some(tensor), entry.dtype),
                _ => factors.up = Some(tensor),
            }
        }
        let config = shared_config(&layers, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                config,
                layers,
                dtype,
            }),
            _ => Err(WeightsError::Mismatch {
                origin: file.path().display().to_string(),
                problems,
            }),
        }
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

/// Wan's name of a layer in any layout, if it is a linear layer of a block.
fn wan_layer(layer: &str) -> Option<String> {
    let weight = format!("{layer}.weight");
    let wan = [Layout::Wan, Layout::Diffusers]
        .into_iter()
        .find_map(|layout| layout.wan_name(&weight))?;
    let wan = wan.strip_suffix(".weight")?.to_string();
    let inside = wan.strip_prefix("blocks.")?.split_once('.')?.1;
    let all = LoraConfig {
        rank: 1,
        alpha: 1.0,
        targets: LoraConfig::all(),
    };
    all.layers().contains(&inside).then_some(wan)
}

/// One rank, scale and set of targets for all layers.
fn shared_config(
    layers: &BTreeMap<String, Factors>,
    problems: &mut Vec<String>,
) -> Option<LoraConfig> {
    let first = layers
        .values()
        .find_map(|factors| Some((factors.down.as_ref()?.shape[0], factors.alpha)));
    let Some((rank, alpha)) = first else {
        problems.push("there are no low-rank factors in it".to_string());
        return None;
    };
    for (layer, factors) in layers {
        match (&factors.down, &factors.up) {
            (Some(down), Some(up)) if down.shape[0] != rank || up.shape[1] != rank => {
                problems.push(format!(
                    "the factors of {layer:?} have shapes {:?} and {:?}, expected rank {rank} as \
                        elsewhere",
                    down.shape, up.shape
                ));
            }
            (Some(_), Some(_)) => {}
            (down, _) => problems.push(format!(
                "the factors of {layer:?} lack lora_{}",
                if down.is_none() { "A" } else { "B" }
            )),
        }
        if factors.alpha != alpha {
            problems.push(format!(
                "alpha of {layer:?} is {:?}, elsewhere it is {alpha:?}",
                factors.alpha
            ));
        }
    }
    let targets = LoraConfig::all().into_iter().filter(|target| {
        let one = LoraConfig {
            rank: 1,
            alpha: 1.0,
            targets: vec![*target],
        };
        layers.keys().any(|name| {
            one.layers()
                .iter()
                .any(|layer| name.ends_with(&format!(".{layer}")))
        })
    });
    let config = LoraConfig {
        rank,
        alpha: alpha.unwrap_or(rank as f64),
        targets: targets.collect(),
    };
    problems.extend(config.problem());
    Some(config)
}

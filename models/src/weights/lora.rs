//! Low-rank factors in a file: whose names they are under, out of a student, into a student, and
//! under other names again.

use std::collections::BTreeMap;
use std::path::Path;

use burn::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::file::WeightFile;
use super::layout::Layout;
use super::{HostTensor, Tensors, WeightsError, collect_where, fill_where, wan};
use crate::lora::{LoraConfig, is_factor};
use crate::student::{Student, StudentConfig};

/// Who is to read the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraLayout {
    /// Wan's names with `lora_A` and `lora_B`, and an `alpha` per layer: this program's own.
    Wan,
    /// The same below `diffusion_model.`.
    Comfyui,
    /// diffusers' names below `transformer.`; its readers take alpha to be the rank, so the rest of
    /// the scale is put into B.
    Diffusers,
}

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

/// Factors of one linear layer.
#[derive(Debug, Clone, PartialEq, Default)]
struct Factors {
    /// A, `[rank, input]`.
    down: Option<HostTensor>,
    /// B, `[output, rank]`.
    up: Option<HostTensor>,
    alpha: Option<f64>,
}

/// The factors of a transformer's layers, under Wan's names without `.weight`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFile {
    config: LoraConfig,
    layers: BTreeMap<String, Factors>,
    dtype: Dtype,
}

impl LoraFile {
    /// The factors of an adapted student, in f32.
    pub fn of<B: Backend>(student: &Student<B>, config: &LoraConfig) -> Self {
        Self::of_tensors(&collect_where(student, is_factor), config)
    }

    /// The factors that lie under a student's Burn paths in `tensors`, in f32.
    pub fn of_tensors(tensors: &Tensors, config: &LoraConfig) -> Self {
        let mut layers = BTreeMap::<String, Factors>::new();
        for (path, tensor) in tensors.iter().filter(|(path, _)| is_factor(path)) {
            let (layer, is_down) = layer_of(path);
            let factors = layers.entry(layer).or_default();
            factors.alpha = Some(config.alpha);
            *(if is_down {
                &mut factors.down
            } else {
                &mut factors.up
            }) = Some(wan::transposed(tensor));
        }
        Self {
            config: config.clone(),
            layers,
            dtype: Dtype::F32,
        }
    }

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

    /// Rank, alpha and targets, as far as the file tells: alpha is the rank where it is silent.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The number of layers with factors.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Every way in which the factors do not belong to a transformer of these sizes. They may leave
    /// layers of it out.
    pub fn problems(&self, student: &StudentConfig) -> Vec<String> {
        let shapes = wan::shapes(student);
        let problem = |(layer, factors): (&String, &Factors)| {
            let Some(shape) = shapes.get(&format!("{layer}.weight")) else {
                return Some(format!(
                    "the factors of {layer:?} are for a layer that the transformer of {} blocks \
                        does not have",
                    student.layers
                ));
            };
            let (down, up) = (factors.down.as_ref()?, factors.up.as_ref()?);
            let (output, input) = (shape[0], shape[1]);
            (down.shape[1] != input || up.shape[0] != output).then(|| {
                format!(
                    "the factors of {layer:?} are for a layer of {} x {}, it is {output} x {input}",
                    up.shape[0], down.shape[1]
                )
            })
        };
        self.layers.iter().filter_map(problem).collect()
    }

    /// Puts the factors into a student that was adapted as `config` says.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with every layer that is missing, unexpected or of another shape.
    pub fn apply<B: Backend>(
        &self,
        student: Student<B>,
        config: &LoraConfig,
        origin: &Path,
    ) -> Result<Student<B>, WeightsError> {
        let needed = needed(student.config(), config);
        let mut problems = Vec::new();
        for (layer, [input, output]) in &needed {
            match self.layers.get(layer).and_then(|factors| Some((factors.down.as_ref()?, factors.up.as_ref()?))) {
                None => problems.push(format!("the factors of {layer:?} are missing")),
                Some((down, up)) if down.shape != [config.rank, *input] || up.shape != [*output, config.rank] => problems.push(format!(
                    "the factors of {layer:?} have shapes {:?} and {:?}, expected [{}, {input}] \
                        and [{output}, {}]",
                    down.shape, up.shape, config.rank, config.rank
                )),
                Some(_) => {}
            }
        }
        problems.extend(
            self.layers
                .keys()
                .filter(|layer| !needed.contains_key(*layer))
                .map(|layer| format!("the factors of {layer:?} are unexpected")),
        );
        if (self.config.scale() - config.scale()).abs() > 1e-6 * config.scale() {
            problems.push(format!(
                "alpha / rank is {}, expected {}",
                self.config.scale(),
                config.scale()
            ));
        }
        if !problems.is_empty() {
            return Err(WeightsError::Mismatch {
                origin: origin.display().to_string(),
                problems,
            });
        }
        fill_where(student, is_factor, |path| {
            let (layer, is_down) = layer_of(path);
            let factors = &self.layers[&layer];
            let found = if is_down { &factors.down } else { &factors.up };
            Ok(wan::transposed(found.as_ref().unwrap_or_else(|| {
                unreachable!("every factor was found above")
            })))
        })
    }

    /// Wan's tensor `name` with the product of its factors added in f32; `None` for one that has
    /// none.
    ///
    /// # Errors
    /// `read`'s.
    pub fn merged<B: Backend>(
        &self,
        name: &str,
        read: &dyn Fn() -> Result<HostTensor, WeightsError>,
        device: &B::Device,
    ) -> Result<Option<HostTensor>, WeightsError> {
        let factors = name
            .strip_suffix(".weight")
            .and_then(|layer| self.layers.get(layer));
        let Some((down, up)) =
            factors.and_then(|factors| Some((factors.down.as_ref()?, factors.up.as_ref()?)))
        else {
            return Ok(None);
        };
        let matrix = |tensor: &HostTensor| {
            Tensor::<B, 2>::from_data(
                TensorData::new(tensor.values.clone(), [tensor.shape[0], tensor.shape[1]]),
                device,
            )
        };
        let weight = read()?;
        // [output, rank] x [rank, input]
        let sum = matrix(&weight) + matrix(up).matmul(matrix(down)) * self.config.scale();
        Ok(Some(HostTensor {
            shape: weight.shape,
            values: sum.into_data().iter::<f32>().collect(),
        }))
    }

    /// The file in `layout`, as safetensors: the same values, in the type that they were read in.
    ///
    /// # Errors
    /// [`WeightsError::Write`] for what the format cannot hold.
    pub fn to_bytes(&self, layout: LoraLayout) -> Result<Vec<u8>, WeightsError> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (layer, factors) in &self.layers {
            let name = match layout {
                LoraLayout::Wan => layer.clone(),
                LoraLayout::Comfyui => format!("diffusion_model.{layer}"),
                LoraLayout::Diffusers => {
                    let weight = Layout::Diffusers.name(&format!("{layer}.weight"));
                    format!("transformer.{}", weight.trim_end_matches(".weight"))
                }
            };
            let rank = self.config.rank as f64;
            let rest = if layout == LoraLayout::Diffusers {
                factors.alpha.map_or(1.0, |alpha| alpha / rank)
            } else {
                1.0
            };
            for (part, tensor, scale) in [
                ("lora_A", &factors.down, 1.0),
                ("lora_B", &factors.up, rest),
            ] {
                let Some(tensor) = tensor else {
                    unreachable!("both factors are there")
                };
                let bytes = encoded(
                    tensor.values.iter().map(|value| {
                        if scale == 1.0 {
                            *value
                        } else {
                            (f64::from(*value) * scale) as f32
                        }
                    }),
                    self.dtype,
                );
                tensors.push((
                    format!("{name}.{part}.weight"),
                    self.dtype,
                    tensor.shape.clone(),
                    bytes,
                ));
            }
            if let (Some(alpha), false) = (factors.alpha, layout == LoraLayout::Diffusers) {
                tensors.push((
                    format!("{name}.alpha"),
                    Dtype::F32,
                    Vec::new(),
                    (alpha as f32).to_le_bytes().to_vec(),
                ));
            }
        }
        let unwritable = |reason: String| WeightsError::Write { reason };
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes)?,
            ))
        });
        let views = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| unwritable(error.to_string()))?;
        let metadata = [("format".to_string(), "pt".to_string())].into();
        safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(error.to_string()))
    }
}

/// Values as they lie in a file of `dtype` (f32, bf16 or f16), rounded to nearest.
pub fn encoded(values: impl Iterator<Item = f32>, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::BF16 => values
            .flat_map(|value| half::bf16::from_f32(value).to_le_bytes())
            .collect(),
        Dtype::F16 => values
            .flat_map(|value| half::f16::from_f32(value).to_le_bytes())
            .collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

/// Wan's name of the layer that a factor's Burn path belongs to, and whether it is A.
fn layer_of(path: &str) -> (String, bool) {
    let (layer, part) = path.split_once(".lora.").unwrap_or((path, ""));
    let weight = wan::name_of(&format!("{layer}.weight"));
    (
        weight.trim_end_matches(".weight").to_string(),
        part == "down",
    )
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

/// Input and output of every layer that is adapted.
fn needed(student: &StudentConfig, config: &LoraConfig) -> BTreeMap<String, [usize; 2]> {
    let shapes = wan::shapes(student);
    let layers = config.layers();
    let of_block = |block: usize| {
        layers
            .iter()
            .map(move |layer| format!("blocks.{block}.{layer}"))
    };
    let sizes = |layer: String| {
        let shape = &shapes[&format!("{layer}.weight")];
        (layer, [shape[1], shape[0]])
    };
    (0..student.layers).flat_map(of_block).map(sizes).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::backend::NdArray;

    use super::super::tests::tiny;
    use super::super::{Pickles, collect, to_bytes};
    use super::*;
    use crate::init::{initialise, initialise_where};
    use crate::lora::tests::merged;
    use crate::lora::{LoraTarget, adapted};

    fn config() -> LoraConfig {
        LoraConfig {
            rank: 3,
            alpha: 6.0,
            targets: vec![LoraTarget::SelfAttention, LoraTarget::FeedForward],
        }
    }

    /// A student with random factors, B too.
    fn student(seed: u64) -> Student<NdArray> {
        let base = initialise(
            Student::<NdArray>::new(&tiny(), &Default::default()),
            5,
            "student",
        );
        let student = initialise_where(adapted(base, &config()), seed, "factors", is_factor);
        fill_where(
            student,
            |path| path.ends_with(".lora.up"),
            |path| {
                let mut noise = crate::noise::Noise::new(
                    seed,
                    crate::noise::Purpose::Weights,
                    1,
                    crate::noise::key_of(path),
                );
                let shape = if path.contains("ffn.up") {
                    vec![3, 32]
                } else {
                    vec![3, 24]
                };
                Ok(HostTensor {
                    values: noise.normals(shape.iter().product()),
                    shape,
                })
            },
        )
        .unwrap()
    }

    fn open(bytes: &[u8]) -> (tempfile::TempDir, WeightFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("factors.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let file = WeightFile::open(&path, Pickles::Refused).unwrap();
        (directory, file)
    }

    #[test]
    fn factors_survive_every_layout_bit_for_bit() {
        let own = LoraFile::of(&student(1), &config());
        assert_eq!(own.len(), 2 * 6);
        for layout in [LoraLayout::Wan, LoraLayout::Comfyui] {
            let (_directory, file) = open(&own.to_bytes(layout).unwrap());
            assert!(LoraFile::is_recognised(&file));
            assert_eq!(LoraFile::open(&file).unwrap(), own, "{layout:?}");
        }
        // diffusers takes alpha to be the rank: twice B (exact), and the same product.
        let (_directory, file) = open(&own.to_bytes(LoraLayout::Diffusers).unwrap());
        let read = LoraFile::open(&file).unwrap();
        assert_eq!(read.config().scale(), 1.0);
        assert!(
            file.entries()
                .contains_key("transformer.blocks.1.ffn.net.0.proj.lora_B.weight")
        );
        let up = |file: &LoraFile| file.layers["blocks.1.ffn.0"].up.clone().unwrap().values;
        assert!(
            up(&read)
                .iter()
                .zip(up(&own))
                .all(|(folded, plain)| *folded == 2.0 * plain)
        );
    }

    #[test]
    fn factors_read_back_make_the_same_student() {
        let from = student(1);
        let (directory, file) = open(
            &LoraFile::of(&from, &config())
                .to_bytes(LoraLayout::Comfyui)
                .unwrap(),
        );
        let loaded = LoraFile::open(&file)
            .unwrap()
            .apply(student(2), &config(), directory.path())
            .unwrap();
        assert_eq!(collect(&loaded), collect(&from));
        let wider = LoraConfig {
            targets: LoraConfig::all(),
            ..config()
        };
        let error = LoraFile::open(&file)
            .unwrap()
            .apply(adapted(student(2), &wider), &wider, directory.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"blocks.0.cross_attn.q\" are missing"),
            "{error}"
        );
    }

    #[test]
    fn odd_factors_are_named() {
        let matrix = |rows: usize, columns: usize| HostTensor {
            shape: vec![rows, columns],
            values: vec![0.0; rows * columns],
        };
        let tensors: BTreeMap<String, HostTensor> = [
            ("blocks.0.self_attn.q.lora_A.weight", matrix(2, 24)),
            ("blocks.0.self_attn.q.lora_B.weight", matrix(24, 3)),
            ("blocks.0.self_attn.k.lora_A.weight", matrix(2, 24)),
            ("blocks.0.norm1.lora_A.weight", matrix(2, 24)),
            ("blocks.0.self_attn.q.weight", matrix(24, 24)),
        ]
        .map(|(name, tensor)| (name.to_string(), tensor))
        .into();
        let (_directory, file) = open(&to_bytes(&tensors, &BTreeMap::new()).unwrap());
        let error = LoraFile::open(&file).unwrap_err().to_string();
        for part in [
            "\"blocks.0.self_attn.k\" lack lora_B",
            "[24, 3], expected rank 2",
            "norm1.lora_A.weight\" belongs to no",
            "q.weight\" is no low-rank",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn kohyas_names_and_factors_of_another_transformer_are_refused() {
        let matrix = |rows: usize, columns: usize| HostTensor {
            shape: vec![rows, columns],
            values: vec![0.0; rows * columns],
        };
        let file = |tensors: &[(&str, HostTensor)]| {
            let tensors = tensors
                .iter()
                .map(|(name, tensor)| (name.to_string(), tensor.clone()))
                .collect();
            open(&to_bytes(&tensors, &BTreeMap::new()).unwrap())
        };
        let (_directory, kohya) = file(&[(
            "lora_unet_blocks_0_self_attn_q.lora_down.weight",
            matrix(2, 24),
        )]);
        let error = LoraFile::open(&kohya).unwrap_err().to_string();
        assert!(
            error.contains("lora_unet_blocks_0_self_attn_q.lora_down.weight")
                && error.contains("convert_lora.py"),
            "{error}"
        );
        let (_directory, wide) = file(&[
            ("blocks.0.self_attn.q.lora_A.weight", matrix(2, 48)),
            ("blocks.0.self_attn.q.lora_B.weight", matrix(24, 2)),
            ("blocks.9.self_attn.q.lora_A.weight", matrix(2, 24)),
            ("blocks.9.self_attn.q.lora_B.weight", matrix(24, 2)),
        ]);
        let problems = LoraFile::open(&wide).unwrap().problems(&tiny());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("a layer of 24 x 48, it is 24 x 24")
                && problems[1].contains("\"blocks.9.self_attn.q\""),
            "{problems:?}"
        );
        assert!(
            LoraFile::of(&student(1), &config())
                .problems(&tiny())
                .is_empty()
        );
    }

    #[test]
    fn merging_adds_the_scaled_product_to_the_weight() {
        let plain = collect(&student(1));
        let merged = collect(&merged(student(1)));
        let (name, [input, output]) = ("blocks.1.ffn.up", [24, 32]);
        let [weight, down, up] =
            ["weight", "lora.down", "lora.up"].map(|part| &plain[&format!("{name}.{part}")].values);
        for row in 0..input {
            for column in 0..output {
                let product: f32 = (0..3)
                    .map(|rank| down[row * 3 + rank] * up[rank * output + column])
                    .sum();
                let expected = weight[row * output + column] + 2.0 * product;
                // Three products in f32, in any order.
                assert!(
                    (merged[&format!("{name}.weight")].values[row * output + column] - expected)
                        .abs()
                        < 1e-5
                );
            }
        }
        assert!(!merged.keys().any(|path| is_factor(path)));
        assert_eq!(
            merged["blocks.1.cross_attn.q.weight"],
            plain["blocks.1.cross_attn.q.weight"]
        );
    }
}

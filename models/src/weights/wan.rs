//! Wan's own names and shapes (docs/method.md B.3), and how they map to this crate's modules:
//! PyTorch's linear weights are `[out, in]`.

use std::collections::BTreeMap;

use super::check::Shapes;
use super::{HostTensor, Tensors};
use crate::student::StudentConfig;

/// Channels of an attention head of every Wan.
pub const HEAD_WIDTH: usize = 128;

/// Names and shapes of all tensors of a transformer of these sizes.
pub fn shapes(config: &StudentConfig) -> Shapes {
    let (width, hidden, patch) = (config.width, config.feed_forward_width, config.patch);
    let patch_values = config.latent_channels * patch * patch;
    let mut shapes = Shapes::new();
    let mut linear = |name: String, output: usize, input: usize| {
        shapes.insert(format!("{name}.weight"), vec![output, input]);
        shapes.insert(format!("{name}.bias"), vec![output]);
    };
    linear("text_embedding.0".into(), width, config.text_width);
    linear("text_embedding.2".into(), width, width);
    linear("time_embedding.0".into(), width, config.frequency_width);
    linear("time_embedding.2".into(), width, width);
    linear("time_projection.1".into(), 6 * width, width);
    linear("head.head".into(), patch_values, width);
    for block in 0..config.layers {
        for attention in ["self_attn", "cross_attn"] {
            for part in ["q", "k", "v", "o"] {
                linear(format!("blocks.{block}.{attention}.{part}"), width, width);
            }
        }
        linear(format!("blocks.{block}.ffn.0"), hidden, width);
        linear(format!("blocks.{block}.ffn.2"), width, hidden);
    }
    for block in 0..config.layers {
        for vector in [
            "self_attn.norm_q.weight",
            "self_attn.norm_k.weight",
            "cross_attn.norm_q.weight",
            "cross_attn.norm_k.weight",
        ] {
            shapes.insert(format!("blocks.{block}.{vector}"), vec![width]);
        }
        shapes.insert(format!("blocks.{block}.norm3.weight"), vec![width]);
        shapes.insert(format!("blocks.{block}.norm3.bias"), vec![width]);
        shapes.insert(format!("blocks.{block}.modulation"), vec![1, 6, width]);
    }
    shapes.insert("head.modulation".into(), vec![1, 2, width]);
    shapes.insert(
        "patch_embedding.weight".into(),
        vec![width, config.latent_channels, 1, patch, patch],
    );
    shapes.insert("patch_embedding.bias".into(), vec![width]);
    shapes
}

/// The sizes of a transformer with these tensors (Wan's names), as most of them say, so that single
/// odd ones can be named.
///
/// Shapes do not tell the heads: 128 channels each, as in every Wan, or one head. `None` where too
/// little is there to tell.
pub fn sizes(found: &Shapes) -> Option<StudentConfig> {
    let ending = |ending: &str| {
        found
            .iter()
            .filter(|(name, _)| name.ends_with(ending))
            .map(|(_, shape)| &shape[..])
            .collect::<Vec<_>>()
    };
    let width = commonest(
        ending(".norm_q.weight")
            .into_iter()
            .chain(ending(".norm_k.weight"))
            .flatten()
            .copied(),
    )?;
    let other_than = |shape: &[usize]| {
        shape
            .iter()
            .copied()
            .find(|size| *size != width)
            .or_else(|| shape.first().copied())
    };
    let layers = found
        .keys()
        .filter_map(|name| {
            name.strip_prefix("blocks.")?
                .split_once('.')?
                .0
                .parse::<usize>()
                .ok()
        })
        .max()?
        + 1;
    let usual = StudentConfig::wan_1_3b();
    // Each of these has one witness; where that is the odd one, Wan's usual size stands in, so that
    // the witness is named.
    let input = |name: &str, usual: usize| {
        found
            .get(name)
            .and_then(|shape| other_than(shape))
            .unwrap_or(usual)
    };
    let (latent_channels, patch) = match found.get("patch_embedding.weight").map(|shape| &shape[..])
    {
        Some(&[first, channels, 1, rows, columns]) if first == width && rows == columns => {
            (channels, rows)
        }
        _ => (usual.latent_channels, usual.patch),
    };
    let config = StudentConfig {
        width,
        layers,
        heads: if width.is_multiple_of(HEAD_WIDTH) {
            width / HEAD_WIDTH
        } else {
            1
        },
        feed_forward_width: commonest(ending(".ffn.0.bias").into_iter().flatten().copied())?,
        latent_channels,
        patch,
        text_width: input("text_embedding.0.weight", usual.text_width),
        frequency_width: input("time_embedding.0.weight", usual.frequency_width),
        ..usual
    };
    // A file can claim any size; what no machine holds is not a transformer.
    let sensible = [
        width,
        config.feed_forward_width,
        latent_channels,
        patch,
        config.text_width,
        config.frequency_width,
    ];
    (layers <= 1_000 && sensible.iter().all(|size| (1..1 << 20).contains(size))).then_some(config)
}

fn commonest(sizes: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = BTreeMap::<usize, usize>::new();
    sizes.for_each(|size| *counts.entry(size).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(size, _)| size)
}

/// Burn path fragment and Wan fragment; the first match at the end of a path (or the whole path) is
/// renamed.
const NAMES: [(&str, &str); 24] = [
    ("text_embedding.up.weight", "text_embedding.0.weight"),
    ("text_embedding.up.bias", "text_embedding.0.bias"),
    ("text_embedding.down.weight", "text_embedding.2.weight"),
    ("text_embedding.down.bias", "text_embedding.2.bias"),
    ("time_embedding_in.weight", "time_embedding.0.weight"),
    ("time_embedding_in.bias", "time_embedding.0.bias"),
    ("time_embedding_out.weight", "time_embedding.2.weight"),
    ("time_embedding_out.bias", "time_embedding.2.bias"),
    ("time_projection.weight", "time_projection.1.weight"),
    ("time_projection.bias", "time_projection.1.bias"),
    ("self_attn.norm_q.gamma", "self_attn.norm_q.weight"),
    ("self_attn.norm_k.gamma", "self_attn.norm_k.weight"),
    ("cross_attn.norm_q.gamma", "cross_attn.norm_q.weight"),
    ("cross_attn.norm_k.gamma", "cross_attn.norm_k.weight"),
    ("norm3.gamma", "norm3.weight"),
    ("norm3.beta", "norm3.bias"),
    ("ffn.up.weight", "ffn.0.weight"),
    ("ffn.up.bias", "ffn.0.bias"),
    ("ffn.down.weight", "ffn.2.weight"),
    ("ffn.down.bias", "ffn.2.bias"),
    ("head.output.weight", "head.head.weight"),
    ("head.output.bias", "head.head.bias"),
    ("patch_embedding.weight", "patch_embedding.weight"),
    ("patch_embedding.bias", "patch_embedding.bias"),
];

/// A student's tensors (Burn paths) under Wan's names and shapes.
pub fn to_wan(tensors: &Tensors, patch: usize) -> Tensors {
    tensors
        .iter()
        .map(|(path, tensor)| {
            let mut tensor = if is_linear(path, tensor) {
                transposed(tensor)
            } else {
                tensor.clone()
            };
            if path == "patch_embedding.weight" {
                // [D, C * p * p] -> [D, C, 1, p, p]
                tensor.shape = vec![
                    tensor.shape[0],
                    tensor.shape[1] / (patch * patch),
                    1,
                    patch,
                    patch,
                ];
            }
            (name_of(path), tensor)
        })
        .collect()
}

/// Wan's tensors under Burn paths and shapes. Names that are in no table are kept, and named when
/// they are applied to a module.
pub fn from_wan(tensors: Tensors) -> Tensors {
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            (
                renamed(&name, |(burn, wan)| (wan, burn)),
                to_burn(&name, tensor),
            )
        })
        .collect()
}

/// Wan's name for the parameter at a Burn path.
pub fn name_of(path: &str) -> String {
    renamed(path, |pair| pair)
}

/// Wan's tensor `name` as the module holds it.
pub fn to_burn(name: &str, tensor: HostTensor) -> HostTensor {
    match tensor.shape[..] {
        // [D, C, 1, p, p] -> [D, C * p * p] -> [C * p * p, D]
        [width, channels, 1, rows, columns] => {
            let values = tensor.values;
            transposed(&HostTensor {
                shape: vec![width, channels * rows * columns],
                values,
            })
        }
        _ if is_linear(name, &tensor) => transposed(&tensor),
        _ => tensor,
    }
}

fn renamed(
    name: &str,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> String {
    for pair in NAMES {
        let (from, to) = direction(pair);
        if let Some(stem) = name.strip_suffix(from)
            && (stem.is_empty() || stem.ends_with('.'))
        {
            return format!("{stem}{to}");
        }
    }
    name.to_string()
}

fn is_linear(name: &str, tensor: &HostTensor) -> bool {
    name.ends_with(".weight") && tensor.shape.len() == 2
}

/// A matrix with rows and columns exchanged.
pub(super) fn transposed(tensor: &HostTensor) -> HostTensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
    HostTensor {
        shape: vec![columns, rows],
        values: values
            .map(|(row, column)| tensor.values[row * columns + column])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_table_in_both_directions() {
        for (burn, wan) in [
            (
                "blocks.3.self_attn.norm_q.gamma",
                "blocks.3.self_attn.norm_q.weight",
            ),
            ("blocks.0.cross_attn.o.bias", "blocks.0.cross_attn.o.bias"),
            ("head.modulation", "head.modulation"),
            ("time_embedding_in.weight", "time_embedding.0.weight"),
        ] {
            assert_eq!(renamed(burn, |pair| pair), wan);
            assert_eq!(renamed(wan, |(burn, wan)| (wan, burn)), burn);
        }
    }
}

//! The original Wan / Self-Forcing layout (method.md B.3): one table of names, and PyTorch's `[out, in]` linear weights.

use super::{HostTensor, Tensors, WeightsError};

/// Burn path fragment and Wan fragment; the first match at the end of a path (or the whole path) is renamed.
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
        .map(|(name, tensor)| {
            let mut tensor = if is_linear(name, tensor) { transposed(tensor) } else { tensor.clone() };
            if name == "patch_embedding.weight" {
                // [D, C * p * p] -> [D, C, 1, p, p]
                tensor.shape = vec![tensor.shape[0], tensor.shape[1] / (patch * patch), 1, patch, patch];
            }
            (renamed(name, |pair| pair), tensor)
        })
        .collect()
}

/// Wan's tensors under Burn paths and shapes. Names that are in no table are kept, and named when they are applied to a module.
pub fn from_wan(tensors: Tensors) -> Result<Tensors, WeightsError> {
    tensors
        .into_iter()
        .map(|(name, mut tensor)| {
            if name == "patch_embedding.weight" {
                let [width, channels, 1, rows, columns] = tensor.shape[..] else {
                    return Err(WeightsError::Mismatch {
                        origin: "the Wan layout".to_string(),
                        problems: vec![format!("tensor {name:?} has shape {:?}, expected [D, C, 1, p, p]", tensor.shape)],
                    });
                };
                tensor.shape = vec![width, channels * rows * columns];
            }
            let name = renamed(&name, |(burn, wan)| (wan, burn));
            let tensor = if is_linear(&name, &tensor) { transposed(&tensor) } else { tensor };
            Ok((name, tensor))
        })
        .collect()
}

fn renamed(name: &str, direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) -> String {
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

fn transposed(tensor: &HostTensor) -> HostTensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
    HostTensor { shape: vec![columns, rows], values: values.map(|(row, column)| tensor.values[row * columns + column]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_table_in_both_directions() {
        for (burn, wan) in [
            ("blocks.3.self_attn.norm_q.gamma", "blocks.3.self_attn.norm_q.weight"),
            ("blocks.0.cross_attn.o.bias", "blocks.0.cross_attn.o.bias"),
            ("head.modulation", "head.modulation"),
            ("time_embedding_in.weight", "time_embedding.0.weight"),
        ] {
            assert_eq!(renamed(burn, |pair| pair), wan);
            assert_eq!(renamed(wan, |(burn, wan)| (wan, burn)), burn);
        }
    }
}

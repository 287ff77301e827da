//! What a pickle's program works with.

use safetensors::tensor::Dtype;

use super::Described;

/// An object of the program, by its number in the machine's list.
pub(super) type Object = usize;

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Anything that is neither part of a tensor nor holds one.
    Other,
    /// What a call of this unknown function made.
    Made(Object),
    Boolean(bool),
    Integer(i64),
    Text(String),
    /// `module name`.
    Global(String),
    /// A tuple or a list.
    Sequence(Vec<Object>),
    Dictionary(Vec<(Object, Object)>),
    Storage {
        dtype: Dtype,
        key: String,
    },
    Tensor(Box<Described>),
}

impl Value {
    /// A little-endian whole number in two's complement.
    pub(super) fn integer(bytes: &[u8]) -> Self {
        if bytes.len() > 8 {
            return Self::Other;
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Self::Integer(i64::from_le_bytes(wide))
    }

    /// Bytes that it holds elsewhere, but for what is counted when it grows.
    pub(super) fn copied(&self) -> usize {
        match self {
            Self::Text(text) | Self::Global(text) => text.len(),
            Self::Storage { key, .. } => key.len(),
            Self::Tensor(described) => {
                size_of::<Described>()
                    + described.key.len()
                    + 2 * described.shape.len() * size_of::<usize>()
            }
            _ => 0,
        }
    }
}

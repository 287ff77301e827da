//! Values of float types as they lie in files, little endian, to f32 and back.

use safetensors::tensor::Dtype;

/// Little-endian values as f32, if they are of a type that fits into one.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let halves = || {
        bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| u16::from_le_bytes(*bytes))
    };
    match dtype {
        Dtype::F32 => Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        ),
        Dtype::BF16 => Some(
            halves()
                .map(|bits| half::bf16::from_bits(bits).to_f32())
                .collect(),
        ),
        Dtype::F16 => Some(
            halves()
                .map(|bits| half::f16::from_bits(bits).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// The inverse of [`to_f32`]: little-endian values of `dtype` (f32, bf16 or f16), rounded to
/// nearest.
pub(super) fn from_f32(values: impl Iterator<Item = f32>, dtype: Dtype) -> Vec<u8> {
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

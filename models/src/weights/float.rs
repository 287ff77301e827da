//! Values of float types as they lie in files, little endian: to f32 and back, and whether all of
//! them are finite.

use safetensors::tensor::Dtype;

/// Values looked at together: enough for vector instructions, few enough to stop early.
const TOGETHER: usize = 4096;

/// Little-endian values as f32, if they are of a float type of 16, 32 or 64 bits; those of 64 bits
/// are rounded to nearest.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F64 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes) as f32)
                .collect(),
        ),
        Dtype::F32 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        ),
        Dtype::BF16 => Some(
            halves(bytes)
                .map(|bits| half::bf16::from_bits(bits).to_f32())
                .collect(),
        ),
        Dtype::F16 => Some(
            halves(bytes)
                .map(|bits| half::f16::from_bits(bits).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// The inverse of [`to_f32`]: little-endian values of `dtype` (f64, f32, bf16 or f16), rounded to
/// nearest.
pub(super) fn from_f32(values: impl Iterator<Item = f32>, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::BF16 => values
            .flat_map(|value| half::bf16::from_f32(value).to_le_bytes())
            .collect(),
        Dtype::F16 => values
            .flat_map(|value| half::f16::from_f32(value).to_le_bytes())
            .collect(),
        Dtype::F64 => values
            .flat_map(|value| f64::from(value).to_le_bytes())
            .collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

/// Values that are no finite numbers: how many, and the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotFinite {
    /// How many.
    pub count: usize,
    /// Index of the first in row-major order.
    pub first: usize,
    /// The first: NaN, an infinity, or what f32 cannot hold.
    pub value: f64,
}

/// The values that are not finite in f32, if there are any. Types that are not of
/// [`to_f32`] have none.
pub(super) fn not_finite(bytes: &[u8], dtype: Dtype) -> Option<NotFinite> {
    // An exponent of ones is NaN or infinite. Reading bits is as fast as memory is.
    match dtype {
        Dtype::F64 => found(bytes.as_chunks().0, |bytes| {
            let value = f64::from_le_bytes(*bytes);
            (!(value as f32).is_finite()).then_some(value)
        }),
        Dtype::F32 => found(bytes.as_chunks().0, |bytes| {
            let value = f32::from_le_bytes(*bytes);
            (!value.is_finite()).then_some(f64::from(value))
        }),
        Dtype::BF16 => found(bytes.as_chunks().0, |bytes| {
            let bits = u16::from_le_bytes(*bytes);
            (bits & 0x7f80 == 0x7f80).then(|| half::bf16::from_bits(bits).to_f64())
        }),
        Dtype::F16 => found(bytes.as_chunks().0, |bytes| {
            let bits = u16::from_le_bytes(*bytes);
            (bits & 0x7c00 == 0x7c00).then(|| half::f16::from_bits(bits).to_f64())
        }),
        _ => None,
    }
}

fn found<T>(values: &[T], wrong: impl Fn(&T) -> Option<f64>) -> Option<NotFinite> {
    let mut found: Option<NotFinite> = None;
    for (part, together) in values.chunks(TOGETHER).enumerate() {
        let any = together
            .iter()
            .fold(false, |any, value| any | wrong(value).is_some());
        if !any {
            continue;
        }
        for (place, value) in together.iter().enumerate() {
            if let Some(value) = wrong(value) {
                let first = part * TOGETHER + place;
                let found = found.get_or_insert(NotFinite {
                    count: 0,
                    first,
                    value,
                });
                found.count += 1;
            }
        }
    }
    found
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_is_no_finite_f32_is_counted_and_the_first_is_told() {
        let mut values = vec![1.0f32; 3 * TOGETHER];
        for dtype in [Dtype::F64, Dtype::F32, Dtype::BF16, Dtype::F16] {
            let bytes = from_f32(values.iter().copied(), dtype);
            assert_eq!(not_finite(&bytes, dtype), None, "{dtype}");
        }
        values[TOGETHER + 7] = f32::NEG_INFINITY;
        values[2 * TOGETHER] = f32::NAN;
        for dtype in [Dtype::F64, Dtype::F32, Dtype::BF16, Dtype::F16] {
            let bytes = from_f32(values.iter().copied(), dtype);
            let expected = NotFinite {
                count: 2,
                first: TOGETHER + 7,
                value: f64::NEG_INFINITY,
            };
            assert_eq!(not_finite(&bytes, dtype), Some(expected), "{dtype}");
        }
        let large: Vec<u8> = [1e300f64, 1.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(
            not_finite(&large, Dtype::F64).map(|found| found.first),
            Some(0)
        );
        // The largest f16 and bf16 are finite, and a whole number has no exponent.
        assert_eq!(not_finite(&0x7bffu16.to_le_bytes(), Dtype::F16), None);
        assert_eq!(not_finite(&0x7f7fu16.to_le_bytes(), Dtype::BF16), None);
        assert_eq!(not_finite(&[0xff; 8], Dtype::I64), None);
    }
}

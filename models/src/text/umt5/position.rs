//! Relative positions: which bucket a distance falls into (docs/method.md D).

use super::UmT5Config;

/// The bucket of a key that stands `distance` tokens after its query (before it, if negative).
///
/// Half of the buckets are for keys after the query. In each half, the first half holds one
/// distance each, the second half grows logarithmically up to the largest distance; all that is
/// further shares the last bucket.
pub fn bucket(distance: i64, config: &UmT5Config) -> usize {
    let half = config.buckets / 2;
    let exact = half / 2;
    let first = if distance > 0 { half } else { 0 };
    let apart = distance.unsigned_abs() as usize;
    if apart < exact {
        return first + apart;
    }
    // f32, as the weights were trained: at exact powers the rounding decides.
    let octaves = libm::logf(apart as f32 / exact as f32)
        / libm::log(config.max_distance as f64 / exact as f64) as f32;
    first + (exact + (octaves * (half - exact) as f32) as usize).min(half - 1)
}

/// The buckets of every key for every query of `length` tokens, query by query:
/// `[length * length]`.
pub(super) fn buckets(length: usize, config: &UmT5Config) -> Vec<i32> {
    // One logarithm per distance, not per pair.
    let by_distance: Vec<i32> = (1 - length as i64..length as i64)
        .map(|distance| bucket(distance, config) as i32)
        .collect();
    (0..length)
        .flat_map(|query| by_distance[length - 1 - query..][..length].iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_equal_those_worked_out_by_hand() {
        // 32 buckets, 128 tokens: one each below 8, then 8 + floor(8 ln(a / 8) / ln 16): 16 is 8 +
        // 8 / 4, 32 is 8 + 8 / 2, 64 is 8 + 6.
        let xxl = UmT5Config::xxl();
        for (distance, expected) in [
            (0, 0),
            (-1, 1),
            (1, 17),
            (-7, 7),
            (7, 23),
            (-8, 8),
            (8, 24),
            (-11, 8),
            (-12, 9),
            (-16, 10),
            (16, 26),
            (-32, 12),
            (-64, 14),
            (-127, 15),
            (-128, 15),
            (128, 31),
            (511, 31),
            (-100_000, 15),
        ] {
            assert_eq!(bucket(distance, &xxl), expected, "{distance}");
        }
    }

    #[test]
    fn a_row_of_buckets_runs_over_the_keys() {
        let xxl = UmT5Config::xxl();
        let square = buckets(3, &xxl);
        assert_eq!(square, [0, 17, 18, 1, 0, 17, 2, 1, 0]);
    }
}

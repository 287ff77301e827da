//! How the student's learning rate falls over a run.

use std::f64::consts::PI;

/// Factor on the learning rate after `share` (0 to 1) of a run: half a cosine from 1 down to
/// `floor`.
pub fn half_cosine(share: f64, floor: f64) -> f64 {
    floor + (1.0 - floor) * 0.5 * (1.0 + (PI * share).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_one_ends_at_the_floor_and_is_halfway_in_the_middle() {
        for (share, expected) in [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)] {
            assert!((half_cosine(share, 0.2) - expected).abs() < 1e-12);
        }
        assert_eq!(half_cosine(0.3, 1.0), 1.0);
    }
}

//! Frames per second as ffmpeg takes them.

use std::fmt;

/// Frames per second as a fraction, which is how containers store it; above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    numerator: u64,
    denominator: u64,
}

impl Rate {
    /// The simplest fraction at `rate`, or the nearest one with a denominator up to 1001. `rate` is
    /// finite and above zero.
    pub fn from_f64(rate: f64) -> Self {
        let numerator = |denominator: u64| (rate * denominator as f64).round().max(1.0);
        let error = |denominator: u64| (numerator(denominator) / denominator as f64 - rate).abs();
        let exact = (1..=1001).find(|&denominator| error(denominator) < 1e-9 * rate);
        let nearest = || {
            (1..=1001)
                .min_by(|&a, &b| error(a).total_cmp(&error(b)))
                .unwrap_or(1)
        };
        let denominator = exact.unwrap_or_else(nearest);
        Self {
            numerator: numerator(denominator) as u64,
            denominator,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.numerator, self.denominator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_the_simplest_fraction() {
        let fraction = |rate| Rate::from_f64(rate).to_string();
        assert_eq!(fraction(8.0), "8/1");
        assert_eq!(fraction(12.5), "25/2");
        assert_eq!(fraction(24000.0 / 1001.0), "24000/1001");
        let near = Rate::from_f64(std::f64::consts::PI);
        let value = near.numerator as f64 / near.denominator as f64;
        assert!((value - std::f64::consts::PI).abs() < 1e-6);
    }
}

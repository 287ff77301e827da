//! Numbers as readers see them.

/// How many decimals show the largest of the values with three significant digits, and the middle
/// one of their uncertainties with one; 0 to 6.
pub(crate) fn decimals(
    values: impl Iterator<Item = f64>,
    uncertainties: impl Iterator<Item = f64>,
) -> usize {
    let largest = values.map(f64::abs).fold(0.0, f64::max);
    let mut uncertainties: Vec<f64> = uncertainties.filter(|size| *size > 0.0).collect();
    uncertainties.sort_by(f64::total_cmp);
    // 1 itself counts as just below 1, for the sake of shares.
    let before_point = |size: f64| (size.log10() - 1e-9).floor() as i64;
    let of_largest = if largest > 0.0 {
        2 - before_point(largest)
    } else {
        2
    };
    let of_middle = uncertainties
        .get(uncertainties.len() / 2)
        .map_or(0, |middle| -before_point(*middle));
    of_largest.max(of_middle).clamp(0, 6) as usize
}

/// With a fixed number of decimals and a true minus sign; never minus zero.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|letter| matches!(letter, b'0' | b'.')) => rest.into(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

/// As [`fixed`], with a plus sign.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    if text.starts_with('\u{2212}') || text.bytes().all(|letter| matches!(letter, b'0' | b'.')) {
        text
    } else {
        format!("+{text}")
    }
}

/// A probability with two significant digits, "< 0.001" below that.
pub(crate) fn probability(value: f64) -> String {
    match value {
        _ if value < 0.001 => "< 0.001".into(),
        _ if value < 0.0995 => format!("{value:.3}"),
        _ => format!("{value:.2}"),
    }
}

/// At most four significant digits, without zeros at the end; scientific below 0.001 and from 10^7.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e7).contains(&size) {
        return format!("{value:.1e}")
            .replace(".0e", "e")
            .replace('-', "\u{2212}");
    }
    let text = fixed(value, (3 - size.log10().floor() as i64).max(0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        text
    }
}

/// With a thin space between thousands.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Seconds as `1 h 02 min 05 s`; below a minute with tenths.
pub fn duration(seconds: f64) -> String {
    if seconds < 59.95 || !seconds.is_finite() {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours} h {minutes:02} min {seconds:02} s")
    } else {
        format!("{minutes} min {seconds:02} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_has_three_digits() {
        for (values, expected) in [
            (&[8.284, 0.24][..], 2),
            (&[0.058], 4),
            (&[0.979], 3),
            (&[-1234.0], 0),
            (&[1e-9], 6),
            (&[1.0, 0.8], 3),
            (&[], 2),
        ] {
            assert_eq!(
                decimals(values.iter().copied(), std::iter::empty()),
                expected,
                "{values:?}"
            );
        }
        assert_eq!(
            decimals([8.28].into_iter(), [0.004, 0.003, 0.5].into_iter()),
            3,
            "so that ± 0.004 is not ± 0.00"
        );
    }

    #[test]
    fn signs_are_true_and_zero_has_none() {
        assert_eq!(
            (
                fixed(-0.245, 2),
                fixed(-0.0004, 2),
                signed(0.5, 1),
                signed(-0.5, 1)
            ),
            ("−0.24".into(), "0.00".into(), "+0.5".into(), "−0.5".into())
        );
        assert_eq!(signed(0.0004, 2), "0.00");
    }

    #[test]
    fn small_probabilities_and_large_counts_are_readable() {
        assert_eq!(
            [0.0004, 0.0317, 0.25, 1.0].map(probability),
            ["< 0.001", "0.032", "0.25", "1.00"]
        );
        assert_eq!(
            [0, 999, 1000, 1234567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
        assert_eq!(
            [0.0, 2.5, 1000.0, 0.05, 12345.6, 2e-5].map(short),
            ["0", "2.5", "1000", "0.05", "12346", "2e−5"]
        );
        assert_eq!(
            [0.25, 59.97, 125.4, 3725.5].map(duration),
            ["0.2 s", "1 min 00 s", "2 min 05 s", "1 h 02 min 06 s"]
        );
    }
}

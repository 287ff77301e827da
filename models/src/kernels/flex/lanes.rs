//! Sums, maxima and exponentials of rows, in lanes that the compiler turns into vector
//! instructions.

use crate::kernels::Norm;

/// Runs `work` compiled for the widest vector instructions of this machine.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

const LANES: usize = 16;

/// `sum(term(i))` over two rows of the same length, in lanes.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
pub(super) fn sum(row: &[f32]) -> f32 {
    lanes(row, row, |value, _| value)
}

#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |a, b| a * b)
}

#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    let chunks = row.chunks_exact(LANES);
    let rest = chunks
        .remainder()
        .iter()
        .copied()
        .fold(f32::NEG_INFINITY, larger);
    let mut found = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            found[lane] = larger(found[lane], chunk[lane]);
        }
    }
    found.into_iter().fold(rest, larger)
}

/// The larger one; one instruction, unlike `f32::max`. What happens to a NaN does not matter: it
/// stays in its row.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Mean (0 for an RMS norm) and one over the standard deviation of a row.
#[inline(always)]
pub(super) fn statistics(row: &[f32], norm: Norm) -> (f32, f32) {
    let mean = if norm.centred {
        sum(row) / row.len() as f32
    } else {
        0.0
    };
    let square = lanes(row, row, |value, _| (value - mean) * (value - mean)) / row.len() as f32;
    (mean, (square + norm.epsilon as f32).sqrt().recip())
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exponential(-x))
}

/// `exp(x)` to about two units in the last place, without a branch, so that it runs in vectors.
///
/// Cephes' method: with n the whole number nearest to x / ln 2, `exp(x) = 2^n exp(x - n ln 2)`, and
/// a polynomial of degree 6 for the rest. NaN stays NaN; below -87.3 the result stays at the
/// smallest normal number, above 88.0 at 1.6e38.
#[inline(always)]
pub(super) fn exponential(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, the first of few bits.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let polynomial = 1.987_569_2e-4f32;
    let polynomial = polynomial * rest + 1.398_2e-3;
    let polynomial = polynomial * rest + 8.333_452e-3;
    let polynomial = polynomial * rest + 4.166_579_6e-2;
    let polynomial = polynomial * rest + 0.166_666_65;
    let polynomial = polynomial * rest + 0.5;
    let power = f32::from_bits(
        (rounded
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127))
            << 23,
    );
    (polynomial * rest * rest + rest + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn the_exponential_is_exact_to_a_few_roundings() {
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            // Two units in the last place of f32.
            assert!(
                (f64::from(exponential(x)) / exact - 1.0).abs() < 2.4e-7,
                "exp({x})"
            );
        }
        assert!(exponential(f32::NAN).is_nan());
        assert!(exponential(f32::NEG_INFINITY) < 2e-38 && exponential(f32::INFINITY) > 1e38);
    }
}

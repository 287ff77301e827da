//! Which colours a pixel is a mixture of.

/// A pixel whose median over all samples is this share of a body's colour shows a resting body
/// rather than the background.
const RESTING_COVER: f32 = 0.5;
/// ... and by no more than this share of its difference from the surroundings off that colour: a
/// grey wall's corner on a black moon is 0.44 off yellow.
const RESTING_MISMATCH: f32 = 0.25;
/// What a colour must save, in squared 8-bit levels, before it is believed at all.
const PRICE_OF_A_COLOUR: f32 = 144.0;
/// What a second colour in one pixel must save beyond that: half-covered yellow is not red beside
/// green, nor is red at a grey wall. The price of that: where two bodies share a pixel, less than
/// about a third of it is not counted for the second.
const PRICE_OF_A_SECOND_COLOUR: f32 = 2500.0;
/// Differences below this many 8-bit levels (norm over channels) are noise.
pub(super) const NOISE_LEVELS: f32 = 24.0;

/// Which share of a pixel each colour covers, each in [0, 1], together at most 1.
///
/// Least squares for `pixel - background = sum_k a_k (colour_k - background)` with at most two
/// bodies in a pixel. More would not be determined by three channels, and a pixel this does not
/// explain (half its difference left over) belongs to none of them.
pub(super) fn unmix(pixel: [f32; 3], background: [f32; 3], colours: &[[f32; 3]]) -> Vec<f32> {
    let mut covers = vec![0.0; colours.len()];
    let difference = subtract(pixel, background);
    if norm(difference) < NOISE_LEVELS {
        return covers;
    }
    let directions: Vec<[f32; 3]> = colours
        .iter()
        .map(|&colour| subtract(colour, background))
        .collect();
    // (cost, residual norm, covers of at most two bodies); nothing at all explains nothing.
    let mut best = (
        dot(difference, difference),
        norm(difference),
        [(0, 0.0), (0, 0.0)],
    );
    let mut consider = |shares: [(usize, f32); 2], price: f32| {
        let explained = shares.iter().fold([0.0; 3], |sum, &(body, share)| {
            add_scaled(sum, directions[body], share)
        });
        let residual = subtract(difference, explained);
        let cost = dot(residual, residual) + price;
        if cost < best.0 {
            best = (cost, norm(residual), shares);
        }
    };
    for (one, &first) in directions
        .iter()
        .enumerate()
        .filter(|(_, direction)| norm(**direction) >= NOISE_LEVELS)
    {
        consider(
            [
                (
                    one,
                    (dot(difference, first) / dot(first, first)).clamp(0.0, 1.0),
                ),
                (one, 0.0),
            ],
            PRICE_OF_A_COLOUR,
        );
        for (other, &second) in directions
            .iter()
            .enumerate()
            .skip(one + 1)
            .filter(|(_, direction)| norm(**direction) >= NOISE_LEVELS)
        {
            if let Some((a, b)) = two_shares(difference, first, second) {
                consider(
                    [(one, a), (other, b)],
                    PRICE_OF_A_COLOUR + PRICE_OF_A_SECOND_COLOUR,
                );
            }
        }
    }
    let (_, residual, shares) = best;
    if residual <= (0.5 * norm(difference)).max(NOISE_LEVELS) {
        shares
            .iter()
            .for_each(|&(body, share)| covers[body] += share);
    }
    covers
}

/// Whether a pixel's usual colour is that of a body over `background` rather than of the scene.
pub(super) fn rests(pixel: [f32; 3], background: [f32; 3], colour: [f32; 3]) -> bool {
    let cover = unmix(pixel, background, &[colour])[0];
    let difference = subtract(pixel, background);
    let left_over = add_scaled(difference, subtract(colour, background), -cover);
    cover >= RESTING_COVER
        && norm(left_over) <= (RESTING_MISMATCH * norm(difference)).max(NOISE_LEVELS)
}

/// Least-squares shares of two directions with `a, b >= 0` and `a + b <= 1`; `None` where one
/// direction does as well.
fn two_shares(difference: [f32; 3], first: [f32; 3], second: [f32; 3]) -> Option<(f32, f32)> {
    let (aa, ab, bb) = (dot(first, first), dot(first, second), dot(second, second));
    let determinant = aa * bb - ab * ab;
    if determinant <= 1e-3 * aa * bb {
        return None;
    }
    let (da, db) = (dot(difference, first), dot(difference, second));
    let (a, b) = (
        (da * bb - db * ab) / determinant,
        (db * aa - da * ab) / determinant,
    );
    if a <= 0.0 || b <= 0.0 {
        return None;
    }
    if a + b <= 1.0 {
        return Some((a, b));
    }
    // No background left: the best point on the line between the two colours.
    let line = subtract(first, second);
    let a = dot(subtract(difference, second), line) / dot(line, line);
    (a > 0.0 && a < 1.0).then_some((a, 1.0 - a))
}

/// [-1, 1] to 8-bit levels, clamped, not rounded.
pub(super) fn levels(pixel: [f32; 3]) -> [f32; 3] {
    pixel.map(|value| (value.clamp(-1.0, 1.0) + 1.0) * 127.5)
}

pub(super) fn subtract(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn add_scaled(a: [f32; 3], b: [f32; 3], scale: f32) -> [f32; 3] {
    [
        a[0] + b[0] * scale,
        a[1] + b[1] * scale,
        a[2] + b[2] * scale,
    ]
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn norm(a: [f32; 3]) -> f32 {
    dot(a, a).sqrt()
}

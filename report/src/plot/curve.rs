//! One run's learning curve.

use super::{Line, PlotError, Point, lines};
use crate::palette::{Look, Marker, REFERENCE};

/// Curves with more points are thinned to about this many, far more than the picture has pixels.
const MOST_POINTS: usize = 2000;
/// Beyond this plotters' ticks overflow; nothing that a run measures comes near it.
const LARGEST: f64 = 1e300;

/// A curve over steps as an inline SVG picture; [`dark_style`](crate::dark_style) has its colours
/// for dark pages.
///
/// `points` are steps and values in the order of the steps. `title` is for readers who cannot see
/// the picture.
///
/// # Errors
/// [`PlotError`] for values that are not finite or beyond 1e300.
pub fn curve(title: &str, points: &[(u64, f64)]) -> Result<String, PlotError> {
    if let Some((step, value)) = points
        .iter()
        .find(|(_, value)| value.is_nan() || value.abs() > LARGEST)
    {
        let reason =
            format!("found {value:e} at step {step}, expected values from -1e300 to 1e300");
        return Err(PlotError {
            title: title.into(),
            reason,
        });
    }
    let look = Look {
        colour: REFERENCE,
        marker: Marker::Circle,
        reference: false,
        control: false,
    };
    let point = |(step, value): (u64, f64)| Point {
        x: step as f64,
        mean: value,
        low: value,
        high: value,
    };
    lines(
        title,
        "step",
        &[Line {
            look,
            points: thin(points).into_iter().map(point).collect(),
        }],
    )
}

/// The points themselves where they are few, else the least and the greatest of each of 1000
/// stretches, so that no spike is lost.
fn thin(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for part in points.chunks(stretch) {
        let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
        let mut pair: Vec<_> = part
            .iter()
            .min_by(by_value)
            .into_iter()
            .chain(part.iter().max_by(by_value))
            .copied()
            .collect();
        pair.sort_by_key(|point| point.0);
        kept.extend(pair);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corners of the curve's own line, in the picture's units: the longest that is drawn.
    fn drawn(svg: &str) -> Vec<(i32, i32)> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let lines = document
            .descendants()
            .filter(|node| node.has_tag_name("polyline"))
            .filter_map(|node| node.attribute("points"));
        let longest = lines.max_by_key(|points| points.len()).unwrap_or_default();
        let corner = |point: &str| {
            point
                .split_once(',')
                .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                .unwrap()
        };
        longest.split_whitespace().map(corner).collect()
    }

    #[test]
    fn a_rise_is_drawn_from_the_bottom_left_to_the_top_right() {
        let points: Vec<(u64, f64)> = (0..300).map(|step| (step, step as f64 / 20.0)).collect();
        let drawn = drawn(&curve("loss", &points).unwrap());
        assert_eq!(drawn.len(), 300);
        // Up is less in a picture.
        assert!(
            drawn
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1),
            "{drawn:?}"
        );
    }

    #[test]
    fn constant_single_missing_and_extreme_values_are_drawn_without_nan() {
        for points in [
            &[(1, 5.0), (2, 5.0)][..],
            &[(7, 5.0)],
            &[],
            &[(0, -1e300), (u64::MAX, 1e300)],
            &[(0, 1e-300), (1, 2e-300)],
        ] {
            let svg = curve("loss", points).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn values_that_cannot_be_drawn_are_named() {
        for value in [f64::NAN, f64::INFINITY, f64::MIN] {
            let message = curve("loss", &[(1, 0.0), (2, value)])
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("loss") && message.contains("step 2"),
                "{message}"
            );
        }
    }

    #[test]
    fn long_curves_are_thinned_but_keep_their_spikes() {
        let points: Vec<(u64, f64)> = (0..100_000)
            .map(|step| {
                (
                    step,
                    if step == 54_321 {
                        9.0
                    } else {
                        (step % 2) as f64
                    },
                )
            })
            .collect();
        let thinned = thin(&points);
        assert_eq!(thinned.len(), 2000);
        assert!(
            thinned.contains(&(54_321, 9.0))
                && thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0)
        );
    }
}

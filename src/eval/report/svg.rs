//! Learning curves as small inline SVG pictures.

use std::fmt::Write;

use afd_report::escape;

/// The picture, in its own units.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 120.0;
/// The plotted area inside it.
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = HEIGHT - 18.0;
/// Curves with more points are thinned to about this many, far more than the picture has pixels.
const MAX_POINTS: usize = 2000;

/// A curve over steps, both axes labelled with the least and the greatest value.
///
/// Points must be finite, in the order of their steps. Colours come from the classes `axis` and `curve` of the page's style.
pub(super) fn curve(name: &str, points: &[(u64, f64)]) -> String {
    let label = escape(name);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label} over steps\">");
    let (Some(first), Some(last)) = (points.iter().map(|point| point.0).min(), points.iter().map(|point| point.0).max()) else {
        return svg + "</svg>";
    };
    let low = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let x = |step: u64| LEFT + (RIGHT - LEFT) * share((step - first) as f64, (last - first) as f64);
    // Halves keep the range of the largest numbers finite.
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * share(value / 2.0 - low / 2.0, high / 2.0 - low / 2.0);

    // Writing to a String cannot fail.
    let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
    let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
        let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    };
    let steps = HEIGHT - 5.0;
    text((LEFT + RIGHT) / 2.0, steps, "middle", "step");
    text(x(first), steps, if first == last { "middle" } else { "start" }, &first.to_string());
    text(LEFT - 4.0, y(low) + 3.5, "end", &number(low));
    if first < last {
        text(RIGHT, steps, "end", &last.to_string());
    }
    if low < high {
        text(LEFT - 4.0, y(high) + 3.5, "end", &number(high));
    }
    if let [(step, value)] = points {
        let _ = write!(svg, "<circle class=\"curve\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", x(*step), y(*value));
    } else {
        let drawn: Vec<String> = thin(points).iter().map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value))).collect();
        let _ = write!(svg, "<polyline class=\"curve\" points=\"{}\"/>", drawn.join(" "));
    }
    svg + "</svg>"
}

/// Where `part` lies in `whole`; the middle of a range without extent.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.5 }
}

/// The points themselves where they are few, else the least and the greatest of each of 1000 stretches, so that no spike is lost.
fn thin(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MAX_POINTS / 2);
    let mut kept = Vec::with_capacity(MAX_POINTS);
    for part in points.chunks(stretch) {
        let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
        let mut pair: Vec<_> = part.iter().min_by(by_value).into_iter().chain(part.iter().max_by(by_value)).copied().collect();
        pair.sort_by_key(|point| point.0);
        kept.extend(pair);
    }
    kept
}

/// At most four significant digits, in scientific notation below 0.001 and from 100000.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..99_999.5).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", without_zeros(digits));
    }
    let before_point = size.log10().floor() as i32 + 1;
    without_zeros(&format!("{value:.*}", (4 - before_point).max(0) as usize)).to_string()
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawn points, in units of the picture.
    fn drawn(svg: &str) -> Vec<(f64, f64)> {
        let points = svg.split_once("points=\"").unwrap().1.split_once('"').unwrap().0;
        let read = |point: &str| point.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap();
        points.split(' ').map(read).collect()
    }

    #[test]
    fn a_curve_has_as_many_points_as_steps_inside_its_axes() {
        let points: Vec<(u64, f64)> = (0..300).map(|step| (step, (step as f64 / 20.0).sin())).collect();
        let drawn = drawn(&curve("loss", &points));
        assert_eq!(drawn.len(), 300);
        assert!(drawn.iter().all(|(x, y)| (LEFT..=RIGHT).contains(x) && (TOP..=BOTTOM).contains(y)));
        assert!(drawn.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn the_least_value_is_at_the_bottom_left_and_the_greatest_at_the_top_right_of_a_rise() {
        let svg = curve("loss", &[(10, -2.0), (15, 0.0), (20, 2.0)]);
        assert_eq!(drawn(&svg), [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0), (RIGHT, TOP)]);
        for label in [">10<", ">20<", ">-2<", ">2<", ">step<"] {
            assert!(svg.contains(label), "{label} in {svg}");
        }
    }

    #[test]
    fn constant_single_missing_and_extreme_values_are_drawn_without_nan() {
        let level: Vec<f64> = drawn(&curve("loss", &[(1, 5.0), (2, 5.0)])).iter().map(|point| point.1).collect();
        assert_eq!(level, [(TOP + BOTTOM) / 2.0; 2]);
        assert!(curve("loss", &[(7, 5.0)]).contains("<circle"));
        assert!(!curve("loss", &[]).contains("<polyline"));
        let extreme = curve("loss", &[(0, f64::MIN), (u64::MAX, f64::MAX)]);
        assert_eq!(drawn(&extreme), [(LEFT, BOTTOM), (RIGHT, TOP)]);
        assert!(!extreme.contains("NaN") && !extreme.contains("inf"), "{extreme}");
    }

    #[test]
    fn long_curves_are_thinned_but_keep_their_spikes() {
        let points: Vec<(u64, f64)> = (0..100_000).map(|step| (step, if step == 54_321 { 9.0 } else { (step % 2) as f64 })).collect();
        let thinned = thin(&points);
        assert_eq!(thinned.len(), 2000);
        assert!(thinned.contains(&(54_321, 9.0)) && thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn numbers_have_four_digits() {
        let expected = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-12.345678, "-12.35"),
            (0.001_234_56, "0.001235"),
            (99_999.0, "99999"),
            (100_000.0, "1e5"),
            (-2.5e-7, "-2.5e-7"),
            (9.99996, "10"),
            (120.0, "120"),
        ];
        for (value, text) in expected {
            assert_eq!(number(value), text, "{value}");
        }
    }
}

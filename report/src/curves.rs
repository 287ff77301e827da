//! Runs' curves as one line per method: the mean over seeds, and the range they span.

use crate::{
    benchmark::{Benchmark, Run, State},
    palette::Look,
    plot::{Line, Point},
};

/// More places than this say no more in a picture.
const MOST_POINTS: usize = 120;

/// The lines of a curve in a group, family and regime, one per method that has any.
pub(crate) fn lines(
    benchmark: &Benchmark,
    curve: &str,
    group: Option<&str>,
    family: &str,
    regime: &str,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for method in benchmark.methods_of(group) {
        let belongs = |run: &&Run| {
            run.method == method.name
                && run.family == family
                && run.regime.as_deref().is_none_or(|name| name == regime)
                && run.state == State::Done
        };
        let runs: Vec<&[[f64; 2]]> = benchmark
            .runs
            .iter()
            .filter(belongs)
            .filter_map(|run| run.curves.get(curve))
            .map(Vec::as_slice)
            .collect();
        let points = band(&runs);
        if !points.is_empty() {
            lines.push(Line {
                look: Look::of(benchmark, method),
                points,
            });
        }
    }
    lines
}

/// Mean, least and greatest where all of the curves have points, straight between a curve's own.
fn band(curves: &[&[[f64; 2]]]) -> Vec<Point> {
    let curves: Vec<&[[f64; 2]]> = curves
        .iter()
        .copied()
        .filter(|points| !points.is_empty())
        .collect();
    let start = curves
        .iter()
        .map(|points| points[0][0])
        .fold(f64::NEG_INFINITY, f64::max);
    let end = curves
        .iter()
        .map(|points| points[points.len() - 1][0])
        .fold(f64::INFINITY, f64::min);
    let mut places: Vec<f64> = curves
        .iter()
        .flat_map(|points| points.iter().map(|point| point[0]))
        .collect();
    places.retain(|x| (start..=end).contains(x));
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() > MOST_POINTS {
        let step = (end - start) / (MOST_POINTS - 1) as f64;
        places = (0..MOST_POINTS)
            .map(|at| (start + step * at as f64).min(end))
            .collect();
    }
    let point = |x: f64| {
        let values: Vec<f64> = curves.iter().map(|points| at(points, x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        Point {
            x,
            mean,
            low,
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    places.into_iter().map(point).collect()
}

/// A curve's value at an x between its first and last.
fn at(points: &[[f64; 2]], x: f64) -> f64 {
    let after = points
        .partition_point(|point| point[0] < x)
        .min(points.len() - 1);
    let [right, above] = points[after];
    if after == 0 || right == x {
        return above;
    }
    let [left, below] = points[after - 1];
    below + (above - below) * (x - left) / (right - left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    #[test]
    fn seeds_of_one_grid_give_their_means_and_ranges() {
        let points = band(&[&[[0.0, 1.0], [1.0, 2.0]], &[[0.0, 3.0], [1.0, 6.0]]]);
        assert_eq!(
            points,
            [
                Point {
                    x: 0.0,
                    mean: 2.0,
                    low: 1.0,
                    high: 3.0
                },
                Point {
                    x: 1.0,
                    mean: 4.0,
                    low: 2.0,
                    high: 6.0
                }
            ]
        );
    }

    #[test]
    fn different_grids_meet_on_straight_lines_where_all_have_points() {
        let points = band(&[
            &[[0.0, 0.0], [4.0, 8.0]],
            &[[1.0, 2.0], [2.0, 2.0], [6.0, 2.0]],
            &[],
        ]);
        let found: Vec<_> = points.iter().map(|point| (point.x, point.mean)).collect();
        assert_eq!(found, [(1.0, 2.0), (2.0, 3.0), (4.0, 5.0)]);
        assert!(band(&[&[[0.0, 0.0]], &[[1.0, 0.0]]]).is_empty() && band(&[]).is_empty());
    }

    #[test]
    fn long_curves_are_drawn_at_fewer_places_with_their_ends() {
        let long: Vec<[f64; 2]> = (0..1000)
            .map(|x| [f64::from(x), 2.0 * f64::from(x)])
            .collect();
        let points = band(&[&long]);
        assert_eq!(
            (points.len(), points[0].x, points[MOST_POINTS - 1].x),
            (MOST_POINTS, 0.0, 999.0)
        );
        assert!(
            points
                .iter()
                .all(|point| (point.mean - 2.0 * point.x).abs() < 1e-9)
        );
    }

    #[test]
    fn failed_runs_are_not_part_of_a_line() {
        let benchmark = small();
        let lines = lines(&benchmark, "drift", None, "chunk", "200");
        // Teacher, base, SFT, GAN's one done run, AFD.
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[3].points[0],
            Point {
                x: 1.0,
                mean: 4.0,
                low: 4.0,
                high: 4.0
            }
        );
    }
}

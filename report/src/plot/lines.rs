//! Values along an axis: curves with bands, and points with intervals over a few categories.

use plotters::{coord::types::RangedCoordf64, prelude::*, style::text_anchor::HPos};

use super::{
    AXIS_TITLE, Area, Drawn, GRID, LABELS, LETTERS, PlotError, UNITS, cut, draw_marker, picture,
    range, rgb, stroke, text,
};
use crate::{number::short, palette::Look};

const WIDTH: i32 = 470;
const HEIGHT: i32 = 280;
/// Curves of few points show them.
const MOST_MARKED: usize = 12;

/// A method's line.
pub(crate) struct Line {
    /// Its look.
    pub(crate) look: Look,
    /// By rising x.
    pub(crate) points: Vec<Point>,
}

/// A mean with what surrounds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Where; in [`categories`] the category's number.
    pub(crate) x: f64,
    /// The mean.
    pub(crate) mean: f64,
    /// The lower end of band or interval.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Curves with bands.
pub(crate) fn lines(title: &str, x_title: &str, lines: &[Line]) -> Result<String, PlotError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (low, high) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.x), high.max(point.x))
    });
    let along = if low < high {
        low..high
    } else {
        range(points().map(|point| point.x))
    };
    picture(title, WIDTH, HEIGHT, |area| {
        let chart = frame(area, along, lines, x_title, 7, &|x| short(*x))?;
        for line in in_order(lines) {
            let (lows, highs) = (
                line.points.iter().map(|point| (point.x, point.low)),
                line.points.iter().rev().map(|point| (point.x, point.high)),
            );
            let band: Vec<(i32, i32)> = lows
                .chain(highs)
                .map(|at| chart.backend_coord(&at))
                .collect();
            area.draw(&Polygon::new(
                band,
                rgb(line.look.colour).mix(0.14).filled(),
            ))?;
        }
        for line in in_order(lines) {
            draw_line(area, &chart, line, 0.0)?;
            if line.points.len() <= MOST_MARKED {
                for point in &line.points {
                    draw_marker(area, chart.backend_coord(&(point.x, point.mean)), line.look)?;
                }
            }
        }
        Ok(())
    })
}

/// Points with intervals over named categories, side by side within each.
pub(crate) fn categories(
    title: &str,
    x_title: &str,
    names: &[&str],
    lines: &[Line],
) -> Result<String, PlotError> {
    let along = -0.5..names.len() as f64 - 0.5;
    picture(title, WIDTH, HEIGHT, |area| {
        let name = |x: &f64| {
            let nearest = x.round();
            let whole = (x - nearest).abs() < 1e-6 && nearest >= 0.0;
            names
                .get(nearest.max(0.0) as usize)
                .filter(|_| whole)
                .map_or(String::new(), |name| cut(name, 64 / names.len().max(1)))
        };
        // As many places as let plotters put one on each category.
        let chart = frame(area, along, lines, x_title, 2 * names.len() + 2, &name)?;
        let beside: Vec<&Line> = lines.iter().filter(|line| !line.look.control).collect();
        for line in in_order(lines) {
            // Controls are the same everywhere, so they stand in the middle as lines to compare
            // with.
            let place = beside.iter().position(|other| std::ptr::eq(*other, line));
            let shift = place.map_or(0.0, |place| {
                0.6 * ((place as f64 + 0.5) / beside.len() as f64 - 0.5)
            });
            draw_line(area, &chart, line, shift)?;
            for point in &line.points {
                let [low, mean, high] = [point.low, point.mean, point.high]
                    .map(|y| chart.backend_coord(&(point.x + shift, y)));
                area.draw(&PathElement::new([low, high], stroke(line.look)))?;
                draw_marker(area, mean, line.look)?;
            }
        }
        Ok(())
    })
}

/// Axes, grid and labels.
fn frame<'a, 'b>(
    area: &'a Area<'b>,
    along: std::ops::Range<f64>,
    lines: &[Line],
    x_title: &str,
    x_labels: usize,
    x_label: &dyn Fn(&f64) -> String,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let values = lines
        .iter()
        .flat_map(|line| &line.points)
        .flat_map(|point| [point.mean, point.low, point.high]);
    let mut chart = ChartBuilder::on(area)
        .margin_top(8 * UNITS)
        .margin_right(14 * UNITS)
        .x_label_area_size(38 * UNITS)
        .y_label_area_size(54 * UNITS)
        .build_cartesian_2d(along, range(values))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(x_labels)
        .y_labels(6)
        .max_light_lines(0)
        .bold_line_style(rgb(GRID).stroke_width(UNITS as u32))
        .axis_style(rgb(GRID).stroke_width(UNITS as u32))
        .set_all_tick_mark_size(3 * UNITS)
        .label_style(("sans-serif", LETTERS).into_font().color(&rgb(LABELS)))
        .x_label_formatter(&x_label)
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    let middle = (54 + (WIDTH - 68) / 2) * UNITS;
    area.draw(&Text::new(
        cut(x_title, 70),
        (middle, (HEIGHT - 8) * UNITS),
        text(AXIS_TITLE, HPos::Center),
    ))?;
    Ok(chart)
}

fn draw_line(area: &Area, chart: &Chart, line: &Line, shift: f64) -> Drawn {
    let path: Vec<(i32, i32)> = line
        .points
        .iter()
        .map(|point| chart.backend_coord(&(point.x + shift, point.mean)))
        .collect();
    if path.len() > 1 {
        area.draw(&PathElement::new(path, stroke(line.look)))?;
    }
    Ok(())
}

/// The reference last, on top.
fn in_order(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines
        .iter()
        .filter(|line| !line.look.reference)
        .chain(lines.iter().filter(|line| line.look.reference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::palette::{INK, Marker, QUIET};

    fn line(reference: bool, points: &[(f64, f64)]) -> Line {
        let look = Look {
            colour: if reference { INK } else { QUIET },
            marker: Marker::Circle,
            reference,
            control: false,
        };
        let points = points
            .iter()
            .map(|(x, mean)| Point {
                x: *x,
                mean: *mean,
                low: mean - 1.0,
                high: mean + 1.0,
            })
            .collect();
        Line { look, points }
    }

    /// Centres of the drawn points, in pixels, and the texts.
    fn drawn(svg: &str) -> (Vec<(f64, f64)>, Vec<String>) {
        let document = roxmltree::Document::parse(svg).unwrap();
        let number = |node: &roxmltree::Node, name| {
            node.attribute(name).unwrap().parse::<f64>().unwrap() / f64::from(UNITS)
        };
        let circles = document
            .descendants()
            .filter(|node| node.has_tag_name("circle"));
        let texts = document
            .descendants()
            .filter(|node| node.has_tag_name("text"));
        let texts = texts
            .map(|node| node.text().unwrap_or_default().trim().to_string())
            .collect();
        (
            circles
                .map(|node| (number(&node, "cx"), number(&node, "cy")))
                .collect(),
            texts,
        )
    }

    #[test]
    fn points_lie_where_their_values_are_and_the_reference_is_on_top() {
        let svg = lines(
            "t",
            "steps",
            &[
                line(true, &[(0.0, 0.0), (10.0, 8.0)]),
                line(false, &[(0.0, 4.0), (5.0, 4.0), (10.0, 4.0)]),
            ],
        )
        .unwrap();
        let (circles, texts) = drawn(&svg);
        assert_eq!(circles.len(), 5);
        let (other, reference) = circles.split_at(3);
        assert!(
            reference[0].1 > other[0].1 && reference[1].1 < other[2].1,
            "drawn last, from below to above: {circles:?}"
        );
        assert!(
            (other[1].0 - (other[0].0 + other[2].0) / 2.0).abs() <= 0.5 && other[0].1 == other[2].1,
            "{circles:?}"
        );
        assert!(
            circles
                .iter()
                .all(|(x, y)| (54.0..=f64::from(WIDTH)).contains(x)
                    && (0.0..=f64::from(HEIGHT)).contains(y))
        );
        assert!(
            texts.iter().any(|text| text == "steps") && texts.iter().any(|text| text == "10"),
            "{texts:?}"
        );
    }

    #[test]
    fn every_category_is_named_once_in_order() {
        for count in [1, 2, 3, 5, 12] {
            let names: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let points: Vec<(f64, f64)> = (0..count)
                .map(|at| (f64::from(at), f64::from(at)))
                .collect();
            let (circles, texts) =
                drawn(&categories("t", "", &names, &[line(true, &points)]).unwrap());
            let found: Vec<&str> = texts
                .iter()
                .map(String::as_str)
                .filter(|text| text.starts_with('c'))
                .collect();
            assert_eq!(found, names);
            assert_eq!(circles.len(), count as usize);
        }
    }

    #[test]
    fn nothing_and_single_points_are_still_pictures() {
        for points in [&[][..], &[(3.0, 5.0)]] {
            let svg = lines("t", "x", &[line(true, points)]).unwrap();
            assert_eq!(drawn(&svg).0.len(), points.len());
        }
        assert!(lines("t", "x", &[]).is_ok() && categories("t", "x", &[], &[]).is_ok());
    }
}

//! Values along an axis: curves with bands, and points with intervals over a few categories.

use plotters::{coord::types::RangedCoordf64, prelude::*, style::text_anchor::HPos};

use super::{AXIS_TITLE, Area, Drawn, GRID, LABELS, LETTERS, PlotError, UNITS, cut, draw_marker, picture, range, rgb, stroke, text};
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
    let (low, high) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.x), high.max(point.x)));
    let along = if low < high { low..high } else { range(points().map(|point| point.x)) };
    picture(title, WIDTH, HEIGHT, |area| {
        let chart = frame(area, along, lines, x_title, &|x| short(*x))?;
        for line in in_order(lines) {
            let (lows, highs) =
                (line.points.iter().map(|point| (point.x, point.low)), line.points.iter().rev().map(|point| (point.x, point.high)));
            let band: Vec<(i32, i32)> = lows.chain(highs).map(|at| chart.backend_coord(&at)).collect();
            area.draw(&Polygon::new(band, rgb(line.look.colour).mix(0.14).filled()))?;
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
pub(crate) fn categories(title: &str, x_title: &str, names: &[&str], lines: &[Line]) -> Result<String, PlotError> {
    let along = -0.5..names.len() as f64 - 0.5;
    picture(title, WIDTH, HEIGHT, |area| {
        let name = |x: &f64| {
            let nearest = x.round();
            let whole = (x - nearest).abs() < 1e-6 && nearest >= 0.0;
            names.get(nearest.max(0.0) as usize).filter(|_| whole).map_or(String::new(), |name| cut(name, 64 / names.len().max(1)))
        };
        let chart = frame(area, along, lines, x_title, &name)?;
        let beside: Vec<&Line> = lines.iter().filter(|line| !line.look.control).collect();
        for line in in_order(lines) {
            // Controls are the same everywhere, so they stand in the middle as lines to compare with.
            let place = beside.iter().position(|other| std::ptr::eq(*other, line));
            let shift = place.map_or(0.0, |place| 0.6 * ((place as f64 + 0.5) / beside.len() as f64 - 0.5));
            draw_line(area, &chart, line, shift)?;
            for point in &line.points {
                let [low, mean, high] = [point.low, point.mean, point.high].map(|y| chart.backend_coord(&(point.x + shift, y)));
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
    x_label: &dyn Fn(&f64) -> String,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let values = lines.iter().flat_map(|line| &line.points).flat_map(|point| [point.mean, point.low, point.high]);
    let mut chart = ChartBuilder::on(area)
        .margin_top(8 * UNITS)
        .margin_right(14 * UNITS)
        .x_label_area_size(38 * UNITS)
        .y_label_area_size(54 * UNITS)
        .build_cartesian_2d(along, range(values))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(7)
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
    area.draw(&Text::new(cut(x_title, 70), (middle, (HEIGHT - 8) * UNITS), text(AXIS_TITLE, HPos::Center)))?;
    Ok(chart)
}

fn draw_line(area: &Area, chart: &Chart, line: &Line, shift: f64) -> Drawn {
    let path: Vec<(i32, i32)> = line.points.iter().map(|point| chart.backend_coord(&(point.x + shift, point.mean))).collect();
    if path.len() > 1 {
        area.draw(&PathElement::new(path, stroke(line.look)))?;
    }
    Ok(())
}

/// The reference last, on top.
fn in_order(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| !line.look.reference).chain(lines.iter().filter(|line| line.look.reference))
}

//! One row per method: its mean, its interval and the values behind it.

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{
    AXIS_TITLE, Area, Drawn, GRID, LABELS, LETTERS, PlotError, UNITS, cut, draw_marker, picture,
    range, rgb, stroke, text,
};
use crate::{number::short, palette::Look};

const WIDTH: i32 = 470;
const ROW: i32 = 24;
const LABEL_WIDTH: i32 = 150;
const AXIS_HEIGHT: i32 = 40;

/// A method's row.
pub(crate) struct Interval {
    /// The method's title.
    pub(crate) label: String,
    /// Its look.
    pub(crate) look: Look,
    /// The mean; `None`: nothing to draw but the reason.
    pub(crate) mean: Option<f64>,
    /// The interval's ends.
    pub(crate) ends: Option<(f64, f64)>,
    /// The values of the seeds.
    pub(crate) values: Vec<f64>,
    /// What stands in a row without a mean.
    pub(crate) note: String,
}

/// Rows from top to bottom; a grey line at the value of `guide`, such as the teacher's.
pub(crate) fn intervals(
    title: &str,
    x_title: &str,
    rows: &[Interval],
    guide: Option<f64>,
) -> Result<String, PlotError> {
    let height = rows.len() as i32 * ROW + AXIS_HEIGHT + 8;
    let ends = rows
        .iter()
        .filter_map(|row| row.ends)
        .flat_map(|(low, high)| [low, high]);
    let values = rows
        .iter()
        .flat_map(|row| row.mean.into_iter().chain(row.values.iter().copied()))
        .chain(ends)
        .chain(guide);
    picture(title, WIDTH, height, |area| {
        let count = rows.len().max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(8 * UNITS)
            .margin_right(16 * UNITS)
            .x_label_area_size(AXIS_HEIGHT * UNITS)
            .y_label_area_size(LABEL_WIDTH * UNITS)
            .build_cartesian_2d(range(values), count..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(6)
            .max_light_lines(0)
            .bold_line_style(rgb(GRID).stroke_width(UNITS as u32))
            .axis_style(rgb(GRID).stroke_width(UNITS as u32))
            .set_all_tick_mark_size(3 * UNITS)
            .label_style(("sans-serif", LETTERS).into_font().color(&rgb(LABELS)))
            .x_label_formatter(&|x| short(*x))
            .draw()?;
        if let Some(guide) = guide {
            let ends = [0.0, count].map(|y| chart.backend_coord(&(guide, y)));
            area.draw(&PathElement::new(
                ends,
                rgb(LABELS).stroke_width(UNITS as u32),
            ))?;
        }
        for (place, row) in rows.iter().enumerate() {
            let middle = place as f64 + 0.5;
            let y = ((place as i32 * ROW) + 8 + ROW / 2) * UNITS;
            draw_row(area, row, y, |x| chart.backend_coord(&(x, middle)))?;
        }
        let middle = (LABEL_WIDTH + (WIDTH - LABEL_WIDTH - 16) / 2) * UNITS;
        area.draw(&Text::new(
            cut(x_title, 52),
            (middle, (height - 8) * UNITS),
            text(AXIS_TITLE, HPos::Center),
        ))?;
        Ok(())
    })
}

/// A row's label, and its values or the reason that there are none; `at` places a value, `y` is the
/// row's middle.
fn draw_row(area: &Area, row: &Interval, y: i32, at: impl Fn(f64) -> (i32, i32)) -> Drawn {
    area.draw(&Text::new(
        cut(&row.label, 24),
        ((LABEL_WIDTH - 10) * UNITS, y),
        text(AXIS_TITLE, HPos::Right),
    ))?;
    let Some(mean) = row.mean else {
        area.draw(&Text::new(
            cut(&row.note, 40),
            ((LABEL_WIDTH + 8) * UNITS, y),
            text(LABELS, HPos::Left),
        ))?;
        return Ok(());
    };
    if let Some((low, high)) = row.ends {
        area.draw(&PathElement::new([at(low), at(high)], stroke(row.look)))?;
    }
    for value in &row.values {
        let (x, y) = at(*value);
        area.draw(&PathElement::new(
            [(x, y - 22), (x, y + 22)],
            rgb(row.look.colour).mix(0.55).stroke_width(5),
        ))?;
    }
    draw_marker(area, at(mean), row.look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::palette::{INK, Marker};

    #[test]
    fn rows_show_their_means_seeds_and_reasons() {
        let look = Look {
            colour: INK,
            marker: Marker::Circle,
            reference: false,
            control: false,
        };
        let row = |label: &str, mean: Option<f64>, note: &str| Interval {
            label: label.into(),
            look,
            mean,
            ends: mean.map(|mean| (mean - 1.0, mean + 1.0)),
            values: mean.map_or(vec![], |mean| vec![mean - 0.5, mean, mean + 0.5]),
            note: note.into(),
        };
        let svg = intervals(
            "t",
            "px",
            &[
                row("a", Some(1.0), ""),
                row("b", None, "failed"),
                row("c", Some(3.0), ""),
            ],
            Some(0.0),
        )
        .unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let circles: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("circle"))
            .collect();
        let at = |place: usize, name| {
            circles[place]
                .attribute(name)
                .unwrap()
                .parse::<i32>()
                .unwrap()
        };
        assert_eq!(circles.len(), 2);
        assert!(
            at(0, "cx") < at(1, "cx")
                && (at(1, "cy") - at(0, "cy") - 2 * ROW * UNITS).abs() <= UNITS
        );
        let texts: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .map(str::trim)
            .collect();
        assert!(
            ["a", "b", "c", "failed", "px"]
                .iter()
                .all(|text| texts.contains(text)),
            "{texts:?}"
        );
        assert!(intervals("t", "", &[], None).is_ok());
    }
}

//! Plots as SVG, drawn by plotters without any fonts: browsers set the text.
//!
//! Colours are written as on a light page; the page's style replaces them by name on a dark one.

mod curve;
mod intervals;
mod lines;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::palette::{Colour, INK, LINE, Look, Marker, QUIET};

pub use curve::curve;
pub(crate) use intervals::{Interval, intervals};
pub(crate) use lines::{Line, Point, categories, lines};

/// Plotters places things at whole units, so a picture has this many of them per pixel.
const UNITS: i32 = 4;
/// Letters, in units.
const LETTERS: i32 = 11 * UNITS;

/// Why plotters could not draw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plot of {title} cannot be drawn: {reason}")]
pub struct PlotError {
    title: String,
    reason: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A picture of so many pixels, drawn by `draw`; `title` is for readers who cannot see it.
fn picture(
    title: &str,
    width: i32,
    height: i32,
    draw: impl FnOnce(&Area) -> Drawn,
) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let size = ((width * UNITS) as u32, (height * UNITS) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| Ok(area.present()?));
        drawn.map_err(|error| PlotError {
            title: title.into(),
            reason: error.to_string(),
        })?;
    }
    let label = format!(
        "<svg role=\"img\" aria-label=\"{}\" ",
        crate::escape::escape(title)
    );
    Ok(svg.replacen("<svg ", &label, 1))
}

/// A method's line and point, for legends.
pub(crate) fn key(look: Look) -> Result<String, PlotError> {
    picture("key", 26, 12, |area| {
        let middle = 6 * UNITS;
        area.draw(&PathElement::new(
            [(0, middle), (26 * UNITS, middle)],
            stroke(look),
        ))?;
        draw_marker(area, (13 * UNITS, middle), look)
    })
    .map(|svg| {
        svg.replacen(
            "role=\"img\" aria-label=\"key\"",
            "class=\"key\" aria-hidden=\"true\"",
            1,
        )
    })
}

fn rgb(colour: Colour) -> RGBColor {
    RGBColor(colour.light.0, colour.light.1, colour.light.2)
}

/// The line of a look; the reference's is stronger.
fn stroke(look: Look) -> ShapeStyle {
    rgb(look.colour).stroke_width(if look.reference { 10 } else { 6 })
}

/// The point of a look, about 7 pixels wide.
fn draw_marker(area: &Area, (x, y): (i32, i32), look: Look) -> Drawn {
    let size = if look.reference { 17 } else { 14 };
    let fill = rgb(look.colour).filled();
    match look.marker {
        Marker::Circle => area.draw(&Circle::new((x, y), size, fill))?,
        Marker::Square => area.draw(&Rectangle::new(
            [(x - size + 2, y - size + 2), (x + size - 2, y + size - 2)],
            fill,
        ))?,
        Marker::Triangle => area.draw(&Polygon::new(
            [
                (x, y - size - 3),
                (x + size + 2, y + size - 2),
                (x - size - 2, y + size - 2),
            ],
            fill,
        ))?,
        Marker::Diamond => area.draw(&Polygon::new(
            [
                (x, y - size - 4),
                (x + size + 4, y),
                (x, y + size + 4),
                (x - size - 4, y),
            ],
            fill,
        ))?,
        Marker::Cross => {
            let stroke = rgb(look.colour).stroke_width(9);
            area.draw(&PathElement::new(
                [(x - size, y - size), (x + size, y + size)],
                stroke,
            ))?;
            area.draw(&PathElement::new(
                [(x - size, y + size), (x + size, y - size)],
                stroke,
            ))?;
        }
    }
    Ok(())
}

/// Text with its middle line at `y`.
fn text<'a>(colour: Colour, side: HPos) -> TextStyle<'a> {
    let colour = rgb(colour);
    TextStyle {
        font: ("sans-serif", LETTERS).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(side, VPos::Center),
    }
}

/// Text without the characters that no document may hold, cut to a length.
fn cut(label: &str, letters: usize) -> String {
    let clean = label
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    if label.chars().count() <= letters {
        clean.collect()
    } else {
        clean.take(letters - 1).chain(['…']).collect()
    }
}

/// The values' range with a little room; never empty.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        return 0.0..1.0;
    }
    // Halves keep the room of the largest numbers finite.
    let room = (0.12 * (high / 2.0 - low / 2.0))
        .max(1e-6 * high.abs().max(low.abs()))
        .max(1e-12);
    low - room..high + room
}

const GRID: Colour = LINE;
const LABELS: Colour = QUIET;
const AXIS_TITLE: Colour = INK;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_values_and_are_never_empty() {
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[-1.0, 3.0], &[1e308, -1e308]] {
            let range = range(values.iter().copied());
            assert!(
                range.start < range.end && values.iter().all(|value| range.contains(value)),
                "{values:?}: {range:?}"
            );
        }
    }

    #[test]
    fn keys_are_pictures_of_every_marker() {
        for marker in [
            Marker::Circle,
            Marker::Triangle,
            Marker::Square,
            Marker::Diamond,
            Marker::Cross,
        ] {
            let svg = key(Look {
                colour: INK,
                marker,
                reference: false,
                control: false,
            })
            .unwrap();
            let document = roxmltree::Document::parse(&svg).unwrap();
            assert!(
                document
                    .root_element()
                    .children()
                    .filter(|child| child.is_element())
                    .count()
                    >= 2,
                "{svg}"
            );
        }
    }

    #[test]
    fn labels_are_cut_at_letters() {
        assert_eq!(
            (cut("größer", 6), cut("größer", 4), cut("a\u{0}b", 9)),
            ("größer".into(), "grö…".into(), "a b".into())
        );
    }
}

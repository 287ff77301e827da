//! One look per method, the same in every plot.

use crate::benchmark::{Benchmark, Method, Role};

/// A colour on white and its counterpart on black, as in `#1D2127`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour {
    /// On a light page; also how plots name it.
    pub(crate) light: (u8, u8, u8),
    /// On a dark page.
    pub(crate) dark: (u8, u8, u8),
}

/// The shape of a method's points, so that colour is never the only difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Circle,
    Triangle,
    Square,
    Diamond,
    Cross,
}

/// How a method looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Of lines and points.
    pub(crate) colour: Colour,
    /// Of points.
    pub(crate) marker: Marker,
    /// Whether it is the reference, which is drawn stronger.
    pub(crate) reference: bool,
    /// Whether it is a control: the teacher or the untrained student.
    pub(crate) control: bool,
}

const fn colour(light: u32, dark: u32) -> Colour {
    const fn parts(colour: u32) -> (u8, u8, u8) {
        ((colour >> 16) as u8, (colour >> 8) as u8, colour as u8)
    }
    Colour {
        light: parts(light),
        dark: parts(dark),
    }
}

/// Text and axes.
pub(crate) const INK: Colour = colour(0x1D2127, 0xE5E8EC);
/// Labels and the untrained student.
pub(crate) const QUIET: Colour = colour(0x606873, 0x9AA2AD);
/// Grid lines.
pub(crate) const LINE: Colour = colour(0xDDE1E6, 0x333941);
/// The reference, and what is alone in its plot.
pub(crate) const REFERENCE: Colour = colour(0x0072B2, 0x5AB8F5);

/// Found by a search for colours that stay apart, also from the reference's and the controls', for
/// all kinds of colour vision (the tests say how far).
const OTHERS: [Colour; 8] = [
    colour(0xD27800, 0xF0781E),
    colour(0x1EA55A, 0xA5FFB4),
    colour(0x962D3C, 0xF02D78),
    colour(0x3C1EA5, 0x7878FF),
    colour(0xFF3C4B, 0xC3784B),
    colour(0x690069, 0xB469B4),
    colour(0x695A00, 0xF0E13C),
    colour(0x3C1E00, 0xF0B469),
];
const MARKERS: [Marker; 5] = [
    Marker::Triangle,
    Marker::Square,
    Marker::Diamond,
    Marker::Cross,
    Marker::Circle,
];

/// Every colour that plots use.
pub(crate) fn all() -> impl Iterator<Item = Colour> {
    [INK, QUIET, LINE, REFERENCE].into_iter().chain(OTHERS)
}

/// As in `#1D2127`, the spelling of plotters.
pub(crate) fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

impl Look {
    /// The look of one of the benchmark's methods. Methods of different groups never meet in a
    /// plot, so each group starts anew.
    pub(crate) fn of(benchmark: &Benchmark, method: &Method) -> Self {
        let plain = |colour, marker| Self {
            colour,
            marker,
            reference: false,
            control: method.role != Role::Method,
        };
        match method.role {
            _ if method.name == benchmark.reference => Self {
                colour: REFERENCE,
                marker: Marker::Circle,
                reference: true,
                control: false,
            },
            Role::Teacher => plain(INK, Marker::Diamond),
            Role::Base => plain(QUIET, Marker::Square),
            Role::Method => {
                let siblings = benchmark.methods.iter().filter(|other| {
                    other.group == method.group
                        && other.role == Role::Method
                        && other.name != benchmark.reference
                });
                let place = siblings
                    .take_while(|other| other.name != method.name)
                    .count();
                plain(OTHERS[place % OTHERS.len()], MARKERS[place % MARKERS.len()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    const LIGHT_PANEL: (u8, u8, u8) = (0xF5, 0xF6, 0xF8);
    const DARK_PANEL: (u8, u8, u8) = (0x1C, 0x1F, 0x24);

    /// Linear light of an sRGB colour.
    fn linear((red, green, blue): (u8, u8, u8)) -> [f64; 3] {
        [red, green, blue].map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    fn product(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
    }

    /// WCAG 2's contrast of two colours.
    fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
        let luminance = |colour| product([[0.2126, 0.7152, 0.0722]; 3], linear(colour))[0];
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// CIE Lab under D65.
    fn lab(linear: [f64; 3]) -> [f64; 3] {
        let to_xyz = [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ];
        let xyz = product(to_xyz, linear.map(|value| value.clamp(0.0, 1.0)));
        let root = |value: f64| {
            if value > 0.008856 {
                value.cbrt()
            } else {
                7.787 * value + 16.0 / 116.0
            }
        };
        let [x, y, z] = [root(xyz[0] / 0.9505), root(xyz[1]), root(xyz[2] / 1.089)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color
    /// Vision Deficiency (2009), severity 1.
    const VISIONS: [(&str, [[f64; 3]; 3]); 4] = [
        ("full", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "without red",
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
        ),
        (
            "without green",
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
        ),
        (
            "without blue",
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ),
    ];

    #[test]
    fn every_method_s_colour_stands_out_from_the_panel() {
        // WCAG 1.4.11 asks 3 : 1 of graphics.
        for colour in OTHERS.into_iter().chain([REFERENCE, QUIET, INK]) {
            let (light, dark) = (
                contrast(colour.light, LIGHT_PANEL),
                contrast(colour.dark, DARK_PANEL),
            );
            assert!(
                light >= 2.9 && dark >= 4.0,
                "{colour:?}: {light:.2} on light, {dark:.2} on dark"
            );
        }
    }

    #[test]
    fn colours_stay_apart_for_every_kind_of_colour_vision() {
        // A difference of about 2 can just be seen side by side; lines across a plot need several
        // times that.
        let drawn: Vec<Colour> = OTHERS.into_iter().chain([REFERENCE, QUIET, INK]).collect();
        for (vision, matrix) in VISIONS {
            let seen = |colour| lab(product(matrix, linear(colour)));
            for (at, first) in drawn.iter().enumerate() {
                for second in &drawn[at + 1..] {
                    for (a, b) in [(first.light, second.light), (first.dark, second.dark)] {
                        let apart = seen(a)
                            .iter()
                            .zip(seen(b))
                            .map(|(a, b)| (a - b).powi(2))
                            .sum::<f64>()
                            .sqrt();
                        assert!(
                            apart >= 15.0,
                            "{vision}: {} and {} are {apart:.1} apart",
                            hex(a),
                            hex(b)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn methods_of_one_plot_never_look_the_same() {
        let mut benchmark = small();
        let extra = (0..12).map(|at| crate::Method {
            name: format!("m{at}"),
            ..benchmark.methods[2].clone()
        });
        benchmark.methods.extend(extra.collect::<Vec<_>>());
        let methods = benchmark.methods_of(None);
        let looks: Vec<Look> = methods
            .iter()
            .map(|method| Look::of(&benchmark, method))
            .collect();
        for (at, look) in looks.iter().enumerate() {
            assert!(
                looks[at + 1..]
                    .iter()
                    .all(|other| (other.colour, other.marker) != (look.colour, look.marker)),
                "{at}: {look:?}"
            );
        }
        assert!(looks.iter().filter(|look| look.reference).count() == 1);
    }
}

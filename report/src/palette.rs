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
    Colour { light: parts(light), dark: parts(dark) }
}

/// Text and axes.
pub(crate) const INK: Colour = colour(0x1D2127, 0xE5E8EC);
/// Labels and the untrained student.
pub(crate) const QUIET: Colour = colour(0x606873, 0x9AA2AD);
/// Grid lines.
pub(crate) const LINE: Colour = colour(0xDDE1E6, 0x333941);
const REFERENCE: Colour = colour(0x0072B2, 0x5AB8F5);

/// After Okabe and Ito's and Tol's sets for all kinds of colour vision; neighbours differ in lightness too.
const OTHERS: [Colour; 8] = [
    colour(0xD55E00, 0xFF8A3D),
    colour(0x009E73, 0x35CFA1),
    colour(0x882255, 0xE0609C),
    colour(0xC28800, 0xF2BC2E),
    colour(0x5B3FA0, 0xA893FF),
    colour(0x77770A, 0xC9C94A),
    colour(0xCC79A7, 0xF0A9CF),
    colour(0x8C564B, 0xC99A8B),
];
const MARKERS: [Marker; 5] = [Marker::Triangle, Marker::Square, Marker::Diamond, Marker::Cross, Marker::Circle];

/// Every colour that plots use.
pub(crate) fn all() -> impl Iterator<Item = Colour> {
    [INK, QUIET, LINE, REFERENCE].into_iter().chain(OTHERS)
}

/// As in `#1D2127`, the spelling of plotters.
pub(crate) fn hex((red, green, blue): (u8, u8, u8)) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

impl Look {
    /// The look of one of the benchmark's methods. Methods of different groups never meet in a plot, so each group starts anew.
    pub(crate) fn of(benchmark: &Benchmark, method: &Method) -> Self {
        let plain = |colour, marker| Self { colour, marker, reference: false, control: method.role != Role::Method };
        match method.role {
            _ if method.name == benchmark.reference => Self { colour: REFERENCE, marker: Marker::Circle, reference: true, control: false },
            Role::Teacher => plain(INK, Marker::Diamond),
            Role::Base => plain(QUIET, Marker::Square),
            Role::Method => {
                let siblings = benchmark
                    .methods
                    .iter()
                    .filter(|other| other.group == method.group && other.role == Role::Method && other.name != benchmark.reference);
                let place = siblings.take_while(|other| other.name != method.name).count();
                plain(OTHERS[place % OTHERS.len()], MARKERS[place % MARKERS.len()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::small;

    /// WCAG's relative luminance.
    fn luminance((red, green, blue): (u8, u8, u8)) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_method_s_colour_stands_out_from_both_pages() {
        // WCAG 1.4.11 asks 3 : 1 of graphics; one colour of Okabe and Ito's is a little paler on white.
        for colour in OTHERS.into_iter().chain([REFERENCE, QUIET, INK]) {
            assert!(contrast(colour.light, (255, 255, 255)) >= 2.9, "{colour:?} on white");
            assert!(contrast(colour.dark, (0x15, 0x17, 0x1B)) >= 4.5, "{colour:?} on black");
        }
    }

    #[test]
    fn methods_of_one_plot_never_look_the_same() {
        let mut benchmark = small();
        let extra = (0..12).map(|at| crate::Method { name: format!("m{at}"), ..benchmark.methods[2].clone() });
        benchmark.methods.extend(extra.collect::<Vec<_>>());
        let methods = benchmark.methods_of(None);
        let looks: Vec<Look> = methods.iter().map(|method| Look::of(&benchmark, method)).collect();
        for (at, look) in looks.iter().enumerate() {
            assert!(looks[at + 1..].iter().all(|other| (other.colour, other.marker) != (look.colour, look.marker)), "{at}: {look:?}");
        }
        assert!(looks.iter().filter(|look| look.reference).count() == 1);
    }
}

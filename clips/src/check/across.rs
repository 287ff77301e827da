//! What only several clips together tell: the same clip twice, and what is in the same place of
//! all.

use std::collections::HashMap;

use super::look::{Look, MAX_EDGES, SIDE};

/// Levels that two clips may differ by in any part at any of the moments that are kept.
const NEAR: u8 = 6;

/// Fewest clips in motion that tell a watermark from chance.
const FEWEST: u64 = 8;

/// Share of those clips, and of the region, that has to agree.
const SHARE: f64 = 0.8;

/// Fewest pixels (of 64 x 64) of a region.
const LEAST: usize = 4;

/// An earlier clip that is like a later one.
pub(super) struct Like {
    /// Where the journal has it.
    pub at: u64,
    pub exact: bool,
}

/// What is kept of each good clip.
#[derive(Default)]
pub(super) struct Across {
    exact: HashMap<u64, u64>,
    signatures: Vec<Vec<u8>>,
    places: Vec<u64>,
    /// Where the journal has the clips in which enough moves.
    busy: Vec<u64>,
    /// In how many of them each pixel has an unmoving edge.
    edges: Vec<u64>,
}

impl Across {
    /// Adds a clip that the journal has at `at`; says which earlier one it is like.
    pub fn add(&mut self, look: &Look, at: u64) -> Option<Like> {
        if let Some(edges) = &look.edges {
            self.busy.push(at);
            self.edges.resize(SIDE * SIDE, 0);
            for place in edges {
                if let Some(count) = self.edges.get_mut(usize::from(*place)) {
                    *count += 1;
                }
            }
        }
        let key =
            u64::from_str_radix(look.pixels.get(..16).unwrap_or_default(), 16).unwrap_or_default();
        if let Some(&at) = self.exact.get(&key) {
            return Some(Like { at, exact: true });
        }
        self.exact.insert(key, at);
        let signature: Vec<u8> = (0..look.signature.len() / 2)
            .filter_map(|index| {
                u8::from_str_radix(look.signature.get(index * 2..index * 2 + 2)?, 16).ok()
            })
            .collect();
        // Nearly all comparisons end at the first part.
        let near = |earlier: &Vec<u8>| {
            earlier.len() == signature.len()
                && earlier
                    .iter()
                    .zip(&signature)
                    .all(|(a, b)| a.abs_diff(*b) <= NEAR)
        };
        let like = self.signatures.iter().position(near).map(|index| Like {
            at: self.places[index],
            exact: false,
        });
        if like.is_none() {
            self.signatures.push(signature);
            self.places.push(at);
        }
        like
    }

    /// Where the journal has the clips that could show a watermark.
    pub fn busy(&self) -> Vec<u64> {
        self.busy.clone()
    }

    /// The pixels where nearly all clips have an edge that never moves.
    pub fn unmoving(&self) -> Option<Region> {
        let clips = self.busy.len() as u64;
        let often = |count: &u64| *count as f64 >= SHARE * clips as f64;
        let places: Vec<u16> = self
            .edges
            .iter()
            .enumerate()
            .filter(|(_, count)| often(count))
            .map(|(place, _)| place as u16)
            .collect();
        let fits = places.len() >= LEAST && places.len() as f64 <= MAX_EDGES * (SIDE * SIDE) as f64;
        (clips >= FEWEST && fits).then_some(Region { places })
    }
}

/// Pixels of the 64 x 64 picture, ascending.
pub(super) struct Region {
    places: Vec<u16>,
}

impl Region {
    /// Whether most of it is among a clip's unmoving edges.
    pub fn is_in(&self, look: &Look) -> bool {
        let edges = look.edges.as_deref().unwrap_or_default();
        let shared = self
            .places
            .iter()
            .filter(|place| edges.binary_search(place).is_ok())
            .count();
        shared as f64 >= SHARE * self.places.len() as f64
    }

    /// Where it is, in percent of height and width.
    pub fn detail(&self) -> String {
        let rows = || self.places.iter().map(|place| usize::from(*place) / SIDE);
        let columns = || self.places.iter().map(|place| usize::from(*place) % SIDE);
        let percent = |first: Option<usize>, last: Option<usize>| {
            format!(
                "{} to {} %",
                first.unwrap_or(0) * 100 / SIDE,
                (last.unwrap_or(0) + 1) * 100 / SIDE
            )
        };
        let (down, right) = (
            percent(rows().min(), rows().max()),
            percent(columns().min(), columns().max()),
        );
        format!(
            "edges that never move, in nearly all clips: {down} from the top, {right} from the left"
        )
    }
}

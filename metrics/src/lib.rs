//! Network-free evaluation: how close a student's clips are to fresh samples of its teacher.
//!
//! One metric per file. Every metric reads finished clips on the host, needs no trained network and
//! gives the same number on every machine. Distances compare sets of clips of one prompt, teacher
//! against student; the proxies look at the student's clips alone. What follows bodies is for clips
//! of the built-in world; the rest is for any video.

#![warn(missing_docs)]

// Functions that round alike on every machine, in the tests of this crate, too.
use afd_exact as _;

pub mod bootstrap;
pub mod cells;
pub mod conservation;
pub mod continuation;
pub mod diversity;
pub mod drift;
pub mod dynamics;
pub mod energy_distance;
mod error;
pub mod estimate;
pub mod features;
pub mod flicker;
pub mod flights;
pub mod frechet;
pub mod gravity;
pub mod metric;
pub mod permanence;
pub mod physics;
mod physics_scores;
pub mod pixels;
pub mod preview;
mod scores;
pub mod smoothness;
pub mod table;
pub mod tracking;
pub mod trajectory;

use afd_clips::video::{Clip, to_byte};

pub use error::{CaseDefect, ClipDefect, EvalError};

/// One frame as 8-bit values, `H * W * 3`, channel fastest.
fn frame_bytes(clip: &Clip, frame: usize) -> Vec<u8> {
    let values = clip.shape.height * clip.shape.width * 3;
    clip.pixels[frame * values..(frame + 1) * values]
        .iter()
        .map(|&value| to_byte(value))
        .collect()
}

/// The mean of finite values, or `None` when there are none.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0usize), |(sum, count), value| {
            (sum + value, count + 1)
        });
    (count > 0).then(|| sum / count as f64)
}

/// The median, the mean of the two middle values for an even count, or `None` when there are none.
/// Reorders `values`.
fn median(values: &mut [f32]) -> Option<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Clips drawn by hand for the tests of this module: antialiased discs at known places.
#[cfg(test)]
mod synthetic {
    use afd_clips::video::{Clip, ClipShape};

    pub const RED: [f32; 3] = [230.0, 60.0, 50.0];
    pub const GREEN: [f32; 3] = [60.0, 200.0, 80.0];
    pub const BLUE: [f32; 3] = [70.0, 110.0, 240.0];
    pub const YELLOW: [f32; 3] = [240.0, 210.0, 60.0];
    pub const GREY: [f32; 3] = [40.0, 42.0, 48.0];

    /// A disc: centre (x, y) in pixels per frame (`None`: not drawn), radius in pixels, colour in
    /// 0..=255.
    pub struct Disc {
        pub path: Vec<Option<[f32; 2]>>,
        pub radius: f32,
        pub colour: [f32; 3],
    }

    pub fn shape(frames: usize, side: usize) -> ClipShape {
        ClipShape {
            frames,
            height: side,
            width: side,
            frames_per_second: 8.0,
        }
    }

    /// Discs over a uniform background, 8 x 8 samples per pixel, later discs in front.
    pub fn clip(frames: usize, side: usize, discs: &[Disc]) -> Clip {
        let mut pixels = Vec::with_capacity(frames * side * side * 3);
        for frame in 0..frames {
            for row in 0..side {
                for column in 0..side {
                    let mut sum = [0.0f32; 3];
                    for sample in 0..64 {
                        let x = column as f32 + ((sample % 8) as f32 + 0.5) / 8.0;
                        let y = row as f32 + ((sample / 8) as f32 + 0.5) / 8.0;
                        let hit = |disc: &&Disc| {
                            disc.path[frame].is_some_and(|c| {
                                (x - c[0]).powi(2) + (y - c[1]).powi(2) <= disc.radius.powi(2)
                            })
                        };
                        let colour = discs
                            .iter()
                            .rev()
                            .find(hit)
                            .map_or(GREY, |disc| disc.colour);
                        (0..3).for_each(|channel| sum[channel] += colour[channel]);
                    }
                    pixels.extend(sum.map(|value| value / 64.0 / 127.5 - 1.0));
                }
            }
        }
        Clip {
            shape: shape(frames, side),
            pixels,
        }
    }

    /// One red disc of radius 1.6 px at a constant velocity, on 12 frames of 16 x 16 px.
    pub fn drifting(start: [f32; 2], velocity: [f32; 2]) -> Clip {
        let path = (0..12)
            .map(|frame| {
                Some([
                    start[0] + velocity[0] * frame as f32,
                    start[1] + velocity[1] * frame as f32,
                ])
            })
            .collect();
        clip(
            12,
            16,
            &[Disc {
                path,
                radius: 1.6,
                colour: RED,
            }],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_middle_of_the_two_middle_values() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 100.0]), Some(3.5));
        assert_eq!(median(&mut [4.0, 1.0, 100.0]), Some(4.0));
        assert_eq!(median(&mut []), None);
    }
}

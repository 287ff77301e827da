//! What physics keeps and what a bounce gives back, measured on tracks: momentum, energy,
//! restitution.
//!
//! In a free flight ([`super::flights`]) the horizontal momentum is constant, the vertical one
//! grows by gravity, and the energy `v^2 / 2 + g h` of each unit of mass is constant. At a bounce
//! off the floor or a wall the speed at right angles is multiplied by the restitution. Where two
//! balls meet, their momenta are exchanged. All of it with the gravity that the *prompt* names.
//!
//! Speeds are differences of tracked centres. At 16 x 16 px a centre is off by some 0.1 px, so
//! every number here has a floor which the teacher's own samples show; docs/results/metrics.md has
//! it. Compare with that floor, never with zero.

use std::ops::Range;

use super::flights::{KnownPhysics, Touch, flights, touches};
use super::tracking::Track;

/// Fewer intervals do not determine an acceleration beyond the tracker's noise.
const FEWEST_INTERVALS: usize = 3;
/// A contact that takes more intervals than this is no bounce but rest.
const LONGEST_CONTACT: usize = 3;
/// A body that comes slower than this, in px/frame, shows no measurable bounce.
const SLOWEST_BOUNCE: f32 = 0.4;
/// Momenta around a collision are means over this many intervals at most.
const INTERVALS_AROUND: usize = 3;

/// A sum and how many were added, so that clips can be pooled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    sum: f64,
    weight: f64,
}

impl Tally {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The weighted mean; `None` where nothing was added.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }

    /// The sum of the weights: intervals of flights, or bounces, or collisions.
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

/// What one side's clips of one prompt show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conservation {
    /// |horizontal acceleration| of each flight, px/frame^2, weighted by its intervals. Physics: 0.
    pub sideways: Tally,
    /// |vertical acceleration - the prompt's gravity| of each flight, px/frame^2, weighted by its
    /// intervals. Physics: 0.
    pub downwards: Tally,
    /// Standard deviation of the energy per unit of mass within each flight, px^2/frame^2, weighted
    /// by its intervals. Physics: 0.
    pub energy_change: Tally,
    /// Energy per unit of mass above rest on the floor, px^2/frame^2, over all intervals of
    /// flights: the scale of `energy_change`.
    pub energy: Tally,
    /// Speed after over speed before each bounce off floor or walls. Physics: the restitution.
    pub bounces: Vec<f64>,
    /// |momentum after - before - gravity's part| of each ball-ball collision, over the sum of both
    /// balls' momenta before. Physics: 0.
    pub collisions: Tally,
}

impl Conservation {
    /// Measures the clips of one prompt; `clips[i]` are the tracks of one clip in the prompt's
    /// order. Clips with other numbers of bodies than the prompt are left out.
    pub fn measure(physics: &KnownPhysics, clips: &[Vec<Track>]) -> Self {
        let mut found = Self::default();
        for tracks in clips {
            let touches = touches(physics, tracks);
            for (body, touches) in touches.iter().enumerate() {
                let flights = flights(touches);
                flights.iter().for_each(|flight| {
                    found.add_flight(physics, &tracks[body], body, flight.clone())
                });
                for pair in flights.windows(2) {
                    found.add_bounces(physics, &tracks[body], body, touches, [&pair[0], &pair[1]]);
                }
            }
            if let [first, second] = &touches[..] {
                found.add_collisions(physics, tracks, [first, second]);
            }
        }
        found
    }

    fn add_flight(
        &mut self,
        physics: &KnownPhysics,
        track: &Track,
        body: usize,
        flight: Range<usize>,
    ) {
        if flight.len() < FEWEST_INTERVALS {
            return;
        }
        let weight = flight.len() as f64;
        let along = |axis: usize| {
            track.centres[flight.start..=flight.end]
                .iter()
                .map(|centre| f64::from(centre[axis]))
                .collect::<Vec<_>>()
        };
        self.sideways.add(acceleration(&along(0)).abs(), weight);
        self.downwards.add(
            (acceleration(&along(1)) - f64::from(physics.gravity)).abs(),
            weight,
        );
        let energies: Vec<f64> = flight
            .clone()
            .map(|t| energy(physics, track, body, t).iter().sum())
            .collect();
        let mean = energies.iter().sum::<f64>() / weight;
        let variance = energies
            .iter()
            .map(|energy| (energy - mean).powi(2))
            .sum::<f64>()
            / (weight - 1.0);
        self.energy_change.add(variance.sqrt(), weight);
        self.energy.add(mean, weight);
    }

    /// Bounces in the contact between two flights of one body.
    fn add_bounces(
        &mut self,
        physics: &KnownPhysics,
        track: &Track,
        body: usize,
        touches: &[Touch],
        [before, after]: [&Range<usize>; 2],
    ) {
        let contact = &touches[before.end..after.start];
        if contact.len() > LONGEST_CONTACT || contact.iter().any(|touch| touch.hidden || touch.body)
        {
            return;
        }
        let speed = |t: usize, axis: usize| track.centres[t + 1][axis] - track.centres[t][axis];
        if contact.iter().any(|touch| touch.side) {
            let mean = |flight: &Range<usize>| {
                flight.clone().map(|t| speed(t, 0)).sum::<f32>() / flight.len() as f32
            };
            let (before, after) = (mean(before), mean(after));
            if before.abs() >= SLOWEST_BOUNCE && before * after < 0.0 {
                self.bounces.push(f64::from((after / before).abs()));
            }
        }
        let falls_then_rises = speed(before.end - 1, 1) > 0.0 && speed(after.start, 1) < 0.0;
        if contact.iter().any(|touch| touch.floor)
            && !contact.iter().any(|touch| touch.ceiling)
            && falls_then_rises
        {
            // Each flight's energy of vertical motion, carried to the floor, says how fast it
            // arrives or leaves there.
            let mean = |flight: &Range<usize>| {
                flight
                    .clone()
                    .map(|t| energy(physics, track, body, t)[1])
                    .sum::<f64>()
                    / flight.len() as f64
            };
            let (before, after) = (mean(before), mean(after));
            if before > f64::from(SLOWEST_BOUNCE).powi(2) / 2.0 {
                self.bounces.push((after.max(0.0) / before).sqrt());
            }
        }
    }

    /// Contacts of both balls with each other and with nothing else, with free intervals of both
    /// before and after.
    fn add_collisions(
        &mut self,
        physics: &KnownPhysics,
        tracks: &[Track],
        touches: [&Vec<Touch>; 2],
    ) {
        let intervals = touches[0].len();
        let both_free = |t: usize| touches.iter().all(|touches| touches[t].is_free());
        let meeting = |t: usize| touches.iter().any(|touches| touches[t].body);
        let only_each_other = |t: usize| {
            touches.iter().all(|touches| {
                Touch {
                    body: false,
                    ..touches[t]
                }
                .is_free()
            })
        };
        let mut start = 0;
        while let Some(first) = (start..intervals).find(|&t| meeting(t)) {
            let end = (first..intervals)
                .find(|&t| !meeting(t))
                .unwrap_or(intervals);
            start = end;
            let before: Vec<usize> = (0..first)
                .rev()
                .take(INTERVALS_AROUND)
                .take_while(|&t| both_free(t))
                .collect();
            let after: Vec<usize> = (end..intervals)
                .take(INTERVALS_AROUND)
                .take_while(|&t| both_free(t))
                .collect();
            if before.is_empty() || after.is_empty() || !(first..end).all(only_each_other) {
                continue;
            }
            let middle = |times: &[usize]| times.iter().sum::<usize>() as f64 / times.len() as f64;
            let gravity = f64::from(physics.gravity) * (middle(&after) - middle(&before));
            let (mut change, mut scale) = ([0.0; 2], 0.0);
            for (track, &radius) in tracks.iter().zip(&physics.radii) {
                let mass = f64::from(radius).powi(2);
                let mean = |times: &[usize], axis: usize| {
                    times
                        .iter()
                        .map(|&t| f64::from(track.centres[t + 1][axis] - track.centres[t][axis]))
                        .sum::<f64>()
                        / times.len() as f64
                };
                let (old, new) = (
                    [mean(&before, 0), mean(&before, 1)],
                    [mean(&after, 0), mean(&after, 1)],
                );
                change[0] += mass * (new[0] - old[0]);
                change[1] += mass * (new[1] - old[1] - gravity);
                scale += mass * old[0].hypot(old[1]);
            }
            if scale > 0.0 {
                self.collisions.add(change[0].hypot(change[1]) / scale, 1.0);
            }
        }
    }
}

/// Energy per unit of mass in interval `t`, px^2/frame^2: of sideways motion; of vertical motion
/// and height above rest on the floor.
///
/// Exact for parabolas: the mean height of two frames is `g / 8` below the height halfway between
/// them.
fn energy(physics: &KnownPhysics, track: &Track, body: usize, t: usize) -> [f64; 2] {
    let ([x, y], [next_x, next_y]) = (
        track.centres[t].map(f64::from),
        track.centres[t + 1].map(f64::from),
    );
    let gravity = f64::from(physics.gravity);
    let height = f64::from(physics.floor(body)) - (y + next_y) / 2.0 + gravity / 8.0;
    [
        (next_x - x).powi(2) / 2.0,
        (next_y - y).powi(2) / 2.0 + gravity * height,
    ]
}

/// Acceleration per frame^2 of the least-squares parabola through equally spaced values, at least
/// three.
fn acceleration(values: &[f64]) -> f64 {
    // The discrete polynomial of second degree, orthogonal to constants and lines: t^2 - mean(t^2),
    // t counted from the middle.
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let squares: Vec<f64> = (0..values.len())
        .map(|t| (t as f64 - middle).powi(2))
        .collect();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let (mut product, mut norm) = (0.0, 0.0);
    for (square, value) in squares.iter().zip(values) {
        product += (square - mean) * value;
        norm += (square - mean).powi(2);
    }
    2.0 * product / norm
}

#[cfg(test)]
mod tests;

//! Where each body of a clip is, frame by frame, measured from its colour.
//!
//! The teacher's clips of a prompt give the scene's background and each body's usual size; the same
//! ruler is then laid on every student.

use super::{EvalError, median};
use afd_clips::video::Clip;

/// Colour names a prompt may use and their sRGB values; red, green, blue and yellow are those of
/// the built-in world.
pub const COLOURS: [(&str, [f32; 3]); 9] = [
    ("red", [230.0, 60.0, 50.0]),
    ("green", [60.0, 200.0, 80.0]),
    ("blue", [70.0, 110.0, 240.0]),
    ("yellow", [240.0, 210.0, 60.0]),
    ("orange", [240.0, 140.0, 40.0]),
    ("purple", [150.0, 70.0, 200.0]),
    ("cyan", [60.0, 210.0, 220.0]),
    ("pink", [245.0, 140.0, 190.0]),
    ("white", [245.0, 245.0, 245.0]),
];

/// A pixel covered by less than this share of a body does not count: blur and noise stay out of the
/// centre.
const SMALLEST_COVER: f32 = 0.25;
/// A pixel whose median over all samples is this share of a body's colour shows a resting body
/// rather than the background.
const RESTING_COVER: f32 = 0.5;
/// ... and by no more than this share of its difference from the surroundings off that colour: a
/// grey wall's corner on a black moon is 0.44 off yellow.
const RESTING_MISMATCH: f32 = 0.25;
/// Differences below this many 8-bit levels (norm over channels) are noise.
const NOISE_LEVELS: f32 = 24.0;
/// What a colour must save, in squared 8-bit levels, before it is believed at all.
const PRICE_OF_A_COLOUR: f32 = 144.0;
/// What a second colour in one pixel must save beyond that: half-covered yellow is not red beside
/// green, nor is red at a grey wall. The price of that: where two bodies share a pixel, less than
/// about a third of it is not counted for the second.
const PRICE_OF_A_SECOND_COLOUR: f32 = 2500.0;
/// Below this share of its usual mass a body is not visible.
const VISIBLE_SHARE: f32 = 0.25;
/// A named colour the teacher's clips hardly show, in pixels per frame, is not tracked.
const SMALLEST_MASS: f32 = 0.5;

/// One body through one clip; every list has one entry per frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// (x, y) of the centre of mass in pixels, from the left and the top edge; the first pixel's
    /// centre is (0.5, 0.5).
    ///
    /// Frames without the body repeat the last seen centre (before the first sight: the first one;
    /// never seen: the image's centre).
    pub centres: Vec<[f32; 2]>,
    /// Covered area in pixels, partly covered pixels in part.
    pub masses: Vec<f32>,
    /// Whether the body's mass is at least a quarter of its mean mass in the teacher's clips.
    pub visible: Vec<bool>,
}

/// Finds the bodies of one prompt in clips of one shape.
#[derive(Debug, Clone)]
pub struct Tracker {
    height: usize,
    width: usize,
    /// `height * width` pixels, 8-bit levels.
    background: Vec<[f32; 3]>,
    /// One per body; empty: one body, whatever differs from the background.
    colours: Vec<[f32; 3]>,
    /// Difference from the background that counts as fully covered when no colour is known.
    contrast: f32,
    /// One per body: mean mass in the teacher's clips, over the frames which show it, in pixels.
    mean_masses: Vec<f32>,
}

impl Tracker {
    /// A tracker for the bodies `prompt` names, calibrated on the teacher's clips of that prompt
    /// (all of one shape).
    ///
    /// One body per colour named (whole words of [`COLOURS`], in order of first mention) that the
    /// teacher's clips show. A sentence without such a colour has one body: all that differs from
    /// the background. The background is each pixel's median over all frames of all teacher clips;
    /// where that median is itself a named colour (a body that rests in one place), the median of
    /// the whole picture.
    ///
    /// # Errors
    /// [`EvalError::TooFewClips`] without a teacher clip.
    pub fn for_prompt(prompt: &str, teacher: &[Clip]) -> Result<Self, EvalError> {
        let Some(first) = teacher.first() else {
            return Err(EvalError::TooFewClips {
                prompt: prompt.into(),
                side: "teacher",
                found: 0,
                needed: 1,
            });
        };
        let (height, width) = (first.shape.height, first.shape.width);
        let medians = pixel_medians(teacher, height, width);
        let overall = [0, 1, 2].map(|channel| {
            median(
                &mut medians
                    .iter()
                    .map(|pixel| pixel[channel])
                    .collect::<Vec<_>>(),
            )
            .unwrap_or(0.0)
        });
        let colours = named_colours(prompt);
        // One colour at a time: a grey wall is also a mixture of a red and a green ball.
        let is_body =
            |pixel: &[f32; 3]| colours.iter().any(|&colour| rests(*pixel, overall, colour));
        let background = medians
            .iter()
            .map(|pixel| if is_body(pixel) { overall } else { *pixel })
            .collect();
        let mut tracker = Self {
            height,
            width,
            background,
            colours,
            contrast: 0.0,
            mean_masses: Vec::new(),
        };
        let masses = tracker.typical_masses(teacher);
        let shown: Vec<usize> = (0..masses.len())
            .filter(|&body| masses[body] >= SMALLEST_MASS)
            .collect();
        tracker.colours = shown.iter().map(|&body| tracker.colours[body]).collect();
        if tracker.colours.is_empty() {
            tracker.background = medians;
            tracker.contrast = tracker.typical_contrast(teacher);
        }
        // Measured anew: a dropped colour no longer takes its share of the pixels.
        tracker.mean_masses = tracker.typical_masses(teacher);
        Ok(tracker)
    }

    /// How many bodies are tracked, at least one.
    pub fn bodies(&self) -> usize {
        self.colours.len().max(1)
    }

    /// Mean mass of each body in the teacher's clips, over the frames that show it, in pixels.
    pub fn mean_masses(&self) -> &[f32] {
        &self.mean_masses
    }

    /// One track per body, in the prompt's order. The clip must have the height and width of the
    /// teacher's clips.
    pub fn track(&self, clip: &Clip) -> Vec<Track> {
        let frames: Vec<Vec<Moments>> = (0..clip.shape.frames)
            .map(|frame| self.moments(clip, frame))
            .collect();
        (0..self.bodies())
            .map(|body| self.body_track(&frames, body))
            .collect()
    }

    fn body_track(&self, frames: &[Vec<Moments>], body: usize) -> Track {
        let masses: Vec<f32> = frames.iter().map(|frame| frame[body].mass).collect();
        let smallest = (VISIBLE_SHARE * self.mean_masses[body]).max(f32::MIN_POSITIVE);
        let visible: Vec<bool> = masses.iter().map(|&mass| mass >= smallest).collect();
        let centre = |frame: usize| {
            [
                frames[frame][body].x / masses[frame],
                frames[frame][body].y / masses[frame],
            ]
        };
        let first_seen = visible.iter().position(|&seen| seen).map(centre);
        let mut last_seen =
            first_seen.unwrap_or([self.width as f32 / 2.0, self.height as f32 / 2.0]);
        let centres = visible.iter().enumerate().map(|(frame, &seen)| {
            if seen {
                last_seen = centre(frame);
            }
            last_seen
        });
        Track {
            centres: centres.collect(),
            masses,
            visible,
        }
    }

    /// Each body's mass and first moments in one frame.
    fn moments(&self, clip: &Clip, frame: usize) -> Vec<Moments> {
        let mut moments = vec![Moments::default(); self.bodies()];
        for (row, column) in
            (0..self.height).flat_map(|row| (0..self.width).map(move |column| (row, column)))
        {
            let pixel = levels(clip.pixel(frame, row, column));
            let background = self.background[row * self.width + column];
            let covers = if self.colours.is_empty() {
                vec![self.foreground(pixel, background)]
            } else {
                unmix(pixel, background, &self.colours)
            };
            for (body, cover) in moments
                .iter_mut()
                .zip(covers)
                .filter(|(_, cover)| *cover >= SMALLEST_COVER)
            {
                body.mass += cover;
                body.x += cover * (column as f32 + 0.5);
                body.y += cover * (row as f32 + 0.5);
            }
        }
        moments
    }

    /// Cover of a pixel by a body of unknown colour.
    fn foreground(&self, pixel: [f32; 3], background: [f32; 3]) -> f32 {
        let difference = norm(subtract(pixel, background));
        if self.contrast < NOISE_LEVELS || difference < NOISE_LEVELS {
            0.0
        } else {
            (difference / self.contrast).min(1.0)
        }
    }

    /// Median over all frames of the frame's largest difference from the background, in 8-bit
    /// levels.
    fn typical_contrast(&self, clips: &[Clip]) -> f32 {
        let largest = |clip: &Clip, frame: usize| {
            let pixels = (0..self.height * self.width)
                .map(|place| levels(clip.pixel(frame, place / self.width, place % self.width)));
            pixels
                .zip(&self.background)
                .map(|(pixel, background)| norm(subtract(pixel, *background)))
                .fold(0.0, f32::max)
        };
        let mut all: Vec<f32> = clips
            .iter()
            .flat_map(|clip| (0..clip.shape.frames).map(move |frame| largest(clip, frame)))
            .collect();
        median(&mut all).unwrap_or(0.0)
    }

    /// Mean mass of each body over the frames that show it.
    fn typical_masses(&self, clips: &[Clip]) -> Vec<f32> {
        let frames: Vec<Vec<Moments>> = clips
            .iter()
            .flat_map(|clip| (0..clip.shape.frames).map(move |frame| self.moments(clip, frame)))
            .collect();
        let of_body = |body: usize| {
            let mut masses: Vec<f32> = frames
                .iter()
                .map(|frame| frame[body].mass)
                .filter(|&mass| mass > 0.0)
                .collect();
            let usual = median(&mut masses).unwrap_or(0.0);
            masses.retain(|&mass| mass >= VISIBLE_SHARE * usual);
            if masses.is_empty() {
                0.0
            } else {
                masses.iter().sum::<f32>() / masses.len() as f32
            }
        };
        (0..self.bodies()).map(of_body).collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Moments {
    mass: f32,
    x: f32,
    y: f32,
}

/// The colours a sentence names, each once, in order of first mention.
fn named_colours(prompt: &str) -> Vec<[f32; 3]> {
    let mut colours = Vec::new();
    for word in prompt
        .to_lowercase()
        .split(|character: char| !character.is_alphabetic())
    {
        if let Some((_, colour)) = COLOURS.iter().find(|(name, _)| *name == word)
            && !colours.contains(colour)
        {
            colours.push(*colour);
        }
    }
    colours
}

/// Each pixel's median over all frames of all clips, 8-bit levels.
fn pixel_medians(clips: &[Clip], height: usize, width: usize) -> Vec<[f32; 3]> {
    let at = |place: usize, channel: usize| {
        let frames = clips.iter().flat_map(|clip| {
            (0..clip.shape.frames).map(move |frame| clip.pixel(frame, place / width, place % width))
        });
        median(
            &mut frames
                .map(|pixel| levels(pixel)[channel])
                .collect::<Vec<_>>(),
        )
        .unwrap_or(0.0)
    };
    (0..height * width)
        .map(|place| [0, 1, 2].map(|channel| at(place, channel)))
        .collect()
}

/// Which share of a pixel each colour covers, each in [0, 1], together at most 1.
///
/// Least squares for `pixel - background = sum_k a_k (colour_k - background)` with at most two
/// bodies in a pixel. More would not be determined by three channels, and a pixel this does not
/// explain (half its difference left over) belongs to none of them.
fn unmix(pixel: [f32; 3], background: [f32; 3], colours: &[[f32; 3]]) -> Vec<f32> {
    let mut covers = vec![0.0; colours.len()];
    let difference = subtract(pixel, background);
    if norm(difference) < NOISE_LEVELS {
        return covers;
    }
    let directions: Vec<[f32; 3]> = colours
        .iter()
        .map(|&colour| subtract(colour, background))
        .collect();
    // (cost, residual norm, covers of at most two bodies); nothing at all explains nothing.
    let mut best = (
        dot(difference, difference),
        norm(difference),
        [(0, 0.0), (0, 0.0)],
    );
    let mut consider = |shares: [(usize, f32); 2], price: f32| {
        let explained = shares.iter().fold([0.0; 3], |sum, &(body, share)| {
            add_scaled(sum, directions[body], share)
        });
        let residual = subtract(difference, explained);
        let cost = dot(residual, residual) + price;
        if cost < best.0 {
            best = (cost, norm(residual), shares);
        }
    };
    for (one, &first) in directions
        .iter()
        .enumerate()
        .filter(|(_, direction)| norm(**direction) >= NOISE_LEVELS)
    {
        consider(
            [
                (
                    one,
                    (dot(difference, first) / dot(first, first)).clamp(0.0, 1.0),
                ),
                (one, 0.0),
            ],
            PRICE_OF_A_COLOUR,
        );
        for (other, &second) in directions
            .iter()
            .enumerate()
            .skip(one + 1)
            .filter(|(_, direction)| norm(**direction) >= NOISE_LEVELS)
        {
            if let Some((a, b)) = two_shares(difference, first, second) {
                consider(
                    [(one, a), (other, b)],
                    PRICE_OF_A_COLOUR + PRICE_OF_A_SECOND_COLOUR,
                );
            }
        }
    }
    let (_, residual, shares) = best;
    if residual <= (0.5 * norm(difference)).max(NOISE_LEVELS) {
        shares
            .iter()
            .for_each(|&(body, share)| covers[body] += share);
    }
    covers
}

/// Whether a pixel's usual colour is that of a body over `background` rather than of the scene.
fn rests(pixel: [f32; 3], background: [f32; 3], colour: [f32; 3]) -> bool {
    let cover = unmix(pixel, background, &[colour])[0];
    let difference = subtract(pixel, background);
    let left_over = add_scaled(difference, subtract(colour, background), -cover);
    cover >= RESTING_COVER
        && norm(left_over) <= (RESTING_MISMATCH * norm(difference)).max(NOISE_LEVELS)
}

/// Least-squares shares of two directions with `a, b >= 0` and `a + b <= 1`; `None` where one
/// direction does as well.
fn two_shares(difference: [f32; 3], first: [f32; 3], second: [f32; 3]) -> Option<(f32, f32)> {
    let (aa, ab, bb) = (dot(first, first), dot(first, second), dot(second, second));
    let determinant = aa * bb - ab * ab;
    if determinant <= 1e-3 * aa * bb {
        return None;
    }
    let (da, db) = (dot(difference, first), dot(difference, second));
    let (a, b) = (
        (da * bb - db * ab) / determinant,
        (db * aa - da * ab) / determinant,
    );
    if a <= 0.0 || b <= 0.0 {
        return None;
    }
    if a + b <= 1.0 {
        return Some((a, b));
    }
    // No background left: the best point on the line between the two colours.
    let line = subtract(first, second);
    let a = dot(subtract(difference, second), line) / dot(line, line);
    (a > 0.0 && a < 1.0).then_some((a, 1.0 - a))
}

/// [-1, 1] to 8-bit levels, clamped, not rounded.
fn levels(pixel: [f32; 3]) -> [f32; 3] {
    pixel.map(|value| (value.clamp(-1.0, 1.0) + 1.0) * 127.5)
}

fn subtract(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn add_scaled(a: [f32; 3], b: [f32; 3], scale: f32) -> [f32; 3] {
    [
        a[0] + b[0] * scale,
        a[1] + b[1] * scale,
        a[2] + b[2] * scale,
    ]
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn norm(a: [f32; 3]) -> f32 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{BLUE, Disc, GREEN, GREY, RED, YELLOW, clip, drifting};
    use super::*;
    use afd_clips::video::ClipShape;

    /// Two crossing discs, one per colour; `shift` makes different samples.
    fn two_discs(colours: [[f32; 3]; 2], shift: f32) -> (Clip, [Vec<[f32; 2]>; 2]) {
        let first: Vec<[f32; 2]> = (0..12)
            .map(|t| [3.0 + 0.8 * t as f32 + shift, 4.0 + 0.13 * t as f32])
            .collect();
        let second: Vec<[f32; 2]> = (0..12)
            .map(|t| [12.5 - 0.7 * t as f32 + shift, 11.0 - 0.21 * t as f32])
            .collect();
        let disc = |path: &[[f32; 2]], colour| Disc {
            path: path.iter().map(|&c| Some(c)).collect(),
            radius: 1.5,
            colour,
        };
        (
            clip(
                12,
                16,
                &[disc(&first, colours[0]), disc(&second, colours[1])],
            ),
            [first, second],
        )
    }

    #[test]
    fn every_pair_of_world_colours_is_tracked_within_three_tenths_of_a_pixel() {
        let named = [
            ("red", RED),
            ("green", GREEN),
            ("blue", BLUE),
            ("yellow", YELLOW),
        ];
        for (one, other) in (0..4)
            .flat_map(|one| (0..4).map(move |other| (one, other)))
            .filter(|(one, other)| one != other)
        {
            let prompt = format!(
                "a {} ball and a {} ball cross",
                named[one].0, named[other].0
            );
            let samples: Vec<_> = [-0.6, 0.0, 0.45]
                .map(|shift| two_discs([named[one].1, named[other].1], shift))
                .into();
            let clips: Vec<Clip> = samples.iter().map(|sample| sample.0.clone()).collect();
            let tracker = Tracker::for_prompt(&prompt, &clips).unwrap();
            for (clip, paths) in &samples {
                let tracks = tracker.track(clip);
                for (track, path) in tracks.iter().zip(paths) {
                    assert!(track.visible.iter().all(|&seen| seen), "{prompt}");
                    for (found, expected) in track.centres.iter().zip(path) {
                        let error = (found[0] - expected[0]).hypot(found[1] - expected[1]);
                        assert!(error < 0.3, "{prompt}: {found:?} instead of {expected:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_mass_is_the_disc_s_area() {
        let sample = drifting([3.0, 5.3], [0.7, 0.2]);
        let tracker = Tracker::for_prompt("a red ball", std::slice::from_ref(&sample)).unwrap();
        let area = std::f32::consts::PI * 1.6 * 1.6;
        assert!(
            tracker.track(&sample)[0]
                .masses
                .iter()
                .all(|mass| (mass - area).abs() < 0.15 * area)
        );
        assert!((tracker.mean_masses()[0] - area).abs() < 0.1 * area);
    }

    #[test]
    fn a_yellow_ball_is_not_found_by_the_red_one_s_track_nor_split_into_red_and_green() {
        let colours = [RED, GREEN, YELLOW];
        for cover in [0.3f32, 0.5, 0.8, 1.0] {
            let pixel = add_scaled(GREY, subtract(YELLOW, GREY), cover);
            let found = unmix(pixel, GREY, &colours);
            assert!(
                (found[2] - cover).abs() < 1e-3 && found[0] == 0.0 && found[1] == 0.0,
                "{found:?}"
            );
        }
        let touching = add_scaled(
            add_scaled(GREY, subtract(RED, GREY), 0.5),
            subtract(YELLOW, GREY),
            0.45,
        );
        let found = unmix(touching, GREY, &colours);
        assert!(
            (found[0] - 0.5).abs() < 1e-3 && (found[2] - 0.45).abs() < 1e-3,
            "{found:?}"
        );
    }

    #[test]
    fn a_body_that_rests_in_every_sample_is_still_a_body() {
        let sample = drifting([8.0, 12.0], [0.0, 0.0]);
        let tracker =
            Tracker::for_prompt("a red ball rests", &[sample.clone(), sample.clone()]).unwrap();
        let track = &tracker.track(&sample)[0];
        assert!(
            track.visible.iter().all(|&seen| seen) && (track.centres[5][1] - 12.0).abs() < 0.1,
            "{track:?}"
        );
    }

    #[test]
    fn grey_walls_are_background_even_though_red_and_green_make_grey() {
        let (mut sample, paths) = two_discs([RED, GREEN], 0.0);
        for (index, value) in sample.pixels.iter_mut().enumerate() {
            let (row, column) = (index / 3 / 16 % 16, index / 3 % 16);
            if row == 15 || column == 0 {
                *value = 96.0 / 127.5 - 1.0;
            }
        }
        let tracker =
            Tracker::for_prompt("a red ball and a green ball", std::slice::from_ref(&sample))
                .unwrap();
        for (track, path) in tracker.track(&sample).iter().zip(&paths) {
            assert!(
                (track.centres[5][0] - path[5][0]).hypot(track.centres[5][1] - path[5][1]) < 0.3,
                "{track:?}"
            );
        }
        assert!(
            tracker.mean_masses().iter().all(|mass| *mass < 8.0),
            "{:?}",
            tracker.mean_masses()
        );
    }

    #[test]
    fn a_prompt_without_colours_tracks_what_moves() {
        let samples = [
            drifting([3.0, 5.0], [0.9, 0.3]),
            drifting([12.0, 9.0], [-0.9, -0.3]),
        ];
        for prompt in ["a ball drifts", "a purple ball drifts"] {
            let tracker = Tracker::for_prompt(prompt, &samples).unwrap();
            let track = &tracker.track(&samples[0])[0];
            for (frame, centre) in track.centres.iter().enumerate() {
                let expected = [3.0 + 0.9 * frame as f32, 5.0 + 0.3 * frame as f32];
                assert!(
                    (centre[0] - expected[0]).hypot(centre[1] - expected[1]) < 0.3,
                    "{prompt}: {centre:?} {expected:?}"
                );
            }
        }
    }

    #[test]
    fn missing_frames_carry_the_last_seen_centre() {
        let mut path: Vec<Option<[f32; 2]>> =
            (0..12).map(|t| Some([3.0 + t as f32, 8.0])).collect();
        let teacher = clip(
            12,
            16,
            &[Disc {
                path: path.clone(),
                radius: 1.6,
                colour: RED,
            }],
        );
        path[0] = None;
        path[6..9].fill(None);
        let student = clip(
            12,
            16,
            &[Disc {
                path,
                radius: 1.6,
                colour: RED,
            }],
        );
        let tracker = Tracker::for_prompt("a red ball", std::slice::from_ref(&teacher)).unwrap();
        let track = &tracker.track(&student)[0];
        assert_eq!(
            track.visible,
            (0..12)
                .map(|t| t != 0 && !(6..9).contains(&t))
                .collect::<Vec<_>>()
        );
        assert_eq!(track.centres[0], track.centres[1]);
        assert!(
            (6..9).all(|t| track.centres[t] == track.centres[5])
                && track.centres[9] != track.centres[5]
        );
        let never = clip(12, 16, &[]);
        assert_eq!(tracker.track(&never)[0].centres, vec![[8.0, 8.0]; 12]);
    }

    #[test]
    fn colours_are_whole_words_counted_once_in_order_of_mention() {
        assert_eq!(
            named_colours("A Yellow ball hits a red, bored block; the yellow one bounces"),
            vec![YELLOW, RED]
        );
        assert!(named_colours("an evergreen scene").is_empty());
    }

    #[test]
    fn the_built_in_world_s_balls_are_found_where_they_truly_are() {
        use afd_clips::{prepare::prepare, teacher::Teacher};
        use afd_world::{World, colour_of};
        let shape = ClipShape {
            frames: 12,
            height: 16,
            width: 16,
            frames_per_second: 8.0,
        };
        let world = World::new(1);
        for (prompt, bodies) in [
            ("a small blue ball is dropped on earth", 1),
            ("a large green ball is thrown to the right on jupiter", 1),
            ("a small yellow ball is thrown to the left on the moon", 1),
            ("a large yellow ball is dropped on the moon", 1),
            (
                "a large red ball and a small green ball are thrown at each other on the moon",
                2,
            ),
            (
                "a large blue ball and a large yellow ball are thrown at each other on jupiter",
                2,
            ),
        ] {
            let clips: Vec<Clip> = world
                .videos(prompt, 0..8)
                .unwrap()
                .iter()
                .map(|video| prepare(video, shape).unwrap())
                .collect();
            let tracker = Tracker::for_prompt(prompt, &clips).unwrap();
            assert_eq!(tracker.bodies(), bodies);
            for (sample, clip) in clips.iter().enumerate() {
                // The world counts in metres from the lower left corner, 4 m per image; every third
                // of its frames is shown.
                let truth = world.motion(prompt, sample as u64).unwrap().centres;
                for (body, track) in tracker.track(clip).iter().enumerate() {
                    for (frame, found) in track.centres.iter().enumerate() {
                        let [x, y] = truth[3 * frame][body];
                        let error = (found[0] - 4.0 * x).hypot(found[1] - 4.0 * (4.0 - y));
                        assert!(
                            error < 0.3,
                            "{prompt}, sample {sample}, frame {frame}: {found:?}, off by {error}"
                        );
                    }
                }
            }
        }
        for word in ["red", "green", "blue", "yellow"] {
            assert_eq!(
                Some(named_colours(word)[0].map(|level| level as u8)),
                colour_of(word),
                "{word} differs from the world's"
            );
        }
    }
}

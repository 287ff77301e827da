//! Where each body of a clip is, frame by frame, measured from its colour.
//!
//! The teacher's clips of a prompt give the scene's background and each body's usual size; the same
//! ruler is then laid on every student.

mod unmix;

use super::{EvalError, median};
use afd_clips::video::Clip;

use unmix::{NOISE_LEVELS, levels, norm, rests, subtract, unmix};

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

#[cfg(test)]
mod tests;

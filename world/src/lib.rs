//! The built-in teacher: balls in a box, simulated with rapier2d and drawn with tiny-skia.
//!
//! It is a black box like any other: [`Teacher::videos`] gives finished videos only. Because its
//! physics is known, tests and benchmarks may also ask for the true positions ([`World::motion`]),
//! a door that training never uses.

// Functions that round alike on every machine, in the tests of this crate, too.
use afd_exact as _;

mod again;
mod draw;
mod prompt;
mod room;
mod scene;
mod simulate;

use std::ops::Range;
use std::sync::OnceLock;

pub use draw::{PIXELS, draw};
pub use prompt::{Action, BallLook, Colour, Direction, Place, ScenePrompt, Size, colour_of};
pub use room::{METRES, WALL};
pub use scene::{Ball, Physics, RESTITUTION, Scene};
pub use simulate::{Motion, STEPS_PER_SECOND, simulate};

use afd_clips::teacher::{Source, Teacher, TeacherError, content_of};
use afd_clips::video::{ClipShape, Video};
use afd_noise::{Noise, Purpose, key_of};

/// Frames per second of every video of this teacher.
pub const FRAMES_PER_SECOND: u32 = 24;
/// Frames per video unless [`World::lasting`] says otherwise: 1.5 s. The first frame shows the
/// start, at t = 0.
pub const FRAMES: usize = 36;

/// Frames of this teacher's videos that a clip of `shape` needs, for [`World::lasting`].
///
/// A clip of 48 frames at 12 fps, say, needs 95: its last frame shows the video at 47/12 s. A shape
/// without a rate is answered with [`FRAMES`]; preparation refuses it.
pub fn frames_for(shape: ClipShape) -> usize {
    if !shape.frames_per_second.is_finite() || shape.frames_per_second <= 0.0 {
        return FRAMES;
    }
    ((shape.frames.max(1) - 1) as f64 / shape.frames_per_second * f64::from(FRAMES_PER_SECOND)
        + 0.5)
        .floor() as usize
        + 1
}

/// Balls in a box. The same (seed, prompt, sample) gives the same video on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    seed: u64,
    curated: bool,
    frames: usize,
    again: u64,
}

impl World {
    /// The teacher: gravity is that of the prompt's place, restitution about 0.8.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            curated: true,
            frames: FRAMES,
            again: 0,
        }
    }

    /// What the base student is pre-trained on: the same sentences, looks and starts, but any
    /// gravity and any restitution whatever the prompt says. With the same seed, a sample starts
    /// exactly as the teacher's does.
    pub fn uncurated(seed: u64) -> Self {
        Self {
            seed,
            curated: false,
            frames: FRAMES,
            again: 0,
        }
    }

    /// The same world with videos of `frames` frames: longer ones go on where the shorter ones end.
    pub fn lasting(self, frames: usize) -> Self {
        Self { frames, ..self }
    }

    /// The same samples filmed again: the scenes of the same (seed, prompt, sample), released once
    /// more as exactly as can be.
    ///
    /// `again` numbers the repetitions; 0 is the first filming itself. Only the start differs
    /// ([`Scene::released_again`]): size and look of the balls, restitution, gravity and light are
    /// those of the sample. Physics-IQ (Motamed et al., arXiv 2501.09038) films every scenario
    /// twice. It calls a generated continuation perfect when it is as close to the first filming as
    /// the second take is.
    pub fn filmed_again(self, again: u64) -> Self {
        Self { again, ..self }
    }

    /// The scene of one sample, at its start.
    ///
    /// # Errors
    /// [`TeacherError::Prompt`] where the sentence is not one of this teacher's.
    pub fn scene(&self, prompt: &str, sample: u64) -> Result<Scene, TeacherError> {
        let parsed = ScenePrompt::parse(prompt)?;
        let mut noise = Noise::new(self.seed, Purpose::World, sample, key_of(prompt));
        let physics = if self.curated {
            Physics::OfThePlace
        } else {
            Physics::Any
        };
        let scene = Scene::random(&parsed, physics, &mut noise);
        if self.again == 0 {
            return Ok(scene);
        }
        let mut noise = Noise::new(
            self.seed,
            Purpose::FilmedAgain,
            sample,
            key_of(prompt).wrapping_add(self.again),
        );
        Ok(scene.released_again(&mut noise))
    }

    /// Where the balls of one sample truly are in each frame of its video: for tests and
    /// benchmarks, never for training.
    ///
    /// # Errors
    /// [`TeacherError::Prompt`] where the sentence is not one of this teacher's.
    pub fn motion(&self, prompt: &str, sample: u64) -> Result<Motion, TeacherError> {
        Ok(self.video_motion(&self.scene(prompt, sample)?))
    }

    /// Which world this is.
    fn stamp(&self) -> String {
        let Self {
            seed,
            curated,
            frames,
            again,
        } = self;
        format!("{} {seed} {curated} {frames} {again}", fingerprint())
    }

    fn video_motion(&self, scene: &Scene) -> Motion {
        simulate(scene, self.frames, STEPS_PER_SECOND / FRAMES_PER_SECOND)
    }
}

impl Teacher for World {
    fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        samples
            .map(|sample| {
                let scene = self.scene(prompt, sample)?;
                let centres = self.video_motion(&scene).centres;
                let frames = centres
                    .iter()
                    .map(|centres| draw(&scene, centres))
                    .collect();
                Ok(Video {
                    width: PIXELS,
                    height: PIXELS,
                    frames_per_second: f64::from(FRAMES_PER_SECOND),
                    frames,
                })
            })
            .collect()
    }

    fn source(&self, prompt: &str, sample: u64) -> Result<Option<Source>, TeacherError> {
        // The sentence is one of this teacher's, or there is no such sample.
        self.scene(prompt, sample)?;
        Ok(Some(Source {
            file: format!("sample {sample}"),
            stamp: self.stamp(),
        }))
    }

    fn content(&self, prompt: &str, sample: u64) -> Result<String, TeacherError> {
        self.scene(prompt, sample)?;
        // It decides every pixel: none has to be drawn.
        let decides = format!("{}\0{prompt}\0{sample}", self.stamp());
        Ok(blake3::hash(decides.as_bytes()).to_hex().to_string())
    }
}

/// Tells this program's world from one that simulates or draws in another way: the content of one
/// video.
fn fingerprint() -> &'static str {
    static CONTENT: OnceLock<String> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let videos = World::new(0).videos("a small red ball is dropped on the moon", 0..1);
        content_of(&videos.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests;

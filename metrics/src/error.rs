//! Why clips cannot be evaluated.

use afd_clips::video::ClipShape;

use crate::table::FEWEST_FRAMES;

/// Why clips cannot be evaluated.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EvalError {
    /// No prompt to average over.
    #[error(
        "nothing to evaluate: found 0 prompts, expected at least 1; add prompts to the evaluation \
            set"
    )]
    NoPrompts,
    /// A distance between sets needs at least two samples on each side.
    #[error(
        "a distance between sets needs at least 2 samples on each side, found {x} and {y}; ask for \
            more clips per prompt"
    )]
    TooFewSamples {
        /// Samples of the first set.
        x: usize,
        /// Samples of the second set.
        y: usize,
    },
    /// Samples of different lengths cannot be compared.
    #[error(
        "sample {index} of the {set} set has {found} values, expected {expected} like the first \
            sample; prepare all clips to one shape"
    )]
    SampleLength {
        /// Which of the two sets: "first" or "second".
        set: &'static str,
        /// Position in the set.
        index: usize,
        /// Values found.
        found: usize,
        /// Values of the first sample of the first set.
        expected: usize,
    },
    /// Too few clips of one prompt.
    #[error(
        "prompt {prompt:?}: found {found} {side} clips, expected at least {needed}; raise the \
            number of clips per prompt"
    )]
    TooFewClips {
        /// The prompt.
        prompt: String,
        /// "teacher" or "student".
        side: &'static str,
        /// Clips found.
        found: usize,
        /// Clips needed.
        needed: usize,
    },
    /// A continuation that cannot be scored.
    #[error("continuation case {index} {defect}")]
    Continuation {
        /// Position among the cases.
        index: usize,
        /// What is wrong with it.
        defect: CaseDefect,
    },
    /// A clip that cannot be measured.
    #[error("prompt {prompt:?}: {side} clip {index} {defect}")]
    Clip {
        /// The prompt.
        prompt: String,
        /// "teacher" or "student".
        side: &'static str,
        /// Position among the prompt's clips of that side.
        index: usize,
        /// What is wrong with it.
        defect: ClipDefect,
    },
}

impl EvalError {
    /// Refuses fewer than two samples on a side and samples of different lengths.
    pub(crate) fn check_samples<S: AsRef<[f32]>>(x: &[S], y: &[S]) -> Result<(), Self> {
        if x.len() < 2 || y.len() < 2 {
            return Err(Self::TooFewSamples {
                x: x.len(),
                y: y.len(),
            });
        }
        let expected = x[0].as_ref().len();
        for (set, samples) in [("first", x), ("second", y)] {
            if let Some((index, sample)) = samples
                .iter()
                .enumerate()
                .find(|(_, sample)| sample.as_ref().len() != expected)
            {
                return Err(Self::SampleLength {
                    set,
                    index,
                    found: sample.as_ref().len(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// What is wrong with a clip: what was found, what is expected, what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClipDefect {
    /// It has another shape than the first teacher clip.
    #[error(
        "has {}, expected {} like the first teacher clip; prepare both sides to one shape",
        in_words(found),
        in_words(expected)
    )]
    Shape {
        /// Its shape.
        found: ClipShape,
        /// The first teacher clip's.
        expected: ClipShape,
    },
    /// It is too short for an acceleration.
    #[error("has {frames} frames, expected at least {FEWEST_FRAMES}; evaluate longer clips")]
    Frames {
        /// Its frames.
        frames: usize,
    },
    /// It shows nothing.
    #[error(
        "has {}, expected at least one pixel and a rate above 0; check the clip shape of the \
            recipe",
        in_words(found)
    )]
    Empty {
        /// Its shape.
        found: ClipShape,
    },
    /// Its values do not fill its shape.
    #[error("holds {found} values, expected {expected} for {}", in_words(shape))]
    Values {
        /// Values found.
        found: usize,
        /// Values of the shape.
        expected: usize,
        /// Its shape.
        shape: ClipShape,
    },
    /// A value is not finite.
    #[error(
        "holds {value} at value {at}, expected numbers in [-1, 1]; the student has diverged or the \
            clip is damaged"
    )]
    NotFinite {
        /// The value.
        value: f32,
        /// Its place among the clip's values.
        at: usize,
    },
    /// It does not fill a window of the drift curve.
    #[error(
        "has {frames} frames, expected at least one window of {window} (2 or more); ask for longer \
            clips"
    )]
    Window {
        /// Its frames.
        frames: usize,
        /// Frames of a window.
        window: usize,
    },
}

/// What is wrong with a continuation: what was found, what is expected, what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CaseDefect {
    /// Nothing was generated from its prefix.
    #[error("has no generated clip, expected at least 1; generate from its prefix")]
    NothingGenerated,
    /// Its prefix is empty, or leaves nothing to continue.
    #[error(
        "has a prefix of {prefix} frames, expected 1 to {} of its {frames} frames",
        (*frames).max(1) - 1
    )]
    Prefix {
        /// Frames of the prefix.
        prefix: usize,
        /// Frames of the clip.
        frames: usize,
    },
    /// A clip has another shape than the true one.
    #[error(
        "has {name} of {found:?}, expected {expected:?} like the true clip; prepare them alike"
    )]
    Shape {
        /// Which clip.
        name: &'static str,
        /// Its shape.
        found: ClipShape,
        /// The true clip's.
        expected: ClipShape,
    },
    /// A value is not finite.
    #[error("has {name} that holds {value}, expected numbers in [-1, 1]; the student has diverged")]
    NotFinite {
        /// Which clip.
        name: &'static str,
        /// The value.
        value: f32,
    },
}

fn in_words(shape: &ClipShape) -> String {
    format!(
        "{} frames of {} x {} px at {} fps",
        shape.frames, shape.width, shape.height, shape.frames_per_second
    )
}

//! The black box: prompts in, finished videos out, and nothing else.

pub mod folder;
mod source;

use std::{fmt::Display, ops::Range};

pub use source::{Source, content_of};

use crate::{
    prepare::Fit,
    video::{Clip, ClipShape, Video},
};

/// A teacher that can only be asked for finished videos.
///
/// No scores, latents, trajectories or schedules cross this line (arXiv 2605.26105, abstract).
pub trait Teacher: Send + Sync {
    /// The videos of the sample indices `samples` of `prompt`, one each: the same prompt and sample
    /// index always give the same video.
    ///
    /// A teacher with finitely many clips per prompt repeats them in a fixed order.
    ///
    /// # Errors
    /// [`TeacherError`]: the teacher cannot answer this prompt, was asked to stop while it waited,
    /// or its files cannot be used.
    fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError>;

    /// The video of one sample index as a clip of `shape`, from a teacher that can prepare it while
    /// it is read, so that a long video is never held whole; `None` from others.
    fn prepared_clip(
        &self,
        prompt: &str,
        sample: u64,
        shape: ClipShape,
        fit: Fit,
    ) -> Option<Result<Clip, TeacherError>> {
        let _ = (prompt, sample, shape, fit);
        None
    }

    /// How many different videos there are for `prompt`; `None` if every sample index gives
    /// another.
    fn samples(&self, prompt: &str) -> Option<u64> {
        let _ = prompt;
        None
    }

    /// What answers for a sample index, told without decoding it; `None` where a slow teacher does
    /// not have it yet.
    ///
    /// # Errors
    /// As [`Teacher::videos`].
    fn source(&self, prompt: &str, sample: u64) -> Result<Option<Source>, TeacherError> {
        let _ = prompt;
        Ok(Some(Source {
            file: format!("sample {sample}"),
            stamp: String::new(),
        }))
    }

    /// BLAKE3 of what a sample index is made of: equal where the videos are, whatever their files
    /// are called. Slower than [`Teacher::source`]: the clip is read.
    ///
    /// # Errors
    /// As [`Teacher::videos`].
    fn content(&self, prompt: &str, sample: u64) -> Result<String, TeacherError> {
        Ok(content_of(&self.videos(prompt, sample..sample + 1)?))
    }

    /// Says which (prompt, sample index) will be asked for, in the order of need, so that a slow
    /// teacher can begin.
    fn expect(&self, samples: Vec<(String, u64)>) {
        let _ = samples;
    }

    /// Whether no video of `prompt` can be had. A slow teacher may have to wait to know; the answer
    /// never changes within a run.
    ///
    /// # Errors
    /// The teacher could not find out.
    fn refuses(&self, prompt: &str) -> Result<bool, TeacherError> {
        let _ = prompt;
        Ok(false)
    }
}

/// Why a teacher could not answer. Every message names the offending value and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// The prompt is not one this teacher can answer.
    #[error("{teacher} cannot answer the prompt {prompt:?}: {reason}")]
    Prompt {
        /// Which teacher was asked.
        teacher: String,
        /// The prompt as it was given.
        prompt: String,
        /// What was expected instead.
        reason: String,
    },
    /// The process was asked to stop while a slow teacher was waited for.
    #[error("stopped while waiting for the teacher; continue with --resume")]
    Stopped,
    /// The teacher's files cannot be used.
    #[error("{0}")]
    Data(String),
}

impl TeacherError {
    /// For `map_err`: what is wrong with the teacher's files.
    pub fn data(error: impl Display) -> Self {
        Self::Data(error.to_string())
    }
}

//! Why a batch cannot be made.

use afd_models::text::EncodeError;
use afd_models::weights::WeightsError;

use crate::data::coding::NotFinitePixels;
use crate::data::latents::LatentError;
use crate::data::prepare::PrepareError;
use crate::data::text::TextError;
use crate::exit::ExitStatus;
use crate::recipe::RecipeError;
use crate::teacher::TeacherError;

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The teacher did not answer.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A clip cannot be prepared.
    #[error("prompt {prompt:?}, sample {sample}: {source}")]
    Prepare {
        /// The prompt.
        prompt: String,
        /// The sample.
        sample: u64,
        /// Why.
        source: PrepareError,
    },
    /// A prompt cannot be encoded.
    #[error(transparent)]
    Text(#[from] EncodeError),
    /// The recipe says another shape than the text encoder.
    #[error(
        "the prepared text embeddings are {length} x {width}, text.length and text.width say \
            otherwise"
    )]
    TextShape {
        /// Tokens of a prompt.
        length: usize,
        /// Values of each.
        width: usize,
    },
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The text encoder.
    #[error(transparent)]
    Encoder(#[from] TextError),
    /// Prepared latents.
    #[error(transparent)]
    Latents(#[from] LatentError),
    /// Pixels that must not be shown.
    #[error(transparent)]
    Pixels(#[from] NotFinitePixels),
    /// There is no end to what could be prepared.
    #[error(
        "teacher.samples_per_prompt is 0: every sample of this teacher is another one, so there is \
            no end to prepare; give a number"
    )]
    Endless,
    /// The codec's weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl ExitStatus for BatchError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Recipe(_) | Self::Endless)
    }
}

//! From a recipe to trained weights and a report: what the verbs `distill`, `pretrain`, `generate`
//! and `eval` share.

pub mod build;
pub mod clock;
pub mod encoders;
pub mod evaluate;
pub mod generate;
pub mod inputs;
pub mod journal;
pub mod measure;
pub mod prepare;
pub mod quarantine;
pub mod remarks;
pub mod samples;
pub mod state;
pub mod train;

use crate::exit::ExitStatus;

/// Why a session failed; one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::RecipeError),
    /// Data of a round.
    #[error(transparent)]
    Batch(#[from] crate::data::batch::BatchError),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] afd_models::weights::WeightsError),
    /// A value that cannot work, in a recipe or in what a student carries away.
    #[error(transparent)]
    Problem(#[from] crate::recipe::Problem),
    /// A round.
    #[error(transparent)]
    Round(#[from] crate::engine::rounds::RoundError),
    /// The run directory.
    #[error(transparent)]
    Run(#[from] crate::run::directory::RunError),
    /// Files.
    #[error(transparent)]
    File(#[from] crate::run::files::FileError),
    /// Checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] crate::run::manifest::CheckpointError),
    /// Logs.
    #[error(transparent)]
    Event(#[from] crate::run::events::EventError),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] crate::eval::EvalError),
    /// Reports.
    #[error(transparent)]
    Report(#[from] crate::eval::report::ReportError),
    /// Videos.
    #[error(transparent)]
    Video(#[from] crate::data::video_io::VideoError),
    /// Prompts.
    #[error(transparent)]
    Text(#[from] crate::data::text::TextError),
    /// Prepared latents.
    #[error(transparent)]
    Latents(#[from] crate::data::latents::LatentError),
    /// The clips of a folder.
    #[error(transparent)]
    Check(#[from] afd_clips::check::CheckError),
    /// Too many of them are bad.
    #[error(transparent)]
    Quarantine(#[from] quarantine::QuarantineError),
    /// Threads.
    #[error(transparent)]
    Thread(#[from] crate::engine::shards::ThreadError),
    /// A directory of generated clips.
    #[error(transparent)]
    Samples(#[from] samples::SamplesError),
    /// A student that cannot be had.
    #[error(transparent)]
    Build(#[from] build::BuildError),
    /// A checkpoint's own files.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// A codec or a text encoder that a student was not trained with.
    #[error(transparent)]
    Encoder(#[from] encoders::OtherEncoder),
    /// What a run began with.
    #[error(transparent)]
    Inputs(#[from] inputs::InputsError),
    /// The journal of a run.
    #[error(transparent)]
    Timings(#[from] journal::TimingsError),
    /// The preparation of a teacher's clips.
    #[error(transparent)]
    Preparation(#[from] prepare::PreparationError),
    /// The comparison with the teacher.
    #[error(transparent)]
    Comparison(#[from] evaluate::AllRefused),
    /// What is asked of the physics world.
    #[error(transparent)]
    Measurement(#[from] measure::MeasureError),
    /// A value that JSON has no place for.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// As its part says.
impl ExitStatus for SessionError {
    fn is_request(&self) -> bool {
        match self {
            Self::Recipe(error) => error.is_request(),
            Self::Batch(error) => error.is_request(),
            Self::Weights(error) => error.is_request(),
            Self::Problem(error) => error.is_request(),
            Self::Round(error) => error.is_request(),
            Self::Run(error) => error.is_request(),
            Self::File(error) => error.is_request(),
            Self::Checkpoint(error) => error.is_request(),
            Self::Event(error) => error.is_request(),
            Self::Eval(error) => error.is_request(),
            Self::Report(error) => error.is_request(),
            Self::Video(error) => error.is_request(),
            Self::Text(error) => error.is_request(),
            Self::Latents(error) => error.is_request(),
            Self::Check(error) => error.is_request(),
            Self::Quarantine(error) => error.is_request(),
            Self::Thread(error) => error.is_request(),
            Self::Samples(error) => error.is_request(),
            Self::Build(error) => error.is_request(),
            Self::State(error) => error.is_request(),
            Self::Encoder(error) => error.is_request(),
            Self::Inputs(error) => error.is_request(),
            Self::Timings(error) => error.is_request(),
            Self::Preparation(error) => error.is_request(),
            Self::Comparison(error) => error.is_request(),
            Self::Measurement(error) => error.is_request(),
            Self::Json(error) => error.is_request(),
        }
    }
}

//! Whose fault an error is: the exit status belongs to the error's type.

use afd_api::ApiError;
use afd_clips::check::CheckError;
use afd_clips::layouts::LayoutError;
use afd_clips::prompts::PromptsError;
use afd_clips::record::RecordError;
use afd_clips::store::StoreError;
use afd_clips::teacher::TeacherError;
use afd_clips::video_io::VideoError;

/// An error that a verb of the program may end with.
///
/// Types of this crate say it beside their definition; those of other crates, here.
pub trait ExitStatus: std::error::Error {
    /// Whether the request itself is wrong, which nothing but another request mends (exit status
    /// 2). Otherwise something went wrong while it was carried out (exit status 1).
    fn is_request(&self) -> bool {
        false
    }
}

/// Another `--backend` is needed.
impl ExitStatus for afd_backends::BackendError {
    fn is_request(&self) -> bool {
        true
    }
}

impl ExitStatus for CheckError {
    fn is_request(&self) -> bool {
        match self {
            Self::Layout(_) | Self::Empty(_) | Self::Journal(_) => true,
            Self::NoneUsed { .. } | Self::NoneWanted { .. } => true,
            Self::Video(_) | Self::Stopped => false,
        }
    }
}

/// The folder that was named is not one of clips.
impl ExitStatus for LayoutError {
    fn is_request(&self) -> bool {
        true
    }
}

/// The list that was named is not one of prompts.
impl ExitStatus for PromptsError {
    fn is_request(&self) -> bool {
        true
    }
}

impl ExitStatus for StoreError {
    fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Foreign(_) | Self::Origin { .. } | Self::Locked(_)
        )
    }
}

impl ExitStatus for RecordError {
    fn is_request(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Store(error) => error.is_request(),
            Self::Teacher(_) => false,
        }
    }
}

impl ExitStatus for ApiError {
    fn is_request(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Store(error) => error.is_request(),
            Self::Journal(_) | Self::Stopped(_) => false,
        }
    }
}

impl ExitStatus for TeacherError {}

/// A file format that is unknown, or cannot be had on this machine.
impl ExitStatus for VideoError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Format { .. } | Self::FfmpegMissing { .. })
    }
}

impl ExitStatus for afd_models::weights::WeightsError {}
impl ExitStatus for afd_metrics::EvalError {}
impl ExitStatus for afd_report::WriteError {}
impl ExitStatus for serde_json::Error {}
impl ExitStatus for std::io::Error {}

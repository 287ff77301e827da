//! Video APIs as teachers. What a provider's interface looks like is data ([`adapter`]). What is
//! paid for is journalled before it is asked for ([`ledger`]). Clips end in a
//! [`afd_clips::store::ClipStore`].
//!
//! Nothing here knows about neural networks or tensors. `docs/api-teachers.md` says what holds
//! when a process is killed.
#![warn(missing_docs)]

pub mod adapter;
mod address;
mod auth;
pub mod clean;
mod client;
pub mod engine;
mod http;
pub mod ledger;
pub mod money;
pub mod pace;
pub mod secret;
pub mod service;
pub mod survey;
pub mod teacher;
mod template;

/// Why an API teacher cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The settings or an adapter.
    #[error("{0}")]
    Settings(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] afd_clips::store::StoreError),
    /// The journal of submissions.
    #[error(transparent)]
    Journal(#[from] afd_clips::journal::JournalError),
    /// The provider, or something only the user can change: nothing more is submitted.
    #[error("{0}")]
    Stopped(String),
}

//! Why a backend could not be started.

use crate::BACKENDS;

/// Why no backend could be started. Every message says what was asked for, what there is, and what
/// to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The name is not of the form `backend` or `backend:number`.
    #[error(
        "{asked:?} is not the name of a backend: expected one of {}, cpu, if need be with a device \
            number, as in cuda:1. {inventory}",
        BACKENDS.join(", ")
    )]
    Malformed {
        /// The name as it was given.
        asked: String,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend exists, but not in this program.
    #[error(
        "backend {asked:?} was asked for, but this program was built without it: rebuild with \
            `--features {feature}`, or ask for a backend that is present. {inventory}"
    )]
    NotCompiledIn {
        /// The name as it was given.
        asked: String,
        /// The cargo feature that compiles it in.
        feature: &'static str,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend is compiled in, but its driver or its hardware is missing.
    #[error(
        "backend {asked:?} was asked for, but cannot be used here: {reason}; or ask for a backend \
            that is present. {inventory}"
    )]
    NotPresent {
        /// The name as it was given.
        asked: String,
        /// What is missing, and how to get it.
        reason: String,
        /// What is compiled in and present.
        inventory: String,
    },
    /// The backend is present, but has fewer devices.
    #[error(
        "device {asked:?} was asked for, but {backend} has {count} here, numbered from 0: ask for \
            a smaller number. {inventory}"
    )]
    NoSuchDevice {
        /// The name as it was given.
        asked: String,
        /// The backend's name.
        backend: &'static str,
        /// How many devices it has.
        count: usize,
        /// What is compiled in and present.
        inventory: String,
    },
    /// Nothing was asked for, and nothing can be used.
    #[error(
        "no backend can be used here: rebuild with `--features flex`, which runs on every CPU. \
            {inventory}"
    )]
    Nothing {
        /// What is compiled in and present.
        inventory: String,
    },
}

//! Whose fault an error is: the exit status belongs to the error's type.

/// An error that a verb of the program may end with.
pub trait ExitStatus: std::error::Error {
    /// Whether the request itself is wrong, which nothing but another request mends (exit status
    /// 2). Otherwise something went wrong while it was carried out (exit status 1).
    fn is_request(&self) -> bool;
}

impl ExitStatus for afd_backends::BackendError {
    fn is_request(&self) -> bool {
        true
    }
}

impl ExitStatus for afd_clips::check::CheckError {
    fn is_request(&self) -> bool {
        matches!(self, Self::Layout(_) | Self::Empty(_) | Self::Journal(_))
    }
}

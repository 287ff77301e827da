//! How it goes on after a request.

use std::time::Duration;

/// What one request of a submission, or of the questions after it, came to.
pub(super) enum Step {
    /// Nothing more to do here; whether something came of it that is journalled.
    Ended(bool),
    /// Another request at once.
    Now,
    /// Another request after at least this long, and what stood in the way.
    Later(Duration, String),
}

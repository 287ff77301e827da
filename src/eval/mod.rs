//! How close a student's clips are to fresh samples of its teacher: the measurements of
//! [`afd_metrics`], a discriminator trained on held-out clips, and the report.

pub mod holdout;
pub mod report;

pub use afd_metrics::*;

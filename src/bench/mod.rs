//! Benchmarks: methods x families x regimes x seeds, made in resumable pieces and gathered into a
//! report.

pub mod gather;
pub mod plan;
pub mod runner;

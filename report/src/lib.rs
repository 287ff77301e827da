//! What came of a benchmark of methods x families x regimes x seeds: one self-contained HTML page,
//! a markdown table, and every number as CSV and JSON.
//!
//! The caller fills a [`Benchmark`] (or reads one from JSON) and calls [`Benchmark::write`].
//! Nothing here trains, measures or knows about networks; a run that failed or has not been made is
//! shown as such, never left out. `report/scripts/check_report.py` computes the numbers of a
//! written report again with SciPy.
#![warn(missing_docs)]

mod benchmark;
mod cells;
mod check;
mod comparison;
mod curves;
mod escape;
#[cfg(test)]
mod example;
mod html;
mod markdown;
mod number;
mod palette;
mod plot;
pub mod statistics;
mod summary;
mod view;
mod write;

pub use benchmark::{
    Benchmark, Better, Cost, Curve, Method, Metric, Named, Preview, Role, Run, State,
};
pub use cells::{Absence, Cell, Sample};
pub use check::BenchmarkError;
pub use comparison::{Comparison, Pair, Verdict};
pub use escape::escape;
pub use html::dark_style;
pub use markdown::markdown;
pub use number::{duration, short};
pub use plot::{PlotError, curve};
pub use summary::Summary;
pub use write::{WriteError, Written};

//! Whatever turns an update into an optimizer step: rounds under burn-train's learner loop, graphs,
//! parts of a batch, clipping, the guard against numbers that are not finite, optimizer and EMA.
//!
//! The engine knows no method: a method is a [`rounds::TrainingMethod`], and what a step
//! differentiates is an [`update::Update`].

pub mod averages;
pub mod gradients;
pub mod learner;
pub mod learning_rate;
pub mod model;
pub mod optimizer;
pub mod outcome;
pub mod progress;
pub mod report;
pub mod rounds;
pub mod shards;
pub mod step;
pub mod update;

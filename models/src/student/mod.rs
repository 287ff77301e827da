//! The student: a causal Wan-style video transformer (docs/method.md B).

pub mod attention;
mod block;
pub mod cache;
pub mod config;
pub mod passes;
pub mod segments;
pub mod transformer;

pub use crate::causal::{self, BlockLayout, Visibility};
pub use cache::KvCache;
pub use config::{Limits, StudentConfig};
pub use transformer::{Student, TextCache};

#[cfg(test)]
mod tests;

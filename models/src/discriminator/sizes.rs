//! What a discriminator takes, for plans.

use serde::Serialize;

/// What a discriminator without a backbone takes, for plans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GraphSizes {
    /// Weights, all of them trained.
    pub parameters: u64,
    /// Floating-point operations of scoring one clip; a multiply-add is two.
    pub flops: f64,
    /// Values of one clip's graph with its backward pass.
    pub values: u64,
}

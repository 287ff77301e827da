//! Flow-matching conventions: the path, the noise levels and the few-step sampler (docs/method.md
//! A).

pub mod path;
pub mod sampler;
pub mod schedule;
pub mod trajectory;

//! Adversarial Flow Distillation: discriminator, advantage and forward-process update (method.md F,
//! G).

pub mod advantage;
pub mod alternation;
pub mod bradley_terry;
pub mod direct;
pub mod forward_process;
pub mod gradients;
pub mod learning_rate;
pub mod model;
pub mod optimizer;
pub mod policies;
pub mod progress;
pub mod reverse_chain;
pub mod shards;
pub mod step;
pub mod strategy;
pub mod supervised;
pub mod supervised_start;
pub mod trajectories;

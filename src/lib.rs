//! Adversarial Flow Distillation (arXiv 2605.26105): a causal, few-step, autoregressive video
//! student learns to imitate a black-box teacher that only hands out finished videos for prompts.
//!
//! [`methods::alternation`] reads like the paper's algorithm box; `docs/architecture.md` is the map
//! of everything else. Shape letters: B batch, F latent frames, T pixel frames, C channels, H W
//! rows and columns, S tokens, D width, P prompts, K rollouts a prompt, M teacher clips a prompt.
#![warn(missing_docs)]

pub mod advantage;
pub mod bench;
pub mod cli;
pub mod data;
pub mod engine;
pub mod eval;
pub mod exit;
pub mod flow;
pub mod methods;
pub mod out;
pub mod plan;
pub mod recipe;
pub mod rollout;
pub mod run;
pub mod session;
pub mod teacher;

pub use afd_noise as noise;

// Functions that round alike on every machine.
use afd_exact as _;

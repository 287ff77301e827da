//! Networks and their weight layouts: the causal Wan-style student, the discriminators, codecs and
//! text encoders.
//!
//! No training, no files outside weights, no command line. Everything is generic over a Burn
//! [`Backend`](burn::prelude::Backend). Shape letters: B batch, F latent frames, T pixel frames, C
//! channels, H W rows and columns, S tokens, D width, L tokens of the text.
#![warn(missing_docs)]

// Functions that round alike on every machine, in the tests of this crate, too.
use afd_exact as _;

pub mod caught;
pub mod causal;
pub mod codec;
pub mod copies;
pub mod discriminator;
pub mod init;
pub mod kernels;
pub mod layers;
pub mod lora;
pub mod precision;
pub mod rope;
pub mod student;
pub mod text;
pub mod weights;

pub use afd_noise as noise;

//! Finished videos, wherever they come from: containers, manifests, preparation, and the teachers
//! that answer with them.
//!
//! Nothing here knows about neural networks or tensors.
#![warn(missing_docs)]

// Functions that round alike on every machine, in the tests of this crate, too.
use afd_exact as _;

pub mod check;
pub mod journal;
mod json_items;
pub mod layouts;
pub mod manifest;
pub mod prepare;
pub mod prompts;
pub mod record;
mod roots;
pub mod shown;
mod stage;
pub mod store;
pub mod teacher;
pub mod text;
pub mod video;
pub mod video_io;

/// How videos are read: 1, then 2 with frame times, pixel shapes and the like as players show them.
/// What was made of videos another way is made again.
pub const READING: u32 = 2;

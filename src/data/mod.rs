//! Everything between video files and student-sized clips.

pub mod batch;
pub mod coding;
pub mod embeddings;
pub mod latents;
pub mod near_prompts;
pub mod text;

pub use afd_clips::{manifest, prepare, record, store, video, video_io};
